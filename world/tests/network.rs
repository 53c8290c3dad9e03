//! What programs see of the simulated network, clocks and power.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use muster_world::net::{TcpListener, TcpStream, UdpSocket};
use muster_world::{Simulation, wall_clock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};

const A: usize = 0;
const B: usize = 1;

fn at(machine: usize) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, machine as u8 + 1)), 7)
}

fn two(seed: u64) -> Simulation {
    let mut sim = Simulation::new(seed);
    sim.add(at(A).ip());
    sim.add(at(B).ip());
    sim
}

/// What a program told the test.
#[derive(Debug, Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn tell(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

fn pass(sim: &mut Simulation, time: u64) {
    (0..time).for_each(|_| sim.step());
}

/// Sends back what comes.
async fn echo() {
    let listener = TcpListener::bind(at(B)).await.unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let (mut reader, mut writer) = stream.into_split();
            let _: Result<_, _> = tokio::io::copy(&mut reader, &mut writer).await;
        });
    }
}

/// Sends numbers and hears them again, over a network that loses a third.
fn through_losses(seed: u64) -> (u64, usize) {
    let mut sim = two(seed);
    for (from, to) in [(A, B), (B, A)] {
        sim.link(from, to, |link| (link.loss, link.delay) = (0.3, 1..=30));
    }
    let told = Told::default();
    let tells = told.clone();
    sim.start(B, echo);
    sim.start(A, || async move {
        let (mut reader, mut writer) = TcpStream::connect(at(B)).await.unwrap().into_split();
        tokio::spawn(async move {
            for number in 0..300u32 {
                writer.write_all(&number.to_le_bytes()).await.unwrap();
            }
        });
        for number in 0..300u32 {
            assert_eq!(reader.read_u32_le().await.unwrap(), number);
        }
        tells.tell("all");
    });
    for _ in 0..100_000 {
        if told.all().is_empty() {
            sim.step();
        }
    }
    (sim.trace(), told.all().len())
}

#[test]
fn a_stream_delivers_all_in_order_whatever_is_lost_and_a_seed_does_it_again() {
    let (trace, done) = through_losses(1);
    assert_eq!(done, 1);
    assert_eq!(through_losses(1).0, trace);
    assert_ne!(through_losses(2).0, trace);
}

#[test]
fn a_dead_process_refuses_and_resets_and_a_dead_machine_is_silent() {
    for power_fails in [false, true] {
        let (mut sim, told) = (two(3), Told::default());
        sim.start(B, echo);
        let tells = told.clone();
        sim.start(A, || async move {
            let (mut reader, mut writer) = TcpStream::connect(at(B)).await.unwrap().into_split();
            writer.write_all(b"x").await.unwrap();
            assert_eq!(reader.read_u8().await.unwrap(), b'x');
            sleep(Duration::from_millis(100)).await;
            let ended = tokio::time::timeout(Duration::from_secs(1), reader.read_u8()).await;
            tells.tell(if ended.is_ok() { "ended" } else { "silent" });
            let dialled = tokio::time::timeout(Duration::from_secs(1), TcpStream::connect(at(B))).await;
            let refused = matches!(dialled, Ok(Err(ref error)) if error.kind() == io::ErrorKind::ConnectionRefused);
            tells.tell(if refused { "refused" } else { "silent" });
            writer.write_all(b"y").await.unwrap();
            let lost = reader.read_u8().await.unwrap_err();
            tells.tell(format!("{:?}", lost.kind()));
        });
        pass(&mut sim, 50);
        if power_fails {
            sim.power_off(B)
        } else {
            sim.kill(B)
        }
        pass(&mut sim, 60_000);
        let expected =
            if power_fails { ["silent", "silent", "ConnectionReset"] } else { ["ended", "refused", "UnexpectedEof"] };
        assert_eq!(told.all(), expected);
    }
}

