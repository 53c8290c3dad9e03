//! The power of one node fails at one of its syncs, at one after another: when nothing of it is on the disk yet, and when all of it is and nobody has heard so.
//! The same small script each time: nodes start, one founds, the others join; writes that roll the log's segments, have snapshots taken and the
//! log purged. The node starts again and the judges must be content.
//!
//! Every fifth sync, which a change can wait for; `MUSTER_SYNCS=1..999` tries all, `MUSTER_SYNCS=7..8` runs one again. `MUSTER_SEEDS` says how many (or which) seeds there are of the script: the world's delays, and what a disk keeps of
//! what it had not synced.
#![cfg(simulated)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use muster_e2e::judges;
use muster_e2e::torture::operation::{Call, Condition, Freshness, Seen};
use muster_e2e::torture::record::{Copy, Record, Strike};
use muster_e2e::torture::script::Hand;
use muster_whole::client::Worker;
use muster_whole::cluster::Cluster;
use muster_whole::watchdog;
use muster_world::Millis;
use muster_world::disk::Moment;

/// Every so manieth sync, when nobody says which.
const STRIDE: usize = 5;
/// Longer than any part of the script takes, in virtual time.
const SOON: Millis = 60_000;
/// For so long a machine has no power.
const DARK: Millis = 150;
/// Before something is tried again.
const PAUSE: Duration = Duration::from_millis(20);
/// Writes of 3 KiB each: the log, of segments of 32 KiB, is rolled and purged again and again.
const DEEDS: usize = 60;
/// Between two pairs of them: how long the log is, is looked at once a second.
const PACE: Duration = Duration::from_millis(60);
const VALUE: usize = 3 << 10;

/// Where the power fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Crash {
    node: usize,
    sync: u64,
    moment: Moment,
}

struct Run {
    cluster: Cluster,
    crash: Option<Crash>,
    /// When it failed.
    failed: Option<Millis>,
}

impl Run {
    fn step(&mut self) {
        self.cluster.step().unwrap();
        let Some(Crash { node, .. }) = self.crash else { return };
        if !self.cluster.sim.runs(node) {
            let failed = *self.failed.get_or_insert(muster_world::now());
            if muster_world::now() >= failed + DARK {
                self.cluster.start(node);
            }
        }
    }

    fn until(&mut self, what: &str, ready: impl Fn(&Cluster) -> bool) {
        let began = muster_world::now();
        while !ready(&self.cluster) {
            self.step();
            assert!(muster_world::now() < began + SOON, "{:?}: not {what} within {SOON} ms", self.crash);
        }
    }

    fn worker(&self) -> Worker {
        let (doors, recorder) = (self.cluster.doors.clone(), self.cluster.recorder.clone());
        Worker { number: 0, doors, recorder, control: None }
    }

    fn play(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        let ended = Arc::new(AtomicBool::new(false));
        let told = ended.clone();
        self.cluster.sim.spawn(self.cluster.clients(), async move {
            task.await;
            told.store(true, Ordering::Relaxed);
        });
        self.until("done", move |_| ended.load(Ordering::Relaxed));
    }
}

