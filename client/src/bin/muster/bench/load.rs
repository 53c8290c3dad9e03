//! The workers: each sends one request after the other over a connection of its own.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use muster_client::api::{ErrorBody, ErrorCode};

use super::connection::{Answer, Connection};
use super::{Consistency, Mix};

/// Where the keys are.
pub(super) const PREFIX: &str = "muster-bench/";
/// Connections that write the keys before the measurement.
const FILLERS: usize = 32;
/// 10 ms after an error, so that a cluster that is down is not hammered.
const PAUSE: Duration = Duration::from_millis(10);
/// One write in five in a mixed load.
const WRITE_EVERY: u64 = 5;

/// What to do.
#[derive(Debug)]
pub(super) struct Plan {
    /// Where writes and linearizable reads go, if known.
    pub(super) leader: Option<String>,
    /// Everyone, `host:port`; never empty.
    pub(super) nodes: Vec<String>,
    pub(super) keys: usize,
    pub(super) value: Vec<u8>,
    pub(super) mix: Mix,
    pub(super) consistency: Consistency,
}

/// What all workers share while they work.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) stop: AtomicBool,
    pub(super) done: AtomicU64,
    pub(super) failed: AtomicU64,
}

/// What one worker measured.
pub(super) struct Measured {
    /// Microseconds.
    pub(super) writes: Histogram<u64>,
    /// Microseconds.
    pub(super) reads: Histogram<u64>,
    pub(super) errors: BTreeMap<String, u64>,
}

/// 1 microsecond to 60 s at three digits: 150 KiB for each worker.
pub(super) fn histogram() -> Histogram<u64> {
    #[expect(clippy::unwrap_used, reason = "the bounds are constants that hdrhistogram accepts")]
    Histogram::new_with_bounds(1, 60_000_000, 3).unwrap()
}

impl Plan {
    /// The address for attempt number `attempt` of worker number `worker`: the leader first where it counts, then everyone
    /// in turn.
    fn address(&self, to_leader: bool, worker: usize, attempt: usize) -> &str {
        match &self.leader {
            Some(leader) if to_leader && attempt == 0 => leader,
            _ => &self.nodes[(worker + attempt) % self.nodes.len()],
        }
    }

    fn write(&self, key: usize, request: &mut Vec<u8>) {
        request.clear();
        let length = self.value.len();
        // Writing to a vector does not fail.
        let _ =
            write!(request, "PUT /kv/muster-bench%2F{key:08} HTTP/1.1\r\nHost: m\r\nContent-Length: {length}\r\n\r\n");
        request.extend_from_slice(&self.value);
    }

    fn read(&self, key: usize, request: &mut Vec<u8>) {
        request.clear();
        let query = match self.consistency {
            Consistency::Local => "",
            Consistency::Linearizable => "?consistency=linearizable",
        };
        let _ = write!(request, "GET /kv/muster-bench%2F{key:08}{query} HTTP/1.1\r\nHost: m\r\n\r\n");
    }
}

/// A worker's connection, opened anew elsewhere when it fails.
struct Line {
    connection: Option<Connection>,
    to_leader: bool,
    worker: usize,
    attempt: usize,
}

impl Line {
    fn new(to_leader: bool, worker: usize) -> Self {
        Self { connection: None, to_leader, worker, attempt: 0 }
    }

    /// The latency of a success, or the kind of an error.
    async fn exchange(&mut self, plan: &Plan, request: &[u8]) -> Result<Duration, String> {
        let result = self.try_exchange(plan, request).await;
        if result.is_err() {
            self.connection = None;
            self.attempt += 1;
        }
        result
    }

    async fn try_exchange(&mut self, plan: &Plan, request: &[u8]) -> Result<Duration, String> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                let address = plan.address(self.to_leader, self.worker, self.attempt);
                self.connection
                    .insert(Connection::open(address).await.map_err(|error| format!("connect: {}", kind(&error)))?)
            }
        };
        let sent = Instant::now();
        match connection.exchange(request).await {
            Ok(Answer { status: 200..300, .. }) => Ok(sent.elapsed()),
            Ok(answer) => Err(refusal(&answer)),
            Err(error) => Err(kind(&error)),
        }
    }
}

fn kind(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "connection closed".to_owned(),
        std::io::ErrorKind::Other | std::io::ErrorKind::InvalidData => error.to_string(),
        kind => kind.to_string(),
    }
}

