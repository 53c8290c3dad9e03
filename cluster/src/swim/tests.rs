//! Single steps of the machine, and what hostile bytes do to it. Whole scenarios are in `tests/swim` and `testdata/`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

use super::lww::{Life, Reason, Removal};
use super::wire::{self, Envelope, Message, Statement};
use super::*;
use crate::time::Wall;

const START: u64 = 1_800_000_000_000;

pub(super) fn now(ms: u64) -> Now {
    Now { mono: Mono::new(Duration::from_millis(ms)), wall: Wall::from_millis(START + ms) }
}

/// 2026-01-01, in milliseconds since 1970.
const BIRTH: u64 = 1_767_225_600_000;

pub(super) fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

pub(super) fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 7_000))
}

pub(super) fn identity(number: u8) -> Identity {
    Identity {
        id: id(number.into()),
        boot: number.into(),
        address: address(number),
        metadata: Bytes::new(),
        last_stamp: Stamp::ZERO,
    }
}

pub(super) fn member() -> Swim {
    Swim::new(Config::lan("test"), identity(1), 1, now(0)).expect("a sound configuration")
}

#[test]
fn a_stamp_on_the_disk_that_nobody_would_believe_is_refused_at_the_start() {
    let year = 365 * 24 * 3_600_000;
    let held = |years: u64| Identity { last_stamp: Stamp::at(Wall::from_millis(BIRTH + years * year)), ..identity(1) };
    let start =
        |years| Swim::new(Config::lan("test"), held(years), 1, Now { wall: Wall::from_millis(BIRTH), ..now(0) });
    assert!(start(9).is_ok());
    let refused = start(11).expect_err("nobody would believe the next one");
    assert!(refused.to_string().contains("ten years ahead"), "{refused}");
}

pub(super) fn outputs(swim: &mut Swim) -> Vec<Output> {
    std::iter::from_fn(|| swim.poll()).collect()
}

pub(super) fn persist(swim: &mut Swim, at: Now) -> Vec<Output> {
    let mut all = Vec::new();
    loop {
        let some = outputs(swim);
        if some.is_empty() {
            return all;
        }
        for output in &some {
            if let Output::PersistStamp { stamp } = output {
                swim.handle(at, Input::StampPersisted { stamp: *stamp }).expect("never refused");
            }
        }
        all.extend(some);
    }
}

pub(super) fn packet(sender: u128, messages: &[Message]) -> Bytes {
    let mut out = wire::head(1, wire::ClusterHash::of("test"), id(sender));
    for message in messages {
        out.extend_from_slice(&message.encode());
    }
    out.into()
}

pub(super) fn alive(number: u8, stamp: Stamp) -> Message {
    Message::Statement(Statement::Alive {
        id: id(number.into()),
        life: Arc::new(Life {
            stamp,
            boot: number.into(),
            address: address(number),
            versions: wire::VERSIONS,
            metadata: Box::default(),
        }),
    })
}

pub(super) fn tell(swim: &mut Swim, at: Now, sender: u8, messages: &[Message]) {
    let bytes = packet(sender.into(), messages);
    swim.handle(at, Input::Datagram { from: address(sender), bytes }).expect("never refused");
    swim.check_invariants().expect("sound");
}

/// One that knows member 2.
pub(super) fn acquainted() -> Swim {
    let mut swim = member();
    persist(&mut swim, now(0));
    tell(&mut swim, now(1), 2, &[alive(2, Stamp::at(now(0).wall))]);
    persist(&mut swim, now(1));
    swim
}

#[test]
fn nothing_is_said_before_the_stamp_is_on_the_disk() {
    let mut swim = member();
    let first = outputs(&mut swim);
    let [Output::PersistStamp { stamp }] = first.as_slice() else { panic!("{first:?}") };
    tell(&mut swim, now(1), 2, &[alive(2, *stamp), Message::Ping { seq: 7, target: id(1) }]);
    for ms in (0..20_000).step_by(100) {
        swim.handle(now(ms), Input::Tick).expect("never refused");
    }
    let said = outputs(&mut swim);
    assert!(!said.iter().any(|output| matches!(output, Output::Datagram { .. })), "{said:?}");
    assert_eq!(swim.member(id(1)), None);
    let wrong = Stamp::from_bits(stamp.to_bits() + 1);
    swim.handle(now(20_000), Input::StampPersisted { stamp: wrong }).expect("never refused");
    assert_eq!(swim.member(id(1)), None, "another stamp than the one that was asked for");
    swim.handle(now(20_000), Input::StampPersisted { stamp: *stamp }).expect("never refused");
    assert_eq!(swim.member(id(1)).map(|own| own.incarnation), Some(*stamp));
}

