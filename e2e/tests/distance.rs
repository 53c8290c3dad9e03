//! Members that are some way apart: a round trip takes its time, and opening a stream takes several.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is the verdict of a test")]

use std::time::Duration;

use muster_e2e::cluster::SOON;
use muster_e2e::{Load, Plan};

/// 110 ms each way: the answer to a heartbeat comes in time for the next, and a stream stands (two round trips beside the connection) when
/// the next is due already.
const WAY: Duration = Duration::from_millis(110);
const HEARTBEAT: &str = "400ms";
const ELECTION_TIMEOUT: &str = "2400ms";
/// Nobody writes for so long, and only heartbeats say who leads: some of the followers' time-outs.
const QUIET: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_is_heard_though_opening_a_stream_takes_longer_than_a_heartbeat() {
    let mut cluster = Plan::new(0).expect(3).lay();
    cluster.registry.start().await;
    let mut taps = Vec::new();
    for _ in 0..3 {
        let times = ["--heartbeat", HEARTBEAT, "--election-timeout", ELECTION_TIMEOUT];
        taps.push(cluster.add_behind_tap(WAY, &times).await);
    }
    let leader = cluster.start_all().await;
    let term = cluster.status(leader).await.term;
    tokio::time::sleep(QUIET).await;
    assert_eq!(cluster.status(leader).await.term, term, "another was elected while this one was well");
    // A majority confirms it, by heartbeats.
    for node in 0..3 {
        let url = cluster.nodes[node].url("/kv/none");
        cluster.http.get(url).query("consistency", "linearizable").within(SOON).expect(404).await;
    }
    let load = Load::client(&cluster.client(), "apart", 3);
    load.more_acks(10, SOON).await;
    load.stop().await.check(&cluster.everything(leader, "apart/").await);
}
