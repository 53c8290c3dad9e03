//! What a node does when its disk does not do what it should: on disks of the harness's own, which take root and `/dev/fuse`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is the verdict of a test")]

use std::time::Duration;

use muster_e2e::cluster::SOON;
use muster_e2e::disk::{Disk, Trouble};
use muster_e2e::figures::figure;
use muster_e2e::skip::needs;
use muster_e2e::{Cluster, Plan, until};
use serde_json::json;

/// A node alone, on a disk; `None`: this machine does not let us. The disk comes first, since it must outlive the process.
async fn alone() -> Option<(Disk, Cluster)> {
    let disk = needs("root and /dev/fuse", Disk::mount())?;
    let mut cluster = Plan::new(1).lay();
    std::os::unix::fs::symlink(disk.path(), cluster.nodes[0].dir()).unwrap();
    cluster.registry.start().await;
    cluster.nodes[0].start().await;
    cluster.usable().await;
    // Only then is the founding noted on the disk as done: a node that cannot do that does not start.
    let founded = until(SOON, async || {
        let answer = cluster.http.get(cluster.nodes[0].url("/readyz")).within(Duration::from_secs(5)).send().await;
        answer.ok().filter(|answer| answer.status == 200)
    });
    assert!(founded.await.is_some(), "it is not ready");
    Some((disk, cluster))
}

/// The status; 0 when there is no answer.
async fn put(cluster: &Cluster, key: &str, value: &str) -> u16 {
    let call = cluster.http.put(cluster.nodes[0].url(&format!("/kv/{key}")), value.to_owned()).query("timeout", "1s");
    call.within(Duration::from_secs(5)).send().await.map_or(0, |answer| answer.status)
}

fn is_taken(status: u16) -> bool {
    matches!(status, 200 | 201)
}

