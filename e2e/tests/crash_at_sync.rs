//! A node's machine loses its power at the syncs that the node makes, one after another, right before and right after what was to be synced is on
//! the disk, or its process is killed there: its first start and its later ones, its writes, the turns of its log, its stop. It always starts again,
//! with all that it acknowledged.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is the verdict of a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use muster_e2e::cluster::SOON;
use muster_e2e::disk::{Death, Disk};
use muster_e2e::figures::figure;
use muster_e2e::skip::needs;
use muster_e2e::{Cluster, Plan, until};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// 1 MB, nearly the longest: the log's files have 16 MiB.
const LONG: usize = 1_000_000;
/// Few keys, so that what it holds does not grow.
const KEYS: usize = 5;

/// Every so manieth of a first start's some hundred syncs, beginning with the first; every single one with `MUSTER_E2E_EVERY` set.
/// `whole/tests/crash_points.rs` tries them all, and the fault `crash-at-sync` others.
const STRIDE: usize = 11;

/// How often a node tries whether its disk still answers is a matter of time.
const BUT: Option<&str> = Some("canary");

/// A node alone, on a disk, and what it has acknowledged.
struct Lone {
    cluster: Cluster,
    disk: Arc<Disk>,
    /// By key, what was acknowledged last, and what was sent after it and may be there or not.
    sent: BTreeMap<String, (Option<String>, Vec<String>)>,
    chance: StdRng,
    /// Only its process dies: what was not synced is there as well.
    kept: bool,
    /// What it died at.
    met: BTreeSet<String>,
}

/// How a life ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It died at the sync that it was to die at.
    Died,
    /// It did all that it was to do with fewer syncs, and stopped.
    Old,
}

impl Lone {
    fn new(seed: u64, kept: bool) -> Self {
        // So that the log is dropped and its files are used again.
        let args = ["--snapshot-every", "1MiB", "--log-keep", "1MiB"];
        let cluster = Plan::new(1).without_registry().args(&args).lay();
        let disk = Arc::new(Disk::mount().unwrap());
        std::os::unix::fs::symlink(disk.path(), cluster.nodes[0].dir()).unwrap();
        let (sent, chance, met) = (BTreeMap::new(), StdRng::seed_from_u64(seed), BTreeSet::new());
        Self { cluster, disk, sent, chance, kept, met }
    }

    /// Starts, writes so many values of this length, and stops, until it dies.
    async fn live(&mut self, death: Option<Death>, writes: usize, length: usize) -> End {
        self.disk.trouble(|trouble| trouble.dies = death);
        self.cluster.nodes[0].spawn();
        let went = self.go_on(writes, length).await;
        if went.is_some() {
            self.cluster.nodes[0].process.send_terminate();
            let ended = until(SOON, async || self.gone().then_some(())).await;
            assert!(ended.is_some(), "it does not stop");
        }
        let Some(died) = self.disk.died() else {
            let status = self.cluster.nodes[0].process.exited().unwrap();
            assert!(status.success(), "{status}:\n{}", self.cluster.nodes[0].process.run_log());
            self.cluster.nodes[0].process.wait(SOON).await;
            return End::Old;
        };
        // Files of a kind differ by a number, or by what follows `.tmp`.
        let path: String = died.path.display().to_string().chars().filter(|c| !c.is_ascii_digit()).collect();
        self.met.insert(path.split_inclusive(".tmp").next().unwrap_or_default().to_owned());
        self.cluster.nodes[0].process.send_kill();
        self.disk.trouble(|trouble| trouble.dies = None);
        self.cluster.nodes[0].kill();
        if self.kept {
            self.disk.go_on();
        } else {
            let torn = self.chance.random_bool(0.5);
            self.disk.power_off(torn.then_some(&mut self.chance));
        }
        End::Died
    }

    /// Whatever became of it, it starts, has everything, and writes.
    async fn starts(&mut self) {
        self.cluster.nodes[0].spawn();
        self.go_on(1, 10).await.unwrap();
        self.cluster.nodes[0].kill();
    }

    /// Whether it ended, or waits for ever for its disk.
    fn gone(&mut self) -> bool {
        self.disk.died().is_some() || self.cluster.nodes[0].process.exited().is_some()
    }

