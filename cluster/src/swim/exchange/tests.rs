//! The full state over streams: page by page, step by step, and with members of version 1.

use std::collections::VecDeque;
use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::swim::wire::{ENVELOPE_HEAD, VersionRange};
use crate::swim::{Config, Event, Identity, Input, Snapshot, Stamp};
use crate::time::Wall;

pub(in crate::swim) fn now(ms: u64) -> Now {
    Now { mono: Mono::new(Duration::from_millis(ms)), wall: Wall::from_millis(1_800_000_000_000 + ms) }
}

/// One of the size that a node of the product has.
pub(in crate::swim) fn identity(number: u64) -> Identity {
    let [.., a, b, c] = number.to_be_bytes();
    Identity {
        id: Uuid::from_u128(u128::from(number)),
        boot: number,
        address: ([10, a, b, c], 7_000).into(),
        metadata: Bytes::from_static(b"thirty-two bytes of description!"),
        last_stamp: Stamp::at(now(0).wall),
    }
}

fn config() -> Config {
    // Only what a test begins.
    let never = Duration::from_secs(3_600);
    Config { probe_interval: never, exchange_interval: never, dead_probe_interval: never, ..Config::lan("c") }
}

/// One that knows members `first` to `last`, itself among them.
fn seeded(number: u64, first: u64, last: u64) -> Swim {
    let all: Vec<Identity> = (first..=last).map(identity).collect();
    Swim::seeded(config(), identity(number), number, now(0), &Snapshot::of(&all)).expect("sound")
}

/// One that has just started, and has its stamp.
fn newcomer(number: u64, seed: u64) -> Swim {
    let fresh = Identity { last_stamp: Stamp::ZERO, ..identity(number) };
    let mut swim = Swim::new(config(), fresh, number, now(0)).expect("sound");
    let Some(Output::PersistStamp { stamp }) = swim.poll() else { panic!("a stamp is wanted") };
    swim.handle(now(1), Input::Seeds(vec![identity(seed).address])).expect("never refused");
    swim.handle(now(1), Input::StampPersisted { stamp }).expect("never refused");
    swim
}

/// What an exchange looked like.
#[derive(Debug, Default)]
struct Seen {
    frames: usize,
    longest: usize,
    /// The most members that one step let join.
    most_at_once: usize,
    synced: Vec<Uuid>,
}

/// One step: an input, and all that comes of it. The frames that go out.
fn step(swim: &mut Swim, at: Now, input: Input, seen: &mut Seen) -> Vec<(StreamId, Bytes)> {
    swim.handle(at, input).expect("never refused");
    let (mut frames, mut joined) = (Vec::new(), 0);
    while let Some(output) = swim.poll() {
        match output {
            Output::OpenStream { stream, frame, .. } | Output::SendFrame { stream, frame, .. } => {
                seen.frames += 1;
                seen.longest = seen.longest.max(frame.len());
                frames.push((stream, frame));
            }
            Output::Event(Event::Joined(_)) => joined += 1,
            Output::Event(Event::Synced { with }) => seen.synced.push(with),
            _ => {}
        }
    }
    seen.most_at_once = seen.most_at_once.max(joined);
    frames
}

/// Performs all streams between two, until they have nothing to say to each other.
fn converse(a: &mut Swim, b: &mut Swim) -> Seen {
    let (mut seen, mut ms) = (Seen::default(), 2);
    // For whom, on which of the sender's streams.
    let mut waiting: VecDeque<(bool, StreamId, Bytes)> = VecDeque::new();
    loop {
        let (for_a, input) = match waiting.pop_front() {
            Some((for_a, StreamId::Dialled(number), bytes)) => {
                (for_a, Input::Frame { stream: StreamId::Accepted(number), bytes })
            }
            Some((for_a, StreamId::Accepted(number), bytes)) => {
                (for_a, Input::Frame { stream: StreamId::Dialled(number), bytes })
            }
            None => {
                ms += 1;
                let due = |swim: &Swim| !swim.outputs.is_empty() || !swim.reading.is_empty();
                match (due(a), due(b)) {
                    (true, _) => (true, Input::Tick),
                    (_, true) => (false, Input::Tick),
                    (_, _) => break,
                }
            }
        };
        let swim = if for_a { &mut *a } else { &mut *b };
        let frames = step(swim, now(ms), input, &mut seen);
        waiting.extend(frames.into_iter().map(|(stream, frame)| (!for_a, stream, frame)));
    }
    a.check_invariants().expect("sound");
    b.check_invariants().expect("sound");
    seen
}

