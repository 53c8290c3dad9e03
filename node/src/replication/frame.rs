//! Frames on the peer streams: a length, a number that ties an answer to its question, and a postcard body.
//!
//! ```text
//! +----------------+----------------+----------------------+
//! | body length    | number         | body                 |
//! | u32 LE         | u64 LE         | postcard             |
//! +----------------+----------------+----------------------+
//! ```
//!
//! Reading is cancel-safe: what has arrived stays in the buffer, so a reader may stand in a `select`.

use std::io;
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Longest body. A batch of entries is bounded at 4 MiB beyond its first entry, and an entry holds at most one value of 16 MiB
/// beyond its first 1 MiB; twice that sum can only be a broken or hostile peer.
pub(crate) const MAX_BODY: usize = 48 * 1024 * 1024;
/// Longest greeting: an id, or a sentence for people.
const MAX_GREETING: usize = 4 * 1024;
const HEADER: usize = 12;
/// First growth of the buffer for a long frame.
const FIRST_CHUNK: usize = 64 * 1024;
/// A buffer that has grown beyond this for one large frame is given back when it is empty.
const KEEP: usize = 256 * 1024;

/// Reads frames from a stream.
#[derive(Debug)]
pub(crate) struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
    limit: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(stream: R) -> Self {
        Self { stream, buffer: BytesMut::with_capacity(16 * 1024), limit: MAX_BODY }
    }

    /// For the first frame of a stream, from somebody who is not welcomed yet and shall not make us set memory aside.
    pub(crate) fn of_greetings(stream: R) -> Self {
        Self { stream, buffer: BytesMut::new(), limit: MAX_GREETING }
    }

    /// The next frame's number and decoded body; `None` when the peer closed between two frames.
    ///
    /// # Errors
    /// The stream's errors; `InvalidData` for a frame that is too long or does not decode. The stream is of no use then.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<(u64, T)>> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    /// The same, from somebody who owes a frame: as long as some of it comes within every `stall`, however long it is.
    ///
    /// # Errors
    /// As above, and `TimedOut`.
    pub(crate) async fn next_within<T: DeserializeOwned>(&mut self, stall: Duration) -> io::Result<Option<(u64, T)>> {
        let stalled = |_| io::Error::new(io::ErrorKind::TimedOut, format!("nothing came for {stall:?}"));
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            if !timeout(stall, self.more()).await.map_err(stalled)?? {
                return Ok(None);
            }
        }
    }

    /// Waits until something has arrived. `false`: the peer closed between two frames.
    async fn more(&mut self) -> io::Result<bool> {
        if self.stream.read_buf(&mut self.buffer).await? > 0 {
            return Ok(true);
        }
        if self.buffer.is_empty() {
            return Ok(false);
        }
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed in the middle of a frame"))
    }

    /// A frame that has arrived whole.
    fn take<T: DeserializeOwned>(&mut self) -> io::Result<Option<(u64, T)>> {
        let Some(mut header) = self.buffer.get(..HEADER) else {
            return Ok(None);
        };
        let length = header.get_u32_le() as usize;
        let number = header.get_u64_le();
        if length > self.limit {
            return Err(invalid(format!("a frame of {length} bytes, the limit is {}", self.limit)));
        }
        let Some(body) = self.buffer.get(HEADER..HEADER + length) else {
            // It grows with what has arrived, not with what was announced.
            let missing = HEADER + length - self.buffer.len();
            self.buffer.reserve(missing.min(self.buffer.len().max(FIRST_CHUNK)));
            return Ok(None);
        };
        let decoded =
            postcard::from_bytes(body).map_err(|error| invalid(format!("a frame that does not decode: {error}")))?;
        self.buffer.advance(HEADER + length);
        if self.buffer.is_empty() && self.buffer.capacity() > KEEP {
            self.buffer = BytesMut::with_capacity(16 * 1024);
        }
        Ok(Some((number, decoded)))
    }
}

