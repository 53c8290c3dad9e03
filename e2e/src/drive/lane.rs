//! One client: sends a request, waits for its answer, sends the next.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::answer::{self, Answer};
use super::{Requests, Tally};

/// 10 ms before a lane that lost its connection makes another: a server that refuses is not hammered.
const RECONNECT: Duration = Duration::from_millis(10);
/// 4 KiB: an answer with a value of 256 bytes takes less than 1 KiB, in base64 as well.
const BUFFER: usize = 4096;

/// Which request is next.
#[derive(Debug, Clone)]
pub(super) enum Draw {
    /// Any.
    Any,
    /// The next that no lane has sent, until there is none.
    EachOnce(Arc<AtomicU64>),
}

/// One client with a connection to one server, or to each of them in turns.
#[derive(Debug)]
pub(super) struct Lane {
    connections: Vec<Connection>,
    requests: Arc<Requests>,
    chance: u64,
    tally: Tally,
}

#[derive(Debug)]
struct Connection {
    to: SocketAddr,
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Lane {
    /// Connects the lane with this number among so many.
    pub(super) async fn connect(
        targets: &[SocketAddr],
        number: usize,
        lanes: usize,
        requests: Arc<Requests>,
    ) -> io::Result<Self> {
        let turns = if lanes < targets.len() { targets.len() } else { 1 };
        let mut connections = Vec::with_capacity(turns);
        for turn in 0..turns {
            connections.push(Connection::open(targets[(number + turn) % targets.len()]).await?);
        }
        // Any odd number will do; the lane's own keeps two lanes from asking for the same keys in step.
        let chance = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Ok(Self { connections, requests, chance, tally: Tally::default() })
    }

    /// Runs until `end`. What began before `begin` or ends after `end` is not counted.
    pub(super) async fn run(mut self, begin: Instant, end: Instant, draw: Draw) -> Tally {
        let requests = self.requests.clone();
        let turns = self.connections.len();
        for turn in (0..turns).cycle() {
            let number = match &draw {
                Draw::Any => self.chance(),
                Draw::EachOnce(next) => next.fetch_add(1, Ordering::Relaxed),
            };
            if matches!(draw, Draw::EachOnce(_)) && number >= requests.count() as u64 {
                break;
            }
            let since = Instant::now();
            if since >= end {
                break;
            }
            let connection = &mut self.connections[turn];
            let result = connection.exchange(requests.nth(number)).await;
            let now = Instant::now();
            let counts = since >= begin && now <= end;
            match result {
                Ok(answer) if (200..300).contains(&answer.status) && answer.body >= requests.least_body() => {
                    if counts {
                        self.tally.answered(now - since);
                    }
                }
                Ok(answer) => {
                    let what = || format!("{}: status {}, {} bytes", connection.to, answer.status, answer.body);
                    self.tally.failed(what);
                }
                Err(error) => {
                    self.tally.failed(|| format!("{}: {error}", connection.to));
                    tokio::time::sleep(RECONNECT).await;
                    if let Ok(fresh) = Connection::open(connection.to).await {
                        *connection = fresh;
                    }
                }
            }
        }
        self.tally
    }

    /// xorshift64: a key is to be any key, nothing more.
    fn chance(&mut self) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance >> 16
    }
}

impl Connection {
    async fn open(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self { to, stream, buffer: Vec::with_capacity(BUFFER) })
    }

    async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.buffer.clear();
        self.stream.write_all(request).await?;
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
            }
            if let Some(answer) = answer::parse(&self.buffer).map_err(io::Error::other)? {
                if answer.length != self.buffer.len() {
                    return Err(io::Error::other("the server sent more than one answer"));
                }
                return Ok(answer);
            }
        }
    }
}
