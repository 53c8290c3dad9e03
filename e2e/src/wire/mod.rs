//! A bad wire: frames that come late, in another order, or with a flipped bit.
//!
//! ```text
//! machine ── eth0 ═══ near │ this process carries frames │ far ═══ plug ── bridge
//! ```
//!
//! What `netem` does in a kernel that has it, without it: a machine's cable is cut in two at the switch, and a thread of this process carries
//! each frame from one end to the other, as a [`Passage`] for each direction says. It reads and writes whole Ethernet frames by raw
//! sockets. Everything is as it was when the wire is dropped; if the process dies, the ends lie in a namespace that somebody has to
//! remove anyway.

mod frame;
mod passage;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvfrom, send, socket,
};

use crate::netns::{Joint, Net};

pub use frame::{Parts, flip};
pub use passage::{Counts, Flip, Flips, Passage, Trouble};

/// 64 KiB and a header: longer than any frame.
const LONGEST: usize = 66_000;
/// A stop is seen after this at the latest.
const ROUND: Duration = Duration::from_millis(20);
/// A frame that went out at this end, not one that came in (`PACKET_OUTGOING`).
const OUTGOING: u8 = 4;

/// A machine's cable with something wrong with it.
#[derive(Debug)]
pub struct Wire {
    stop: Arc<AtomicBool>,
    carrier: Option<JoinHandle<Carried>>,
    // Behind the carrier, which is ended first.
    _joint: Joint,
}

/// What was carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Carried {
    /// From the machine.
    pub out: Counts,
    /// To the machine.
    pub into: Counts,
    /// Frames that the kernel did not take: none, if all is well.
    pub refused: u64,
}

impl Carried {
    /// In both directions.
    pub fn all(&self) -> Counts {
        self.out + self.into
    }
}

impl Wire {
    /// Has this trouble in both directions of a machine's cable from now on, by this seed.
    ///
    /// # Errors
    /// When this machine does not let us.
    pub fn lay(net: &Net, machine: usize, trouble: &Trouble, seed: u64) -> Result<Self, String> {
        let joint = net.cut_in_two(machine)?;
        let path = format!("/run/netns/{}", joint.namespace());
        let namespace = File::open(&path).map_err(|error| format!("{path}: {error}"))?;
        let ends = [joint.near(), joint.far()];
        // Each direction draws its own.
        let passages = [seed, !seed].map(|seed| Passage::new(trouble.clone(), seed));
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, told) = mpsc::channel();
        let stopped = Arc::clone(&stop);
        let carrier = thread::spawn(move || {
            // A thread's network is its own.
            let ends = setns(namespace, CloneFlags::CLONE_NEWNET)
                .map_err(io::Error::from)
                .and_then(|()| Ok([End::open(&ends[0])?, End::open(&ends[1])?]));
            match ends {
                Ok(ends) => {
                    let _ = tell.send(Ok(()));
                    carry(&ends, passages, &stopped)
                }
                Err(error) => {
                    let _ = tell.send(Err(format!("raw sockets: {error}")));
                    Carried::default()
                }
            }
        });
        let wire = Self { stop, carrier: Some(carrier), _joint: joint };
        told.recv().map_err(|error| error.to_string())??;
        Ok(wire)
    }

    /// Makes the cable whole again. What is held back is lost, as it is with a cable that is pulled.
    ///
    /// # Errors
    /// When what carried the frames came to an end before.
    pub fn mend(mut self) -> Result<Carried, String> {
        self.end().ok_or_else(|| "what carried the frames has panicked".to_owned())
    }

    fn end(&mut self) -> Option<Carried> {
        self.stop.store(true, Ordering::Relaxed);
        self.carrier.take()?.join().ok()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.end();
    }
}

/// One end of the cable.
#[derive(Debug)]
struct End {
    socket: OwnedFd,
    index: usize,
}

impl End {
    fn open(name: &str) -> io::Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
        let of = |interface: nix::ifaddrs::InterfaceAddress| interface.address?.as_link_addr().copied();
        let at = getifaddrs()?.filter(|interface| interface.interface_name == name).find_map(of);
        let at = at.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no {name}")))?;
        bind(socket.as_raw_fd(), &at)?;
        Ok(Self { socket, index: at.ifindex() })
    }

    /// The next frame that has come in.
    fn next(&self, buffer: &mut [u8]) -> Option<Vec<u8>> {
        loop {
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), buffer) {
                // What other cables carried before the socket was bound to this one, and what went the other way.
                Ok((_, Some(at))) if at.ifindex() != self.index || at.pkttype() == OUTGOING => {}
                Ok((length, _)) => return Some(buffer[..length].to_vec()),
                Err(Errno::EINTR) => {}
                // Nothing more for now; or the link is down for a while, and the error was told with this.
                Err(_) => return None,
            }
        }
    }

    fn send(&self, frame: &[u8]) -> bool {
        send(self.socket.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT) == Ok(frame.len())
    }
}

/// Carries frames until it is told to stop.
fn carry(ends: &[End; 2], mut passages: [Passage; 2], stop: &AtomicBool) -> Carried {
    let mut buffer = vec![0; LONGEST];
    let (since, mut refused) = (Instant::now(), 0);
    while !stop.load(Ordering::Relaxed) {
        for ((from, to), passage) in [(0, 1), (1, 0)].into_iter().zip(&mut passages) {
            while let Some(frame) = ends[from].next(&mut buffer) {
                passage.enter(since.elapsed(), frame);
            }
            while let Some(frame) = passage.leave(since.elapsed()) {
                refused += u64::from(!ends[to].send(&frame));
            }
        }
        let due = passages.iter().filter_map(Passage::next_due).min();
        let wait = due.map_or(ROUND, |due| due.saturating_sub(since.elapsed()).min(ROUND));
        let mut sockets = [&ends[0], &ends[1]].map(|end| PollFd::new(end.socket.as_fd(), PollFlags::POLLIN));
        // Rounded up, so as not to ask again and again within the millisecond.
        let wait = PollTimeout::try_from(wait + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
        let _ = poll(&mut sockets, wait);
    }
    let [out, into] = passages.map(|passage| passage.counts());
    Carried { out, into, refused }
}
