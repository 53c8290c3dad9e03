//! Gossip with real processes, each in a network namespace of its own, beside what the simulator says for the same settings.
//!
//! `cargo bench -p muster-e2e --bench gossip` needs root, `ip` and `nft`; it prints its tables and writes `docs/benchmarks/gossip.md`.
//! Whatever else the machine does meanwhile is measured with it. `--help` lists the options.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that cannot go on says so and stops")]
#![expect(clippy::print_stdout, reason = "a benchmark is a program for a terminal")]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use muster_e2e::gossip::page::{self, times};
use muster_e2e::gossip::real::{Agents, Load};
use muster_e2e::gossip::simulated::Members;
use muster_e2e::gossip::{Detection, Settings, Wrongs};

/// Gossip with real processes beside the simulator.
#[derive(Debug, Parser)]
struct Options {
    /// Processes of the large cluster.
    #[arg(long, default_value_t = 24)]
    members: usize,
    /// Rounds of each join and kill with real processes.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Seconds of each measurement of accuracy.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Rounds of each cell in the simulator.
    #[arg(long, default_value_t = 100)]
    simulated: u64,
    /// One short round of each, and nothing is written: does everything work?
    #[arg(long)]
    quick: bool,
    /// Where the tables go.
    #[arg(long)]
    out: Option<PathBuf>,
    /// `cargo bench` says so.
    #[arg(long, hide = true)]
    bench: bool,
}

const BOTH: [Settings; 2] = [Settings::Lifeguard, Settings::Plain];

fn main() -> ExitCode {
    let mut options = Options::parse();
    if options.quick {
        (options.rounds, options.seconds, options.simulated) = (1, 5, 5);
    }
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("gossip: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let mut text = conditions(options);
    println!("{text}");
    for part in [deaths, accuracy, load] {
        let table = part(options)?;
        println!("\n{table}");
        let _ = write!(text, "\n{table}");
    }
    if !options.quick {
        println!("\n{}", page::write(options.out.as_deref(), "gossip.md", &text)?);
    }
    Ok(())
}

fn conditions(options: &Options) -> String {
    let priority = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name in brackets, the 17th field is the nice value.
    let nice = priority.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(16)).unwrap_or("?").to_owned();
    format!(
        "# Gossip: real processes beside the simulator\n\n\
         `cargo bench -p muster-e2e --bench gossip`, {}, nice {nice}.\n\n\
         Every member is a process of its own (one thread, the library's tokio driver, no store) in a network namespace of its own, all on one \
         bridge. Settings: the preset `lan`, five times as fast: a period of 200 ms, time-out 10 to 80 ms, gossip every 40 ms to 3; streams \
         are probed too. Lifeguard: all of its parts; plain: none of them. Real: {} rounds; simulated: {} runs of the same settings, 50 to 500 µs \
         for a packet. Times are median and worst in milliseconds.\n",
        page::machine(),
        options.rounds,
        options.simulated,
    )
}

fn row(table: &mut String, name: &str, joins: Vec<Duration>, deaths: &[Detection]) {
    let of = |pick: fn(&Detection) -> Duration| times(deaths.iter().map(pick).collect());
    let (suspected, failed, known) = (of(|d| d.suspected), of(|d| d.failed), of(|d| d.known));
    let _ = writeln!(table, "| {name} | {} | {suspected} | {failed} | {known} |", times(joins));
    println!("{}", table.lines().last().unwrap_or_default());
}

