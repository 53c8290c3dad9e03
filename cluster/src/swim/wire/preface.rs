//! What stands at the head of every stream: who dials whom, for what, in which versions; and the answer.
//!
//! The dialler sends a [`Preface`], the acceptor answers with an [`Answer`]; then the stream belongs to its kind. Both are
//! of fixed length, so that nothing is allocated on a stranger's word.

use uuid::Uuid;

use super::sum::short;
use super::{ClusterHash, SUMS_SINCE, VERSIONS, VersionRange};

/// `MSTR`.
const MAGIC: [u8; 4] = *b"MSTR";

/// Where a preface has the sum of its other bytes.
const SUM: usize = 7;

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamKind {
    /// The membership's full-state exchange (0).
    Exchange,
    /// The membership asks whether a member lives that does not answer datagrams (1).
    Probe,
    /// Somebody who holds a key asks about the ring, or to change it (2). Only sealed.
    Keys,
    /// Of a later version of the protocol (3 to 15); not for us.
    Reserved(u8),
    /// The program's own (16 to 255).
    Application(u8),
}

impl StreamKind {
    /// The first kind that belongs to the program.
    pub const FIRST_APPLICATION: u8 = 16;

    /// From the byte on the wire.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Exchange,
            1 => Self::Probe,
            2 => Self::Keys,
            3..16 => Self::Reserved(byte),
            16.. => Self::Application(byte),
        }
    }

    /// The byte on the wire.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Exchange => 0,
            Self::Probe => 1,
            Self::Keys => 2,
            Self::Reserved(byte) | Self::Application(byte) => byte,
        }
    }
}

/// The head of a stream, from the one who dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preface {
    /// The versions that the dialler speaks.
    pub versions: VersionRange,
    /// What the stream is for.
    pub kind: StreamKind,
    /// The dialler's cluster.
    pub cluster: ClusterHash,
    /// The dialler.
    pub sender: Uuid,
    /// Whom it means; nil for whoever answers there. A stranger on a reused address refuses.
    pub target: Uuid,
}

impl Preface {
    /// Length on the wire.
    pub const LEN: usize = 48;

    /// A preface in this build's versions.
    #[must_use]
    pub const fn new(kind: StreamKind, cluster: ClusterHash, sender: Uuid, target: Option<Uuid>) -> Self {
        let target = match target {
            Some(target) => target,
            None => Uuid::nil(),
        };
        Self { versions: VERSIONS, kind, cluster, sender, target }
    }

    /// To bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[..4].copy_from_slice(&MAGIC);
        out[4] = self.versions.min;
        out[5] = self.versions.max;
        out[6] = self.kind.to_byte();
        out[8..16].copy_from_slice(&self.cluster.to_bits().to_le_bytes());
        out[16..32].copy_from_slice(self.sender.as_bytes());
        out[32..].copy_from_slice(self.target.as_bytes());
        // Before sums it was zero, and not looked at.
        if self.versions.max >= SUMS_SINCE {
            out[SUM] = Self::sum(&out);
        }
        out
    }

    fn sum(bytes: &[u8; Self::LEN]) -> u8 {
        short(bytes[..SUM].iter().chain(&bytes[SUM + 1..]).copied())
    }

    /// From bytes.
    ///
    /// # Errors
    /// When they are none of ours, or not as they were sent. Close the stream; nothing was changed.
    pub fn decode(bytes: &[u8; Self::LEN]) -> Result<Self, PrefaceError> {
        let [m0, m1, m2, m3, min, max, kind, sum, rest @ ..] = bytes;
        if [*m0, *m1, *m2, *m3] != MAGIC {
            return Err(PrefaceError::Magic);
        }
        // Who knows no sums says zero; whoever says something else does know them, whatever has become of its versions.
        if (*max >= SUMS_SINCE || *sum != 0) && *sum != Self::sum(bytes) {
            return Err(PrefaceError::Malformed);
        }
        let (cluster, ids) = rest.split_at(8);
        let (sender, target) = ids.split_at(16);
        let sender = uuid(sender)?;
        if *min == 0 || min > max || sender.is_nil() {
            return Err(PrefaceError::Malformed);
        }
        Ok(Self {
            versions: VersionRange { min: *min, max: *max },
            kind: StreamKind::from_byte(*kind),
            cluster: ClusterHash::from_bits(u64::from_le_bytes(
                cluster.try_into().map_err(|_| PrefaceError::Malformed)?,
            )),
            sender,
            target: uuid(target)?,
        })
    }

    /// The answer of member `me` of `cluster`, as far as the preface alone decides it. Whether the kind is served and whether
    /// there is room for one more stream is for the caller to add.
    #[must_use]
    pub fn answer(&self, cluster: ClusterHash, me: Uuid) -> Answer {
        let verdict = if self.cluster != cluster {
            Err(Refusal::OtherCluster)
        } else if !self.target.is_nil() && self.target != me {
            Err(Refusal::NotMe)
        } else {
            VERSIONS.common(self.versions).ok_or(Refusal::Version)
        };
        Answer { verdict, versions: VERSIONS, sender: me }
    }
}

