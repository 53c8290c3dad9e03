//! A whole core against a hostile world: what arrives, when it arrives and what the disk does is read off the fuzzer's bytes.
//!
//! Bytes at random are seldom a packet that gets far, so beside raw ones there are packets of well-formed messages that speak of a few
//! members, a few lives and a few probes: those meet.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use uuid::Uuid;

use super::lww::{Life, Reason, Removal};
use super::seal::Seals;
use super::wire::fuzz::with_head;
use super::wire::{MAX_FRAME, Message, PACKET_BUDGET, PACKET_HEAD, Statement, VERSIONS};
use super::{Config, Event, Identity, Input, MemberState, Output, Stamp, StreamId, Swim};
use crate::keyring::{KEY_LEN, Key, Keyring};
use crate::time::{Mono, Now, Wall};

/// Steps of a script; the rest is not looked at.
const STEPS: usize = 200;

/// Members that are spoken of: more than are taken in.
const IDS: u8 = 24;

/// Outputs of one step: far more than a step with so few members gives.
const OUTPUTS: usize = 4_096;

/// When it begins, in milliseconds since 1970.
const BEGIN: u64 = 1_750_000_000_000;

/// Reads a script off the bytes; zeroes follow their end.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn u8(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.u16()) % 2_048;
        let (head, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        head
    }

    fn id(&mut self) -> Uuid {
        Uuid::from_u128(u128::from(self.u8() % IDS) + 1)
    }

    fn address(&mut self) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, self.u8() % IDS + 1], 7_000))
    }

    /// One of a few that lie before, at and after now, or anything.
    fn stamp(&mut self) -> Stamp {
        match self.u8() {
            255 => Stamp::from_bits(u64::from_le_bytes([0; 8].map(|_| self.u8()))),
            near => Stamp::from_bits((BEGIN << 16) + u64::from(near)),
        }
    }

    fn message(&mut self, numbers: &[u32]) -> Message {
        // Answers to what was asked are worth more than answers to nothing.
        let seq = match self.u8() {
            255 => u32::from(self.u16()),
            place => numbers.get(usize::from(place) % numbers.len().max(1)).copied().unwrap_or_default(),
        };
        match self.u8() % 10 {
            0 => Message::Ping { seq, target: self.id() },
            1 => Message::Ack { seq, subject: self.id() },
            2 => Message::PingReq { seq, target: self.id(), address: self.address() },
            3 => {
                let (id, stamp, boot, address) = (self.id(), self.stamp(), self.u8().into(), self.address());
                let metadata = self.bytes();
                let metadata = metadata.get(..metadata.len().min(512)).unwrap_or_default().into();
                let life = Life { stamp, boot, address, versions: VERSIONS, metadata };
                Message::Statement(Statement::Alive { id, life: Arc::new(life) })
            }
            4 => {
                let (id, stamp) = (self.id(), self.stamp());
                let by = (0..=self.u8() % 8).map(|_| self.id()).collect();
                Message::Statement(Statement::Suspect { id, stamp, by })
            }
            5 => {
                let reason = if self.u8() < 128 { Reason::Failed } else { Reason::Left };
                let (id, stamp) = (self.id(), self.stamp());
                let removal = Removal { stamp, reason };
                Message::Statement(Statement::Removed { id, removal, age_secs: self.u16().into() })
            }
            6 => Message::Nack { seq, subject: self.id() },
            7 => Message::Sync { answer_wanted: self.u8() < 128 },
            8 => Message::Direct { to: self.id(), payload: Bytes::new() },
            _ => {
                let (origin, boot, seq) = (self.id(), self.u8().into(), self.u8().into());
                Message::Broadcast { origin, boot, seq, payload: Bytes::new() }
            }
        }
    }

    fn messages(&mut self, numbers: &[u32]) -> Bytes {
        let sender = self.id();
        let body: Vec<u8> = (0..self.u8() % 8).flat_map(|_| self.message(numbers).encode()).collect();
        with_head(sender, &body)
    }

    fn stream(&mut self) -> StreamId {
        match self.u8() {
            low @ 0..128 => StreamId::Dialled(u64::from(low) % 16),
            high => StreamId::Accepted(u64::from(high) % 16),
        }
    }
}

/// A packet with these messages is opened as it was sealed, and with one byte changed not at all; nor is anything that pretends to be sealed.
pub(crate) fn sealed(data: &[u8]) {
    // Made once: deriving its parts takes longer than all the rest.
    static KEY: LazyLock<Key> = LazyLock::new(|| Key::new([7; KEY_LEN]));
    let ring = || Keyring::sealed(KEY.clone());
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let (mut sealing, mut opening) = (Seals::default(), Seals::default());
    sealing.set(ring(), 1, &mut rng);
    opening.set(ring(), 2, &mut rng);
    let [place, change, body @ ..] = data else { return };
    let packet = with_head(Uuid::from_u128(2), body);
    let receiver = (change % 2 == 0).then_some(2);
    let mut sealed = packet.to_vec();
    sealing.seal(&mut sealed, receiver);
    let mut open = |packet: &[u8]| {
        let mut opened = Vec::new();
        opening.open(packet, 2, &mut opened).map(|_| opened)
    };
    let mut spoilt = sealed.clone();
    let at = usize::from(*place) * 7 % spoilt.len();
    spoilt[at] ^= change | 1;
    assert!(open(&spoilt).is_err(), "byte {at} was changed, and it was opened");
    assert_eq!(open(&sealed), Ok(packet.to_vec()));
    assert!(open(&sealed).is_err(), "a second time");
    let mut pretended = sealed;
    pretended.truncate(PACKET_HEAD + crate::keyring::KeyName::LEN);
    pretended.extend_from_slice(body);
    assert!(open(&pretended).is_err(), "nobody sealed this");
}

