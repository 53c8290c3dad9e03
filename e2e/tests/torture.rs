//! A short fixed set of the torture, so that neither it nor what it guards rots. People run it for longer: `docs/reliability.md`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is the verdict of a test")]

use std::path::Path;
use std::time::Duration;

use muster_e2e::clock::Clock;
use muster_e2e::disk::Disk;
use muster_e2e::netns::Net;
use muster_e2e::skip::needs;
use muster_e2e::torture::{Control, Plan, run};

async fn torture(seed: u64, faults: &[&str], disks: bool) {
    let Some(_) = needs("root and network namespaces", Net::new(1)) else { return };
    if disks && needs("/dev/fuse", Disk::mount()).is_none() {
        return;
    }
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    // 12 s of faults at least, besides what it takes to get over each.
    let length = Duration::from_secs(12);
    let plan = Plan { seed, length, nodes: 3, disks, keys: false, from: None, faults: faults.clone(), control: None };
    let report = run(&plan, &|line| eprintln!("{line}")).await.expect("a run");
    if !report.violations.is_empty() {
        let kept = report.save(&Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("torture-{seed}")));
        let all: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
        panic!("kept in {kept:?}:\n{}", all.join("\n"));
    }
    for fault in &faults {
        let struck = report.record.strikes.iter().any(|strike| strike.fault == *fault);
        assert!(struck, "{fault} did not strike: {:?}", report.record.strikes);
    }
    // That clients worked at all; how much they get done is a matter of the machine.
    assert!(report.record.operations.len() > 50, "{}", report.record.counts());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_processes_die_and_sleep() {
    torture(1, &["kill", "kill-all", "pause", "restart"], false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_network_is_in_parts() {
    torture(2, &["alone", "halves", "one-way", "lossy", "gossip-cut"], false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_clocks_are_wrong() {
    let Some(_) = needs("faketime", Clock::library()) else { return };
    torture(7, &["clock-jump", "clock-far", "clock-strobe-all", "clock-drift"], false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_or_changed_on_a_bad_wire() {
    torture(7, &["delayed", "overtaken", "corrupted", "falsified"], false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_power_fails() {
    torture(4, &["unsynced-lost", "torn-writes", "blackout"], true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_disks_fail() {
    torture(5, &["failed-sync", "stalled-disk", "brim-full-disk"], true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_sync_is_found_out() {
    let had = Net::new(1).and_then(|_| Disk::mount().map_err(|error| error.to_string()));
    let Some(_) = needs("root, network namespaces and /dev/fuse", had) else { return };
    // It ends when it is found. The first blackout may come before anything was acknowledged that could be lost.
    let (length, faults) = (Duration::from_secs(30), vec!["blackout".to_owned()]);
    let plan = Plan {
        seed: 6,
        length,
        nodes: 3,
        disks: true,
        keys: false,
        from: None,
        faults,
        control: Some(Control::Unsynced),
    };
    let report = run(&plan, &|line| eprintln!("{line}")).await.expect("a run");
    // What was acknowledged is gone. That nodes do not start on such disks, or nobody can write, is another finding.
    let lost = |judge: &str| matches!(judge, "order" | "durable" | "linearizable");
    let found = report.violations.iter().any(|violation| lost(violation.judge));
    assert!(found, "{}: {:?}", report.record.counts(), report.violations);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_reads_stale_writes_twice_or_does_without_a_majority_is_found_out() {
    let Some(_) = needs("root and network namespaces", Net::new(1)) else { return };
    for (control, judge) in
        [(Control::StaleReads, "order"), (Control::TwiceApplied, "once"), (Control::Minority, "order")]
    {
        let (length, faults) = (Duration::from_secs(12), vec!["alone".to_owned()]);
        let plan =
            Plan { seed: 3, length, nodes: 3, disks: false, keys: false, from: None, faults, control: Some(control) };
        let report = run(&plan, &|line| eprintln!("{line}")).await.expect("a run");
        let found = report.violations.iter().any(|violation| violation.judge == judge);
        assert!(found, "{control:?}: {:?}", report.violations);
    }
}