#[test]
fn behind_the_end_of_a_leave_nothing_is_heard_or_said() {
    let mut swim = acquainted();
    swim.handle(now(10), Input::Leave).expect("never refused");
    let goodbye = outputs(&mut swim).into_iter().find_map(|output| match output {
        Output::Datagram { bytes, .. } => Some(bytes),
        _ => None,
    });
    let believable = Stamp::from_bits(u64::MAX);
    let goodbye = Envelope::open(&goodbye.expect("said"), swim.cluster, believable, Vec::new()).expect("sound");
    let Some(Message::Ping { seq, .. }) = goodbye.messages.first() else { panic!("it wants an answer") };
    // The confirmation, and behind it in the same packet what would be news.
    let late = Message::Direct { to: id(1), payload: "late".into() };
    let lost = Message::Statement(Statement::suspect(id(1), Stamp::at(now(20).wall), id(2)));
    let word = [Message::Ack { seq: *seq, subject: id(2) }, alive(3, Stamp::at(now(5).wall)), late, lost];
    tell(&mut swim, now(20), 2, &word);
    assert_eq!(outputs(&mut swim), [Output::Event(Event::LeaveDone { heard_by: 1 })]);
    assert_eq!(swim.next_deadline(), None);
}

#[test]
fn what_does_not_fit_is_refused_when_it_is_offered() {
    let mut swim = acquainted();
    let long = Bytes::from(vec![0; MAX_BROADCAST + 1]);
    let too_large = |refused| matches!(refused, Err(Refused::TooLarge { .. }));
    assert!(too_large(swim.handle(now(2), Input::Broadcast(long.clone()))));
    assert!(too_large(swim.handle(now(2), Input::Message { to: id(2), payload: long.clone() })));
    assert!(too_large(swim.handle(now(2), Input::Metadata(long.clone()))));
    let stranger = swim.handle(now(2), Input::Message { to: id(9), payload: Bytes::new() });
    assert_eq!(stranger, Err(Refused::UnknownMember(id(9))));
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 1));
    assert_eq!(swim.handle(now(2), Input::Address(nowhere)), Err(Refused::Unreachable(nowhere)));
    let fits = long.slice(1..);
    assert_eq!(swim.handle(now(2), Input::Broadcast(fits.clone())), Ok(()));
    assert_eq!(swim.handle(now(2), Input::Message { to: id(2), payload: fits }), Ok(()));
    assert_eq!(swim.handle(now(2), Input::Leave), Ok(()));
    assert_eq!(swim.handle(now(2), Input::Broadcast(Bytes::new())), Err(Refused::Leaving));
}

#[test]
fn a_refutation_outranks_what_we_are_accused_of_whatever_the_clock_says() {
    let mut swim = acquainted();
    let ours = swim.member(id(1)).expect("we are there").incarnation;
    let far = Stamp::at(Wall::from_millis(START + 1_000_000_000));
    for stamp in [ours, far] {
        let removal = Removal { stamp, reason: Reason::Failed };
        let removed = Statement::Removed { id: id(1), removal, age_secs: 0 };
        tell(&mut swim, now(3), 2, &[Message::Statement(removed)]);
        let said = persist(&mut swim, now(3));
        let own = swim.member(id(1)).expect("we are there");
        assert!(own.incarnation > stamp);
        assert_eq!(own.state, MemberState::Alive);
        assert!(said.iter().any(|output| matches!(output, Output::Datagram { to, .. } if *to == address(2))));
    }
    assert_eq!(swim.stats().drifted_stamps, 1);
    assert!(swim.is_set_back(), "nobody but us gives our stamps");
}

#[test]
fn one_stamp_is_under_way_at_a_time() {
    let mut swim = acquainted();
    for text in ["a", "b", "c"] {
        swim.handle(now(2), Input::Metadata(Bytes::from(text))).expect("it fits");
    }
    let stamps = outputs(&mut swim).into_iter().filter(|output| matches!(output, Output::PersistStamp { .. })).count();
    assert_eq!(stamps, 1);
}

#[test]
fn members_are_bounded() {
    let config = Config { max_members: 3, ..Config::lan("test") };
    let mut swim = Swim::new(config, identity(1), 1, now(0)).expect("a sound configuration");
    persist(&mut swim, now(0));
    for number in 2..10 {
        tell(&mut swim, now(1), 2, &[alive(number, Stamp::at(now(0).wall))]);
    }
    assert_eq!(swim.members().len(), 3);
    assert_eq!(swim.stats().members_refused, 6);
}

#[test]
fn a_sleeper_accuses_nobody_when_it_wakes() {
    let mut swim = acquainted();
    let mut at = 2;
    // Until a probe is on its way.
    while !swim.stats().packets_sent.eq(&2) {
        at += 10;
        swim.handle(now(at), Input::Tick).expect("never refused");
        assert!(at < 5_000, "no probe was sent");
    }
    swim.handle(now(at + 60_000), Input::Tick).expect("never refused");
    assert_eq!(swim.member(id(2)).map(|member| member.state), Some(MemberState::Alive));
}

