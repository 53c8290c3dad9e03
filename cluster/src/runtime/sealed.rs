//! Sealed streams: the handshake that both sides pass only with the same key, and the records that follow.
//!
//! ```text
//!   dialler                                                  acceptor
//!     | -- head (key's name, cluster), e, sealed Preface -----> |   closed without a word if the key or the seal is unknown
//!     | <----------------------------------- e, sealed Answer --|
//!     | -- empty record ---------------------------------------> |   only now is the dialler known to be no echo of an earlier one
//!     | <== records: length, sealed bytes ====================> |   an empty one ends its direction
//! ```
//!
//! The handshake is Noise's `NNpsk0` (T. Perrin, "The Noise Protocol Framework", revision 34): the cluster's key proves membership,
//! ephemeral keys of both sides make session keys that the cluster's key alone does not give away, not even afterwards. Each direction
//! has its own key and counts its records, so what is repeated, left out, cut off, reordered or sent back to where it came from does not
//! open.
//!
//! Streams that are not sealed have no handshake but the prefaces, and the same records with sums instead of seals (`guard`), since version 3.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use snow::{Builder, HandshakeState};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::{counters::Counters, guard::Guard};
use crate::{
    keyring::{Key, KeyName},
    swim::wire::{Answer, ClusterHash, Preface, SUMS_SINCE},
};

/// `MSTS`, as `MSTR` at the head of streams that are not sealed.
pub(super) const MAGIC: [u8; 4] = *b"MSTS";

const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
/// Magic, format, three bytes of zero, cluster, name of the key. All of it is authenticated by the handshake.
const HEAD: usize = 24;
const FORMAT: u8 = 1;
const EPHEMERAL: usize = 32;
const TAG: usize = 16;
/// What the dialler sends first.
pub(super) const FIRST: usize = HEAD + EPHEMERAL + Preface::LEN + TAG;
const SECOND: usize = EPHEMERAL + Answer::LEN + TAG;
const LENGTH: usize = 2;
/// Longest record: what its length can say, and what Noise allows.
const RECORD: usize = 65_535;
/// First size of a reader's buffer; it grows when a record is longer.
const INBOX: usize = 16 * 1024;

/// Why a handshake came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error("the head of the stream is malformed")]
    Malformed,
    #[error("it belongs to a cluster of another name")]
    OtherCluster,
    #[error("it is sealed with a key that is not in the ring")]
    UnknownKey,
    #[error("the seal is broken")]
    BadSeal,
    #[error("what is on it was changed on its way")]
    Damaged,
}

impl From<HandshakeError> for io::Error {
    fn from(error: HandshakeError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

fn bad_seal<E>(_: E) -> HandshakeError {
    HandshakeError::BadSeal
}

fn builder<'a>(key: &'a Key, head: &'a [u8]) -> Result<Builder<'a>, HandshakeError> {
    let builder = Builder::new(PATTERN.parse().map_err(bad_seal)?);
    builder.psk(0, key.streams()).map_err(bad_seal)?.prologue(head).map_err(bad_seal)
}

/// The dialler's side: sends the preface, hears the answer. If that is a yes, proves itself.
pub(super) async fn dial<S: AsyncRead + AsyncWrite + Unpin>(
    tcp: &mut S,
    key: &Key,
    preface: &Preface,
) -> io::Result<([u8; Answer::LEN], Channel)> {
    let mut first = [0; FIRST];
    first[..4].copy_from_slice(&MAGIC);
    first[4] = FORMAT;
    first[8..16].copy_from_slice(&preface.cluster.to_bits().to_le_bytes());
    first[16..HEAD].copy_from_slice(&key.name().0);
    let (head, body) = first.split_at_mut(HEAD);
    let mut noise = builder(key, head)?.build_initiator().map_err(bad_seal)?;
    noise.write_message(&preface.encode(), body).map_err(bad_seal)?;
    tcp.write_all(&first).await?;

    let mut second = [0; SECOND];
    tcp.read_exact(&mut second).await?;
    let mut answer = [0; Answer::LEN];
    noise.read_message(&second, &mut answer).map_err(bad_seal)?;
    let mut channel = Channel::of(noise)?;
    if answer[4] != 0 {
        channel.sealer.seal(&[])?;
        tcp.write_all(&channel.sealer.out).await?;
        channel.sealer.out.clear();
    }
    Ok((answer, channel))
}

/// A dialler that was heard, and waits for its answer.
pub(super) struct Heard {
    noise: Box<HandshakeState>,
}

impl Heard {
    /// The key that the first bytes of a stream name.
    pub(super) fn key_name(first: &[u8; FIRST], cluster: ClusterHash) -> Result<KeyName, HandshakeError> {
        let (mut theirs, mut name) = ([0; 8], [0; KeyName::LEN]);
        theirs.copy_from_slice(&first[8..16]);
        name.copy_from_slice(&first[16..HEAD]);
        if first[..4] != MAGIC || first[4] != FORMAT || first[5..8] != [0; 3] {
            return Err(HandshakeError::Malformed);
        }
        if theirs != cluster.to_bits().to_le_bytes() {
            return Err(HandshakeError::OtherCluster);
        }
        Ok(KeyName(name))
    }

    /// Opens the preface.
    pub(super) fn open(first: &[u8; FIRST], key: &Key) -> Result<(Self, [u8; Preface::LEN]), HandshakeError> {
        let (head, body) = first.split_at(HEAD);
        let mut noise = builder(key, head)?.build_responder().map_err(bad_seal)?;
        let mut preface = [0; Preface::LEN];
        noise.read_message(body, &mut preface).map_err(bad_seal)?;
        Ok((Self { noise: Box::new(noise) }, preface))
    }

    /// Answers. If the answer is a yes, waits until the dialler has proved itself.
    pub(super) async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
        mut self,
        tcp: &mut S,
        answer: &[u8; Answer::LEN],
    ) -> io::Result<Channel> {
        let mut second = [0; SECOND];
        self.noise.write_message(answer, &mut second).map_err(bad_seal)?;
        tcp.write_all(&second).await?;
        let mut channel = Channel::of(*self.noise)?;
        if answer[4] != 0 {
            let mut proof = [0; LENGTH + TAG];
            tcp.read_exact(&mut proof).await?;
            channel.opener.open(&proof[LENGTH..])?;
            if proof[..LENGTH] != [TAG as u8, 0] || !channel.opener.ended {
                return Err(HandshakeError::BadSeal.into());
            }
            channel.opener.ended = false;
        }
        Ok(channel)
    }
}

/// Both directions of a stream whose handshake is done.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) sealer: Sealer,
    pub(super) opener: Opener,
}

