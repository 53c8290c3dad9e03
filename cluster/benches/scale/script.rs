//! What peers say that are none: packets written by `docs/wire.md`, so that one member can live among thousands that cost nothing.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use muster_cluster::swim::Identity;
use muster_cluster::swim::wire::ClusterHash;
use uuid::Uuid;

/// Header and sender.
const HEAD: usize = 28;

/// Most bytes of a packet, with room for a seal set aside.
const PACKET: usize = 1_400 - 48;

const PING: u8 = 1;
const ACK: u8 = 2;
const PING_REQ: u8 = 3;
const ALIVE: u8 = 4;
const DIGEST: u8 = 11;

/// A packet that is being written.
#[derive(Debug)]
pub(crate) struct Packet(Vec<u8>);

impl Packet {
    pub(crate) fn new(cluster: ClusterHash, sender: Uuid) -> Self {
        let mut out = Vec::with_capacity(PACKET);
        out.extend_from_slice(b"MS\x02\x00");
        out.extend_from_slice(&cluster.to_bits().to_le_bytes());
        out.extend_from_slice(sender.as_bytes());
        Self(out)
    }

    fn message(&mut self, kind: u8, parts: &[&[u8]]) {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        self.0.push(kind);
        self.0.extend_from_slice(&u16::try_from(len).expect("short").to_le_bytes());
        parts.iter().for_each(|part| self.0.extend_from_slice(part));
    }

    pub(crate) fn ping(mut self, seq: u32, target: Uuid) -> Self {
        self.message(PING, &[&seq.to_le_bytes(), target.as_bytes()]);
        self
    }

    pub(crate) fn ack(mut self, seq: u32, subject: Uuid) -> Self {
        self.message(ACK, &[&seq.to_le_bytes(), subject.as_bytes()]);
        self
    }

    pub(crate) fn digest(mut self, sum: u64) -> Self {
        self.message(DIGEST, &[&sum.to_le_bytes()]);
        self
    }

    /// Its own word of a member; false when there is no room.
    pub(crate) fn alive(&mut self, of: &Identity) -> bool {
        let IpAddr::V4(ip) = of.address.ip() else { panic!("all have IPv4") };
        let (stamp, boot) = (of.last_stamp.to_bits().to_le_bytes(), of.boot.to_le_bytes());
        let port = of.address.port().to_le_bytes();
        let parts: [&[u8]; 8] = [of.id.as_bytes(), &stamp, &boot, &[4], &ip.octets(), &port, &[1, 2], &of.metadata];
        let fits = self.0.len() + 3 + parts.iter().map(|part| part.len()).sum::<usize>() <= PACKET;
        if fits {
            self.message(ALIVE, &parts);
        }
        fits
    }

    pub(crate) fn bytes(self) -> Bytes {
        self.0.into()
    }
}

/// What somebody asks in a packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) seq: u32,
    /// Whether this one lives.
    pub(crate) subject: Uuid,
}

/// The question in a packet or frame, if it begins with one.
pub(crate) fn asked(packet: &[u8]) -> Option<Asked> {
    let [PING | PING_REQ, _, _, a, b, c, d, rest @ ..] = packet.get(HEAD..)? else { return None };
    let subject = Uuid::from_slice(rest.get(..16)?).ok()?;
    Some(Asked { seq: u32::from_le_bytes([*a, *b, *c, *d]), subject })
}

/// The digest in a packet.
pub(crate) fn digest_in(packet: &[u8]) -> Option<u64> {
    let mut rest = packet.get(HEAD..)?;
    while let [kind, low, high, behind @ ..] = rest {
        let (body, next) = behind.split_at_checked(usize::from(u16::from_le_bytes([*low, *high])))?;
        if *kind == DIGEST {
            return Some(u64::from_le_bytes(body.try_into().ok()?));
        }
        rest = next;
    }
    None
}

/// The address of member number `number`.
pub(crate) fn address(number: u32) -> SocketAddr {
    SocketAddr::from((std::net::Ipv4Addr::from(0x0a00_0000 | (number & 0x00ff_ffff)), 7_000))
}
