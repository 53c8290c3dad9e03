//! The messages of packets and frames, each with its type and length before it, so that a type of a later version is
//! skipped.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::codec::{Reader, Writer};
use super::{MAX_METADATA, VersionRange, WireError};
use crate::swim::hlc::Stamp;
use crate::swim::lww::{Life, Reason, Removal};
use crate::swim::{MAX_BROADCAST, MAX_CONFIRMATIONS, MAX_MESSAGE};

/// Type and length.
pub(in crate::swim) const MESSAGE_HEAD: usize = 3;

/// Length of a probe or its answer, with its head.
pub(in crate::swim) const PROBE_LEN: usize = MESSAGE_HEAD + 4 + 16;

/// Most accusers that an accusation names.
pub(in crate::swim) const MAX_ACCUSERS: usize = MAX_CONFIRMATIONS + 1;

/// Length of the longest statement that accuses, with its head.
pub(in crate::swim) const ACCUSATION_LEN: usize = MESSAGE_HEAD + 16 + 8 + 16 * MAX_ACCUSERS;

/// Length of the shortest statement, a removal, with its head.
pub(in crate::swim) const SHORTEST_STATEMENT: usize = MESSAGE_HEAD + 16 + 8 + 1 + 4;

/// Length of a digest, with its head.
pub(in crate::swim) const DIGEST_LEN: usize = MESSAGE_HEAD + 8;

/// The first protocol version that knows [`Message::Digest`] and the exchange of differences.
pub(in crate::swim) const DIGEST_SINCE: u8 = 2;

/// The first protocol version that knows [`Message::Nack`].
pub(in crate::swim) const NACK_SINCE: u8 = 2;

/// Length of the longest user broadcast, with its head.
pub(in crate::swim) const BROADCAST_LEN: usize = MESSAGE_HEAD + 16 + 8 + 8 + MAX_BROADCAST;

/// What is said of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::swim) enum Statement {
    /// Its owner's word.
    Alive { id: Uuid, life: Arc<Life> },
    /// It did not answer those in `by`: at least one, the first one first.
    Suspect { id: Uuid, stamp: Stamp, by: Vec<Uuid> },
    /// Its life is over, since `age_secs`.
    Removed { id: Uuid, removal: Removal, age_secs: u32 },
}

impl Statement {
    /// An accusation by one.
    pub(in crate::swim) fn suspect(id: Uuid, stamp: Stamp, by: Uuid) -> Self {
        Self::Suspect { id, stamp, by: vec![by] }
    }

    /// Of whom.
    pub(in crate::swim) const fn id(&self) -> Uuid {
        match self {
            Self::Alive { id, .. } | Self::Suspect { id, .. } | Self::Removed { id, .. } => *id,
        }
    }

    /// Of which life.
    pub(in crate::swim) fn stamp(&self) -> Stamp {
        match self {
            Self::Alive { life, .. } => life.stamp,
            Self::Suspect { stamp, .. } => *stamp,
            Self::Removed { removal, .. } => removal.stamp,
        }
    }
}

/// Everything that is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::swim) enum Message {
    /// Are you there, `target`?
    Ping { seq: u32, target: Uuid },
    /// `subject` is there.
    Ack { seq: u32, subject: Uuid },
    /// Ask `target` for me.
    PingReq { seq: u32, target: Uuid, address: SocketAddr },
    /// News of a member.
    Statement(Statement),
    /// A user broadcast, under a number that is unique among those of one start of its origin.
    Broadcast { origin: Uuid, boot: u64, seq: u64, payload: Bytes },
    /// A user message.
    Direct { to: Uuid, payload: Bytes },
    /// A relay: I asked `subject` for you, and heard nothing so far.
    Nack { seq: u32, subject: Uuid },
    /// The sum of the hashes of all rows.
    Digest { sum: u64 },
    /// First in a frame: the sums by buckets of ids.
    Buckets { sums: Vec<u64> },
    /// The hashes of the rows in one of so many buckets.
    Hashes { buckets: u16, bucket: u16, rows: Vec<(Uuid, u64)> },
    /// First in a frame: the members of whom statements are wanted. The statements behind it are what the asker's other side lacks.
    Want { ids: Vec<Uuid> },
    /// First in a frame: the statements that follow are the full state.
    Sync { answer_wanted: bool },
    /// First in a frame: the statements that follow are a page of the full state, in order of the ids. From the dialler: tell me of those
    /// behind `after`; from the acceptor: these were those up to `after`. `complete`: there are none behind mine.
    Page { after: Uuid, complete: bool },
}

