//! Keys in virtual time: who has none hears nothing and says nothing, keys change without anybody being missed, and what is sent again
//! changes nothing.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use muster_cluster::keyring::{Change, Entry, EntryName, Key, Keyring};
use muster_cluster::sim::checkers::Checks;
use muster_cluster::sim::{Happening, Record, Sim, Watch};
use muster_cluster::swim::{Config, Event, Input, MAX_MESSAGE, State, Stats, wire};
use muster_cluster::time::{Mono, Now, Wall};

fn key(byte: u8) -> Key {
    Key::new([byte; 32])
}

const SECRET: &[u8] = b"a secret in the metadata";

/// Keeps every datagram: from where, to where, what; and the length of the longest.
#[derive(Default)]
struct Tape {
    on: bool,
    all: Vec<(usize, SocketAddr, Bytes)>,
    longest: usize,
}

impl Watch for Tape {
    fn note(&mut self, _: Duration, happening: &Happening<'_>) {
        if let Happening::Sent { host, to, bytes } = happening {
            self.longest = self.longest.max(bytes.len());
            if self.on {
                self.all.push((*host, *to, (*bytes).clone()));
            }
        }
    }
}

type Net = Sim<((Record, Tape), Checks)>;

fn net(seed: u64) -> Net {
    let config = Config::local("sealed");
    let watch = ((Record::default(), Tape::default()), Checks::all(&config));
    Sim::new(config, seed, watch)
}

fn add(net: &mut Net, ring: &Keyring) -> usize {
    let host = net.add_next();
    net.set_metadata(host, Bytes::from_static(SECRET));
    net.host_mut(host).keys = ring.clone();
    net.start(host, vec![Net::address(1), Net::address(2)]);
    host
}

/// Members with this ring, who have found each other.
fn cluster(size: usize, ring: &Keyring, seed: u64) -> Net {
    let mut net = net(seed);
    for _ in 0..size {
        add(&mut net, ring);
    }
    net.run(Duration::from_secs(5));
    assert_eq!(net.agree(), Ok(()));
    net
}

fn tape(net: &mut Net) -> &mut Tape {
    &mut net.watch.0.1
}

fn record(net: &Net) -> &Record {
    &net.watch.0.0
}

fn ask(net: &mut Net, host: usize, input: Input) {
    net.ask(host, input).expect("it makes sense");
}

fn state(net: &Net, host: usize) -> State {
    net.host(host).swim.as_ref().expect("it runs").state()
}

fn stats(net: &Net, host: usize) -> Stats {
    net.host(host).swim.as_ref().expect("it runs").stats()
}

fn count(net: &Net, kind: fn(&Event) -> bool) -> usize {
    record(net).events.iter().filter(|(_, _, event)| kind(event)).count()
}

fn failures(net: &Net) -> usize {
    count(net, |event| matches!(event, Event::Failed(_)))
}

#[test]
fn the_same_seed_gives_the_same_sealed_trace_and_nothing_is_readable() {
    let run = || {
        let mut net = net(1);
        tape(&mut net).on = true;
        net.network.loss = 0.1;
        for _ in 0..5 {
            add(&mut net, &Keyring::sealed(key(1)));
        }
        net.run(Duration::from_secs(20));
        net.network.loss = 0.0;
        net.run(Duration::from_secs(20));
        assert_eq!(net.agree(), Ok(()));
        net
    };
    let mut net = run();
    assert_eq!(record(&net).fingerprint(), record(&run()).fingerprint());
    assert!(record(&net).lost > 0);
    assert!(tape(&mut net).all.len() > 100);
    let mut nonces = std::collections::BTreeSet::new();
    for (_, _, bytes) in &tape(&mut net).all {
        assert_eq!(bytes[3] & 1, 1, "sealed");
        assert!(!bytes.windows(6).any(|window| window == b"secret"));
        assert!(nonces.insert(bytes.slice(20..44)), "a nonce was used twice");
    }
}

#[test]
fn who_has_no_key_or_another_hears_nothing_and_is_not_heard() {
    let mut net = cluster(3, &Keyring::sealed(key(1)), 2);
    let strangers = [add(&mut net, &Keyring::default()), add(&mut net, &Keyring::sealed(key(2)))];
    net.run(Duration::from_secs(20));
    for host in 0..3 {
        assert_eq!(state(&net, host).add_set.len(), 3);
    }
    for host in strangers {
        assert_eq!(state(&net, host).add_set.len(), 1);
    }
    assert_eq!(failures(&net), 0);
    // A packet in the open that says everything right but for the seal, and one with another key.
    let words = |ring: Keyring| {
        let mut other = cluster(2, &ring, 3);
        tape(&mut other).on = true;
        other.run(Duration::from_secs(2));
        tape(&mut other).all.swap_remove(0).2
    };
    let from = Net::address(77);
    let before = stats(&net, 0);
    for ring in [Keyring::default(), Keyring::sealed(key(2))] {
        ask(&mut net, 0, Input::Datagram { from, bytes: words(ring) });
    }
    let mut broken = words(Keyring::sealed(key(1))).to_vec();
    *broken.last_mut().expect("not empty") ^= 1;
    ask(&mut net, 0, Input::Datagram { from, bytes: broken.into() });
    let now = stats(&net, 0);
    assert_eq!(now.unsealed - before.unsealed, 1);
    assert_eq!(now.unknown_keys - before.unknown_keys, 1);
    assert_eq!(now.bad_seals - before.bad_seals, 1);
}