fn refusal(answer: &Answer) -> String {
    match serde_json::from_slice::<ErrorBody>(&answer.error) {
        Ok(ErrorBody { error }) if error.code != ErrorCode::Other => {
            let code = serde_json::to_value(error.code).ok().and_then(|code| code.as_str().map(str::to_owned));
            format!("{} {}", answer.status, code.unwrap_or_default())
        }
        _ => answer.status.to_string(),
    }
}

/// Works until told to stop.
pub(super) async fn work(plan: Arc<Plan>, load: Arc<Load>, number: u32) -> Measured {
    let mut measured = Measured { writes: histogram(), reads: histogram(), errors: BTreeMap::new() };
    let worker = number as usize;
    let mut writes = Line::new(true, worker);
    let mut reads = Line::new(plan.consistency == Consistency::Linearizable, worker);
    let mut dice = Dice(u64::from(number) + 1);
    let mut request = Vec::new();
    while !load.stop.load(Ordering::Relaxed) {
        let roll = dice.roll();
        let key = (roll >> 16) as usize % plan.keys;
        let writing = match plan.mix {
            Mix::Write => true,
            Mix::Read => false,
            Mix::Mixed => roll.is_multiple_of(WRITE_EVERY),
        };
        let outcome = if writing {
            plan.write(key, &mut request);
            writes.exchange(&plan, &request).await
        } else {
            plan.read(key, &mut request);
            reads.exchange(&plan, &request).await
        };
        match outcome {
            Ok(latency) => {
                let histogram = if writing { &mut measured.writes } else { &mut measured.reads };
                histogram.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
                load.done.fetch_add(1, Ordering::Relaxed);
            }
            Err(kind) => {
                *measured.errors.entry(kind).or_default() += 1;
                load.failed.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    measured
}

/// Writes every key once; the error of a worker that failed too often ends it.
pub(super) async fn fill(plan: &Arc<Plan>, progress: impl Fn(u64)) -> Result<(), String> {
    const RETRIES: usize = 100;
    let done = Arc::new(AtomicU64::new(0));
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..FILLERS.min(plan.keys) {
        let (plan, done) = (plan.clone(), done.clone());
        workers.spawn(async move {
            let (mut line, mut request, mut failures) = (Line::new(true, worker), Vec::new(), 0);
            for key in (worker..plan.keys).step_by(FILLERS) {
                plan.write(key, &mut request);
                while let Err(kind) = line.exchange(&plan, &request).await {
                    failures += 1;
                    if failures > RETRIES {
                        return Err(kind);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
    }
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            ended = workers.join_next() => match ended {
                Some(result) => result.map_err(|error| error.to_string())??,
                None => return Ok(()),
            },
            _ = tick.tick() => progress(done.load(Ordering::Relaxed)),
        }
    }
}

/// SplitMix64: enough to spread keys, cheap, and the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            leader: Some("l:1".to_owned()),
            nodes: vec!["a:1".to_owned(), "b:1".to_owned()],
            keys: 10,
            value: b"xy".to_vec(),
            mix: Mix::Write,
            consistency: Consistency::Linearizable,
        }
    }

    #[test]
    fn writes_start_at_the_leader_and_move_on_when_it_fails() {
        let plan = plan();
        let tried: Vec<_> = (0..3).map(|attempt| plan.address(true, 0, attempt)).collect();
        assert_eq!(tried, ["l:1", "b:1", "a:1"]);
        assert_eq!(plan.address(false, 0, 0), "a:1");
        assert_eq!(plan.address(false, 1, 0), "b:1");
    }

    #[test]
    fn requests_are_whole() {
        let mut request = Vec::new();
        plan().write(7, &mut request);
        let expected = "PUT /kv/muster-bench%2F00000007 HTTP/1.1\r\nHost: m\r\nContent-Length: 2\r\n\r\nxy";
        assert_eq!(String::from_utf8_lossy(&request), expected);
        plan().read(7, &mut request);
        let expected = "GET /kv/muster-bench%2F00000007?consistency=linearizable HTTP/1.1\r\nHost: m\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&request), expected);
    }

    #[test]
    fn errors_are_counted_by_what_the_server_called_them() {
        let body = br#"{"error":{"code":"no_leader","message":"","outcome":"not_applied"}}"#;
        assert_eq!(refusal(&Answer { status: 503, error: body.to_vec() }), "503 no_leader");
        assert_eq!(refusal(&Answer { status: 502, error: b"<html>".to_vec() }), "502");
    }
}