const PING: u8 = 1;
const ACK: u8 = 2;
const PING_REQ: u8 = 3;
const ALIVE: u8 = 4;
const SUSPECT: u8 = 5;
const REMOVED: u8 = 6;
const BROADCAST: u8 = 7;
const MESSAGE: u8 = 8;
const SYNC: u8 = 9;
const NACK: u8 = 10;
const DIGEST: u8 = 11;
const BUCKETS: u8 = 12;
const HASHES: u8 = 13;
const WANT: u8 = 14;
const PAGE: u8 = 15;

const REASON_FAILED: u8 = 1;
const REASON_LEFT: u8 = 2;

const ANSWER_WANTED: u8 = 1;

const COMPLETE: u8 = 1;

/// Whether messages of this type carry what the program said.
pub(super) const fn is_payload(kind: u8) -> bool {
    matches!(kind, BROADCAST | MESSAGE)
}

impl Message {
    /// With its head.
    pub(in crate::swim) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_into(&mut out);
        out
    }

    /// With its head, behind what is there.
    pub(in crate::swim) fn encode_into(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        let mut writer = Writer(std::mem::take(out));
        writer.u8(0);
        writer.u16(0);
        let kind = self.encode_body(&mut writer);
        *out = writer.0;
        // Our own messages are all shorter than that.
        let len = u16::try_from(out.len() - begin - MESSAGE_HEAD).unwrap_or(u16::MAX);
        out[begin] = kind;
        out[begin + 1..begin + MESSAGE_HEAD].copy_from_slice(&len.to_le_bytes());
    }

    fn encode_body(&self, out: &mut Writer) -> u8 {
        match self {
            Self::Ping { seq, target } => {
                out.u32(*seq);
                out.id(*target);
                PING
            }
            Self::Ack { seq, subject } => {
                out.u32(*seq);
                out.id(*subject);
                ACK
            }
            Self::PingReq { seq, target, address } => {
                out.u32(*seq);
                out.id(*target);
                out.address(*address);
                PING_REQ
            }
            Self::Statement(Statement::Alive { id, life }) => {
                out.id(*id);
                out.stamp(life.stamp);
                out.u64(life.boot);
                out.address(life.address);
                out.u8(life.versions.min);
                out.u8(life.versions.max);
                out.bytes(&life.metadata);
                ALIVE
            }
            Self::Statement(Statement::Suspect { id, stamp, by }) => {
                out.id(*id);
                out.stamp(*stamp);
                by.iter().take(MAX_ACCUSERS).for_each(|by| out.id(*by));
                SUSPECT
            }
            Self::Statement(Statement::Removed { id, removal, age_secs }) => {
                out.id(*id);
                out.stamp(removal.stamp);
                out.u8(match removal.reason {
                    Reason::Failed => REASON_FAILED,
                    Reason::Left => REASON_LEFT,
                });
                out.u32(*age_secs);
                REMOVED
            }
            Self::Broadcast { origin, boot, seq, payload } => {
                out.id(*origin);
                out.u64(*boot);
                out.u64(*seq);
                out.bytes(payload);
                BROADCAST
            }
            Self::Direct { to, payload } => {
                out.id(*to);
                out.bytes(payload);
                MESSAGE
            }
            Self::Nack { seq, subject } => {
                out.u32(*seq);
                out.id(*subject);
                NACK
            }
            Self::Digest { sum } => {
                out.u64(*sum);
                DIGEST
            }
            Self::Buckets { sums } => {
                sums.iter().for_each(|sum| out.u64(*sum));
                BUCKETS
            }
            Self::Hashes { buckets, bucket, rows } => {
                out.u16(*buckets);
                out.u16(*bucket);
                for (id, hash) in rows {
                    out.id(*id);
                    out.u64(*hash);
                }
                HASHES
            }
            Self::Want { ids } => {
                ids.iter().for_each(|id| out.id(*id));
                WANT
            }
            Self::Sync { answer_wanted } => {
                out.u8(if *answer_wanted { ANSWER_WANTED } else { 0 });
                SYNC
            }
            Self::Page { after, complete } => {
                out.u8(if *complete { COMPLETE } else { 0 });
                out.id(*after);
                PAGE
            }
        }
    }

    /// Reads one message; none for a type that this version does not know. Bytes after the fields that we know are of a later
    /// version and skipped, where a body does not end in a payload.
    pub(super) fn read(reader: &mut Reader<'_>, believable: Stamp) -> Result<Option<Self>, WireError> {
        let kind = reader.u8()?;
        let len = reader.u16()?;
        let mut body = Reader::new(reader.bytes(usize::from(len))?);
        let message = match kind {
            PING => Self::Ping { seq: body.u32()?, target: body.id()? },
            ACK => Self::Ack { seq: body.u32()?, subject: body.id()? },
            PING_REQ => Self::PingReq { seq: body.u32()?, target: body.id()?, address: body.address()? },
            ALIVE => Self::Statement(read_alive(&mut body)?),
            SUSPECT => Self::Statement(read_suspect(&mut body)?),
            REMOVED => Self::Statement(read_removed(&mut body)?),
            BROADCAST => Self::Broadcast {
                origin: body.id()?,
                boot: body.u64()?,
                seq: body.u64()?,
                payload: payload(body.rest(), MAX_BROADCAST)?,
            },
            MESSAGE => Self::Direct { to: body.id()?, payload: payload(body.rest(), MAX_MESSAGE)? },
            NACK => Self::Nack { seq: body.u32()?, subject: body.id()? },
            DIGEST => Self::Digest { sum: body.u64()? },
            BUCKETS => Self::Buckets { sums: all(&mut body, |body| body.u64())? },
            HASHES => Self::Hashes {
                buckets: body.u16()?,
                bucket: body.u16()?,
                rows: all(&mut body, |body| Ok((body.id()?, body.u64()?)))?,
            },
            WANT => Self::Want { ids: all(&mut body, |body| body.id())? },
            SYNC => Self::Sync { answer_wanted: body.u8()? & ANSWER_WANTED != 0 },
            PAGE => Self::Page { complete: body.u8()? & COMPLETE != 0, after: body.id_or_nil()? },
            _ => return Ok(None),
        };
        match &message {
            Self::Statement(statement) if statement.stamp() > believable => Err(WireError::AbsurdStamp),
            _ => Ok(Some(message)),
        }
    }
}