impl Channel {
    fn of(noise: HandshakeState) -> Result<Self, HandshakeError> {
        Ok(Self::with(Guard::Seal(Arc::new(noise.into_stateless_transport_mode().map_err(bad_seal)?))))
    }

    /// Of a stream that is not sealed, if both ends know of sums.
    pub(super) fn summed(version: u8, counters: &Arc<Counters>) -> Option<Self> {
        (version >= SUMS_SINCE).then(|| Self::with(Guard::Sum(Arc::clone(counters))))
    }

    /// Before the first record.
    fn with(guard: Guard) -> Self {
        let sealer = Sealer {
            guard: guard.clone(),
            next: 0,
            out: Vec::new(),
            written: 0,
            taken: 0,
            promised: Vec::new(),
            ended: false,
        };
        let opener =
            Opener { guard, next: 0, inbox: Vec::new(), from: 0, to: 0, plain: Vec::new(), given: 0, ended: false };
        Self { sealer, opener }
    }
}

/// Writes records.
#[derive(Debug)]
pub(super) struct Sealer {
    guard: Guard,
    next: u64,
    /// Sealed and not yet written: at most one record, and the end behind it.
    out: Vec<u8>,
    written: usize,
    /// Of the caller's bytes how many are in `out`; the caller hears of them once they are written.
    taken: usize,
    /// Which they are, while the socket is full: whoever asks next may be another caller, after this one has given up.
    promised: Vec<u8>,
    ended: bool,
}

impl Sealer {
    /// Whether nobody else can read what it writes.
    pub(super) const fn hides(&self) -> bool {
        matches!(self.guard, Guard::Seal(_))
    }

    /// Most bytes of a caller's in one record.
    const fn room(&self) -> usize {
        RECORD - self.guard.len()
    }

    fn seal(&mut self, bytes: &[u8]) -> io::Result<()> {
        let begin = self.out.len();
        let length = bytes.len() + self.guard.len();
        self.out.resize(begin + LENGTH + length, 0);
        let (head, body) = self.out[begin..].split_at_mut(LENGTH);
        head.copy_from_slice(&u16::try_from(length).map_err(io::Error::other)?.to_le_bytes());
        self.guard.close(self.next, bytes, body)?;
        self.next += 1;
        Ok(())
    }