/// Appends a frame to a buffer that is to be written.
///
/// # Errors
/// `InvalidData` when the body is longer than [`MAX_BODY`]; the buffer is as it was.
pub(crate) fn put<T: Serialize>(buffer: &mut BytesMut, number: u64, body: &T) -> io::Result<()> {
    let start = buffer.len();
    buffer.put_u32_le(0);
    buffer.put_u64_le(number);
    let flavor = postcard::ser_flavors::io::WriteFlavor::new(buffer.writer());
    let written = postcard::serialize_with_flavor(body, flavor).map(|_| ());
    let length = buffer.len() - start - HEADER;
    if let Err(error) = written {
        buffer.truncate(start);
        return Err(invalid(format!("a message that does not encode: {error}")));
    }
    if length > MAX_BODY {
        buffer.truncate(start);
        return Err(invalid(format!("a message of {length} bytes, the limit is {MAX_BODY}")));
    }
    let length = u32::try_from(length).map_err(|_| invalid(format!("a message of {length} bytes")))?;
    buffer[start..start + 4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// Empties a buffer for the next frame. What a long one has taken is given back once a short one was in it: where many are long, it is kept.
pub(crate) fn clear(buffer: &mut BytesMut) {
    if buffer.capacity() > KEEP && buffer.len() <= KEEP {
        *buffer = BytesMut::new();
    }
    buffer.clear();
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// At once: 8 KiB. A sealed stream takes what it is given as a whole or not at all, so this much must move within every `stall`: 16 kbit/s for one of 4 s.
const BITE: usize = 8 * 1024;

/// Writes all of it, as long as the other end takes [`BITE`] of it within every `stall`. It may owe no answer yet: one that reads nothing any more
/// is noticed here or, when the system gives the connection up, half a minute later.
///
/// # Errors
/// The stream's errors; `TimedOut`. Part of it may have been written.
pub(crate) async fn write(writer: &mut (impl AsyncWrite + Unpin), mut frame: &[u8], stall: Duration) -> io::Result<()> {
    while !frame.is_empty() {
        match timeout(stall, writer.write(bite(frame))).await.map_err(|_| stalled(stall))?? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => frame = &frame[written..],
        }
    }
    Ok(())
}

/// What is to be written at once of a frame, or of what is left of it.
pub(crate) fn bite(frame: &[u8]) -> &[u8] {
    &frame[..frame.len().min(BITE)]
}

/// The other end has taken nothing for so long.
pub(crate) fn stalled(stall: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("it took nothing for {stall:?}"))
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::duplex;
    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test]
    async fn frames_come_out_as_they_went_in_however_the_bytes_are_cut() {
        let mut wire = BytesMut::new();
        put(&mut wire, 7, &"first".to_owned()).unwrap();
        put(&mut wire, u64::MAX, &"x".repeat(100_000)).unwrap();
        for cut in [1, 5, 12, 17, 18, 40, wire.len() - 1] {
            let mut reader = FrameReader::new(AsyncReadExt::chain(&wire[..cut], &wire[cut..]));
            assert_eq!(reader.next::<String>().await.unwrap(), Some((7, "first".to_owned())));
            assert_eq!(reader.next::<String>().await.unwrap().unwrap().0, u64::MAX);
            assert_eq!(reader.next::<String>().await.unwrap(), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_slowly_is_waited_for_and_who_reads_nothing_is_given_up() {
        let stall = Duration::from_secs(2);
        let (mut near, mut far) = duplex(100);
        let slow = async {
            let mut all = [0; 1_000];
            for part in all.chunks_mut(50) {
                sleep(stall - Duration::from_millis(1)).await;
                far.read_exact(part).await.unwrap();
            }
        };
        let written = async {
            let began = Instant::now();
            write(&mut near, &[1; 1_000], stall).await.unwrap();
            began.elapsed()
        };
        assert!(tokio::join!(written, slow).0 > stall * 17, "the last 100 bytes wait in the stream");
        let began = Instant::now();
        assert_eq!(write(&mut near, &[1; 101], stall).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), stall);
        drop(far);
        assert_eq!(write(&mut near, &[1; 101], stall).await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_frame_is_waited_for_while_some_of_it_comes() {
        let stall = Duration::from_secs(2);
        let (mut far, near) = duplex(100);
        let mut wire = BytesMut::new();
        put(&mut wire, 1, &"x".repeat(1_000)).unwrap();
        put(&mut wire, 2, &"x".repeat(1_000)).unwrap();
        let half = wire.len() * 3 / 4;
        let began = Instant::now();
        let slow = tokio::spawn(async move {
            for part in wire[..half].chunks(50) {
                sleep(stall - Duration::from_millis(1)).await;
                far.write_all(part).await.unwrap();
            }
            far
        });
        let mut reader = FrameReader::new(near);
        assert_eq!(reader.next_within::<String>(stall).await.unwrap().unwrap().0, 1);
        assert!(began.elapsed() > stall * 15);
        assert_eq!(reader.next_within::<String>(stall).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(slow.await.unwrap());
        assert_eq!(reader.next_within::<String>(stall).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn the_room_of_a_long_frame_is_given_back_after_a_short_one() {
        let mut buffer = BytesMut::new();
        put(&mut buffer, 1, &"x".repeat(2 * KEEP)).unwrap();
        clear(&mut buffer);
        assert!(buffer.is_empty() && buffer.capacity() > KEEP, "the next may be as long");
        put(&mut buffer, 2, &"short".to_owned()).unwrap();
        clear(&mut buffer);
        assert!(buffer.is_empty() && buffer.capacity() <= KEEP);
    }

    #[tokio::test]
    async fn a_stream_that_takes_all_or_nothing_is_given_little_at_a_time() {
        struct Whole(usize);
        impl AsyncWrite for Whole {
            fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, given: &[u8]) -> Poll<io::Result<usize>> {
                self.0 = self.0.max(given.len());
                Poll::Ready(Ok(given.len()))
            }
            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
        }
        let mut whole = Whole(0);
        write(&mut whole, &vec![1; 5 * BITE + 1], Duration::from_secs(1)).await.unwrap();
        assert_eq!(whole.0, BITE);
    }

    #[tokio::test]
    async fn who_announces_a_long_frame_and_sends_little_of_it_costs_little() {
        let header = [&(MAX_BODY as u32).to_le_bytes()[..], &[0; 8]].concat();
        let mut reader = FrameReader::new(AsyncReadExt::chain(&header[..], tokio::io::repeat(0).take(1000)));
        assert_eq!(reader.next::<String>().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(reader.buffer.capacity() < 4 * FIRST_CHUNK, "{}", reader.buffer.capacity());
    }

    #[tokio::test]
    async fn a_cut_stream_a_long_frame_and_garbage_are_errors_not_panics() {
        let mut wire = BytesMut::new();
        put(&mut wire, 1, &"text".to_owned()).unwrap();
        let cut = FrameReader::new(&wire[..wire.len() - 1]).next::<String>().await;
        assert_eq!(cut.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let mut greeting = BytesMut::new();
        put(&mut greeting, 1, &"x".repeat(MAX_GREETING)).unwrap();
        let greeted = FrameReader::of_greetings(&greeting[..HEADER]).next::<String>().await;
        assert_eq!(greeted.unwrap_err().kind(), io::ErrorKind::InvalidData);
        let long = [0xff; 64];
        assert_eq!(FrameReader::new(&long[..]).next::<String>().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        wire[HEADER] = 0xff;
        assert_eq!(FrameReader::new(&wire[..]).next::<String>().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