/// The world around the core.
struct World {
    swim: Swim,
    now: Now,
    /// What is on its way to the disk.
    pending: Option<Stamp>,
    /// The highest that was asked to be kept.
    highest: Stamp,
    /// Numbers of our own probes, as seen in its packets.
    numbers: Vec<u32>,
    left: bool,
    /// Its leave is through.
    gone: bool,
}

/// Runs a script, and checks after every step that all is sound.
pub(crate) fn core(data: &[u8]) {
    let mut script = Script(data);
    let config = Config {
        max_members: 16,
        tombstone_ttl: Duration::from_secs(60),
        broadcast_queue: 8,
        direct_probes: 2,
        ..Config::local("fuzz")
    };
    let id = Uuid::from_u128(1);
    let address = SocketAddr::from(([10, 0, 0, 1], 7_000));
    let last_stamp = if script.u8() < 128 { Stamp::ZERO } else { Stamp::from_bits((BEGIN << 16) - 1) };
    let identity = Identity { id, boot: 1, address, metadata: Bytes::new(), last_stamp };
    let now = Now { mono: Mono::ZERO, wall: Wall::from_millis(BEGIN) };
    let Ok(swim) = Swim::new(config, identity, script.u8().into(), now) else { return };
    let mut world =
        World { swim, now, pending: None, highest: last_stamp, numbers: Vec::new(), left: false, gone: false };
    world.perform();
    for _ in 0..STEPS {
        if script.0.is_empty() {
            break;
        }
        world.step(&mut script);
    }
}

impl World {
    fn step(&mut self, script: &mut Script<'_>) {
        let input = match script.u8() % 16 {
            0..=2 => {
                self.now.mono = self.now.mono + Duration::from_millis(script.u16().into());
                Input::Tick
            }
            3 => {
                // Clocks on walls jump.
                let by = u64::from(script.u16()) * 1_000;
                let wall = self.now.wall.as_millis();
                self.now.wall = Wall::from_millis(if by % 2_000 == 0 { wall + by } else { wall.saturating_sub(by) });
                Input::Tick
            }
            4 => Input::Datagram { from: script.address(), bytes: Bytes::copy_from_slice(script.bytes()) },
            5 => {
                let sender = script.id();
                Input::Datagram { from: script.address(), bytes: with_head(sender, script.bytes()) }
            }
            6..=8 => Input::Datagram { from: script.address(), bytes: script.messages(&self.numbers) },
            9 => {
                let sender = script.id();
                Input::Frame { stream: script.stream(), bytes: with_head(sender, script.bytes()) }
            }
            10 | 11 => Input::Frame { stream: script.stream(), bytes: script.messages(&self.numbers) },
            12 => Input::StreamClosed { stream: script.stream() },
            13 => match self.pending.take() {
                Some(stamp) => Input::StampPersisted { stamp },
                None => Input::StampPersisted { stamp: script.stamp() },
            },
            14 => Input::Seeds((0..script.u8() % 80).map(|_| script.address()).collect()),
            _ => match script.u8() {
                0..64 => Input::Metadata(Bytes::copy_from_slice(script.bytes())),
                64..128 => Input::Broadcast(Bytes::copy_from_slice(script.bytes())),
                128..192 => Input::Message { to: script.id(), payload: Bytes::copy_from_slice(script.bytes()) },
                192..200 => Input::Keys(Keyring::default()),
                200..208 => Input::Keys(Keyring::sealed(Key::new([7; KEY_LEN]))),
                208..254 => Input::Address(script.address()),
                _ => {
                    self.left = true;
                    Input::Leave
                }
            },
        };
        let foreign = matches!(input, Input::Datagram { .. } | Input::Frame { .. });
        let answer = self.swim.handle(self.now, input);
        assert!(!foreign || answer.is_ok(), "what comes from the network is never refused: {answer:?}");
        self.perform();
        if let Err(broken) = self.swim.check_invariants() {
            panic!("{broken}");
        }
        let own = self.swim.member(self.swim.id()).map(|own| own.state);
        assert!(self.left || own.is_none_or(|state| state == MemberState::Alive), "in our own eyes we are {own:?}");
    }

    fn perform(&mut self) {
        let mut outputs = 0;
        while let Some(output) = self.swim.poll() {
            outputs += 1;
            assert!(outputs <= OUTPUTS, "one step gives no end of outputs");
            let says_no_more = matches!(output, Output::CloseStream { .. });
            assert!(!self.gone || says_no_more, "after its leave was through: {output:?}");
            self.gone |= matches!(output, Output::Event(Event::LeaveDone { .. }));
            match output {
                Output::Datagram { bytes, .. } => {
                    assert!(bytes.len() <= PACKET_BUDGET, "a datagram of {} bytes", bytes.len());
                    self.note_number(&bytes);
                }
                Output::OpenStream { frame, .. }
                | Output::ProbeStream { frame, .. }
                | Output::SendFrame { frame, .. } => assert!(frame.len() <= MAX_FRAME),
                Output::PersistStamp { stamp } => {
                    assert!(stamp > self.highest, "{stamp:?} after {:?}", self.highest);
                    self.highest = stamp;
                    self.pending = Some(stamp);
                }
                Output::CloseStream { .. } | Output::Event(_) => {}
            }
        }
    }

    /// The number of the probe that a packet of ours begins with, if it does.
    fn note_number(&mut self, packet: &[u8]) {
        let Some([a, b, c, d]) = packet.get(super::wire::ENVELOPE_HEAD + 3..).and_then(|rest| rest.first_chunk())
        else {
            return;
        };
        if self.numbers.len() >= 8 {
            self.numbers.remove(0);
        }
        self.numbers.push(u32::from_le_bytes([*a, *b, *c, *d]));
    }
}
