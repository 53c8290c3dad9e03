//! Many production cores in one process, each with a socket of its own on an address of its own (`127.1.x.y`), all on one thread and
//! without what a driver does for programs: no views are published. They know each other from the start.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use muster_cluster::swim::wire::{FRAME_HEAD, Preface, frame_head, frame_len};
use muster_cluster::swim::{Config, Identity, Input, Output, Snapshot, Stamp, StreamId, Swim};
use muster_cluster::time::{Mono, Now, Wall};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};
use uuid::Uuid;

/// A stream that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is read off a core while it runs.
#[derive(Debug, Clone, Default)]
struct Seen {
    live: Rc<Cell<usize>>,
    sent: Rc<Cell<u64>>,
}

/// They end when this is dropped.
pub(crate) struct Peers {
    seen: Vec<Seen>,
    _tasks: JoinSet<()>,
}

fn address(number: usize) -> SocketAddr {
    let [.., a, b] = u32::try_from(number + 1).expect("few").to_be_bytes();
    SocketAddr::from(([127, 1, a, b], 17_000))
}

#[derive(Debug, Clone, Copy)]
struct Clock(Instant);

impl Clock {
    fn now(self) -> Now {
        let wall = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
        Now { mono: Mono::new(self.0.elapsed()), wall: Wall::from_millis(u64::try_from(wall).unwrap_or_default()) }
    }
}

impl Peers {
    pub(crate) async fn start(count: usize) -> Self {
        let clock = Clock(Instant::now());
        let identity = |number: usize| Identity {
            id: Uuid::new_v4(),
            boot: number as u64 + 1,
            address: address(number),
            metadata: Bytes::from_static(b"thirty-two bytes of description!"),
            last_stamp: Stamp::at(clock.now().wall),
        };
        let identities: Vec<Identity> = (0..count).map(identity).collect();
        let all = Snapshot::of(&identities);
        let (mut seen, mut tasks) = (Vec::new(), JoinSet::new());
        for (identity, seed) in identities.into_iter().zip(1..) {
            let (at, one) = (identity.address, Seen::default());
            let swim = Swim::seeded(Config::lan("scale"), identity, seed, clock.now(), &all).expect("sound");
            let (udp, tcp) = (UdpSocket::bind(at).await.expect("free"), TcpListener::bind(at).await.expect("free"));
            tasks.spawn_local(Peer { swim, clock, udp, seen: one.clone(), streams: 0 }.run(tcp));
            seen.push(one);
        }
        Self { seen, _tasks: tasks }
    }

    pub(crate) fn len(&self) -> usize {
        self.seen.len()
    }

    pub(crate) fn address(&self, number: usize) -> SocketAddr {
        assert!(number < self.len(), "there is none");
        address(number)
    }

    /// How many live members the one sees that sees fewest.
    pub(crate) fn least_seen(&self) -> usize {
        self.seen.iter().map(|seen| seen.live.get()).min().unwrap_or_default()
    }

    /// Datagrams that all have sent.
    pub(crate) fn sent(&self) -> u64 {
        self.seen.iter().map(|seen| seen.sent.get()).sum()
    }
}

struct Peer {
    swim: Swim,
    clock: Clock,
    udp: UdpSocket,
    seen: Seen,
    streams: u64,
}

impl Peer {
    async fn run(mut self, tcp: TcpListener) {
        let mut buffer = [0; 2_048];
        loop {
            self.perform(None);
            self.seen.live.set(self.swim.live());
            let deadline = self.swim.next_deadline().map_or(Duration::MAX, Mono::since_origin);
            let deadline = self.clock.0 + deadline.min(Duration::from_secs(3_600));
            let input = tokio::select! {
                received = self.udp.recv_from(&mut buffer) => match received {
                    Ok((len, from)) => Input::Datagram { from, bytes: Bytes::copy_from_slice(&buffer[..len]) },
                    Err(_) => continue,
                },
                accepted = tcp.accept() => {
                    if let Ok((stream, _)) = accepted {
                        // What goes wrong is for the dialler to notice.
                        let _ = timeout(PATIENCE, self.serve(stream)).await;
                    }
                    continue;
                }
                () = sleep_until(deadline.into()) => Input::Tick,
            };
            self.feed(input);
        }
    }

    fn feed(&mut self, input: Input) {
        self.swim.handle(self.clock.now(), input).expect("never refused");
    }

    /// Does what the core asks for; gives what it has for the stream that is being served, and whether that is the last.
    fn perform(&mut self, served: Option<StreamId>) -> Option<(Bytes, bool)> {
        let mut answer = None;
        while let Some(output) = self.swim.poll() {
            match output {
                Output::Datagram { to, bytes } => {
                    self.seen.sent.set(self.seen.sent.get() + 1);
                    // Full: lost, as in the network.
                    let _ = self.udp.try_send_to(&bytes, to);
                }
                Output::SendFrame { stream, frame, last } if Some(stream) == served => answer = Some((frame, last)),
                Output::CloseStream { stream } if Some(stream) == served => answer = Some((Bytes::new(), true)),
                // They do not dial: the one that is measured does, and they have datagrams for each other.
                Output::OpenStream { stream, .. } | Output::ProbeStream { stream, .. } => {
                    self.feed(Input::StreamClosed { stream });
                }
                Output::PersistStamp { stamp } => self.feed(Input::StampPersisted { stamp }),
                Output::SendFrame { .. } | Output::CloseStream { .. } | Output::Event(_) => {}
            }
        }
        answer
    }

    async fn serve(&mut self, mut tcp: TcpStream) -> io::Result<()> {
        let mut preface = [0; Preface::LEN];
        tcp.read_exact(&mut preface).await?;
        let preface = Preface::decode(&preface).map_err(io::Error::other)?;
        let answer = preface.answer(self.swim.cluster_hash(), self.swim.id());
        tcp.write_all(&answer.encode()).await?;
        if answer.verdict.is_err() {
            return Ok(());
        }
        self.streams += 1;
        let stream = StreamId::Accepted(self.streams);
        loop {
            let mut head = [0; FRAME_HEAD];
            tcp.read_exact(&mut head).await?;
            let mut body = vec![0; frame_len(head).map_err(io::Error::other)?];
            tcp.read_exact(&mut body).await?;
            self.feed(Input::Frame { stream, bytes: body.into() });
            let Some((frame, last)) = self.perform(Some(stream)) else { continue };
            if !frame.is_empty() {
                tcp.write_all(&frame_head(&frame).map_err(io::Error::other)?).await?;
                tcp.write_all(&frame).await?;
            }
            if last {
                return tcp.shutdown().await;
            }
        }
    }
}
