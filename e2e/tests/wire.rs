//! That a bad wire does what it says, seen from both of its ends.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is the verdict of a test")]

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use muster_e2e::netns::Net;
use muster_e2e::skip::needs;
use muster_e2e::wire::{Carried, Flip, Flips, Trouble, Wire};
use nix::sched::{CloneFlags, setns};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const MS: Duration = Duration::from_millis(1);
/// Far above what anything here takes.
const SOON: Duration = Duration::from_secs(30);

/// None where this machine does not let us.
fn net() -> Option<Net> {
    needs("root and network namespaces", Net::new(2))
}

/// Does something within a machine.
fn within<T: Send + 'static>(net: &Net, machine: usize, deed: impl FnOnce() -> T + Send + 'static) -> T {
    let namespace = File::open(format!("/run/netns/{}", net.namespace(machine))).unwrap();
    let there = std::thread::spawn(move || {
        setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
        deed()
    });
    there.join().unwrap()
}

/// Two machines' sockets for datagrams; the second is the one with the wire.
struct Talk {
    near: UdpSocket,
    far: UdpSocket,
}

impl Talk {
    fn of(net: &Net) -> Self {
        let [near, far] = [0, 1].map(|machine| {
            let at = SocketAddr::from((net.address(machine), 0));
            let socket = within(net, machine, move || UdpSocket::bind(at)).unwrap();
            socket.set_read_timeout(Some(SOON)).unwrap();
            socket
        });
        near.connect(far.local_addr().unwrap()).unwrap();
        far.connect(near.local_addr().unwrap()).unwrap();
        let talk = Self { near, far };
        // Each knows the other's hardware now, and no question for it is on the way later.
        talk.round_trip();
        talk
    }

    fn round_trip(&self) -> Duration {
        let began = Instant::now();
        for (from, to) in [(&self.near, &self.far), (&self.far, &self.near)] {
            from.send(b"?").unwrap();
            assert_eq!(to.recv(&mut [0; 1]).unwrap(), 1);
        }
        began.elapsed()
    }

    /// Sends so many datagrams to the machine with the wire. What arrived, in that order, until nothing came for a second.
    fn say(&self, count: u32) -> Vec<Vec<u8>> {
        for number in 0..count {
            self.near.send(&text(number)).unwrap();
        }
        self.far.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let (mut heard, mut buffer) = (Vec::new(), [0; 2_000]);
        while let Ok(length) = self.far.recv(&mut buffer) {
            heard.push(buffer[..length].to_vec());
        }
        heard
    }
}

fn text(number: u32) -> Vec<u8> {
    number.to_be_bytes().repeat(64)
}

fn mended(wire: Wire) -> Carried {
    let carried = wire.mend().unwrap();
    assert_eq!((carried.refused, carried.all().lost), (0, 0), "{carried:?}");
    carried
}

#[test]
fn a_round_trip_takes_as_long_as_both_ways_are_delayed_and_no_longer_when_the_wire_is_mended() {
    let Some(net) = net() else { return };
    let talk = Talk::of(&net);
    let trouble = Trouble { delay: 100 * MS..120 * MS, ..Trouble::default() };
    let wire = Wire::lay(&net, 1, &trouble, 1).unwrap();
    for _ in 0..5 {
        assert!(talk.round_trip() >= 200 * MS);
    }
    let carried = mended(wire);
    assert!(carried.out.delayed >= 5 && carried.into.delayed >= 5, "{carried:?}");
    // One of a few is not held up by whatever else the machine has to do.
    assert!((0..20).any(|_| talk.round_trip() < 200 * MS));
}

#[test]
fn what_is_delayed_arrives_whole_and_in_order_and_what_may_overtake_out_of_order() {
    let Some(net) = net() else { return };
    let talk = Talk::of(&net);
    let expected: Vec<_> = (0..150).map(text).collect();
    for overtaking in [false, true] {
        let trouble = Trouble { delay: MS..60 * MS, overtaking, flips: None };
        let wire = Wire::lay(&net, 1, &trouble, 2).unwrap();
        let heard = talk.say(150);
        let carried = mended(wire);
        assert_eq!(heard != expected, overtaking);
        assert_eq!(heard.into_iter().collect::<BTreeSet<_>>(), expected.iter().cloned().collect());
        assert_eq!(carried.into.overtaken > 0, overtaking, "{carried:?}");
    }
}

#[test]
fn flipped_bits_arrive_when_the_checksum_is_right_and_not_when_it_is_wrong() {
    let Some(net) = net() else { return };
    let talk = Talk::of(&net);
    let right: BTreeSet<_> = (0..150).map(text).collect();
    for kind in [Flip::Noticed, Flip::Unnoticed] {
        let flips = Some(Flips { one_in: 4, kind, spared: net.host() });
        let wire = Wire::lay(&net, 1, &Trouble { flips, ..Trouble::default() }, 3).unwrap();
        let heard = talk.say(150);
        let flipped = mended(wire).into.flipped;
        assert!(flipped > 10, "{flipped}");
        let wrong = heard.iter().filter(|text| !right.contains(*text)).count() as u64;
        match kind {
            Flip::Noticed => assert_eq!((wrong, heard.len() as u64), (0, 150 - flipped)),
            Flip::Unnoticed => assert_eq!((wrong, heard.len()), (flipped, 150)),
        }
    }
}

#[test]
fn what_the_test_s_side_says_is_spared() {
    let Some(net) = net() else { return };
    let far = within(&net, 1, {
        let at = SocketAddr::from((net.address(1), 0));
        move || UdpSocket::bind(at)
    });
    let (near, far) = (UdpSocket::bind((net.host(), 0)).unwrap(), far.unwrap());
    let flips = Some(Flips { one_in: 1, kind: Flip::Unnoticed, spared: net.host() });
    let wire = Wire::lay(&net, 1, &Trouble { flips, ..Trouble::default() }, 4).unwrap();
    far.set_read_timeout(Some(SOON)).unwrap();
    for number in 0..20 {
        near.send_to(&text(number), far.local_addr().unwrap()).unwrap();
        let mut buffer = [0; 2_000];
        let length = far.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..length], text(number));
    }
    assert_eq!(mended(wire).all().flipped, 0);
}

/// A stream sends as much at once as the kernel likes, without checksums: all of it has to come out in whole packets.
#[tokio::test]
async fn a_long_stream_comes_out_as_it_went_in() {
    let Some(net) = net() else { return };
    let at = [0, 1].map(|machine| SocketAddr::from((net.address(machine), 0)));
    let listener = within(&net, 0, move || std::net::TcpListener::bind(at[0])).unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    let trouble = Trouble { delay: Duration::ZERO..2 * MS, ..Trouble::default() };
    let wire = Wire::lay(&net, 1, &trouble, 5).unwrap();
    let to = listener.local_addr().unwrap();
    let dialled = within(&net, 1, move || std::net::TcpStream::connect(to)).unwrap();
    dialled.set_nonblocking(true).unwrap();
    let (mut near, mut far) = (TcpStream::from_std(dialled).unwrap(), listener.accept().await.unwrap().0);
    let sent: Vec<u8> = (0..4_000_000_u32).map(|at| (at ^ (at >> 9)) as u8).collect();
    for _ in ["out", "in"] {
        let mut heard = vec![0; sent.len()];
        let both = async { tokio::join!(near.write_all(&sent), far.read_exact(&mut heard)) };
        let (written, read) = tokio::time::timeout(SOON, both).await.expect("it goes through");
        written.unwrap();
        read.unwrap();
        assert!(heard == sent);
        std::mem::swap(&mut near, &mut far);
    }
    mended(wire);
}