#[test]
fn a_cut_way_heals_and_what_was_sent_meanwhile_arrives() {
    let (mut sim, told) = (two(4), Told::default());
    sim.start(B, echo);
    let tells = told.clone();
    sim.start(A, || async move {
        let mut stream = TcpStream::connect(at(B)).await.unwrap();
        sleep(Duration::from_millis(100)).await;
        stream.write_all(b"late").await.unwrap();
        let mut back = [0; 4];
        stream.read_exact(&mut back).await.unwrap();
        tells.tell(String::from_utf8_lossy(&back));
    });
    pass(&mut sim, 50);
    sim.link(A, B, |link| link.cut = true);
    pass(&mut sim, 3_000);
    assert!(told.all().is_empty());
    sim.link(A, B, |link| link.cut = false);
    pass(&mut sim, 6_000);
    assert_eq!(told.all(), ["late"]);
}

#[test]
fn datagrams_are_lost_doubled_and_cut_one_way() {
    let (mut sim, told) = (two(5), Told::default());
    let tells = told.clone();
    sim.start(B, || async move {
        let socket = UdpSocket::bind(at(B)).await.unwrap();
        let mut buffer = [0; 16];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            assert_eq!(from, at(A));
            tells.tell(String::from_utf8_lossy(&buffer[..length]));
        }
    });
    sim.start(A, || async move {
        let socket = UdpSocket::bind(at(A)).await.unwrap();
        loop {
            socket.send_to(b"hello", at(B)).await.unwrap();
            sleep(Duration::from_millis(10)).await;
        }
    });
    pass(&mut sim, 1_000);
    let whole = told.all().len();
    assert!((95..=100).contains(&whole), "{whole}");
    sim.link(A, B, |link| link.loss = 0.5);
    pass(&mut sim, 1_000);
    let lossy = told.all().len() - whole;
    assert!((30..70).contains(&lossy), "{lossy}");
    sim.link(A, B, |link| (link.loss, link.doubling) = (0.0, 1.0));
    pass(&mut sim, 1_000);
    let doubled = told.all().len() - whole - lossy;
    assert!((190..=201).contains(&doubled), "{doubled}");
    sim.link(A, B, |link| link.datagrams_cut = true);
    pass(&mut sim, 10);
    let cut = told.all().len();
    pass(&mut sim, 1_000);
    assert_eq!(told.all().len(), cut);
}

#[test]
fn a_process_that_slept_sees_that_time_has_passed_and_clocks_jump_alone() {
    let (mut sim, told) = (two(6), Told::default());
    let tells = told.clone();
    sim.start(A, || async move {
        let (start, wall) = (Instant::now(), wall_clock());
        sleep(Duration::from_millis(100)).await;
        sleep(Duration::from_millis(100)).await;
        let (passed, shown) = (start.elapsed(), wall_clock() - wall);
        tells.tell(format!("{} {}", passed.as_millis() >= 5_000, shown >= Duration::from_secs(3_600)));
    });
    pass(&mut sim, 50);
    sim.pause(A);
    pass(&mut sim, 5_000);
    assert!(told.all().is_empty());
    sim.move_clock(A, 3_600_000);
    sim.resume(A);
    pass(&mut sim, 200);
    assert_eq!(told.all(), ["true true"]);
}

/// Says something as its task is dropped.
struct LastWord(Arc<UdpSocket>, u8);

impl Drop for LastWord {
    fn drop(&mut self) {
        self.0.try_send_to(&[self.1], at(B)).unwrap();
    }
}

fn last_words(seed: u64) -> u64 {
    let mut sim = two(seed);
    sim.start(A, || async {
        let socket = Arc::new(UdpSocket::bind(at(A)).await.unwrap());
        for number in 0..8 {
            let last = LastWord(socket.clone(), number);
            tokio::spawn(async move {
                std::future::pending::<()>().await;
                drop(last);
            });
        }
    });
    pass(&mut sim, 3);
    sim.kill(A);
    pass(&mut sim, 5);
    sim.trace()
}

#[test]
fn what_a_dying_process_does_comes_in_one_order_whatever_the_test_ran_before() {
    let first = last_words(7);
    let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for _ in 0..3 {
        drop(other.spawn(async {}));
        assert_eq!(last_words(7), first);
    }
}
