//! Inputs to begin with: what members of a simulated cluster say to each other, and what elections do.
//!
//! `MUSTER_FUZZ_SEEDS=1 cargo test -p muster-cluster --test fuzzing seeds` writes them beside what is in `fuzz/corpus`.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use muster_cluster::election::{Freshness, MAX_TERM, Message, Rank, Stance};
use muster_cluster::keyring::{Key, encode_key};
#[cfg(feature = "runtime")]
use muster_cluster::runtime::{StampFile, StampStore};
use muster_cluster::sim::{Happening, Sim, Watch};
use muster_cluster::swim::wire::{Answer, Preface, Refusal, StreamKind};
use muster_cluster::swim::{Config, Input};
use uuid::Uuid;

use crate::corpus;

/// Length of the header of packets and frames.
const HEAD: usize = 28;

/// Keeps one packet or frame for each sequence of message types.
#[derive(Debug, Default)]
struct Listen {
    kinds: BTreeSet<Vec<u8>>,
    packets: Vec<Vec<u8>>,
    messages: Vec<Vec<u8>>,
}

impl Listen {
    fn keep(&mut self, bytes: &[u8]) {
        let mut rest = bytes.get(HEAD..).unwrap_or_default();
        let mut kinds = Vec::new();
        let mut messages = Vec::new();
        while let [kind, low, high, ..] = rest {
            let len = 3 + usize::from(u16::from_le_bytes([*low, *high]));
            kinds.push(*kind);
            messages.push(rest.get(..len).unwrap_or_default().to_vec());
            rest = rest.get(len..).unwrap_or_default();
        }
        if kinds.len() > 6 {
            return;
        }
        for (kind, message) in kinds.iter().zip(messages) {
            if self.kinds.insert(vec![*kind]) {
                self.messages.push(message);
            }
        }
        if self.kinds.insert(kinds) {
            self.packets.push(bytes.get(HEAD..).unwrap_or_default().to_vec());
        }
    }
}

impl Watch for Listen {
    fn note(&mut self, _: Duration, happening: &Happening<'_>) {
        if let Happening::Sent { bytes, .. } | Happening::Framed { bytes, .. } = happening {
            self.keep(bytes);
        }
    }
}

fn listen() -> Listen {
    let mut sim = Sim::new(Config::local("fuzz"), 1, Listen::default());
    let seeds = vec![Sim::<()>::address(1)];
    for _ in 0..4 {
        let host = sim.add_next();
        sim.start(host, seeds.clone());
    }
    sim.run(Duration::from_secs(2));
    let to = sim.host(1).id;
    for input in [Input::Broadcast("all".into()), Input::Message { to, payload: "you".into() }, Input::Leave] {
        sim.ask(3, input).expect("granted");
        sim.run(Duration::from_secs(2));
    }
    sim.crash(2);
    sim.network.loss = 0.3;
    sim.run(Duration::from_secs(30));
    sim.watch
}

fn elections() -> Vec<Vec<u8>> {
    let rank = Rank { freshness: Freshness { term: 2, index: 3 }, priority: -1, id: Uuid::from_u128(2) };
    let leader = Uuid::from_u128(3);
    let mut all = vec![
        Message::Election { round: 7, term: 5, rank },
        Message::Victory { term: MAX_TERM, rank },
        Message::TakeOver { term: 5, rank },
    ];
    for stance in [Stance::Contends, Stance::Aside, Stance::Follows { leader, term: 4 }] {
        all.push(Message::Answer { round: 7, term: 5, rank, stance });
    }
    all.into_iter().map(|message| message.encode()).collect()
}

fn prefaces() -> Vec<Vec<u8>> {
    let (me, you) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let cluster = Config::local("fuzz").cluster_hash();
    let preface = Preface::new(StreamKind::Exchange, cluster, you, Some(me));
    let dialled = [preface, Preface::new(StreamKind::from_byte(16), cluster, you, None)];
    let answers = [preface.answer(cluster, me), Answer::refuse(Refusal::NotMe, me)];
    dialled.iter().map(|preface| preface.encode().to_vec()).chain(answers.iter().map(|a| a.encode().to_vec())).collect()
}

fn keyrings() -> Vec<Vec<u8>> {
    let keys: Vec<String> =
        (1..=18_u8).map(|n| encode_key(&Key::new(std::array::from_fn(|at| n.wrapping_mul(at as u8))))).collect();
    let hex = "0123456789abcdef".repeat(4);
    [format!("# ours\n{}\nplain # for now\n{hex}\n", keys[1]), "plain".to_owned(), keys.join("\n"), "00".repeat(32)]
        .map(String::into_bytes)
        .to_vec()
}

