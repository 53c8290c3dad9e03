//! The disk of a leader answers nothing any more, and the process has no way to know whether it ever will: on disks of the harness's own, which
//! take root and `/dev/fuse`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is the verdict of a test")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use muster_client::api::cluster::Status;
use muster_e2e::cluster::SOON;
use muster_e2e::disk::Disk;
use muster_e2e::figures::{bound, figure};
use muster_e2e::http::Http;
use muster_e2e::skip::needs;
use muster_e2e::{Cluster, Plan, eventually};
use uuid::Uuid;

/// Long enough for whoever would wait for the disk to be seen waiting: four times what a hand-over gives itself.
const STALL: Duration = Duration::from_secs(8);
/// A stall counts as one after a second, and is looked for every 250 ms, and that every 100 ms; the rest is the hand-over.
const ANOTHER_LEADS: Duration = Duration::from_millis(1_500);
const ASKS: Duration = Duration::from_millis(500);

/// Three settled nodes, each on a disk; `None`: this machine does not let us. The disks come first, since they must outlive the processes.
async fn three() -> Option<(Vec<Disk>, Cluster, usize)> {
    let mounted: Result<Vec<Disk>, _> = (0..3).map(|_| Disk::mount()).collect();
    let disks = needs("root and /dev/fuse", mounted)?;
    let mut cluster = Plan::new(3).lay();
    for (disk, node) in disks.iter().zip(&cluster.nodes) {
        std::os::unix::fs::symlink(disk.path(), node.dir()).unwrap();
    }
    cluster.registry.start().await;
    let leader = cluster.start_all().await;
    Some((disks, cluster, leader))
}

/// What was acknowledged: keys `n/1`, `n/2`, ... each written once, one after another.
#[derive(Debug, Default)]
struct Acked {
    /// The newest of them; 0: none.
    newest: AtomicU64,
    /// When each was.
    at: Mutex<Vec<Instant>>,
    stop: AtomicBool,
}

