//! The network as a program sees it: tokio's sockets by name and manner, without a system below.
//!
//! What is lost of a stream is sent again, later each time; a stream that gets nothing through for [`LOST`] ends. The system of a machine answers for
//! a process that is not there (refuses, resets) and for one that sleeps (takes connections and bytes until its buffers are full).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

pub(crate) mod connection;
pub(crate) mod listener;
mod stream;
pub(crate) mod udp;

pub use listener::TcpListener;
pub use stream::{OwnedReadHalf, OwnedWriteHalf, TcpStream};
pub use udp::UdpSocket;

use crate::machine::Machine;
use crate::queue::Arrival;
use crate::world::{Millis, with};

/// A stream ends when nothing of it got through for so long: what a program sets as the user time-out.
pub const LOST: Millis = 30_000;

/// Binds a socket on the machine that runs, among those of its kind; port 0 picks one. Its address, its machine and what arrives at it.
fn bind<B: Default>(
    address: SocketAddr,
    kind: impl FnOnce(&mut Machine) -> &mut BTreeMap<u16, Arc<B>>,
) -> io::Result<(SocketAddr, usize, Arc<B>)> {
    with(|world| {
        let number = world.current.unwrap_or_default();
        let here = world.here();
        if !address.ip().is_unspecified() && address.ip() != here.ip {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let port = if address.port() == 0 { here.free_port() } else { address.port() };
        let address = SocketAddr::new(here.ip, port);
        match kind(here).entry(port) {
            Entry::Occupied(_) => Err(io::ErrorKind::AddrInUse.into()),
            Entry::Vacant(entry) => Ok((address, number, entry.insert(Arc::default()).clone())),
        }
    })
}

/// Delivers what is due.
pub(crate) fn deliver() {
    loop {
        let Some(arrival) = with(|world| world.queue.pop(world.now)) else { return };
        match arrival {
            Arrival::Datagram { from, to, bytes } => datagram(from, to, &bytes),
            Arrival::Syn(connection) => connection::asked(&connection),
            Arrival::SynAnswer(connection, taken) => connection::answered(&connection, taken),
            Arrival::Segments(connection, side) => connection::arrived(&connection, side),
            Arrival::Reset(connection, side) => connection::reset(&connection, side),
        }
    }
}

fn datagram(from: SocketAddr, to: SocketAddr, bytes: &Arc<[u8]>) {
    let bound = with(|world| {
        let target = world.find(to.ip())?;
        world.note((from, to, bytes));
        let machine = &world.machines[target];
        machine.powered.then(|| machine.datagrams.get(&to.port()).cloned())?
    });
    if let Some(bound) = bound {
        bound.take(from, bytes.clone());
    }
}