/// The acceptor's answer to a [`Preface`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The version to speak, or why not.
    pub verdict: Result<u8, Refusal>,
    /// The versions that the acceptor speaks.
    pub versions: VersionRange,
    /// The acceptor.
    pub sender: Uuid,
}

impl Answer {
    /// Length on the wire.
    pub const LEN: usize = 24;

    /// A refusal.
    #[must_use]
    pub const fn refuse(why: Refusal, me: Uuid) -> Self {
        Self { verdict: Err(why), versions: VERSIONS, sender: me }
    }

    /// To bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[..4].copy_from_slice(&MAGIC);
        match self.verdict {
            Ok(version) => out[4] = version,
            Err(why) => out[5] = why.to_byte(),
        }
        out[6] = self.versions.min;
        out[7] = self.versions.max;
        out[8..].copy_from_slice(self.sender.as_bytes());
        out
    }

    /// From bytes.
    ///
    /// # Errors
    /// When they are none of ours. Close the stream; nothing was changed.
    pub fn decode(bytes: &[u8; Self::LEN]) -> Result<Self, PrefaceError> {
        let [m0, m1, m2, m3, version, reason, min, max, sender @ ..] = bytes;
        if [*m0, *m1, *m2, *m3] != MAGIC {
            return Err(PrefaceError::Magic);
        }
        let verdict = match (*version, *reason) {
            (0, 0) => return Err(PrefaceError::Malformed),
            (0, reason) => Err(Refusal::from_byte(reason)),
            (version, 0) => Ok(version),
            (_, _) => return Err(PrefaceError::Malformed),
        };
        let versions = VersionRange { min: *min, max: *max };
        // It says the same twice; what flipped on its way would have both ends read each other wrong.
        if verdict.is_ok_and(|version| VERSIONS.common(versions) != Some(version)) {
            return Err(PrefaceError::Malformed);
        }
        Ok(Self { verdict, versions, sender: uuid(sender)? })
    }
}

fn uuid(bytes: &[u8]) -> Result<Uuid, PrefaceError> {
    Uuid::from_slice(bytes).map_err(|_| PrefaceError::Malformed)
}

/// Why a stream was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No version that both speak (1). Upgrade the older side.
    #[error("no protocol version that both sides speak")]
    Version,
    /// Of a cluster with another name (2).
    #[error("it belongs to a cluster of another name")]
    OtherCluster,
    /// Not the member that was meant (3): it has moved, or somebody else has its address now.
    #[error("it is not the member that was meant")]
    NotMe,
    /// The kind of stream is not served (4).
    #[error("it does not serve streams of this kind")]
    Kind,
    /// Too many streams (5). Retry later.
    #[error("it has too many streams")]
    Busy,
    /// It is stopping (6).
    #[error("it is stopping")]
    Stopping,
    /// A reason that this build does not know.
    #[error("it refused for a reason that this version does not know ({0})")]
    Other(u8),
}

impl Refusal {
    const fn to_byte(self) -> u8 {
        match self {
            Self::Version => 1,
            Self::OtherCluster => 2,
            Self::NotMe => 3,
            Self::Kind => 4,
            Self::Busy => 5,
            Self::Stopping => 6,
            Self::Other(byte) => byte,
        }
    }

