//! The codec against itself and against arbitrary bytes.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

use super::message::MAX_ACCUSERS;
use super::*;
use crate::swim::hlc::Stamp;
use crate::swim::lww::{Life, Reason, Removal};
use crate::swim::{MAX_BROADCAST, MAX_MESSAGE};

const CLUSTER: ClusterHash = ClusterHash::from_bits(7);
const ANY: Stamp = Stamp::from_bits(u64::MAX);

fn id() -> impl Strategy<Value = Uuid> {
    (1..u128::MAX).prop_map(Uuid::from_u128)
}

fn stamp() -> impl Strategy<Value = Stamp> {
    any::<u64>().prop_map(Stamp::from_bits)
}

fn address() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![
        (1..=223_u8, any::<[u8; 3]>()).prop_map(|(a, [b, c, d])| [a, b, c, d].into()),
        any::<u64>().prop_map(|low| std::net::Ipv6Addr::from((0xfd00_u128 << 112) | u128::from(low)).into()),
    ];
    (ip, 1..=u16::MAX).prop_map(|(ip, port): (std::net::IpAddr, u16)| SocketAddr::new(ip, port))
}

fn payload(max: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..=max).prop_map(Bytes::from)
}

fn statement() -> impl Strategy<Value = Statement> {
    prop_oneof![
        (id(), stamp(), any::<u64>(), address(), 1..9_u8, payload(MAX_METADATA)).prop_map(
            |(id, stamp, boot, address, min, metadata)| Statement::Alive {
                id,
                life: Arc::new(Life {
                    stamp,
                    boot,
                    address,
                    versions: VersionRange { min, max: 9 },
                    metadata: metadata.as_ref().into()
                }),
            }
        ),
        (id(), stamp(), prop::collection::vec(id(), 1..=MAX_ACCUSERS)).prop_map(|(id, stamp, by)| Statement::Suspect {
            id,
            stamp,
            by
        }),
        (id(), stamp(), any::<bool>(), any::<u32>()).prop_map(|(id, stamp, left, age_secs)| Statement::Removed {
            id,
            removal: Removal { stamp, reason: if left { Reason::Left } else { Reason::Failed } },
            age_secs,
        }),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        (any::<u32>(), id()).prop_map(|(seq, target)| Message::Ping { seq, target }),
        (any::<u32>(), id()).prop_map(|(seq, subject)| Message::Ack { seq, subject }),
        (any::<u32>(), id(), address()).prop_map(|(seq, target, address)| Message::PingReq { seq, target, address }),
        statement().prop_map(Message::Statement),
        (id(), any::<u64>(), any::<u64>(), payload(MAX_BROADCAST))
            .prop_map(|(origin, boot, seq, payload)| Message::Broadcast { origin, boot, seq, payload }),
        (id(), payload(MAX_MESSAGE)).prop_map(|(to, payload)| Message::Direct { to, payload }),
        (any::<u32>(), id()).prop_map(|(seq, subject)| Message::Nack { seq, subject }),
        any::<u64>().prop_map(|sum| Message::Digest { sum }),
        prop::collection::vec(any::<u64>(), 0..40).prop_map(|sums| Message::Buckets { sums }),
        (any::<u16>(), any::<u16>(), prop::collection::vec((id(), any::<u64>()), 0..40))
            .prop_map(|(buckets, bucket, rows)| Message::Hashes { buckets, bucket, rows }),
        prop::collection::vec(id(), 0..40).prop_map(|ids| Message::Want { ids }),
        any::<bool>().prop_map(|answer_wanted| Message::Sync { answer_wanted }),
        (any::<u128>(), any::<bool>())
            .prop_map(|(after, complete)| Message::Page { after: Uuid::from_u128(after), complete }),
    ]
}

fn packet(messages: &[Message]) -> Vec<u8> {
    let mut out = head(1, CLUSTER, Uuid::from_u128(1));
    for message in messages {
        out.extend_from_slice(&message.encode());
    }
    out
}

fn open(bytes: Vec<u8>) -> Result<Envelope, WireError> {
    Envelope::open(&bytes, CLUSTER, ANY, Vec::new())
}