/// Writes through these nodes in turn until told to stop.
async fn write(http: Http, nodes: Vec<String>, acked: Arc<Acked>) {
    let mut n = 0;
    while !acked.stop.load(Ordering::SeqCst) {
        n += 1;
        let via = &nodes[n % nodes.len()];
        let call = http.put(format!("{via}/kv/n/{n}"), n.to_string()).query("timeout", "500ms").within(2 * ASKS);
        if call.send().await.is_ok_and(|answer| answer.is_ok()) {
            acked.newest.store(n as u64, Ordering::SeqCst);
            acked.at.lock().unwrap().push(Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Reads what was acknowledged last at this node, linearizably, until told to stop: how often it answered, and what it told that was no longer so.
async fn read(http: Http, node: String, acked: Arc<Acked>) -> (u64, Vec<String>) {
    let (mut answered, mut old) = (0, Vec::new());
    while !acked.stop.load(Ordering::SeqCst) {
        let newest = acked.newest.load(Ordering::SeqCst);
        let call = http.get(format!("{node}/kv/n/{newest}")).query("consistency", "linearizable");
        if newest > 0
            && let Ok(answer) = call.query("timeout", "500ms").within(2 * ASKS).send().await
        {
            match answer.status {
                200 => answered += 1,
                404 => old.push(format!("n/{newest} was acknowledged, and is not there")),
                _ => {}
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (answered, old)
}

/// Waits until one of these says that it leads, and all of them believe it.
async fn led_by_one_of(cluster: &Cluster, nodes: &[usize]) {
    eventually("another leads", STALL, async || {
        let mut said = Vec::new();
        for &node in nodes {
            let status = cluster.nodes[node].status(&cluster.http).await?;
            said.push((status.id, status.leader?));
        }
        said.iter().any(|(id, _)| said.iter().all(|(_, leader)| leader == id)).then_some(())
    })
    .await;
}

/// What a node answers while its disk hangs.
#[derive(Debug, Default)]
struct Claims {
    /// When it said last that it leads.
    last: Option<Instant>,
    /// How often it was asked, and how often it answered.
    asked: u64,
    answered: u64,
}

/// Asks a node who leads until this is over. Who answers nothing claims nothing.
async fn claims(http: Http, endpoint: String, id: Uuid, over: Instant) -> Claims {
    let mut claims = Claims::default();
    while Instant::now() < over {
        claims.asked += 1;
        let answer = http.get(format!("{endpoint}/cluster/status")).within(ASKS).send().await;
        if let Some(status) = answer.ok().and_then(|answer| answer.parsed::<Status>()) {
            claims.answered += 1;
            if status.leader == Some(id) {
                claims.last = Some(Instant::now());
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    claims
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_disk_hangs_is_replaced_and_tells_nothing_old() {
    let Some((disks, mut cluster, leader)) = three().await else { return };
    let others: Vec<usize> = (0..3).filter(|node| *node != leader).collect();
    let id = cluster.nodes[leader].id(&cluster.http).await;
    let acked = Arc::new(Acked::default());
    let endpoints = others.iter().map(|&node| cluster.endpoint(node)).collect();
    let writer = tokio::spawn(write(cluster.http.clone(), endpoints, acked.clone()));
    let readers: Vec<_> =
        (0..4).map(|_| tokio::spawn(read(cluster.http.clone(), cluster.endpoint(leader), acked.clone()))).collect();
    let enough = async |count: u64| {
        let goal = acked.newest.load(Ordering::SeqCst) + count;
        eventually("writes go on", SOON, async || (acked.newest.load(Ordering::SeqCst) >= goal).then_some(())).await;
    };
    enough(20).await;

    disks[leader].trouble(|trouble| trouble.stalled = true);
    let since = Instant::now();
    let asking = tokio::spawn(claims(cluster.http.clone(), cluster.endpoint(leader), id, since + STALL));
    led_by_one_of(&cluster, &others).await;
    let led = since.elapsed();
    let claims = asking.await.unwrap();
    let ends = Instant::now();
    let waited = disks[leader].met().stalled;
    disks[leader].trouble(|trouble| trouble.stalled = false);
    // It serves linearizable reads again, and has all that it missed.
    eventually("the former leader reads linearizably", SOON, async || {
        let newest = acked.newest.load(Ordering::SeqCst);
        let call = cluster.http.get(cluster.nodes[leader].url(&format!("/kv/n/{newest}")));
        let answer = call.query("consistency", "linearizable").within(2 * ASKS).send().await;
        answer.ok().filter(|answer| answer.status == 200)
    })
    .await;
    let back = ends.elapsed();
    enough(20).await;
    acked.stop.store(true, Ordering::SeqCst);
    writer.await.unwrap();
    let (mut answered, mut old) = (0, Vec::new());
    for reader in readers {
        let (more, others) = reader.await.unwrap();
        answered += more;
        old.extend(others);
    }

    let at = acked.at.lock().unwrap().clone();
    let next = at.iter().find(|at| **at > since + led).map(|at| at.duration_since(since));
    let claimed = claims.last.map(|last| last.duration_since(since));
    let ms =
        |time: Option<Duration>| time.map_or_else(|| "never".to_owned(), |time| format!("{} ms", time.as_millis()));
    let during = |at: &&Instant| **at > since && **at < ends;
    let gap = at.windows(2).filter(|two| during(&&two[1])).map(|two| two[1] - two[0]).max();
    figure(
        "a leader's disk hangs",
        &format!(
            "another leads after {}, next write after {}, longest without a write {}; it said last that it leads after {}, and answered {} of {} \
             questions; linearizable reads at it {} after the end ({waited} calls waited, {answered} reads answered)",
            ms(Some(led)),
            ms(next),
            ms(gap),
            ms(claimed),
            claims.answered,
            claims.asked,
            ms(Some(back)),
        ),
    );
    assert!(waited > 0, "nothing waited for the disk");
    assert!(answered > 0, "no read was answered, so none could be wrong");
    assert_eq!(old, [""; 0], "linearizable reads that told what was no longer so");
    assert!(led <= bound(ANOTHER_LEADS, 2), "another led after {led:?}");
    assert!(claimed.is_none_or(|last| last <= bound(ANOTHER_LEADS, 2)), "it said that it leads after {claimed:?}");
    assert!(next.is_some_and(|next| next <= bound(ANOTHER_LEADS, 2) + ASKS), "the next write after {next:?}");
    cluster.settled().await;
    let truth = cluster.same_everywhere("n/").await;
    assert!(truth.len() as u64 >= at.len() as u64, "{} of {} acknowledged writes are there", truth.len(), at.len());
}

/// Nothing waits for the disk here but the thread that watches it, so it is that one which is heard.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_at_rest_whose_disk_hangs_hands_over() {
    let Some((disks, mut cluster, leader)) = three().await else { return };
    let others: Vec<usize> = (0..3).filter(|node| *node != leader).collect();
    let id = cluster.nodes[leader].id(&cluster.http).await;
    cluster.http.put(cluster.nodes[leader].url("/kv/key"), "old").ok().await;
    disks[leader].trouble(|trouble| trouble.stalled = true);
    let since = Instant::now();
    let asking = tokio::spawn(claims(cluster.http.clone(), cluster.endpoint(leader), id, since + STALL));
    led_by_one_of(&cluster, &others).await;
    let led = since.elapsed();
    cluster.http.put(cluster.nodes[others[0]].url("/kv/key"), "new").ok().await;
    let written = since.elapsed();
    let mut told = BTreeSet::new();
    while since.elapsed() < STALL {
        let call = cluster.http.get(cluster.nodes[leader].url("/kv/key")).query("consistency", "linearizable");
        if let Ok(answer) = call.query("timeout", "500ms").within(2 * ASKS).send().await {
            told.insert((answer.status, if answer.status == 200 { answer.text() } else { String::new() }));
        }
    }
    let claims = asking.await.unwrap();
    let claimed = claims.last.map_or(Duration::ZERO, |last| last.duration_since(since));
    let waited = disks[leader].met().stalled;
    disks[leader].trouble(|trouble| trouble.stalled = false);
    figure(
        "the disk of a leader at rest hangs",
        &format!(
            "another leads after {} ms, a write after {} ms, it said last that it leads after {} ms and answered {} of {} questions; its linearizable \
             reads meanwhile: {told:?}",
            led.as_millis(),
            written.as_millis(),
            claimed.as_millis(),
            claims.answered,
            claims.asked
        ),
    );
    assert!(waited > 0, "nothing waited for the disk");
    assert!(cluster.nodes[leader].process.has_logged("its disk does not answer: handing over"), "it was not this one");
    assert!(!told.contains(&(200, "old".to_owned())), "{told:?}");
    assert!(led <= bound(ANOTHER_LEADS, 2), "another led after {led:?}");
    assert!(written <= bound(ANOTHER_LEADS, 2) + ASKS, "the next write after {written:?}");
    assert!(claimed <= bound(ANOTHER_LEADS, 2), "it said that it leads after {claimed:?}");
    cluster.settled().await;
    assert_eq!(cluster.same_everywhere("key").await["key"], b"new");
}