    fn poll_drain<W: AsyncWrite + Unpin>(&mut self, tcp: &mut W, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() {
            match ready!(Pin::new(&mut *tcp).poll_write(context, &self.out[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.written += n,
            }
        }
        self.out.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Takes what fits into a record. Like a plain stream, it is done when the bytes are with the system. A caller that gives up half-way
    /// has written them all the same, since half a record cannot be taken back. If it comes again with the same bytes, they count as
    /// written; with others, the stream ends, for nobody could say any more what the other side hears.
    pub(super) fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        tcp: &mut W,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        ready!(self.poll_drain(tcp, context))?;
        if self.taken == 0 && offered > 0 {
            if self.ended {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let mut filled = slices.iter().filter(|slice| !slice.is_empty());
            match (filled.next(), filled.next()) {
                (Some(only), None) => {
                    let bytes = &only[..only.len().min(self.room())];
                    self.seal(bytes)?;
                    self.taken = bytes.len();
                }
                _ => {
                    let bytes = gather(slices, self.room());
                    self.seal(&bytes)?;
                    self.taken = bytes.len();
                }
            }
            if self.poll_drain(tcp, context)?.is_pending() {
                self.promised = gather(slices, self.taken);
                return Poll::Pending;
            }
            return Poll::Ready(Ok(std::mem::take(&mut self.taken)));
        }
        let done = self.taken.min(offered);
        if gather(slices, done) != self.promised[..done] {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a write was given up half-way, and another began",
            )));
        }
        self.taken -= done;
        self.promised.drain(..done);
        if self.taken == 0 {
            self.promised = Vec::new();
        }
        Poll::Ready(Ok(done))
    }

    pub(super) fn poll_flush<W: AsyncWrite + Unpin>(
        &mut self,
        tcp: &mut W,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(tcp, context))?;
        Pin::new(tcp).poll_flush(context)
    }

    pub(super) fn poll_shutdown<W: AsyncWrite + Unpin>(
        &mut self,
        tcp: &mut W,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.end()?;
        ready!(self.poll_drain(tcp, context))?;
        Pin::new(tcp).poll_shutdown(context)
    }

    fn end(&mut self) -> io::Result<()> {
        if !self.ended {
            self.ended = true;
            if self.guard.ends_with_a_record() {
                self.seal(&[])?;
            }
        }
        Ok(())
    }

    /// What a writer that is dropped still has to say, if it can be said at once.
    pub(super) fn last_words(&mut self) -> Option<&[u8]> {
        let unfinished = self.written < self.out.len();
        (!unfinished && !self.ended && self.end().is_ok()).then_some(&self.out)
    }
}

/// The first bytes of these, at most so many.
fn gather(slices: &[IoSlice<'_>], at_most: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(at_most.min(slices.iter().map(|slice| slice.len()).sum()));
    for slice in slices {
        bytes.extend_from_slice(&slice[..slice.len().min(at_most - bytes.len())]);
    }
    bytes
}

/// Reads records.
#[derive(Debug)]
pub(super) struct Opener {
    guard: Guard,
    next: u64,
    inbox: Vec<u8>,
    /// What has arrived and is not yet opened is `inbox[from..to]`.
    from: usize,
    to: usize,
    plain: Vec<u8>,
    given: usize,
    /// The other side has ended its direction.
    ended: bool,
}

impl Opener {
    fn open(&mut self, record: &[u8]) -> io::Result<()> {
        let length = record.len().checked_sub(self.guard.len()).ok_or_else(|| self.guard.broken())?;
        self.plain.resize(length, 0);
        self.given = 0;
        self.guard.open(self.next, record, &mut self.plain)?;
        self.next += 1;
        self.ended = length == 0 && self.guard.ends_with_a_record();
        Ok(())
    }

    /// Opens the next record if it has arrived whole.
    fn take(&mut self) -> io::Result<bool> {
        let Some([low, high]) = self.inbox[self.from..self.to].first_chunk() else { return Ok(false) };
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        let begin = self.from + LENGTH;
        if self.to < begin + length {
            let missing = (LENGTH + length).saturating_sub(self.inbox.len());
            self.inbox.resize(self.inbox.len() + missing, 0);
            return Ok(false);
        }
        let inbox = std::mem::take(&mut self.inbox);
        let opened = self.open(&inbox[begin..begin + length]);
        self.inbox = inbox;
        self.from = begin + length;
        opened.map(|()| true)
    }

    /// An end without its record is an error: somebody cut the stream. (With sums, an end within a record.)
    pub(super) fn poll_read<R: AsyncRead + Unpin>(
        &mut self,
        tcp: &mut R,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.given < self.plain.len() {
                let left = &self.plain[self.given..];
                let n = left.len().min(buffer.remaining());
                buffer.put_slice(&left[..n]);
                self.given += n;
                return Poll::Ready(Ok(()));
            }
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            if self.inbox.is_empty() {
                self.inbox.resize(INBOX, 0);
            }
            if self.take()? {
                continue;
            }
            if self.from > 0 {
                self.inbox.copy_within(self.from..self.to, 0);
                (self.from, self.to) = (0, self.to - self.from);
            }
            let mut arriving = ReadBuf::new(&mut self.inbox[self.to..]);
            ready!(Pin::new(&mut *tcp).poll_read(context, &mut arriving))?;
            match arriving.filled().len() {
                0 if self.to == 0 && !self.guard.ends_with_a_record() => return Poll::Ready(Ok(())),
                0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                n => self.to += n,
            }
        }
    }
}

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;
