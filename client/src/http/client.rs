//! The [`Client`]: what its clones share, and the loop that every call goes through.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::builder::{Builder, endpoint};
use super::discovery::Discovery;
use super::error::{Error, Tried};
use super::hedge::Budget;
use super::retry::{self, Next};
use super::routes::{Aim, Endpoint, Routes};
use super::transport::{Answer, Limits, Request, Transport};
use crate::api::{ErrorCode, Outcome, header};

/// A client of one Muster cluster.
///
/// Cloning is cheap. Clones share their connections, what they know of the nodes, and the highest revision that any of
/// them has seen: what one wrote, every other reads.
///
/// Dropping the future of a write before it is done leaves the outcome unknown.
#[derive(Debug, Clone)]
pub struct Client {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) transport: Transport,
    pub(super) settings: Settings,
    routes: Mutex<Routes>,
    pub(super) discovery: Discovery,
    pub(super) hedges: Budget,
    /// The highest revision seen, 0 before any. Shared with clients of single nodes ([`Client::at`]).
    seen: Arc<AtomicU64>,
    /// Whether any node ever answered: a wrong address is reported at once, a cluster that was there is waited for.
    answered: AtomicBool,
    /// Makes idempotency keys unique, together with `writes`.
    identity: Uuid,
    writes: AtomicU64,
}

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) registries: Vec<Endpoint>,
    pub(super) cluster: String,
    pub(super) timeout: Duration,
    pub(super) attempt_timeout: Duration,
    pub(super) connect_timeout: Duration,
    pub(super) hedge_after: Duration,
    pub(super) discovery: bool,
    pub(super) read_your_writes: bool,
}

