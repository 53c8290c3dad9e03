//! What a node takes at rest.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is the verdict of a test")]

use std::time::Duration;

use muster_e2e::figures::figure;
use muster_e2e::skip::not_asked_for;
use muster_e2e::{Cluster, binaries, until};

/// A node with 10,000 keys of 256 bytes, at rest after the load.
const AT_REST: u64 = 40 << 20;
const KEYS: usize = 10_000;
const WRITERS: usize = 32;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_keys_at_rest() {
    if !binaries::are_release() {
        return not_asked_for(
            "only release builds are worth weighing; `cargo nextest run --release`, or set MUSTER_BIN_DIR",
        );
    }
    let mut cluster = Cluster::start(3).await;
    let endpoints = cluster.endpoints();
    let writer = |writer: usize| {
        let (http, endpoints) = (cluster.http.clone(), endpoints.clone());
        async move {
            for n in (writer..KEYS).step_by(WRITERS) {
                let url = format!("{}/kv/key/{n:06}", endpoints[n % endpoints.len()]);
                http.put(url, vec![b'v'; 256]).ok().await;
            }
        }
    };
    let writers: Vec<_> = (0..WRITERS).map(|n| tokio::spawn(writer(n))).collect();
    for writer in writers {
        writer.await.unwrap();
    }
    cluster.settled().await;
    let weigh = |cluster: &Cluster| cluster.nodes.iter().map(|node| node.process.resident_bytes()).max().unwrap();
    let loaded = weigh(&cluster);
    // At rest: freed memory goes back to the system a little later.
    let rested = until(Duration::from_secs(20), async || (weigh(&cluster) < AT_REST).then_some(())).await;
    let rest = weigh(&cluster);
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    figure(
        "memory of a node, 10,000 keys of 256 bytes",
        &format!("{} after the load, {} at rest", mib(loaded), mib(rest)),
    );
    assert!(rested.is_some(), "{} at rest", mib(rest));
}