fn hostile() -> impl Strategy<Value = Message> {
    let stamp = prop_oneof![any::<u64>(), (0..5_u64).prop_map(|by| (START << 16) + by)].prop_map(Stamp::from_bits);
    let number = 1..5_u8;
    prop_oneof![
        (number.clone(), stamp.clone(), any::<u64>()).prop_map(|(number, stamp, boot)| {
            Message::Statement(Statement::Alive {
                id: id(number.into()),
                life: Arc::new(Life {
                    stamp,
                    boot,
                    address: address(number),
                    versions: wire::VERSIONS,
                    metadata: Box::default(),
                }),
            })
        }),
        (number.clone(), stamp.clone())
            .prop_map(|(number, stamp)| { Message::Statement(Statement::suspect(id(number.into()), stamp, id(2))) }),
        (number.clone(), stamp, any::<bool>(), any::<u32>()).prop_map(|(number, stamp, left, age_secs)| {
            let reason = if left { Reason::Left } else { Reason::Failed };
            Message::Statement(Statement::Removed {
                id: id(number.into()),
                removal: Removal { stamp, reason },
                age_secs,
            })
        }),
        (any::<u32>(), number.clone()).prop_map(|(seq, number)| Message::Ping { seq, target: id(number.into()) }),
        (any::<u32>(), number.clone()).prop_map(|(seq, number)| Message::Ack { seq, subject: id(number.into()) }),
        (any::<u32>(), number.clone()).prop_map(|(seq, number)| Message::PingReq {
            seq,
            target: id(number.into()),
            address: address(number),
        }),
        (any::<u32>(), number.clone()).prop_map(|(seq, number)| Message::Nack { seq, subject: id(number.into()) }),
        (number, any::<u64>(), any::<u64>()).prop_map(|(number, boot, seq)| Message::Broadcast {
            origin: id(number.into()),
            boot,
            seq,
            payload: Bytes::new(),
        }),
        any::<u64>().prop_map(|sum| Message::Digest { sum }),
        prop::collection::vec(any::<u64>(), 0..40).prop_map(|sums| Message::Buckets { sums }),
        Just(Message::Buckets { sums: vec![7; 16] }),
        (0..40_u16, 0..40_u16, prop::collection::vec((1..5_u8, any::<u64>()), 0..8)).prop_map(
            |(buckets, bucket, rows)| Message::Hashes {
                buckets,
                bucket,
                rows: rows.into_iter().map(|(number, hash)| (id(number.into()), hash)).collect(),
            }
        ),
        prop::collection::vec(1..5_u8, 0..8)
            .prop_map(|ids| Message::Want { ids: ids.into_iter().map(|number| id(number.into())).collect() }),
        any::<bool>().prop_map(|answer_wanted| Message::Sync { answer_wanted }),
    ]
}

proptest! {
    /// Words of the protocol, in any order, on any door: no panic, no broken invariant, and we live.
    #[test]
    fn hostile_words_do_no_harm(
        words in prop::collection::vec((prop::collection::vec(hostile(), 0..8), 1..5_u8, 0..3_u8, 0..3_000_u64), 0..40),
    ) {
        let mut swim = acquainted();
        let mut at = 2;
        for (number, (messages, sender, door, later)) in words.into_iter().enumerate() {
            at += later;
            let bytes = packet(sender.into(), &messages);
            let input = match door {
                0 => Input::Datagram { from: address(sender), bytes },
                1 => Input::Frame { stream: StreamId::Dialled(number as u64), bytes },
                _ => {
                    let mut frame = packet(sender.into(), &[Message::Sync { answer_wanted: true }]).to_vec();
                    frame.extend_from_slice(&bytes[wire::ENVELOPE_HEAD..]);
                    Input::Frame { stream: StreamId::Accepted(number as u64), bytes: frame.into() }
                }
            };
            prop_assert_eq!(swim.handle(now(at), input), Ok(()));
            for output in persist(&mut swim, now(at)) {
                if let Output::Datagram { bytes, .. } = output {
                    prop_assert!(bytes.len() + wire::SEAL_OVERHEAD <= wire::PACKET_BUDGET);
                }
            }
            prop_assert_eq!(swim.check_invariants(), Ok(()));
            prop_assert_eq!(swim.member(id(1)).map(|own| own.state), Some(MemberState::Alive));
        }
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300), inside: bool) {
        let mut swim = acquainted();
        let mut packet = if inside { packet(2, &[]).to_vec() } else { Vec::new() };
        packet.extend(bytes);
        let packet = Bytes::from(packet);
        for input in [
            Input::Datagram { from: address(2), bytes: packet.clone() },
            Input::Frame { stream: StreamId::Accepted(1), bytes: packet.clone() },
        ] {
            prop_assert_eq!(swim.handle(now(2), input), Ok(()));
            prop_assert_eq!(swim.check_invariants(), Ok(()));
        }
    }
}