proptest! {
    #[test]
    fn messages_survive_the_wire(messages in prop::collection::vec(message(), 0..6)) {
        let envelope = open(packet(&messages)).expect("our own words");
        prop_assert_eq!((envelope.messages, envelope.absurd), (messages, 0));
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let _ = open(bytes.clone());
        let mut behind_a_head = packet(&[]);
        behind_a_head.extend(bytes);
        let _ = open(behind_a_head);
    }

    /// One byte wrong, or cut short: refused, or something else that is well formed. Never a panic.
    #[test]
    fn damaged_packets_do_no_harm(
        messages in prop::collection::vec(message(), 1..4),
        at in any::<prop::sample::Index>(),
        byte: u8,
        cut: bool,
    ) {
        let mut bytes = packet(&messages);
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte };
        let _ = open(bytes);
    }

    #[test]
    fn frames_are_bounded(head: [u8; FRAME_HEAD]) {
        if let Ok(len) = frame_len(head) {
            prop_assert!(len <= MAX_FRAME);
        }
    }
}

#[test]
fn unknown_types_and_later_fields_are_skipped() {
    let ping = Message::Ping { seq: 1, target: Uuid::from_u128(2) };
    let mut longer = ping.encode();
    longer.extend_from_slice(&[9, 9]);
    longer[1] += 2;
    let mut bytes = packet(&[]);
    bytes.extend_from_slice(&[200, 3, 0, 1, 2, 3]);
    bytes.extend_from_slice(&longer);
    bytes.extend_from_slice(&[201, 0, 0]);
    let envelope = open(bytes).expect("readable");
    assert_eq!(envelope.messages, [ping]);
}

#[test]
fn heads_are_checked() {
    let good = packet(&[]);
    assert!(open(good.clone()).is_ok());
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        open(bytes).map(|envelope| envelope.sender)
    };
    assert_eq!(with(0, b'X'), Err(WireError::Malformed("magic")));
    assert_eq!(with(2, 9), Err(WireError::Version(9)));
    assert_eq!(with(3, 1), Err(WireError::Malformed("flags")));
    assert_eq!(with(4, 8), Err(WireError::OtherCluster));
    assert!(matches!(open(good[..20].to_vec()), Err(WireError::Short)));
}

#[test]
fn an_absurd_stamp_costs_its_statement_only() {
    let suspect = |stamp| {
        Message::Statement(Statement::Suspect {
            id: Uuid::from_u128(1),
            stamp: Stamp::from_bits(stamp),
            by: vec![Uuid::from_u128(2)],
        })
    };
    let bytes = packet(&[suspect(11), suspect(10)]);
    let envelope = Envelope::open(&bytes, CLUSTER, Stamp::from_bits(10), Vec::new()).expect("readable");
    assert_eq!((envelope.messages, envelope.absurd), (vec![suspect(10)], 1));
}

#[test]
fn addresses_that_nobody_can_answer_at_are_refused() {
    for address in ["0.0.0.0:1", "127.0.0.1:0", "224.0.0.1:1", "[::]:1", "[ff02::1]:1"] {
        let address = address.parse().expect("an address");
        let bytes = packet(&[Message::PingReq { seq: 1, target: Uuid::from_u128(2), address }]);
        assert!(matches!(open(bytes), Err(WireError::Malformed("address"))), "{address}");
    }
}

#[test]
fn lengths_are_as_promised() {
    assert_eq!(packet(&[]).len(), ENVELOPE_HEAD);
    assert_eq!(Message::Ping { seq: 1, target: Uuid::from_u128(2) }.encode().len(), PROBE_LEN);
    let id = Uuid::from_u128(1);
    let suspect = Statement::Suspect { id, stamp: ANY, by: vec![id; MAX_ACCUSERS] };
    assert_eq!(Message::Statement(suspect).encode().len(), ACCUSATION_LEN);
    let removal = Removal { stamp: ANY, reason: Reason::Left };
    assert!(Message::Statement(Statement::Removed { id, removal, age_secs: 1 }).encode().len() <= ACCUSATION_LEN);
    let payload = Bytes::from(vec![0; MAX_BROADCAST]);
    assert_eq!(Message::Broadcast { origin: id, boot: 1, seq: 1, payload }.encode().len(), BROADCAST_LEN);
    let life = Arc::new(Life {
        stamp: ANY,
        boot: 1,
        address: "[fd00::1]:1".parse().expect("an address"),
        versions: VERSIONS,
        metadata: vec![0; MAX_METADATA].into(),
    });
    let longest = Message::Statement(Statement::Alive { id, life }).encode().len();
    assert!(2 * longest + PROBE_LEN <= PACKET_ROOM, "two of the longest statements fit beside a probe");
}
