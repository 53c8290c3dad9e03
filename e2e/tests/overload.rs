//! More writes at once than a node takes on: those beyond its bounds are refused at once and not applied, nothing that was acknowledged is lost,
//! memory stays bounded, and all is well as soon as it is over. (Reads and unread answers are in `hostile.rs`.)
//!
//! Writes are in flight for as long as the test likes because both followers sleep meanwhile: no majority takes them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is the verdict of a test")]

use std::time::{Duration, Instant};

use muster_e2e::cluster::SOON;
use muster_e2e::figures::{bound, figure, summary};
use muster_e2e::history::{Fate, Written};
use muster_e2e::skip::needs;
use muster_e2e::strangers::open_files;
use muster_e2e::{Cluster, History, Http, eventually};
use tokio::task::JoinSet;

/// What a node takes on: `node/src/http/load.rs`.
const IN_FLIGHT: usize = 4_096;
const BODIES: u64 = 64 << 20;
/// A refusal costs a look at a counter.
const AT_ONCE: Duration = Duration::from_millis(50);
/// Far less than a write would wait, on a machine that is busy with 5,000 others.
const NO_WAIT: Duration = Duration::from_secs(10);
/// A write of the usual kind, when nothing is in its way.
const USUAL: Duration = Duration::from_millis(50);
/// Longer than it takes to send all, and to see what becomes of them.
const WAITS: &str = "60s";
const GIVES_UP: Duration = Duration::from_secs(70);

/// What became of a write, and how it was told.
struct Told {
    write: Written,
    status: u16,
    /// The `Retry-After`, which a refusal is to have.
    after: Option<String>,
}

impl Told {
    fn took(&self) -> Duration {
        self.write.ended - self.write.started
    }

    fn must_be_well_refused(&self) {
        assert_eq!((self.status, self.after.as_deref()), (429, Some("1")), "{:?}", self.write.fate);
        assert!(matches!(self.write.fate, Fate::Failed(_)), "certainly not applied: {:?}", self.write.fate);
    }
}

async fn write(http: Http, endpoint: String, key: String, value: String) -> Told {
    let started = Instant::now();
    let call = http.put(format!("{endpoint}/kv/{key}"), value.clone()).query("timeout", WAITS).within(GIVES_UP);
    let result = call.send().await;
    let (fate, ended) = (Fate::of(&result), Instant::now());
    let answer = result.ok();
    let after = answer.as_ref().and_then(|answer| answer.header("retry-after").map(str::to_owned));
    Told {
        status: answer.map_or(0, |answer| answer.status),
        after,
        write: Written { key, value, via: endpoint, started, ended, fate },
    }
}

/// A leader whose followers sleep, and the memory that it took before anybody came.
struct Crowded {
    cluster: Cluster,
    leader: usize,
    at_rest: u64,
    sent: JoinSet<Told>,
    told: Vec<Told>,
}

impl Crowded {
    async fn new() -> Self {
        let mut cluster = Cluster::start(3).await;
        let leader = cluster.leader().await;
        let at_rest = cluster.nodes[leader].process.resident_bytes();
        let crowded = Self { cluster, leader, at_rest, sent: JoinSet::new(), told: Vec::new() };
        crowded.followers().for_each(|node| crowded.cluster.nodes[node].process.pause());
        crowded
    }

    fn followers(&self) -> impl Iterator<Item = usize> + use<> {
        let leader = self.leader;
        (0..3).filter(move |node| *node != leader)
    }

    fn endpoint(&self) -> String {
        self.cluster.endpoint(self.leader)
    }

    fn send(&mut self, key: String, value: String) {
        self.sent.spawn(write(self.cluster.http.clone(), self.endpoint(), key, value));
    }

    /// Waits until so many of those sent are refused; nobody else has been told anything.
    async fn are_refused(&mut self, expected: usize) {
        eventually("those beyond the bound are refused", SOON, async || {
            while let Some(told) = self.sent.try_join_next() {
                let told = told.unwrap();
                told.must_be_well_refused();
                self.told.push(told);
            }
            (self.told.len() >= expected).then_some(())
        })
        .await;
    }

    /// Sends one after another while it is too much: each is refused, and at once. `value`: of the n-th.
    async fn more_are_refused(&mut self, more: usize, value: impl Fn(usize) -> String) -> String {
        let mut times = Vec::new();
        for n in 0..more {
            let told = write(self.cluster.http.clone(), self.endpoint(), format!("crowd/more/{n}"), value(n)).await;
            told.must_be_well_refused();
            times.push(told.took());
            self.told.push(told);
        }
        let (median, worst, text) = summary(&times);
        assert!(median < bound(AT_ONCE, 10) && worst < NO_WAIT, "{text}");
        text
    }

