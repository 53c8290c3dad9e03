//! Tries to break the promise: nothing acknowledged is ever lost.
//!
//! ```text
//! cargo run -p muster-e2e --release -- --seed 7 --minutes 2 --nodes 5
//! cargo run -p muster-e2e --release -- --judge FOLDER/history.jsonl
//! ```
//!
//! It needs root, `ip`, `nft`, `tc` and `ss`, and the programs (`cargo build --release --bins`); with `--disks` `/dev/fuse`, and for faults of
//! clocks Debian's `faketime`. Exit status 0: nothing was found; 1: a violation,
//! whose history and logs are kept; 2: it could not be run.

#![expect(clippy::print_stdout, reason = "a program that reports to a person")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use muster_e2e::judges;
use muster_e2e::torture::record::Record;
use muster_e2e::torture::{Control, Plan, Report, run};

#[derive(Debug, Parser)]
#[command(about = "Tries to break the promise: nothing acknowledged is ever lost")]
struct Options {
    /// May be written for what it is: the only thing that this program does.
    #[arg(hide = true, value_parser = ["torture"])]
    word: Option<String>,
    /// All chance of the run comes from it, but that of the processes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// For how many minutes there are faults.
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// How many nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(3..=7))]
    nodes: u8,
    /// Gives the nodes disks of the harness's own, whose faults are then among those drawn. Takes /dev/fuse.
    #[arg(long)]
    disks: bool,
    /// Seals all between the nodes with a key.
    #[arg(long)]
    keys: bool,
    /// Starts all nodes with the `muster-node` of an earlier release in this folder; the fault `upgrade` is then among those drawn.
    #[arg(long)]
    from: Option<PathBuf>,
    /// Only this fault; repeatable. All that fit when not given.
    #[arg(long)]
    fault: Vec<String>,
    /// What is to be wrong with the clients, or the disks, on purpose; the judges must find it.
    #[arg(long, value_parser = ["stale-reads", "twice-applied", "unsynced", "minority"])]
    control: Option<String>,
    /// Where history and logs go when something is found.
    #[arg(long, default_value = "target/torture")]
    out: PathBuf,
    /// Keeps history and logs of a run without a finding as well.
    #[arg(long)]
    keep: bool,
    /// Judges the history of an earlier run instead.
    #[arg(long)]
    judge: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(history) = &options.judge {
        return match Record::load(history) {
            Ok(record) => verdict(&judges::judge(&record)),
            Err(error) => unable(&format!("{}: {error}", history.display())),
        };
    }
    let length = Duration::from_secs_f64(options.minutes.clamp(0.0, 24.0 * 60.0) * 60.0);
    let control = options.control.as_deref().and_then(Control::named);
    let (seed, nodes, disks, faults) = (options.seed, options.nodes.into(), options.disks, options.fault.clone());
    let (keys, from) = (options.keys, options.from.clone());
    let plan = Plan { seed, length, nodes, disks, keys, from, faults, control };
    println!("seed {}, {} nodes, {:?}", plan.seed, plan.nodes, plan.length);
    let report = match run(&plan, &|line| println!("{line}")).await {
        Ok(report) => report,
        Err(why) => return unable(&why),
    };
    if options.keep || !report.violations.is_empty() {
        keep(&options, &report);
    }
    println!("seed {}: {} faults", plan.seed, report.record.strikes.len());
    verdict(&report.violations)
}

fn keep(options: &Options, report: &Report) {
    let folder = free(&options.out, options.seed);
    match report.save(&folder) {
        Ok(history) => println!("kept: {}", history.display()),
        Err(error) => println!("not kept: {}: {error}", folder.display()),
    }
}

/// The folder of the seed, or the first one behind it that is not there yet: what an earlier run has found is not written over.
fn free(out: &Path, seed: u64) -> PathBuf {
    let mut folder = out.join(seed.to_string());
    let mut run = 1;
    while folder.exists() {
        run += 1;
        folder = out.join(format!("{seed}-{run}"));
    }
    folder
}

fn verdict(violations: &[judges::Violation]) -> ExitCode {
    for violation in violations {
        println!("VIOLATION {violation}");
    }
    println!("{}", if violations.is_empty() { "no violation" } else { "the promise is broken" });
    if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn unable(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::from(2)
}
