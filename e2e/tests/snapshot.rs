//! What a snapshot takes at both ends while it travels between two nodes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is the verdict of a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use muster_client::api::quantity::Size;
use muster_e2e::cluster::SOON;
use muster_e2e::figures::figure;
use muster_e2e::process::status_bytes;
use muster_e2e::{Cluster, eventually, until};

/// What a snapshot may add to a node's memory, however large it is.
const ADDED: u64 = 64 << 20;
/// `MUSTER_E2E_SNAPSHOT` overrides: `2GiB` for the promise. Three times what may be added, so that a node that held it all would be found.
const DEFAULT: u64 = 192 << 20;
const VALUE: usize = 512 << 10;
/// A slow disk takes 4 MiB a second.
const SLOWEST: u64 = 4 << 20;

/// The highest memory of a process of its own (`RssAnon`: what it has allocated; what the system keeps of files for it, and gives back when
/// somebody needs the room, is not its doing) since the watch was begun.
struct Peak {
    highest: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Peak {
    fn watch(pid: u32) -> Self {
        let peak = Self { highest: Arc::default(), stop: Arc::default() };
        let (highest, stop) = (peak.highest.clone(), peak.stop.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                highest.fetch_max(status_bytes(pid, "RssAnon:").unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        peak
    }

    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.highest.load(Ordering::Relaxed)
    }
}

/// Bytes that no compression shortens.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..VALUE / 8).flat_map(|_| next()).collect()
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Waits until a process's memory has stopped falling, and returns it.
async fn at_rest(cluster: &Cluster, node: usize) -> u64 {
    let weigh = || cluster.nodes[node].process.anonymous_bytes().expect("it runs");
    let (mut lowest, mut since) = (weigh(), Instant::now());
    until(SOON, async || {
        let now = weigh();
        if now < lowest - lowest / 50 {
            (lowest, since) = (now, Instant::now());
        }
        (since.elapsed() > Duration::from_secs(2)).then_some(())
    })
    .await;
    lowest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_adds_little_to_the_memory_of_both_ends() {
    let told = std::env::var("MUSTER_E2E_SNAPSHOT").ok();
    let size = told.map_or(DEFAULT, |text| text.parse::<Size>().expect("a size like 2GiB").0);
    let within = SOON + Duration::from_secs(size / SLOWEST);
    let values = usize::try_from(size).unwrap() / VALUE;
    let mut cluster = Cluster::start(1).await;
    let leader = cluster.leader().await;
    let writer = |first: usize| {
        let (http, node) = (cluster.http.clone(), cluster.endpoint(leader));
        async move {
            for n in (first..values).step_by(4) {
                http.put(format!("{node}/kv/big/{n:06}"), noise(n as u64)).ok().await;
            }
        }
    };
    let writers: Vec<_> = (0..4).map(|n| tokio::spawn(writer(n))).collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let sender_before = at_rest(&cluster, leader).await;
    let newcomer = cluster.add(&[]);
    cluster.nodes[newcomer].spawn();
    let sender = Peak::watch(cluster.nodes[leader].process.pid());
    let receiver = Peak::watch(cluster.nodes[newcomer].process.pid());
    let since = Instant::now();
    cluster.nodes[newcomer].ready().await;
    let mut receiver_before = cluster.nodes[newcomer].process.anonymous_bytes().unwrap();
    let mut sent = false;
    let (http, last) = (cluster.http.clone(), format!("/kv/big/{:06}", values - 1));
    eventually("the newcomer holds everything", within, async || {
        let status = cluster.nodes[leader].status(&http).await?;
        sent |= status.learners.iter().chain(&status.voters).any(|replica| replica.snapshot_percent.is_some());
        if !sent {
            receiver_before = cluster.nodes[newcomer].process.anonymous_bytes()?;
        }
        let held = http.head(cluster.nodes[newcomer].url(&last)).send().await.ok()?.is_ok();
        held.then_some(())
    })
    .await;
    let took = since.elapsed();
    let (sender_peak, receiver_peak) = (sender.end(), receiver.end());
    assert!(sent, "the newcomer was brought up without a snapshot, so nothing was tested");
    let text = format!(
        "{} in {:.1} s; the sender has {} and rose to {}, the receiver {} and rose to {}",
        mib(size),
        took.as_secs_f64(),
        mib(sender_before),
        mib(sender_peak),
        mib(receiver_before),
        mib(receiver_peak)
    );
    figure("memory (RssAnon) for a snapshot", &text);
    // A debug build's allocations are the same; only its pace is not.
    assert!(sender_peak < sender_before + ADDED, "the sender: {text}");
    assert!(receiver_peak < receiver_before + ADDED, "the receiver: {text}");
}