async fn get(cluster: &Cluster, key: &str) -> Option<String> {
    let answer = cluster.http.get(cluster.nodes[0].url(&format!("/kv/{key}"))).within(Duration::from_secs(5)).send();
    answer.await.ok().filter(|answer| answer.status == 200).map(|answer| answer.text())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_filled_to_the_brim_refuses_writes_and_serves_reads_until_there_is_room() {
    let Some((disk, mut cluster)) = alone().await else { return };
    let process = cluster.nodes[0].process.pid();
    assert_eq!(put(&cluster, "before", "kept").await, 201);
    // Long enough for the state engine not to keep it in memory for now.
    let long = "x".repeat(100_000);
    // The node looks at the room twice a second: filled just before a look, nothing is written any more, and it is filled again at another time.
    let met = until(SOON, async || {
        disk.fill(0);
        put(&cluster, "meanwhile", &long).await;
        if disk.met().full > 0 {
            return Some(());
        }
        disk.empty();
        until(SOON, async || is_taken(put(&cluster, "meanwhile", &long).await).then_some(())).await;
        tokio::time::sleep(Duration::from_millis(130)).await;
        None
    });
    assert_eq!(met.await, Some(()), "something was to be written where there is no room");
    let refused = until(SOON, async || (put(&cluster, "meanwhile", &long).await == 507).then_some(())).await;
    assert_eq!(refused, Some(()), "writes are refused");
    assert_eq!(get(&cluster, "before").await.as_deref(), Some("kept"), "reads go on");
    disk.empty();
    let taken = until(SOON, async || is_taken(put(&cluster, "after", "new").await).then_some(())).await;
    assert_eq!(taken, Some(()), "writes are taken again");
    assert_eq!(get(&cluster, "before").await.as_deref(), Some("kept"));
    assert!(cluster.nodes[0].is_running());
    assert_eq!(cluster.nodes[0].process.pid(), process, "by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_started_over_a_full_disk_waits_for_room_and_has_everything() {
    let Some((disk, mut cluster)) = alone().await else { return };
    assert_eq!(put(&cluster, "before", "kept").await, 201);
    disk.fill(0);
    cluster.nodes[0].kill();
    cluster.nodes[0].spawn();
    let process = cluster.nodes[0].process.pid();
    // What the state has lost is in the log, and has to be applied again: there is no room for it.
    let waits = until(SOON, async || {
        assert!(cluster.nodes[0].is_running(), "it ended");
        cluster.nodes[0].process.has_logged("serves nothing until there is room").then_some(())
    });
    assert_eq!(waits.await, Some(()), "it says what it waits for");
    disk.empty();
    cluster.nodes[0].ready().await;
    cluster.usable().await;
    assert_eq!(get(&cluster, "before").await.as_deref(), Some("kept"));
    assert_eq!(cluster.nodes[0].process.pid(), process, "by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founder_without_room_waits_for_it() {
    let Some(disk) = needs("root and /dev/fuse", Disk::mount()) else { return };
    let mut cluster = Plan::new(1).lay();
    std::os::unix::fs::symlink(disk.path(), cluster.nodes[0].dir()).unwrap();
    // It asks for a registry that is not there yet, so there is time to fill its disk.
    cluster.nodes[0].start().await;
    let asks = until(SOON, async || {
        let state = cluster.http.get(cluster.nodes[0].url("/cluster/state")).send().await.ok()?;
        (state.is_ok() && cluster.nodes[0].process.has_logged("does not answer yet")).then_some(())
    });
    assert_eq!(asks.await, Some(()), "it runs, and asks the registry");
    disk.fill(0);
    cluster.registry.start().await;
    let waits = until(SOON, async || {
        assert!(cluster.nodes[0].is_running(), "it ended");
        cluster.nodes[0].process.has_logged("the founding cannot be noted yet").then_some(())
    });
    assert_eq!(waits.await, Some(()), "it waits, and says so");
    disk.empty();
    cluster.usable().await;
    let ready = until(SOON, async || {
        let answer = cluster.http.get(cluster.nodes[0].url("/readyz")).within(Duration::from_secs(5)).send().await;
        answer.ok().filter(|answer| answer.status == 200)
    });
    assert!(ready.await.is_some(), "it is ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_does_not_answer_is_said_and_the_node_goes_on_once_it_does() {
    let Some((disk, mut cluster)) = alone().await else { return };
    let metric =
        async |cluster: &Cluster| cluster.nodes[0].metric::<f64>(&cluster.http, "muster_disk_stalled_seconds").await;
    assert_eq!(metric(&cluster).await, Some(0.0));
    disk.trouble(|trouble| trouble.stalled = true);
    let said = until(SOON, async || {
        let ready =
            cluster.http.get(cluster.nodes[0].url("/readyz")).within(Duration::from_secs(5)).send().await.ok()?;
        (ready.status == 503 && ready.text().contains("the disk has not answered for")).then_some(())
    });
    let said = said.await;
    let seconds = metric(&cluster).await;
    let status = cluster.nodes[0].status(&cluster.http).await;
    disk.trouble(|trouble| trouble.stalled = false);
    assert_eq!(said, Some(()), "/readyz says so");
    assert!(seconds.is_some_and(|seconds| seconds >= 1.0), "{seconds:?}");
    assert!(status.is_some_and(|status| status.disk.stalled_ms.is_some_and(|ms| ms >= 1_000)), "the status says so");
    cluster.usable().await;
    let well = until(SOON, async || {
        let ready =
            cluster.http.get(cluster.nodes[0].url("/readyz")).within(Duration::from_secs(5)).send().await.ok()?;
        (ready.status == 200 && metric(&cluster).await == Some(0.0)).then_some(())
    });
    assert_eq!(well.await, Some(()), "all is well again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registrys_record_outlives_a_power_cut() {
    let Some(disk) = needs("root and /dev/fuse", Disk::mount()) else { return };
    let mut cluster = Plan::new(1).lay();
    let data_dir = disk.path().join("fresh").join("registry");
    let at = cluster.registry.process.args_mut().iter().position(|arg| arg == "--data-dir").unwrap();
    cluster.registry.process.args_mut()[at + 1] = data_dir.display().to_string();
    cluster.registry.start().await;
    cluster.nodes[0].start().await;
    cluster.usable().await;
    let before = cluster.http.get(format!("{}/clusters", cluster.registry.url())).ok().await.text();
    cluster.nodes[0].kill();
    cluster.registry.process.kill();
    disk.power_off(None);
    assert!(data_dir.join("foundings").exists(), "the folder of a confirmed founding is gone: {:?}", disk.files());
    cluster.registry.start().await;
    let clusters: serde_json::Value =
        cluster.http.get(format!("{}/clusters", cluster.registry.url())).ok().await.json();
    let before: serde_json::Value = serde_json::from_str(&before).unwrap();
    assert_eq!(clusters["clusters"][0]["cluster_id"], before["clusters"][0]["cluster_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_ends_the_node_with_the_reason_and_what_was_acknowledged_is_there_after_it() {
    let Some((disk, mut cluster)) = alone().await else { return };
    assert_eq!(put(&cluster, "before", "kept").await, 201);
    // The segment in use, not the one that is made ahead beside it: that holds nothing, and another one is made.
    disk.trouble(|trouble| trouble.sync_fails_once = Some("log/0000000001.seg"));
    assert_ne!(put(&cluster, "lost", "?").await, 201, "not acknowledged");
    let status = cluster.nodes[0].process.wait(SOON).await;
    assert_eq!((status.code(), disk.met().failed_syncs), (Some(1), 1));
    assert!(cluster.nodes[0].process.has_logged("the log failed"), "it says why");
    cluster.nodes[0].start().await;
    cluster.usable().await;
    assert_eq!(get(&cluster, "before").await.as_deref(), Some("kept"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_outlives_a_power_cut_and_a_disk_that_lies_is_found_out() {
    let Some((disk, mut cluster)) = alone().await else { return };
    for lies in [false, true] {
        disk.trouble(|trouble| *trouble = Trouble { lies, ..Trouble::default() });
        let key = format!("lies-{lies}");
        assert_eq!(put(&cluster, &key, "acked").await, 201);
        cluster.nodes[0].kill();
        disk.power_off(None);
        cluster.nodes[0].start().await;
        cluster.usable().await;
        assert_eq!(get(&cluster, &key).await.is_some(), !lies, "a disk that lies: {lies}");
    }
    assert!(disk.met().lies > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_disk_hangs_gathers_in_memory_what_it_is_sent_once() {
    const HALF_A_MIB: usize = 512 << 10;
    let Some(disk) = needs("root and /dev/fuse", Disk::mount()) else { return };
    let mut cluster = Plan::new(3).lay();
    std::os::unix::fs::symlink(disk.path(), cluster.nodes[2].dir()).unwrap();
    cluster.registry.start().await;
    cluster.start_all().await;
    if cluster.settled().await == 2 {
        cluster.http.post(cluster.nodes[0].url("/cluster/leader/transfer"), &json!({})).ok().await;
        assert_ne!(cluster.settled().await, 2);
    }
    let before = cluster.nodes[2].process.resident_bytes();
    disk.trouble(|trouble| trouble.stalled = true);
    // More than may wait for the disk, and less than the leader drops of its log.
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (http, url) = (cluster.http.clone(), cluster.nodes[0].url(&format!("/kv/long/{writer}-")));
            tokio::spawn(async move {
                for n in 0..24 {
                    http.put(format!("{url}{n}"), vec![b'x'; HALF_A_MIB]).ok().await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let mut most = 0;
    for _ in 0..150 {
        most = most.max(cluster.nodes[2].process.resident_bytes());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(disk.met().stalled > 0, "nobody met it");
    disk.trouble(|trouble| trouble.stalled = false);
    let mib = |bytes: u64| bytes >> 20;
    figure(
        "memory of a follower whose disk hangs for 15 s, 96 MiB written",
        &format!("{} MiB before, {} MiB at most", mib(before), mib(most)),
    );
    assert!(mib(most) < mib(before) + 384, "{} MiB, {} MiB before", mib(most), mib(before));
    cluster.settled().await;
    let all = cluster.everything(2, "long/").await;
    assert_eq!(all.len(), 8 * 24);
}

/// The engine of the state flushes on a thread of its own; what waits for that thread must not wait for ever once it has failed.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_cannot_be_synced_ends_the_node_with_the_reason() {
    let Some((disk, mut cluster)) = alone().await else { return };
    let long = "x".repeat(100_000);
    for n in 0..12 {
        assert_eq!(put(&cluster, &format!("long/{n}"), &long).await, 201);
    }
    disk.trouble(|trouble| trouble.sync_fails_once = Some("keyspaces"));
    // At rest it writes what it has in memory into a table; under load as well.
    let ended = until(2 * SOON, async || {
        if disk.met().failed_syncs > 0 {
            put(&cluster, "after", "new").await;
        }
        (!cluster.nodes[0].is_running()).then_some(())
    });
    assert_eq!(ended.await, Some(()), "it goes on: {:?}", disk.met());
    let log = cluster.nodes[0].process.run_log();
    assert!(log.contains("the state engine failed"), "{log}");
    cluster.nodes[0].start().await;
    cluster.usable().await;
    assert_eq!(cluster.everything(0, "long/").await.len(), 12);
}
