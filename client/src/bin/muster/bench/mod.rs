//! `muster bench`: load, throughput, latencies.

mod connection;
mod load;
mod report;

use std::io::IsTerminal;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use muster_client::Client;
use muster_client::api::quantity::{Size, Span};
use muster_client::flags::count;

use crate::failure::{Failure, Status};
use crate::output::Format;
use load::{Load, Plan};
use report::Report;

/// 16 MiB: the largest value that a node can be set to accept.
const LARGEST: u64 = 16 << 20;

/// Load the cluster and measure throughput and latency
///
/// Writes keys below `muster-bench/` and removes them afterwards. Each connection sends one request after the other.
/// Writes and linearizable reads go to the leader, as the client library sends them; local reads are spread over all nodes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster bench
  muster bench --mix read --consistency linearizable --connections 32
  muster bench --duration 1m -o json

Run it on another machine than the nodes, or it takes its share of their processors.
Latencies are measured from sending a request to having read its answer.")]
pub(crate) struct Bench {
    /// How many requests are under way at once; 64 is what a small cluster is busy with
    #[arg(long, env = "MUSTER_CONNECTIONS", value_name = "N", default_value = "64", value_parser = count::<NonZeroU32>)]
    connections: NonZeroU32,

    /// How long each value is; 256 bytes hold a session or a setting
    #[arg(long, env = "MUSTER_VALUE_SIZE", value_name = "SIZE", default_value = "256")]
    value_size: Size,

    /// How many different keys; 10,000 fit into any cache, so that disks are not measured by accident
    #[arg(long, env = "MUSTER_KEYS", value_name = "N", default_value = "10000", value_parser = count::<NonZeroUsize>)]
    keys: NonZeroUsize,

    /// What to do; write, since that is what a store finds hard; mixed is four reads to a write
    #[arg(long, env = "MUSTER_MIX", value_enum, default_value_t)]
    mix: Mix,

    /// How fresh reads are to be
    #[arg(long, env = "MUSTER_CONSISTENCY", value_enum, default_value_t)]
    consistency: Consistency,

    /// How long to measure, once the keys that are read have been written; 10s give p99.9 some thousand samples
    #[arg(long, env = "MUSTER_DURATION", value_name = "DURATION", default_value = "10s")]
    duration: Span,

    /// Spread writes and linearizable reads over all nodes too: they carry them to the leader
    #[arg(long, env = "MUSTER_SPREAD")]
    spread: bool,
}

/// What the load consists of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mix {
    #[default]
    Write,
    Read,
    Mixed,
}

/// How fresh reads are to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Consistency {
    /// From the node's own copy
    #[default]
    Local,
    /// Confirmed by a majority
    Linearizable,
}

impl Bench {
    pub(crate) async fn run(self, client: &Client, format: Format) -> Result<(), Failure> {
        if self.value_size.0 > LARGEST {
            return Err(Failure::new(Status::Usage, "a value has at most 16 MiB"));
        }
        let duration = self.duration.0;
        if duration.is_zero() {
            return Err(Failure::new(Status::Usage, "measure for some time: --duration 10s"));
        }
        let plan = self.plan(client).await?;
        if self.mix != Mix::Write {
            fill(&plan, format).await?;
        }
        let load = Arc::new(Load::default());
        let started = Instant::now();
        let workers: Vec<_> =
            (0..self.connections.get()).map(|n| tokio::spawn(load::work(plan.clone(), load.clone(), n))).collect();
        progress(&load, duration, started, format).await;
        load.stop.store(true, Ordering::Relaxed);
        let elapsed = started.elapsed();
        let mut report = Report::new(elapsed);
        for worker in workers {
            match worker.await {
                Ok(measured) => report.add(measured),
                Err(error) => return Err(Failure::new(Status::Failed, format!("a worker ended: {error}"))),
            }
        }
        // What the load has left behind; a failure to clean up does not spoil the figures.
        let cleaned = client.delete_prefix(load::PREFIX).await;
        report.show(format)?;
        if let Err(error) = cleaned {
            return Err(Failure::new(
                Status::Failed,
                format!("the keys below {} were not removed: {error}", load::PREFIX),
            ));
        }
        Ok(())
    }

    async fn plan(&self, client: &Client) -> Result<Arc<Plan>, Failure> {
        // Any answer shows that somebody is there, and makes the others known.
        let members = client.members().await.ok();
        let alive = |state| state == muster_client::api::cluster::MemberState::Alive;
        let mut nodes: Vec<String> =
            members.iter().flat_map(|list| &list.members).filter(|m| alive(m.state)).map(|m| m.http.clone()).collect();
        if nodes.is_empty() {
            client.get(load::PREFIX).await?;
            nodes = client.endpoints().iter().map(|url| url.trim_start_matches("http://").to_owned()).collect();
        }
        let leader = client.leader().await.ok().map(|leader| leader.http).filter(|_| !self.spread);
        Ok(Arc::new(Plan {
            leader,
            nodes,
            keys: self.keys.get(),
            value: vec![b'x'; usize::try_from(self.value_size.0).unwrap_or(usize::MAX)],
            mix: self.mix,
            consistency: self.consistency,
        }))
    }
}

/// Writes every key once, so that reads find something.
async fn fill(plan: &Arc<Plan>, format: Format) -> Result<(), Failure> {
    let bar = bar(plan.keys as u64, "writing the keys  {wide_bar} {pos}/{len}", format);
    let failed = load::fill(plan, |done| bar.set_position(done)).await;
    bar.finish_and_clear();
    failed.map_err(|why| Failure::new(Status::NoNode, format!("the keys could not be written: {why}")))
}

async fn progress(load: &Load, duration: Duration, started: Instant, format: Format) {
    let bar = bar(duration.as_millis() as u64, "measuring  {wide_bar} {msg}", format);
    let mut before = (0, started);
    while started.elapsed() < duration {
        tokio::time::sleep((duration.saturating_sub(started.elapsed())).min(Duration::from_millis(500))).await;
        let (done, now) = (load.done.load(Ordering::Relaxed), Instant::now());
        let rate = (done - before.0) as f64 / now.duration_since(before.1).as_secs_f64().max(1e-9);
        before = (done, now);
        bar.set_position(started.elapsed().as_millis() as u64);
        bar.set_message(format!("{rate:.0}/s, {} failed", load.failed.load(Ordering::Relaxed)));
    }
    bar.finish_and_clear();
}

fn bar(length: u64, template: &str, format: Format) -> ProgressBar {
    if format != Format::Table || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}