#[test]
fn an_open_cluster_is_sealed_and_changes_its_key_one_member_after_the_other_and_nobody_is_missed() {
    let (a, b) = (EntryName::Key(key(1).name()), EntryName::Key(key(2).name()));
    let mut net = cluster(5, &Keyring::default(), 4);
    let mut ring = Keyring::default();
    for change in [
        Change::Add(Entry::Key(key(1))),
        Change::Use(a),
        Change::Remove(EntryName::Plain),
        Change::Add(Entry::Key(key(2))),
        Change::Use(b),
        Change::Remove(a),
    ] {
        ring = ring.after(&change).expect("a change that makes sense");
        for host in 0..5 {
            net.set_keys(host, ring.clone());
            // Long enough for probes between those who have changed and those who have not.
            net.run(Duration::from_secs(3));
        }
    }
    net.run(Duration::from_secs(5));
    assert_eq!(net.agree(), Ok(()));
    assert_eq!(failures(&net), 0);
    for host in 0..5 {
        let stats = stats(&net, host);
        assert_eq!((stats.unsealed, stats.unknown_keys, stats.bad_seals), (0, 0, 0));
    }
}

#[test]
fn packets_that_are_sent_again_change_nothing() {
    let mut net = cluster(4, &Keyring::sealed(key(1)), 5);
    tape(&mut net).on = true;
    let to = net.host(1).id;
    ask(&mut net, 0, Input::Message { to, payload: Bytes::from_static(b"pay 100") });
    ask(&mut net, 0, Input::Broadcast(Bytes::from_static(b"hear ye")));
    ask(&mut net, 2, Input::Metadata(Bytes::from_static(b"other")));
    net.run(Duration::from_secs(3));
    ask(&mut net, 3, Input::Leave);
    net.run(Duration::from_secs(5));
    net.crash(2);
    net.run(Duration::from_secs(10));
    // Its next life, and one of the receiver of the message: what is kept in memory is forgotten.
    for host in [1, 2] {
        net.crash(host);
        net.run(Duration::from_millis(100));
        net.start(host, vec![Net::address(1)]);
        net.run(Duration::from_secs(10));
    }
    let heard = |net: &Net| {
        let messages = count(net, |event| matches!(event, Event::Message { .. }));
        (messages, count(net, |event| matches!(event, Event::Broadcast { .. })))
    };
    assert_eq!(heard(&net), (1, 3));
    let states: Vec<State> = (0..3).map(|host| state(&net, host)).collect();
    let events = record(&net).events.len();
    tape(&mut net).on = false;
    let tape = std::mem::take(&mut tape(&mut net).all);
    for _ in 0..2 {
        for (from, to, bytes) in &tape {
            for host in 0..3 {
                // To whom it was sent, and to the others as well; from where it came, and from elsewhere.
                let meant = net.host(host).address == *to;
                let from = if meant { net.host(*from).address } else { Net::address(77) };
                ask(&mut net, host, Input::Datagram { from, bytes: bytes.clone() });
            }
        }
        net.run(Duration::from_secs(5));
    }
    assert_eq!((0..3).map(|host| state(&net, host)).collect::<Vec<_>>(), states);
    let new = record(&net).events[events..].iter().filter(|(_, _, event)| !matches!(event, Event::Synced { .. }));
    let new: Vec<_> = new.collect();
    assert!(new.is_empty(), "{new:?}");
    assert_eq!(heard(&net), (1, 3));
    let replayed: u64 = (0..3).map(|host| stats(&net, host).replayed).sum();
    assert!(replayed > 100, "{replayed}");
}

#[test]
fn the_longest_packet_is_within_the_budget_when_it_is_sealed() {
    let mut net = cluster(3, &Keyring::sealed(key(1)), 6);
    let to = net.host(1).id;
    for len in 700..=MAX_MESSAGE {
        // There always is a long piece of news to go along.
        ask(&mut net, 0, Input::Metadata(vec![len.to_le_bytes()[0]; wire::MAX_METADATA].into()));
        net.run(Duration::from_millis(5));
        ask(&mut net, 0, Input::Message { to, payload: vec![7; len].into() });
        net.run(Duration::from_millis(5));
    }
    net.run(Duration::from_secs(5));
    assert_eq!(tape(&mut net).longest, wire::PACKET_BUDGET, "to the last byte");
    assert_eq!(count(&net, |event| matches!(event, Event::Message { .. })), MAX_MESSAGE + 1 - 700);
}

#[test]
fn without_keys_packets_are_as_they_were() {
    let run = |told: bool| {
        let mut net = cluster(2, &Keyring::default(), 7);
        if told {
            let swim = net.host_mut(0).swim.as_mut().expect("it runs");
            let now = Now { mono: Mono::new(Duration::from_secs(5)), wall: Wall::from_millis(0) };
            swim.handle(now, Input::Keys(Keyring::default())).expect("it makes sense");
        }
        net.run(Duration::from_secs(10));
        record(&net).fingerprint()
    };
    assert_eq!(run(false), run(true));
}
