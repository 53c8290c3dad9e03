//! What election cores say to each other, and the bytes of it.
//!
//! The core hands out typed messages and leaves their transport to its caller: a datagram, a stream, a line in somebody else's
//! protocol. The codec here is a convenience with a bound: no message is longer than [`Message::MAX_LEN`], and no input makes
//! [`Message::decode`] panic or allocate. All numbers are little-endian.
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 1 | version of this table: 1 |
//! | 1 | 1 | kind: 1 election, 2 answer, 3 victory, 4 take over |
//! | 2 | 8 | term |
//! | 10 | 36 | rank: freshness term (8), freshness index (8), priority (4), id (16) |
//! | 46 | 8 | election and answer only: round |
//! | 54 | 1 | answer only: stance: 0 contends, 1 aside, 2 follows |
//! | 55 | 24 | answer that follows only: leader's id (16), leader's term (8) |
//!
//! The messages are not sealed or signed: whoever can reach the transport can speak. The rank carries the speaker's id, and the core
//! ignores a message whose id is not the peer that the transport says it came from.

use uuid::Uuid;

use super::rank::{Freshness, Rank};

/// Terms above this are refused when decoded, so that a corrupt one cannot push the counter to its end. 2^62 terms are out of reach of
/// any cluster that elects honestly.
pub const MAX_TERM: u64 = 1 << 62;

const VERSION: u8 = 1;
const ELECTION: u8 = 1;
const ANSWER: u8 = 2;
const VICTORY: u8 = 3;
const TAKE_OVER: u8 = 4;

const CONTENDS: u8 = 0;
const ASIDE: u8 = 1;
const FOLLOWS: u8 = 2;

/// What the answerer of an ELECTION will do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stance {
    /// It has no leader and stands itself: the asker waits for it if it outranks the asker.
    Contends,
    /// It has no leader and will not stand (it cannot reach a majority, say): nobody waits for it.
    Aside,
    /// It has a leader, which it heard within its window; the leader may be itself.
    Follows {
        /// The leader.
        leader: Uuid,
        /// The leader's term.
        term: u64,
    },
}

/// A message between two election cores. `rank` is always the sender's own, and carries its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// "I have no leader. Who outranks me?"
    Election {
        /// Tells this question's answers from those of an earlier one.
        round: u64,
        /// The highest term that the sender has seen.
        term: u64,
        /// The sender's rank.
        rank: Rank,
    },
    /// The answer to an [`Message::Election`], whether or not the answerer outranks the asker.
    Answer {
        /// The round of the question.
        round: u64,
        /// The highest term that the sender has seen.
        term: u64,
        /// The sender's rank.
        rank: Rank,
        /// What it will do.
        stance: Stance,
    },
    /// "I lead in this term." Repeated as a heartbeat in plain mode.
    Victory {
        /// The term that was won.
        term: u64,
        /// The leader's rank.
        rank: Rank,
    },
    /// The leader asks the receiver to lead in its place (plain mode; with a vote the caller transfers).
    TakeOver {
        /// The leader's term.
        term: u64,
        /// The leader's rank.
        rank: Rank,
    },
}

/// Why bytes are not a message. The bytes came from outside: drop and count them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end before the message does.
    #[error("the message is cut short")]
    Truncated,
    /// Bytes follow after the message.
    #[error("bytes follow after the message")]
    Trailing,
    /// A version that this build does not speak.
    #[error("unknown version {0}")]
    UnknownVersion(u8),
    /// A kind that this version does not have.
    #[error("unknown kind {0}")]
    UnknownKind(u8),
    /// A stance that this version does not have.
    #[error("unknown stance {0}")]
    UnknownStance(u8),
    /// A term above [`MAX_TERM`].
    #[error("the term {0} is beyond what elections can reach")]
    AbsurdTerm(u64),
}

impl Message {
    /// The length of the longest message, in bytes.
    pub const MAX_LEN: usize = 79;

    /// Who says it.
    pub fn sender(&self) -> Uuid {
        self.rank().id
    }

    /// The sender's rank.
    pub fn rank(&self) -> Rank {
        match *self {
            Self::Election { rank, .. }
            | Self::Answer { rank, .. }
            | Self::Victory { rank, .. }
            | Self::TakeOver { rank, .. } => rank,
        }
    }