/// One after the other, until the body ends; that is soon, its length has 16 bits.
fn all<T>(
    body: &mut Reader<'_>,
    mut one: impl FnMut(&mut Reader<'_>) -> Result<T, WireError>,
) -> Result<Vec<T>, WireError> {
    let mut all = Vec::new();
    while !body.is_empty() {
        all.push(one(body)?);
    }
    Ok(all)
}

fn read_alive(body: &mut Reader<'_>) -> Result<Statement, WireError> {
    let id = body.id()?;
    let stamp = body.stamp()?;
    let boot = body.u64()?;
    let address = body.address()?;
    let versions = VersionRange { min: body.u8()?, max: body.u8()? };
    if versions.min == 0 || versions.min > versions.max {
        return Err(WireError::Malformed("version range"));
    }
    let metadata = at_most(body.rest(), MAX_METADATA)?.into();
    Ok(Statement::Alive { id, life: Arc::new(Life { stamp, boot, address, versions, metadata }) })
}

/// The first accuser, which all versions know, and those who confirm it.
fn read_suspect(body: &mut Reader<'_>) -> Result<Statement, WireError> {
    let (id, stamp) = (body.id()?, body.stamp()?);
    let mut by = vec![body.id()?];
    while by.len() < MAX_ACCUSERS && !body.is_empty() {
        by.push(body.id()?);
    }
    Ok(Statement::Suspect { id, stamp, by })
}

fn read_removed(body: &mut Reader<'_>) -> Result<Statement, WireError> {
    let id = body.id()?;
    let stamp = body.stamp()?;
    let reason = match body.u8()? {
        REASON_FAILED => Reason::Failed,
        REASON_LEFT => Reason::Left,
        _ => return Err(WireError::Malformed("reason of a removal")),
    };
    Ok(Statement::Removed { id, removal: Removal { stamp, reason }, age_secs: body.u32()? })
}

/// A copy, so that a few bytes kept do not keep a whole frame alive.
fn payload(bytes: &[u8], max: usize) -> Result<Bytes, WireError> {
    at_most(bytes, max).map(Bytes::copy_from_slice)
}

fn at_most(bytes: &[u8], max: usize) -> Result<&[u8], WireError> {
    if bytes.len() > max { Err(WireError::Malformed("payload too long")) } else { Ok(bytes) }
}