/// Requests about keys, as they stand in a stream, and an answer to one.
fn key_requests() -> Vec<Vec<u8>> {
    let request = |operation: u8, pass_on: u8, tag: u8| [&[operation, pass_on, tag, 0][..], &[9; 32]].concat();
    let of = |member: u8, ring: &[u8], reason: &str| {
        let entries = ring.iter().flat_map(|tag| [&[*tag][..], &[tag * 7; 8]].concat());
        let len = u16::try_from(reason.len()).unwrap_or_default().to_le_bytes();
        let head = [member; 16].into_iter().chain([u8::try_from(ring.len()).unwrap_or_default()]);
        head.chain(entries).chain(len).chain(reason.bytes()).collect::<Vec<u8>>()
    };
    let reports = [of(1, &[1, 0], ""), of(2, &[], "it did not answer in time"), of(3, &[1; 16], "")];
    let requests = [(0, 1, 0), (1, 1, 0), (1, 0, 1), (2, 1, 1), (2, 0, 0), (3, 1, 1)];
    requests.map(|(operation, pass_on, tag)| request(operation, pass_on, tag)).into_iter().chain(reports).collect()
}

/// The head of a sealed stream, with the door's key, with another, and of another format.
fn stream_heads() -> Vec<Vec<u8>> {
    let name = |byte: u8| Key::new([byte; 32]).name().to_string();
    let bytes = |hex: &str| {
        let digits = (0..hex.len()).step_by(2).filter_map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok());
        digits.collect::<Vec<u8>>()
    };
    let head = |format: u8, name: &str| {
        [b"MSTS", &[format, 0, 0, 0][..], &7_u64.to_le_bytes(), &bytes(name), &[3; 32], &[5; 64]].concat()
    };
    vec![head(1, &name(7)), head(1, &name(8)), head(2, &name(7)), head(1, &name(7))[..40].to_vec()]
}

/// Sizes of records and of pieces, where to change what, and the bytes themselves.
fn stream_records() -> Vec<Vec<u8>> {
    let long: Vec<u8> = (0..600_u16).map(|at| at as u8).collect();
    let script = |head: [u8; 5], body: &[u8]| [&head[..], body].concat();
    vec![
        script([255, 255, 0, 0, 1], &long),
        script([3, 0, 20, 0, 0], b"a few bytes in many records"),
        script([0, 1, 1, 1, 128], &long[..40]),
        script([9, 9, 0, 0, 0], b""),
    ]
}

/// Files of stamps: as it is written, of a later format, cut off, and what stood there before anything did.
#[cfg(feature = "runtime")]
fn stamps() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("stamp");
    let written = |bits: u64| {
        StampFile::new(&path).store(muster_cluster::swim::Stamp::from_bits(bits)).expect("it is written");
        fs::read(&path).expect("it can be read")
    };
    let (first, last) = (written(0x1234_5678_9abc_0001), written(u64::MAX));
    let later = [&b"MSTAMP\x00\x02"[..], &first[8..]].concat();
    vec![last, later, first[..17].to_vec(), first, Vec::new()]
}

/// Scripts for the two cores: time passes, messages come, the disk answers.
fn scripts(bodies: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut script = vec![0, 1, 13, 14, 1, 1, 0, 200, 0];
    for (number, body) in bodies.iter().enumerate() {
        let sender = u8::try_from(number % 8).unwrap_or_default();
        script.extend([5, sender, sender]);
        script.extend(u16::try_from(body.len()).unwrap_or_default().to_le_bytes());
        script.extend_from_slice(body);
        script.extend([0, 250, 0, 13]);
    }
    // Members join, one is accused, probes are answered, time passes.
    let joins: Vec<u8> = (1..10).flat_map(|id| [6, id, id, 1, 0, 3, id, 9, 1, id, 0, 0, 13]).collect();
    let accused: Vec<u8> = (1..10).flat_map(|id| [7, id, id, 1, 0, 4, 2, 9, 1, id, id, 0, 0, 1]).collect();
    let answered: Vec<u8> = (0..9).flat_map(|id| [0, 250, 0, 8, id, id, 1, id, 1, id, 2, 0, 4]).collect();
    let lived = [[&[0, 1, 13][..], &joins, &answered].concat(), [&[0, 2, 13][..], &joins, &accused].concat()];
    [vec![script], lived.to_vec()].concat()
}

#[test]
fn seeds_are_written_when_asked_for() {
    let heard = listen();
    assert!(heard.messages.len() >= 9, "only {} kinds of messages were heard", heard.messages.len());
    if std::env::var_os("MUSTER_FUZZ_SEEDS").is_none() {
        return;
    }
    let scripted = elections().iter().flat_map(|message| [&[2, 80][..], message].concat()).collect();
    let scripts = scripts(&heard.packets);
    for (door, inputs) in [
        ("sealed", heard.packets.iter().take(4).map(|body| [&[9, 4][..], body].concat()).collect()),
        ("envelope", heard.packets),
        ("keyring", keyrings()),
        ("message", heard.messages),
        ("preface", prefaces()),
        ("election_message", elections()),
        (
            "election_core",
            vec![scripted, vec![0, 0, 255, 0, 255, 7, 2, 0, 255], vec![1, 10, 1, 10, 2, 0, 255, 9, 3, 11, 5]],
        ),
        ("core", scripts),
        ("key_request", key_requests()),
        ("stream_head", stream_heads()),
        ("stream_records", stream_records()),
        #[cfg(feature = "runtime")]
        ("stamp", stamps()),
    ] {
        let folder = corpus().join(door);
        fs::create_dir_all(&folder).expect("a folder");
        for (number, input) in inputs.iter().enumerate() {
            fs::write(folder.join(format!("seed-{number}")), input).expect("it is written");
        }
    }
}