    async fn metric(&self, name: &str) -> u64 {
        self.cluster.nodes[self.leader].metric(&self.cluster.http, name).await.expect("a figure")
    }

    /// Memory beyond that at rest.
    fn grown(&self) -> u64 {
        self.cluster.nodes[self.leader].process.resident_bytes().saturating_sub(self.at_rest)
    }

    /// Lets the followers go on: all that is in flight is answered, others are served at once, and the store has what was acknowledged and nothing
    /// that was refused. How many were acknowledged.
    async fn ends_well(mut self, what: &str) -> usize {
        let since = Instant::now();
        self.followers().for_each(|node| self.cluster.nodes[node].process.resume());
        while let Some(told) = self.sent.join_next().await {
            self.told.push(told.unwrap());
        }
        let answered = since.elapsed();
        let mut times = Vec::new();
        for n in 0..30 {
            let since = Instant::now();
            self.cluster.http.put(format!("{}/kv/usual/{n}", self.endpoint()), "usual").ok().await;
            times.push(since.elapsed());
        }
        let (median, _, text) = summary(&times);
        let history = History { writes: self.told.into_iter().map(|told| told.write).collect() };
        let counts = history.counts();
        figure(what, &format!("{counts}; all answered after {} ms, then a usual write: {text}", answered.as_millis()));
        assert!(median < bound(USUAL, 10), "{text}");
        let leader = self.cluster.settled().await;
        history.check(&self.cluster.everything(leader, "crowd/").await);
        self.cluster.same_everywhere("crowd/").await;
        history.acked().count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_by_the_thousand_beyond_the_bound_are_refused_and_nothing_is_lost() {
    const MANY: usize = 5_000;
    /// 64 KiB for each of those that are taken on: its connection (some 20 KiB), its request, its place in the log. 256 MiB.
    const MOST: u64 = IN_FLIGHT as u64 * (64 << 10);
    let Some(()) = needs("many open files", open_files(MANY as u64 * 2 + 1_000)) else { return };
    let mut crowded = Crowded::new().await;
    for n in 0..MANY {
        crowded.send(format!("crowd/{n}"), format!("value-{n}"));
    }
    crowded.are_refused(MANY - IN_FLIGHT).await;
    // The one that asks is among them, and is answered.
    let in_flight = crowded.metric("muster_http_in_flight").await;
    assert!(in_flight <= IN_FLIGHT as u64 + 1, "{in_flight}");
    let told = crowded.more_are_refused(200, |n| format!("more-{n}")).await;
    crowded.cluster.http.get(format!("{}/livez", crowded.endpoint())).ok().await;
    let grown = crowded.grown();
    figure("a write beyond 4,096 in flight is refused", &told);
    figure("memory of a leader with 4,096 writes in flight", &format!("{} MiB more", grown >> 20));
    assert!(grown < MOST, "{} MiB", grown >> 20);
    let acked = crowded.ends_well("writes by the thousand").await;
    assert!(acked > IN_FLIGHT / 2, "{acked} were acknowledged of {IN_FLIGHT} that were taken on");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_values_beyond_the_budget_are_refused_and_nothing_is_lost() {
    /// 1 MiB, the longest value, less what tells them apart.
    const LONG: usize = (1 << 20) - 16;
    const FIT: usize = (BODIES / LONG as u64) as usize;
    const MANY: usize = 2 * FIT;
    /// Each of those taken on: once as it came, once in the log, and once on its way to each follower.
    const MOST: u64 = 4 * BODIES;
    let value = |n: usize| format!("{n:015}-{}", "x".repeat(LONG));
    let mut crowded = Crowded::new().await;
    for n in 0..MANY {
        crowded.send(format!("crowd/{n}"), value(n));
    }
    crowded.are_refused(MANY - FIT).await;
    let taken = crowded.metric("muster_http_body_bytes").await;
    assert!(taken <= BODIES, "{taken}");
    let told = crowded.more_are_refused(20, value).await;
    let grown = crowded.grown();
    figure("a long value beyond 64 MiB of them is refused", &told);
    figure("memory of a leader with 64 MiB of values in flight", &format!("{} MiB more", grown >> 20));
    assert!(grown < MOST, "{} MiB", grown >> 20);
    let acked = crowded.ends_well("long values").await;
    assert!(acked > FIT / 2, "{acked} were acknowledged of {FIT} that were taken on");
}
