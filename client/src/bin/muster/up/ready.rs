//! Waiting until everyone is ready, and saying what is waited for.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use muster_client::Client;
use muster_client::http::Registry;

use super::layout::Layout;
use super::process::{self, Child};
use crate::failure::{Failure, Status};

/// 50 ms between looks: a person does not notice, and the machine has other things to do.
const LOOK: Duration = Duration::from_millis(50);
/// 10 s between words to those who watch no progress display.
const WORD: Duration = Duration::from_secs(10);
/// Lines of a log that are shown when its process ended too early.
const LAST_LINES: usize = 5;

/// Waits for all to be ready, however long it takes: a node may have much to recover. A process that ends is a failure.
/// Gives how long it took.
pub(super) async fn wait(layout: &Layout, children: &mut [Child], show: bool) -> Result<Duration, Failure> {
    let started = Instant::now();
    let logs: Vec<_> = children.iter().map(|child| (child.name.clone(), child.log.clone())).collect();
    tokio::select! {
        ready = everyone(layout, show) => ready?,
        Some(ended) = process::any_ended(children) => {
            let log = logs.into_iter().find(|(name, _)| *name == ended.name).map(|(_, log)| log).unwrap_or_default();
            let what = format!("{} ended before it was ready ({}); the others are stopped", ended.name, ended.how);
            return Err(Failure::new(Status::Failed, format!("{what}. The end of {}:\n{}", log.display(), tail(&log))));
        }
    }
    Ok(started.elapsed())
}

async fn everyone(layout: &Layout, show: bool) -> Result<(), Failure> {
    let registry = Registry::new(&layout.registry.url())?;
    let nodes = layout.nodes.iter().map(|place| {
        let client = Client::builder().endpoint(place.url()).discovery(false).attempt_timeout(Duration::from_secs(1));
        Ok((place.name.as_str(), client.build()?))
    });
    let nodes = nodes.collect::<Result<Vec<_>, muster_client::Error>>()?;
    let bar = if show { ProgressBar::new(1 + nodes.len() as u64) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos}/{len} ready, {elapsed}  {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    let mut said = Instant::now();
    loop {
        let mut waiting = Vec::new();
        if !registry.readiness().await.is_ok_and(|health| health.ok) {
            waiting.push("the registry".to_owned());
        }
        for (name, client) in &nodes {
            match client.readiness().await {
                Ok(health) if health.ok => {}
                Ok(health) => {
                    let failed = health.checks.values().find(|check| !check.ok);
                    waiting.push(format!("{name}: {}", failed.map_or("not ready", |check| check.message.as_str())));
                }
                Err(_) => waiting.push((*name).to_owned()),
            }
        }
        if waiting.is_empty() {
            bar.finish_and_clear();
            return Ok(());
        }
        bar.set_position((1 + nodes.len() - waiting.len()) as u64);
        bar.set_message(format!("waiting for {}", waiting.join("; ")));
        if !show && said.elapsed() > WORD {
            said = Instant::now();
            super::say(&format!("still waiting for {}", waiting.join("; ")));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn tail(log: &std::path::Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..]
        .iter()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}