impl Client {
    /// Starts to build a client.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(super) fn new(settings: Settings, endpoints: Vec<Endpoint>) -> Result<Self, Error> {
        let transport = Transport::new(settings.connect_timeout)?;
        Ok(Self::over(transport, settings, endpoints, Arc::default()))
    }

    fn over(transport: Transport, settings: Settings, endpoints: Vec<Endpoint>, seen: Arc<AtomicU64>) -> Self {
        let shared = Shared {
            transport,
            settings,
            routes: Mutex::new(Routes::new(endpoints, rand::random::<u32>() as usize)),
            discovery: Discovery::default(),
            hedges: Budget::default(),
            seen,
            answered: AtomicBool::new(false),
            identity: Uuid::new_v4(),
            writes: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The same client for one node only: it asks nobody else. For looking at a node, not for data that matters.
    pub fn at(&self, node: impl AsRef<str>) -> Result<Self, Error> {
        let node = endpoint(node.as_ref())?;
        let settings = Settings { registries: Vec::new(), discovery: false, ..self.shared.settings.clone() };
        Ok(Self::over(self.shared.transport.clone(), settings, vec![node], self.shared.seen.clone()))
    }

    /// The highest revision that this client and its clones have seen; 0 before any. Handed to another process, it lets
    /// that process read at least what this one has seen ([`Get::min_revision`](super::Get::min_revision)).
    pub fn revision(&self) -> u64 {
        self.shared.seen.load(Ordering::Relaxed)
    }

    /// The addresses that are known now, the one that is asked first at the front.
    pub fn endpoints(&self) -> Vec<String> {
        self.routes().endpoints().iter().map(ToString::to_string).collect()
    }

    /// The registries that were named.
    pub fn registries(&self) -> Vec<String> {
        self.shared.settings.registries.iter().map(ToString::to_string).collect()
    }

    pub(super) fn routes(&self) -> MutexGuard<'_, Routes> {
        // Nothing in there can be left half changed.
        self.shared.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a revision, so that later reads see at least that.
    pub(super) fn saw(&self, revision: Option<u64>) {
        if let Some(revision) = revision {
            self.shared.seen.fetch_max(revision, Ordering::Relaxed);
        }
    }

    /// A new idempotency key, for one write and all its retries.
    pub(super) fn idempotency_key(&self) -> String {
        format!("{}-{}", self.shared.identity.simple(), self.shared.writes.fetch_add(1, Ordering::Relaxed))
    }

    /// Sends a request until it has an answer that counts: 2xx, or 404 to a read. Retries what is safe to retry, leaves
    /// nodes that do not answer, and follows the leader, up to the deadline.
    pub(super) async fn call(&self, request: &Request, aim: Aim, within: Option<Duration>) -> Result<Answer, Error> {
        let deadline = Instant::now() + within.unwrap_or(self.shared.settings.timeout);
        let mut attempts = Attempts::default();
        loop {
            let now = Instant::now();
            if self.routes().is_empty() {
                self.discover(deadline).await?;
            }
            let Some(node) = self.routes().pick(aim, now) else {
                return Err(attempts.conclude(None));
            };
            let (node, failed) = match self.race(node, request, aim, deadline, &mut attempts).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let pause = self.after(&node, request, aim, &failed, &mut attempts);
            let hopeless = attempts.nobody_there && !self.shared.answered.load(Ordering::Relaxed);
            let next = attempts.add(&node, request, failed);
            let Some(pause) = pause else { return Err(attempts.conclude(next)) };
            if hopeless || Instant::now() + pause >= deadline {
                return Err(attempts.conclude(next));
            }
            if !pause.is_zero() {
                self.rediscover_soon();
                sleep(pause).await;
            }
        }
    }

    /// One attempt at one node, whatever it answers.
    pub(super) async fn once(&self, request: &Request) -> Result<Answer, Error> {
        let limit = self.shared.settings.attempt_timeout;
        if self.routes().is_empty() {
            self.discover(Instant::now() + limit).await?;
        }
        let none = || Error::NoAnswer { outcome: Outcome::NotApplied, tried: Vec::new() };
        let node = self.routes().pick(Aim::Any, Instant::now()).ok_or_else(none)?;
        let sent = self.shared.transport.send(&node, request, Limits { begin: limit, end: limit }).await;
        sent.map_err(|lost| Error::NoAnswer {
            outcome: Outcome::NotApplied,
            tried: vec![Tried { endpoint: node.to_string(), reason: lost.reason }],
        })
    }

    pub(super) async fn attempt(
        &self,
        node: &Endpoint,
        request: &Request,
        aim: Aim,
        deadline: Instant,
    ) -> Result<Answer, Failed> {
        let left = deadline.saturating_duration_since(Instant::now());
        let patience = if request.slow { left } else { self.shared.settings.attempt_timeout + request.upload() };
        let limits = Limits { begin: left.min(patience), end: left };
        match self.shared.transport.send(node, request, limits).await {
            Ok(answer) => {
                self.shared.answered.store(true, Ordering::Relaxed);
                self.routes().answered(node, aim, answer.id(header::NODE), answer.id(header::LEADER));
                self.saw(answer.number(header::REVISION));
                if answer.status == reqwest::StatusCode::PRECONDITION_FAILED && answer.is_from_node() {
                    // Told of the write that came first, the caller must not read from before it.
                    self.saw(answer.etag());
                }
                self.refresh_when_due(node);
                let absent =
                    answer.status == reqwest::StatusCode::NOT_FOUND && !request.writes && answer.is_from_node();
                if answer.status.is_success() || absent {
                    return Ok(answer);
                }
                Err(Failed { unsent: false, error: answer.into_error(request.writes) })
            }
            Err(lost) => {
                let outcome = if request.writes && !lost.unsent { Outcome::Unknown } else { Outcome::NotApplied };
                let tried = vec![Tried { endpoint: node.to_string(), reason: lost.reason }];
                Err(Failed { unsent: lost.unsent, error: Error::NoAnswer { outcome, tried } })
            }
        }
    }

    /// Draws the conclusions from a failed attempt; says how long to wait before the next, `None`: there is none.
    pub(super) fn after(
        &self,
        node: &Endpoint,
        request: &Request,
        aim: Aim,
        failed: &Failed,
        attempts: &mut Attempts,
    ) -> Option<Duration> {
        let now = Instant::now();
        let mut routes = self.routes();
        let (code, leader, asked) = match &failed.error {
            // Only an overloaded node knows better than we do how long to wait; for a leader, whole seconds are too long.
            Error::Refused { code: ErrorCode::Overloaded, retry_after, .. } => (None, None, *retry_after),
            Error::Refused { code, leader, .. } => (Some(*code), leader.as_deref(), None),
            _ => (None, None, None),
        };
        if code == Some(ErrorCode::NoLeader) && !request.patient {
            return None;
        }
        let backed_off = |attempt| retry::pause(attempt, rand::random(), asked, self.shared.settings.attempt_timeout);
        match retry::next(&failed.error, request.repeatable, attempts.count) {
            Next::GiveUp => None,
            Next::Elsewhere => {
                routes.failed(node, now, rand::random());
                let another = routes.has_usable(now);
                attempts.nobody_there = failed.unsent && !another;
                Some(if another { Duration::ZERO } else { backed_off(attempts.count) })
            }
            Next::FollowLeader => {
                let hint = leader.and_then(|leader| endpoint(leader).ok()).filter(|hint| hint != node);
                let trusted = !std::mem::replace(&mut attempts.followed, true);
                match hint {
                    // Two nodes that each take the other for the leader must not spin us between them.
                    Some(hint) if trusted => {
                        routes.leads(hint);
                        Some(Duration::ZERO)
                    }
                    _ => {
                        routes.nobody_leads();
                        attempts.followed = false;
                        Some(backed_off(attempts.count))
                    }
                }
            }
            Next::BackOff => {
                // Another node may be on the better side of a partition.
                routes.avoid(node, aim);
                Some(backed_off(attempts.count))
            }
        }
    }
}

/// An attempt that did not succeed.
pub(super) struct Failed {
    /// Whether it certainly reached nobody.
    unsent: bool,
    pub(super) error: Error,
}

/// What one call has been through.
#[derive(Default)]
pub(super) struct Attempts {
    pub(super) count: u32,
    /// Whether an attempt may have been applied: then only an answer can say that nothing happened.
    pub(super) unknown: bool,
    /// Whether the last attempt went where a node said that the leader is.
    followed: bool,
    /// Whether nobody listens at any known address.
    nobody_there: bool,
    /// The last reason of each address.
    tried: Vec<Tried>,
    /// The last answer that was an error: it says more than silence.
    refused: Option<Error>,
}

impl Attempts {
    pub(super) fn add(&mut self, node: &Endpoint, request: &Request, failed: Failed) -> Option<Error> {
        self.count = self.count.saturating_add(1);
        self.unknown |= request.writes && failed.error.outcome() == Outcome::Unknown;
        match failed.error {
            Error::NoAnswer { tried, .. } => {
                self.tried.retain(|old| *old.endpoint != **node);
                self.tried.extend(tried);
                None
            }
            error => {
                self.refused = Some(error.clone());
                Some(error)
            }
        }
    }

    /// The error of the whole call.
    fn conclude(self, last: Option<Error>) -> Error {
        let error =
            last.or(self.refused).unwrap_or(Error::NoAnswer { outcome: Outcome::NotApplied, tried: self.tried });
        if self.unknown { error.after_unknown() } else { error }
    }
}