    /// Gets ready, has everything, and writes; `None` when it ends meanwhile.
    async fn go_on(&mut self, writes: usize, length: usize) -> Option<()> {
        let ready = until(SOON, async || {
            if self.gone() {
                return Some(false);
            }
            self.cluster.nodes[0].process.ready_now().map(|_| true)
        });
        let ready = ready.await;
        assert!(ready.is_some(), "neither ready nor ended:\n{}", self.cluster.nodes[0].process.run_log());
        if ready == Some(false) {
            assert!(self.disk.died().is_some(), "it ended:\n{}", self.cluster.nodes[0].process.run_log());
            return None;
        }
        self.cluster.nodes[0].ready().await;
        let keys: Vec<String> = self.sent.keys().cloned().collect();
        for key in keys {
            let there = self.read(&key).await?;
            let (acked, maybe) = &self.sent[&key];
            let expected = there == *acked || there.as_ref().is_some_and(|there| maybe.contains(there));
            let start = |value: &Option<String>| value.as_ref().map(|value| value.chars().take(30).collect::<String>());
            assert!(expected, "{key}: {:?}, {:?} was acknowledged", start(&there), start(acked));
            self.sent.insert(key, (there, Vec::new()));
        }
        for n in 0..writes {
            let key = format!("key/{}", n % KEYS);
            let value = format!("{} {}", self.chance.random::<u64>(), "x".repeat(length));
            self.sent.entry(key.clone()).or_default().1.push(value.clone());
            self.write(&key, &value).await?;
            self.sent.insert(key, (Some(value), Vec::new()));
        }
        Some(())
    }

    /// What a linearizable read shows; `None` when the node ends meanwhile.
    async fn read(&mut self, key: &str) -> Option<Option<String>> {
        let url = self.cluster.nodes[0].url(&format!("/kv/{key}?consistency=linearizable"));
        let answer = until(SOON, async || {
            let call = self.cluster.http.get(url.clone()).within(Duration::from_millis(300));
            let answer = call.send().await.ok().filter(|answer| matches!(answer.status, 200 | 404));
            answer.map(Some).or_else(|| self.gone().then_some(None))
        });
        let answer = answer.await.expect("it neither answers nor ended")?;
        Some((answer.status == 200).then(|| answer.text()))
    }

    /// Writes until it is acknowledged; `None` when the node ends meanwhile.
    async fn write(&mut self, key: &str, value: &str) -> Option<()> {
        let url = self.cluster.nodes[0].url(&format!("/kv/{key}"));
        let mut last = String::new();
        let acked = until(SOON, async || {
            let call = self.cluster.http.put(url.clone(), value.to_owned()).within(Duration::from_secs(1));
            match call.send().await {
                Ok(answer) if answer.is_ok() => return Some(Some(())),
                Ok(answer) => last = format!("{} {}", answer.status, answer.text()),
                Err(lost) => last = lost.reason,
            }
            self.gone().then_some(None)
        });
        let acked = acked.await;
        acked.unwrap_or_else(|| panic!("it neither takes a write nor ended; the last try met: {last}"))
    }
}

impl Drop for Lone {
    /// A process that waits for its disk could not be ended.
    fn drop(&mut self) {
        self.disk.trouble(|trouble| trouble.dies = None);
        self.disk.go_on();
    }
}

fn stride() -> usize {
    if std::env::var_os("MUSTER_E2E_EVERY").is_some() { 1 } else { STRIDE }
}

fn skipped() -> bool {
    needs("root and /dev/fuse", Disk::mount()).is_none()
}

/// Right after one sync is right before the next, but for what was written between and is lost: one side of them is enough here.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_and_first_writes() {
    if skipped() {
        return;
    }
    let lives = async |kept| {
        let mut met = BTreeSet::new();
        for sync in (1..).step_by(stride()) {
            eprintln!("sync {sync}, process only: {kept}");
            let mut node = Lone::new(sync, kept);
            let end = node.live(Some(Death { sync, done: false, but: BUT }), 4, 10).await;
            met.append(&mut node.met);
            if end == End::Old {
                return (sync - 1, met);
            }
            node.starts().await;
        }
        unreachable!("a life has an end")
    };
    let (lost, kept) = tokio::join!(lives(false), lives(true));
    for (what, (syncs, met)) in [("power lost", lost), ("killed", kept)] {
        figure(
            &format!("{what} at syncs of a first start and four writes"),
            &format!("up to the {syncs}th, of {met:?}"),
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn later_starts_and_a_log_that_turns() {
    if skipped() {
        return;
    }
    // Each life begins with what the one before has left.
    let lives = async |done, writes, length| {
        let mut node = Lone::new(u64::from(done), false);
        assert_eq!(node.live(None, 20, LONG).await, End::Old);
        let mut sync = 1;
        while node.live(Some(Death { sync, done, but: BUT }), writes, length).await == End::Died {
            sync += stride() as u64;
        }
        (sync - 1, std::mem::take(&mut node.met))
    };
    let (long, short) = tokio::join!(lives(false, 17, LONG), lives(true, 4, 10));
    for (name, (syncs, met)) in [("before syncs of a life of 17 MB", long), ("after syncs of a short life", short)] {
        figure(&format!("power lost right {name}"), &format!("up to the {syncs}th, of {met:?}"));
    }
}