/// Joins, and the deaths of one and of two at once.
fn deaths(options: &Options) -> Result<String, String> {
    let mut table = "## All at once in, one and two at once out (SIGKILL)\n\n\
        Join: from the last process being ready until every member sees every other. Then from the signal until the first other suspects the \
        victim, gives it up, and until all have given it up; of two victims each counts.\n\n\
        | | join | first suspect | first failed | known by all |\n|---|---:|---:|---:|---:|\n"
        .to_owned();
    for (members, settings) in
        [(8, Settings::Lifeguard), (options.members, Settings::Lifeguard), (options.members, Settings::Plain)]
    {
        for victims in [1, 2] {
            let name = format!("{members} members, {}, {victims} killed", settings.name());
            let (mut joins, mut deaths) = (Vec::new(), Vec::new());
            // Some clusters, some deaths each: a start takes as long as several deaths.
            for _ in 0..options.rounds.div_ceil(5) {
                let mut agents = Agents::start(env!("CARGO_BIN_EXE_gossip_agent").into(), members, settings)?;
                joins.push(agents.joined()?);
                for _ in 0..options.rounds.min(5) {
                    deaths.extend(agents.kill(victims)?);
                    agents.revive(victims)?;
                }
            }
            row(&mut table, &format!("{name}: real"), joins, &deaths);
            let (mut joins, mut deaths) = (Vec::new(), Vec::new());
            for seed in 0..options.simulated {
                let mut simulated = Members::start(members, settings, seed);
                joins.push(simulated.joined());
                deaths.extend(simulated.kill(victims));
            }
            row(&mut table, &format!("{name}: simulated"), joins, &deaths);
        }
    }
    Ok(table)
}

fn wronged(table: &mut String, name: &str, real: (Wrongs, u64), simulated: Option<(f64, f64)>) {
    let (wrongs, dropped) = real;
    let simulated =
        simulated.map_or_else(|| "- | -".to_owned(), |(suspected, failed)| format!("{suspected:.1} | {failed:.2}"));
    let _ = writeln!(table, "| {name} | {dropped} | {} | {} | {simulated} |", wrongs.suspected, wrongs.failed);
    println!("{}", table.lines().last().unwrap_or_default());
}

const WRONGS: &str =
    "| | packets dropped | suspected | failed | simulated: suspected | failed |\n|---|---:|---:|---:|---:|---:|\n";

/// Lost packets.
fn accuracy(options: &Options) -> Result<String, String> {
    let time = Duration::from_secs(options.seconds);
    let mut table = format!(
        "## Lost packets, and nobody is dead\n\n\
         {} members, {} s each. Every machine drops a share of all packets that reach it (`nft`, `numgen random`), UDP and TCP. Lives that somebody \
         suspected or gave up, each counted once. The simulator loses as many datagrams, and nothing of its streams; its figures are means.\n\n{WRONGS}",
        options.members, options.seconds
    );
    for percent in [0, 10, 30] {
        for settings in BOTH {
            let agents = Agents::start(env!("CARGO_BIN_EXE_gossip_agent").into(), options.members, settings)?;
            agents.joined()?;
            let real = agents.lose(percent, time)?;
            let runs = options.simulated.div_ceil(5);
            let (mut suspected, mut failed) = (0, 0);
            for seed in 0..runs {
                let mut simulated = Members::start(options.members, settings, seed);
                simulated.joined();
                let wrongs = simulated.lose(f64::from(percent) / 100.0, time);
                (suspected, failed) = (suspected + wrongs.suspected, failed + wrongs.failed);
            }
            let mean = |sum: usize| sum as f64 / runs as f64;
            wronged(
                &mut table,
                &format!("{percent} %, {}", settings.name()),
                real,
                Some((mean(suspected), mean(failed))),
            );
        }
    }
    Ok(table)
}

/// A busy processor.
fn load(options: &Options) -> Result<String, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut table = format!(
        "## A busy processor, and nobody is dead\n\n\
         {} members, {} s each, beside busy loops of the same priority. The simulator knows no scheduler, so it has no figure here; its own experiment with \
         members that run by turns is in `cargo bench -p muster-cluster --bench papers`.\n\n{WRONGS}",
        options.members, options.seconds
    );
    for each in [1, 8] {
        for settings in BOTH {
            let agents = Agents::start(env!("CARGO_BIN_EXE_gossip_agent").into(), options.members, settings)?;
            agents.joined()?;
            let busy = Load::start(cores * each).map_err(|error| error.to_string())?;
            let real = agents.lose(0, Duration::from_secs(options.seconds))?;
            drop(busy);
            wronged(&mut table, &format!("{each} loops a core, {}", settings.name()), real, None);
        }
    }
    Ok(table)
}