#[test]
fn a_newcomer_hears_of_thousands_in_bounded_frames_and_steps() {
    let (mut a, mut b) = (newcomer(20_000, 1), seeded(1, 1, 8_000));
    let seen = converse(&mut a, &mut b);
    assert_eq!((a.live(), b.live()), (8_001, 8_001));
    assert_eq!(a.state(), b.state());
    assert!(seen.longest <= SHARE + LONGEST_ROW, "a frame of {} bytes", seen.longest);
    assert!((1..=128).contains(&seen.most_at_once), "{} at once", seen.most_at_once);
    assert!(seen.frames < 40, "{} frames", seen.frames);
    assert!(seen.synced.contains(&identity(1).id));
}

#[test]
fn two_that_know_much_tell_each_other_all_of_it() {
    for (theirs, ours) in [(6_000, 3_000), (3_000, 6_000)] {
        let (mut a, mut b) = (seeded(1, 1, ours), seeded(50_000, 50_000, 50_000 + theirs));
        a.dial(now(1), identity(50_000).address, None);
        let seen = converse(&mut a, &mut b);
        assert_eq!(a.state(), b.state());
        assert_eq!(a.live() as u64, ours + theirs + 1);
        assert!(seen.longest <= SHARE + LONGEST_ROW, "a frame of {} bytes", seen.longest);
    }
}

#[test]
fn who_knows_no_pages_is_asked_for_all_and_gets_all() {
    let (mut a, mut b) = (newcomer(20_000, 1), seeded(1, 1, 3_000));
    let first = std::iter::from_fn(|| a.poll()).find_map(|output| match output {
        Output::OpenStream { stream, frame, .. } => Some((stream, frame)),
        _ => None,
    });
    let (stream, frame) = first.expect("it dials its seed");
    // Version 1 skips a type that it does not know.
    let page = Message::Page { after: Uuid::nil(), complete: true }.encode();
    let (head, rest) = frame.split_at(ENVELOPE_HEAD);
    let bytes = [head, rest.strip_prefix(&page[..]).expect("it stands first")].concat();
    b.handle(now(2), Input::Frame { stream: StreamId::Accepted(1), bytes: bytes.into() }).expect("never refused");
    let answer = std::iter::from_fn(|| b.poll()).find_map(|output| match output {
        Output::SendFrame { frame, last: true, .. } => Some(frame),
        _ => None,
    });
    a.handle(now(3), Input::Frame { stream, bytes: answer.expect("all, at once") }).expect("never refused");
    (4..40).for_each(|ms| a.handle(now(ms), Input::Tick).expect("never refused"));
    assert_eq!(a.live(), 3_001);
    assert!(a.is_synced());
}

#[test]
fn a_member_of_version_1_is_told_all_at_once() {
    let mut a = seeded(1, 1, 3_000);
    let id = identity(2).id;
    a.set.change(id, |row| {
        let life = row.life.as_deref().cloned().expect("it is known");
        row.life =
            Some(std::sync::Arc::new(crate::swim::lww::Life { versions: VersionRange { min: 1, max: 1 }, ..life }));
        true
    });
    a.meet(now(1), id, identity(2).address);
    let frames = std::iter::from_fn(|| a.poll()).filter_map(|output| match output {
        Output::OpenStream { frame, .. } => Some(frame),
        _ => None,
    });
    let frames: Vec<Bytes> = frames.collect();
    let [frame] = &frames[..] else { panic!("{} streams", frames.len()) };
    let envelope = Envelope::open(frame, a.cluster, Stamp::from_bits(u64::MAX), Vec::new()).expect("sound");
    assert_eq!(envelope.messages.len(), 3_001);
    assert_eq!(envelope.messages[0], Message::Sync { answer_wanted: true });
}

#[test]
fn differences_alone_do_not_tell_a_newcomer_enough() {
    let (mut a, mut b) = (newcomer(20_000, 1), seeded(1, 1, 3_000));
    a.streams.dialled.clear();
    std::iter::from_fn(|| a.poll()).for_each(drop);
    b.look_for_differences(now(2), identity(20_000).id, identity(20_000).address);
    converse(&mut b, &mut a);
    assert!(a.live() > 1 && !a.is_synced());
}