    const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Version,
            2 => Self::OtherCluster,
            3 => Self::NotMe,
            4 => Self::Kind,
            5 => Self::Busy,
            6 => Self::Stopping,
            byte => Self::Other(byte),
        }
    }
}

/// The bytes at the head of a stream make no sense: not one of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PrefaceError {
    /// It does not begin with the magic.
    #[error("the other side does not speak this protocol")]
    Magic,
    /// The rest is not as it should be.
    #[error("the head of the stream is malformed")]
    Malformed,
    /// It is sealed otherwise than with our key.
    #[error("its answer is not sealed with our key")]
    Seal,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn preface() -> Preface {
        let cluster = ClusterHash::of("muster");
        Preface::new(StreamKind::Application(17), cluster, Uuid::from_u128(1), Some(Uuid::from_u128(2)))
    }

    #[test]
    fn prefaces_and_answers_survive_the_wire() {
        assert_eq!(Preface::decode(&preface().encode()), Ok(preface()));
        let cluster = ClusterHash::of("muster");
        for answer in [
            preface().answer(cluster, Uuid::from_u128(2)),
            preface().answer(cluster, Uuid::from_u128(3)),
            preface().answer(ClusterHash::of("other"), Uuid::from_u128(2)),
            Answer::refuse(Refusal::Busy, Uuid::from_u128(2)),
        ] {
            assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
        }
    }

    #[test]
    fn the_preface_decides_who_is_meant() {
        let cluster = ClusterHash::of("muster");
        assert_eq!(preface().answer(cluster, Uuid::from_u128(2)).verdict, Ok(VERSIONS.max));
        assert_eq!(preface().answer(cluster, Uuid::from_u128(3)).verdict, Err(Refusal::NotMe));
        assert_eq!(preface().answer(ClusterHash::of("x"), Uuid::from_u128(2)).verdict, Err(Refusal::OtherCluster));
        let newer = Preface { versions: VersionRange { min: 7, max: 9 }, ..preface() };
        assert_eq!(newer.answer(cluster, Uuid::from_u128(2)).verdict, Err(Refusal::Version));
        let anyone = Preface { target: Uuid::nil(), ..preface() };
        assert_eq!(anyone.answer(cluster, Uuid::from_u128(3)).verdict, Ok(VERSIONS.max));
    }

    #[test]
    fn whichever_bit_of_a_preface_flips_it_is_refused() {
        for bit in 0..Preface::LEN * 8 {
            let mut bytes = preface().encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Preface::decode(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_preface_of_a_member_that_knows_no_sums_is_taken() {
        let older = Preface { versions: VersionRange { min: 1, max: 2 }, ..preface() };
        assert_eq!(older.encode()[SUM], 0);
        assert_eq!(Preface::decode(&older.encode()), Ok(older));
        assert_eq!(older.answer(ClusterHash::of("muster"), Uuid::from_u128(2)).verdict, Ok(2));
    }

    #[test]
    fn an_answer_with_another_version_than_was_agreed_is_refused() {
        let answer = preface().answer(ClusterHash::of("muster"), Uuid::from_u128(2));
        // The version, and the versions of the acceptor; a flip above them changes nothing of what is agreed.
        for (byte, bits) in [(4, 0..8), (7, 0..2)] {
            for bit in bits {
                let mut bytes = answer.encode();
                bytes[byte] ^= 1 << bit;
                assert!(Answer::decode(&bytes).is_err(), "bit {bit} of byte {byte}");
            }
        }
        let older = Answer { verdict: Ok(2), versions: VersionRange { min: 1, max: 2 }, ..answer };
        assert_eq!(Answer::decode(&older.encode()), Ok(older));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_no_harm(bytes in any::<[u8; 32]>()) {
            let mut preface = [0; Preface::LEN];
            preface[..32].copy_from_slice(&bytes);
            preface[..4].copy_from_slice(&MAGIC);
            let _ = Preface::decode(&preface);
            let mut answer = [0; Answer::LEN];
            answer[4..].copy_from_slice(&bytes[..20]);
            let _ = Answer::decode(&answer);
            answer[..4].copy_from_slice(&MAGIC);
            let _ = Answer::decode(&answer);
        }
    }
}
