//! Leaders die, stop and hand over; clients go on, and nothing that was acknowledged is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is the verdict of a test")]

use std::time::{Duration, Instant};

use muster_client::api::cluster::Leader;
use muster_e2e::cluster::SOON;
use muster_e2e::figures::{bound, distribution, figure, rounds, summary};
use muster_e2e::{Cluster, Load, eventually};
use serde_json::json;

/// From `kill -9` of the leader to a client's next successful write. Its host says that it is gone, so that no lease is waited for: with one
/// (300 ms) the median would be far above.
const MEDIAN: Duration = Duration::from_millis(100);
const WORST: Duration = Duration::from_millis(500);
/// What a planned change of the leader may cost a write.
const HAND_OVER: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_is_killed_under_load_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::start(3).await;
    let program = Load::client(&cluster.client(), "program", 1);
    let plain = Load::plain(&cluster.http, &cluster.endpoints(), "plain", 4);
    let mut kills = Vec::new();
    for _ in 0..rounds(3) {
        program.more_acks(30, SOON).await;
        plain.more_acks(100, SOON).await;
        let leader = cluster.leader().await;
        cluster.nodes[leader].kill();
        kills.push(Instant::now());
        program.more_acks(30, SOON).await;
        cluster.nodes[leader].start().await;
        cluster.settled().await;
    }
    let (program, plain) = (program.stop().await, plain.stop().await);
    let next = |history: &muster_e2e::History| -> Vec<Duration> {
        kills.iter().map(|&kill| history.next_ack_after(kill).expect("writes went on")).collect()
    };
    let times = next(&program);
    let (median, worst, text) = distribution(&times);
    figure("kill -9 of the leader, next write of the client library", &text);
    figure("kill -9 of the leader, next write of plain HTTP", &distribution(&next(&plain)).2);
    figure("kill -9 of the leader, client library", &program.counts());
    figure("kill -9 of the leader, plain HTTP", &plain.counts());
    let there = cluster.same_everywhere("").await;
    program.check(&there);
    plain.check(&there);
    // Twice as long on a busy machine: still less than a lease.
    assert!(median < bound(MEDIAN, 2), "{text}");
    assert!(worst < bound(WORST, 4), "{text}");
    let failed: Vec<_> = program.not_acked().collect();
    assert!(failed.is_empty(), "the client library rides over a change of the leader: {failed:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_three_are_killed_at_once_and_come_back_with_everything() {
    let mut cluster = Cluster::start(3).await;
    let mut histories = Vec::new();
    let mut times = Vec::new();
    for round in 0..rounds(2) {
        let load = Load::plain(&cluster.http, &cluster.endpoints(), &format!("round{round}"), 6);
        load.more_acks(300, SOON).await;
        for node in &mut cluster.nodes {
            node.kill();
        }
        histories.push(load.stop().await);
        let since = Instant::now();
        cluster.spawn_all();
        cluster.ready_all().await;
        cluster.usable().await;
        times.push(since.elapsed());
    }
    figure("all three killed, usable after their start", &summary(&times).2);
    let there = cluster.same_everywhere("round").await;
    for (round, history) in histories.iter().enumerate() {
        let prefix = format!("round{round}/");
        let own =
            there.iter().filter(|(key, _)| key.starts_with(&prefix)).map(|(k, v)| (k.clone(), v.clone())).collect();
        history.check(&own);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_stopped_costs_no_write() {
    let mut cluster = Cluster::start(3).await;
    let (mut undisturbed, mut slowest) = (Vec::new(), Vec::new());
    let mut where_from = Vec::new();
    for round in 0..rounds(2) {
        let leader = cluster.leader().await;
        let others: Vec<String> = (0..3).filter(|&n| n != leader).map(|n| cluster.endpoint(n)).collect();
        // Without any retry, through the nodes that stay; and as programs do it, through all of them.
        let plain = Load::plain(&cluster.http, &others, &format!("plain{round}"), 4);
        let program = Load::client(&cluster.client(), &format!("program{round}"), 2);
        plain.more_acks(100, SOON).await;
        program.more_acks(30, SOON).await;
        // As long as the stop takes: what the disk and the machine do to a write without it.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let told = Instant::now();
        let status = cluster.nodes[leader].stop().await;
        assert_eq!(status.code(), Some(0), "{}", cluster.nodes[leader].process.run_log());
        plain.more_acks(100, SOON).await;
        program.more_acks(30, SOON).await;
        let (plain, program) = (plain.stop().await, program.stop().await);
        for history in [&plain, &program] {
            let failed: Vec<_> = history.not_acked().collect();
            assert!(failed.is_empty(), "{failed:#?}");
        }
        let acked = || plain.acked().chain(program.acked()).map(|write| (write.ended, write.ended - write.started));
        undisturbed.push(acked().filter(|&(ended, _)| ended < told).map(|(_, took)| took).max().unwrap_or_default());
        slowest.push(plain.slowest_ack().max(program.slowest_ack()));
        let slow = plain.acked().chain(program.acked()).max_by_key(|write| write.ended - write.started).unwrap();
        let began = slow.started.saturating_duration_since(told).as_millis();
        where_from.push(format!("{} through {}, begun {began} ms after", slowest[round].as_millis(), slow.via));
        cluster.nodes[leader].start().await;
        let there = cluster.same_everywhere("").await;
        plain.check(&there);
        program.check(&there);
    }
    let (_, worst, text) = distribution(&slowest);
    figure("before a SIGTERM, slowest write", &distribution(&undisturbed).2);
    figure("SIGTERM of the leader, slowest write", &text);
    figure("SIGTERM of the leader, the slowest of each round", &where_from.join("; "));
    assert!(worst < bound(HAND_OVER, 20), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_of_the_leadership_costs_no_write() {
    let mut cluster = Cluster::start(3).await;
    let plain = Load::plain(&cluster.http, &cluster.endpoints(), "plain", 6);
    plain.more_acks(100, SOON).await;
    let mut took = Vec::new();
    for round in 0..rounds(4) {
        let leader = cluster.leader().await;
        let to = (leader + 1 + round % 2) % 3;
        let wanted = cluster.nodes[to].id(&cluster.http).await;
        let body = if round == 0 { json!({}) } else { json!({"to": wanted}) };
        // Whichever node is asked.
        let since = Instant::now();
        cluster.http.post(cluster.nodes[round % 3].url("/cluster/leader/transfer"), &body).expect(200).await;
        took.push(since.elapsed());
        // 200 when the new leader leads.
        let now = cluster.leader().await;
        assert_ne!(now, leader);
        if round > 0 {
            assert_eq!(now, to);
            let told: Leader = cluster.http.get(cluster.nodes[to].url("/cluster/leader")).ok().await.json();
            assert_eq!(told.id, wanted);
        }
        plain.more_acks(50, SOON).await;
    }
    let stranger = json!({"to": uuid::Uuid::new_v4()});
    let refused = cluster.http.post(cluster.nodes[0].url("/cluster/leader/transfer"), &stranger).send().await.unwrap();
    assert!(matches!(refused.status, 404 | 409), "{} {}", refused.status, refused.text());
    let plain = plain.stop().await;
    figure("transfer of the leadership, the call", &summary(&took).2);
    figure("transfer of the leadership, slowest write", &format!("{} ms", plain.slowest_ack().as_millis()));
    let failed: Vec<_> = plain.not_acked().collect();
    assert!(failed.is_empty(), "{failed:#?}");
    plain.check(&cluster.same_everywhere("plain").await);
    assert!(plain.slowest_ack() < bound(HAND_OVER, 20), "{:?}", plain.slowest_ack());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_falls_silent_is_passed_over() {
    let mut cluster = Cluster::start(3).await;
    let mut took = Vec::new();
    for round in 0..rounds(2) {
        let leader = cluster.settled().await;
        let (to, third) = ((leader + 1) % 3, (leader + 2) % 3);
        let wanted = cluster.nodes[to].id(&cluster.http).await;
        let others = [cluster.endpoint(leader), cluster.endpoint(third)];
        let load = Load::plain(&cluster.http, &others, &format!("load{round}"), 3);
        load.more_acks(50, SOON).await;
        // It was heard a moment ago, so the leader takes it for a successor.
        cluster.nodes[to].process.pause();
        let told = Instant::now();
        let transfer = cluster.http.post(cluster.nodes[leader].url("/cluster/leader/transfer"), &json!({"to": wanted}));
        let answer = transfer.send().await.unwrap();
        load.more_acks(50, SOON).await;
        let now = cluster.leader_among(&[leader, third]).await;
        cluster.nodes[to].process.resume();
        cluster.settled().await;
        let load = load.stop().await;
        let failed: Vec<_> = load.not_acked().collect();
        assert!(failed.is_empty(), "{failed:#?}");
        assert_eq!((now, answer.status), (third, 409), "{}", answer.text());
        took.push(load.next_ack_after(told).expect("writes went on").max(load.slowest_ack()));
    }
    let (median, _, text) = distribution(&took);
    figure("a successor that falls silent, slowest write", &text);
    assert!(median < bound(Duration::from_millis(300), 3), "{text}");
}

/// Reads ask who leads all the time, and who asks is heard: that alone must not keep the others from electing.
#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_that_nobody_completes_ends_in_an_election_though_clients_read() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.settled().await;
    let (to, third) = ((leader + 1) % 3, (leader + 2) % 3);
    let (wanted, url) = (cluster.nodes[to].id(&cluster.http).await, cluster.nodes[leader].url("/kv/k"));
    cluster.nodes[third].kill();
    let reads = tokio::spawn({
        let (http, url) = (cluster.http.clone(), url.clone());
        async move {
            loop {
                let _ = http.get(&url).send().await;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    });
    cluster.nodes[to].process.pause();
    let transfer = cluster.http.post(cluster.nodes[leader].url("/cluster/leader/transfer"), &json!({"to": wanted}));
    // The engine gives a successor half an election's time.
    let resume = async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        cluster.nodes[to].process.resume();
    };
    let (answer, ()) = tokio::join!(transfer.send(), resume);
    eventually("writes go on", SOON, async || {
        cluster.http.put(&url, "v").query("timeout", "1s").send().await.ok().filter(muster_e2e::http::Answer::is_ok)
    })
    .await;
    reads.abort();
    let answer = answer.unwrap();
    figure("a hand-over that nobody completes, the call", &format!("{} {}", answer.status, answer.text()));
    cluster.start_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_is_no_majority_and_says_so() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    cluster.http.put(cluster.nodes[leader].url("/kv/k"), "v").ok().await;
    for node in 0..3 {
        if node != leader {
            cluster.nodes[node].kill();
        }
    }
    let url = cluster.nodes[leader].url("/kv/k");
    // It may first have to notice; a write in flight then may be unknown, never acknowledged.
    let refused = eventually("a write is refused for want of a majority", SOON, async || {
        let answer = cluster.http.put(&url, "lost").query("timeout", "300ms").send().await.unwrap();
        assert!(!answer.is_ok(), "one of three acknowledged a write: {}", answer.text());
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert!(refused.header("retry-after").is_some());
    assert_eq!(refused.error().outcome, Some(muster_client::api::Outcome::NotApplied), "{}", refused.text());
    assert!(
        refused.text().contains("nobody leads: ") && refused.text().contains(" of 3 voters are alive"),
        "{}",
        refused.text()
    );
    assert_eq!(cluster.http.get(&url).ok().await.text(), "v", "local reads go on");
    let ready = cluster.nodes[leader].url("/readyz");
    eventually("it says that it is not ready", SOON, async || {
        let answer = cluster.http.get(&ready).send().await.unwrap();
        (answer.status == 503).then_some(())
    })
    .await;
    eventually("its status says why nobody leads", SOON, async || {
        let status = cluster.status(leader).await;
        status.leader.is_none().then_some(status.no_leader_reason?).filter(|why| !why.is_empty())
    })
    .await;
    cluster.start_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_does_not_answer_is_not_called_nobody() {
    let mut cluster = Cluster::start(3).await;
    eventually("somebody asks while the leader's lease still holds", SOON, async || {
        let leader = cluster.settled().await;
        let url = cluster.nodes[(leader + 1) % 3].url("/kv/k");
        cluster.nodes[leader].process.pause();
        let paused = Instant::now();
        let write = cluster.http.put(&url, "v").query("timeout", "50ms");
        let read = cluster.http.get(&url).query("consistency", "linearizable").query("timeout", "50ms");
        let (write, read) = tokio::join!(write.send(), read.send());
        let took = paused.elapsed();
        cluster.nodes[leader].process.resume();
        if took > Duration::from_millis(200) {
            return None; // The machine is busy: an election may have begun.
        }
        let (write, read) = (write.unwrap(), read.unwrap());
        for answer in [&write, &read] {
            assert!(!answer.is_ok() && !answer.text().contains("nobody leads"), "{}", answer.text());
        }
        assert_eq!(read.status, 503, "{}", read.text());
        Some(())
    })
    .await;
    cluster.usable().await;
}
