//! One HTTP/1.1 connection with as little work as possible for each request.
//!
//! The library's own client spends several times as much processor time on a request as this, and would be what is
//! measured. This speaks just enough of HTTP for a Muster node: requests that were written out beforehand, answers with a
//! `Content-Length`.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// 64 KiB: the head of an answer is a few hundred bytes.
const LONGEST_HEAD: usize = 64 << 10;
/// As in the library: a host that is down is left for another after that.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// 10 s: longer than a node waits for a leader.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that has nothing under way.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// What counts of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The body of an error.
    pub(super) error: Vec<u8>,
}

impl Connection {
    pub(super) async fn open(address: &str) -> io::Result<Self> {
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    /// Sends a request and reads its answer to the end. After an error the connection is of no more use.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        timeout(ANSWER_TIMEOUT, self.exchange_unbounded(request)).await?
    }

    async fn exchange_unbounded(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let head = loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(head) = Head::parse(&self.buffer)? {
                break head;
            }
            if self.buffer.len() > LONGEST_HEAD {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "an endless head"));
            }
        };
        let end = head.length.saturating_add(head.body);
        while self.buffer.len() < end {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let error = if head.status < 400 { Vec::new() } else { self.buffer[head.length..end].to_vec() };
        Ok(Answer { status: head.status, error })
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Where the body begins.
    length: usize,
    /// How long the body is.
    body: usize,
}

impl Head {
    /// `None`: it is not complete yet.
    fn parse(bytes: &[u8]) -> io::Result<Option<Self>> {
        let Some(length) = bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4) else {
            return Ok(None);
        };
        let odd = |what: &'static str| io::Error::new(io::ErrorKind::InvalidData, what);
        let status = bytes.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        let status = status.filter(|_| bytes.starts_with(b"HTTP/1.1 ")).ok_or_else(|| odd("no HTTP/1.1"))?;
        let name = b"content-length:";
        let line = bytes[..length]
            .split(|byte| *byte == b'\n')
            .find(|line| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)));
        let value = line.and_then(|line| std::str::from_utf8(&line[name.len()..]).ok()?.trim().parse().ok());
        match (value, status) {
            (Some(body), _) => Ok(Some(Self { status, length, body })),
            (None, 204 | 304) => Ok(Some(Self { status, length, body: 0 })),
            (None, _) => Err(odd("no Content-Length")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_once_it_is_complete() {
        let whole = b"HTTP/1.1 201 Created\r\nX: y\r\ncontent-LENGTH: 12\r\n\r\nbody";
        assert_eq!(Head::parse(whole).unwrap(), Some(Head { status: 201, length: whole.len() - 4, body: 12 }));
        for cut in 0..whole.len() - 4 {
            assert_eq!(Head::parse(&whole[..cut]).unwrap(), None, "{cut}");
        }
    }

    #[test]
    fn what_is_no_answer_of_a_node_is_an_error() {
        for odd in ["SSH-2.0\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 2xx\r\n\r\n"]
        {
            assert!(Head::parse(odd.as_bytes()).is_err(), "{odd}");
        }
    }
}