/// Tries until it is done: one after the other through every node, each time with another value.
async fn deed(worker: Worker, number: usize) {
    for attempt in 0_usize.. {
        let key = format!("key/{}", number % 7);
        let value = format!("{number}.{attempt}.{}", "x".repeat(VALUE));
        let call = match number % 9 {
            8 => Call::Delete { key, condition: Condition::Always, again: None },
            _ => Call::Put { key, value, condition: Condition::Always, again: None },
        };
        let seen = worker.perform(&call, number + attempt).await;
        if matches!(seen, Seen::Wrote { .. }) {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks a node until it says what it holds: one that has just started, or is just without power, can do so a moment later.
async fn list(prefix: &str, worker: &Worker, node: usize) -> Seen {
    let call = Call::List { prefix: prefix.to_owned(), freshness: Freshness::Linearizable };
    loop {
        let seen = worker.perform(&call, node).await;
        if matches!(seen, Seen::Listed { .. }) {
            return seen;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn read(worker: Worker, key: usize, node: usize) {
    let call = Call::Get { key: format!("key/{key}"), freshness: Freshness::Linearizable };
    worker.perform(&call, node).await;
}

/// All that was seen, and how often each node synced.
fn script(seed: u64, count: usize, crash: Option<Crash>) -> (Record, Vec<u64>) {
    watchdog::begin(seed);
    let mut run = Run { cluster: Cluster::new(seed, count), crash, failed: None };
    if let Some(Crash { node, sync, moment }) = crash {
        run.cluster.sim.fail_power_at_sync(node, sync, moment);
    }
    (0..count).for_each(|node| run.cluster.start(node));
    run.until("whole", |cluster| cluster.is_whole().is_ok());
    run.cluster.is_founded();
    let worker = run.worker();
    run.play(async move {
        // From here on revisions are counted.
        list("nothing/", &worker, 0).await;
        // Two at a time, so that the log has groups of more than one.
        for number in (0..DEEDS).step_by(2) {
            tokio::join!(deed(worker.clone(), number), deed(worker.clone(), number + 1));
            read(worker.clone(), number % 7, number / 2).await;
            tokio::time::sleep(PACE).await;
        }
    });
    run.until("whole", |cluster| cluster.is_whole().is_ok());
    // That is what the script is for.
    let purged = |cluster: &Cluster, node| cluster.look(node, |it| it.figures().purged_index) > Some(0);
    run.until("purged", |cluster| (0..count).all(|node| purged(cluster, node)));
    for node in 0..count {
        let worker = run.worker();
        run.play(async move {
            if let Seen::Listed { found, applied, .. } = list("", &worker, node).await {
                let copy = Copy { node, revision: applied.unwrap_or(0), found };
                worker.recorder.with(|record| record.copies.push(copy));
            }
        });
    }
    let syncs = (0..count).map(|node| run.cluster.sim.syncs(node)).collect();
    let mut record = run.cluster.recorder.with(std::mem::take);
    assert_eq!(record.copies.len(), count, "{crash:?}: everybody says what it holds");
    if let Some(crash) = crash {
        // The same script to the letter until then, so the sync was there.
        let failed = run.failed.unwrap_or_else(|| panic!("{crash:?}: it was never reached"));
        let (began, sectors) = (failed * 1_000, run.cluster.sim.sectors(crash.node));
        let (fault, evidence) = (format!("{crash:?}"), format!("at {failed} ms, {sectors:?}"));
        let on = format!("n{}", crash.node);
        // How long it took is nobody's concern here: the script was played to its end.
        let (ended, recovered) = (began, Some(began));
        record.strikes.push(Strike { fault, on, began, ended, recovered, evidence });
    }
    (record, syncs)
}

/// A range of numbers that was asked for, by its begin and its end.
fn range(given: &str) -> Option<Range<u64>> {
    let (from, to) = given.split_once("..")?;
    Some(from.parse().expect("a number")..to.parse().expect("a number"))
}

fn seeds() -> Range<u64> {
    let given = std::env::var("MUSTER_SEEDS").unwrap_or_default();
    range(&given).unwrap_or_else(|| 1..given.parse().unwrap_or(1) + 1)
}

fn at_syncs(count: usize, node: usize) {
    for seed in seeds() {
        let (_, syncs) = script(seed, count, None);
        let syncs = syncs[node];
        assert!(syncs > 60, "{syncs}");
        let all = 1..syncs + 1;
        let asked = range(&std::env::var("MUSTER_SYNCS").unwrap_or_default());
        let stride = if asked.is_some() { 1 } else { STRIDE };
        let chosen = asked.unwrap_or(all.clone());
        let chosen = (chosen.start.max(all.start)..chosen.end.min(all.end)).step_by(stride);
        println!("seed {seed}: syncs {chosen:?} of {all:?} of n{node} of {count}");
        for (sync, moment) in chosen.flat_map(|sync| [(sync, Moment::Before), (sync, Moment::After)]) {
            let (record, _) = script(seed, count, Some(Crash { node, sync, moment }));
            let what: Vec<String> = judges::judge(&record).iter().take(5).map(ToString::to_string).collect();
            let again = format!("MUSTER_SEEDS={seed}..{} MUSTER_SYNCS={sync}..{}", seed + 1, sync + 1);
            assert!(what.is_empty(), "{again} n{node} of {count}, {moment:?}: {what:#?}\n{:?}", record.strikes);
        }
    }
}

#[test]
fn a_founder_survives_power_cuts_at_its_syncs() {
    at_syncs(3, 0);
}

#[test]
fn a_joiner_survives_power_cuts_at_its_syncs() {
    at_syncs(3, 1);
}

#[test]
fn a_lone_node_survives_power_cuts_at_its_syncs() {
    at_syncs(1, 0);
}