    /// The message as bytes, by the table above.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::MAX_LEN);
        let (kind, term, rank) = match *self {
            Self::Election { term, rank, .. } => (ELECTION, term, rank),
            Self::Answer { term, rank, .. } => (ANSWER, term, rank),
            Self::Victory { term, rank } => (VICTORY, term, rank),
            Self::TakeOver { term, rank } => (TAKE_OVER, term, rank),
        };
        out.extend([VERSION, kind]);
        out.extend(term.to_le_bytes());
        out.extend(rank.freshness.term.to_le_bytes());
        out.extend(rank.freshness.index.to_le_bytes());
        out.extend(rank.priority.to_le_bytes());
        out.extend(rank.id.as_bytes());
        match *self {
            Self::Election { round, .. } => out.extend(round.to_le_bytes()),
            Self::Answer { round, stance, .. } => {
                out.extend(round.to_le_bytes());
                match stance {
                    Stance::Contends => out.push(CONTENDS),
                    Stance::Aside => out.push(ASIDE),
                    Stance::Follows { leader, term } => {
                        out.push(FOLLOWS);
                        out.extend(leader.as_bytes());
                        out.extend(term.to_le_bytes());
                    }
                }
            }
            Self::Victory { .. } | Self::TakeOver { .. } => {}
        }
        out
    }

    /// Reads a message that fills `bytes` exactly.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader { rest: bytes };
        let version = input.byte()?;
        if version != VERSION {
            return Err(DecodeError::UnknownVersion(version));
        }
        let kind = input.byte()?;
        if !(ELECTION..=TAKE_OVER).contains(&kind) {
            return Err(DecodeError::UnknownKind(kind));
        }
        let term = input.term()?;
        let rank = input.rank()?;
        let message = match kind {
            ELECTION => Self::Election { round: input.u64()?, term, rank },
            ANSWER => Self::Answer { round: input.u64()?, term, rank, stance: input.stance()? },
            VICTORY => Self::Victory { term, rank },
            _ => Self::TakeOver { term, rank },
        };
        if input.rest.is_empty() { Ok(message) } else { Err(DecodeError::Trailing) }
    }
}

/// Takes fields off the front of a slice, and never reads past its end.
struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        self.take().map(u64::from_le_bytes)
    }

    fn term(&mut self) -> Result<u64, DecodeError> {
        let term = self.u64()?;
        if term > MAX_TERM { Err(DecodeError::AbsurdTerm(term)) } else { Ok(term) }
    }

    fn rank(&mut self) -> Result<Rank, DecodeError> {
        let freshness = Freshness { term: self.term()?, index: self.u64()? };
        let priority = i32::from_le_bytes(self.take()?);
        Ok(Rank { freshness, priority, id: Uuid::from_bytes(self.take()?) })
    }

    fn stance(&mut self) -> Result<Stance, DecodeError> {
        match self.byte()? {
            CONTENDS => Ok(Stance::Contends),
            ASIDE => Ok(Stance::Aside),
            FOLLOWS => Ok(Stance::Follows { leader: Uuid::from_bytes(self.take()?), term: self.term()? }),
            other => Err(DecodeError::UnknownStance(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranks() -> impl Strategy<Value = Rank> {
        (0..=MAX_TERM, any::<u64>(), any::<i32>(), any::<u128>()).prop_map(|(term, index, priority, id)| Rank {
            freshness: Freshness { term, index },
            priority,
            id: Uuid::from_u128(id),
        })
    }

    fn messages() -> impl Strategy<Value = Message> {
        let stances = prop_oneof![
            Just(Stance::Contends),
            Just(Stance::Aside),
            (any::<u128>(), 0..=MAX_TERM)
                .prop_map(|(leader, term)| Stance::Follows { leader: Uuid::from_u128(leader), term }),
        ];
        prop_oneof![
            (any::<u64>(), 0..=MAX_TERM, ranks()).prop_map(|(round, term, rank)| Message::Election {
                round,
                term,
                rank
            }),
            (any::<u64>(), 0..=MAX_TERM, ranks(), stances).prop_map(|(round, term, rank, stance)| Message::Answer {
                round,
                term,
                rank,
                stance
            }),
            (0..=MAX_TERM, ranks()).prop_map(|(term, rank)| Message::Victory { term, rank }),
            (0..=MAX_TERM, ranks()).prop_map(|(term, rank)| Message::TakeOver { term, rank }),
        ]
    }

    proptest! {
        #[test]
        fn every_message_survives_its_bytes_and_no_cut_of_it_does(message in messages()) {
            let bytes = message.encode();
            prop_assert!(bytes.len() <= Message::MAX_LEN);
            prop_assert_eq!(Message::decode(&bytes), Ok(message));
            for cut in 0..bytes.len() {
                prop_assert_eq!(Message::decode(&bytes[..cut]), Err(DecodeError::Truncated));
            }
            let mut longer = bytes;
            longer.push(0);
            prop_assert_eq!(Message::decode(&longer), Err(DecodeError::Trailing));
        }

        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..100), kind in 0_u8..6) {
            let _ = Message::decode(&bytes);
            if bytes.len() > 1 {
                bytes[0] = VERSION;
                bytes[1] = kind;
                let _ = Message::decode(&bytes);
            }
        }
    }

    #[test]
    fn the_table_of_the_bytes_is_what_is_written() {
        let rank = Rank { freshness: Freshness { term: 2, index: 3 }, priority: -1, id: Uuid::from_u128(7) };
        let bytes = Message::Victory { term: 5, rank }.encode();
        assert_eq!(bytes.len(), 46);
        assert_eq!(bytes[..10], [1, 3, 5, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[26..30], [0xff; 4]);
        assert_eq!(bytes[45], 7);
    }

    #[test]
    fn a_term_beyond_reach_is_refused() {
        let bytes = Message::Victory { term: u64::MAX, rank: Rank::plain(Uuid::nil()) }.encode();
        assert_eq!(Message::decode(&bytes), Err(DecodeError::AbsurdTerm(u64::MAX)));
    }
}
