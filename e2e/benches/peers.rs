//! Membership libraries beside ours: real processes, each in a network namespace of its own, measured by the same eye.
//!
//! `cargo bench -p muster-e2e --bench peers` needs root, `ip`, and a registry to fetch the other libraries from; it builds them
//! (`e2e/peers`), prints its tables and writes `docs/benchmarks/peers.md`. `--help` lists the options.
#![expect(clippy::print_stdout, reason = "a benchmark is a program for a terminal")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use muster_e2e::gossip::page::{self, times};
use muster_e2e::gossip::real::Agents;
use muster_e2e::gossip::{Detection, Settings, wrongs};

/// Gossip of other libraries beside ours.
#[derive(Debug, Parser)]
struct Options {
    /// Sizes of the clusters, at most 200.
    #[arg(long, value_delimiter = ',', default_values_t = [24, 64])]
    members: Vec<usize>,
    /// Kills and joins of each.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Seconds at rest.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// One round of each, and nothing is written: does everything work?
    #[arg(long)]
    quick: bool,
    /// Where the tables go.
    #[arg(long)]
    out: Option<PathBuf>,
    /// `cargo bench` says so.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The period that all have.
const PERIOD: Duration = Duration::from_millis(200);

/// After all have joined, so that what belongs to the joins is over.
const SETTLE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let mut options = Options::parse();
    if options.quick {
        (options.members, options.rounds, options.seconds) = (vec![8], 1, 3);
    }
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("peers: {why}");
            ExitCode::FAILURE
        }
    }
}

/// A program that is a member of some library.
struct System {
    name: &'static str,
    program: PathBuf,
    settings: Settings,
}

/// Builds the others' members, which are no part of the workspace; where they are then.
fn build() -> Result<PathBuf, String> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = crates.join("../target/peers");
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    cargo.args(["build", "--release", "--locked", "--quiet", "--manifest-path"]).arg(crates.join("peers/Cargo.toml"));
    match cargo.arg("--target-dir").arg(&target).status() {
        Ok(status) if status.success() => Ok(target.join("release")),
        Ok(status) => Err(format!("e2e/peers was not built: {status}")),
        Err(error) => Err(format!("cargo: {error}")),
    }
}

fn run(options: &Options) -> Result<(), String> {
    let peers = build()?;
    let ours = PathBuf::from(env!("CARGO_BIN_EXE_gossip_agent"));
    let system = |name, program, settings| System { name, program, settings };
    let systems = [
        system("Muster, preset `lan` at a fifth of its times", ours.clone(), Settings::Lifeguard),
        system("Muster, the same without Lifeguard", ours.clone(), Settings::Plain),
        system("Muster, the first row sealed with a key", ours, Settings::Sealed),
        system("memberlist 0.8 (Rust)", peers.join("peer_memberlist"), Settings::Lifeguard),
        system("chitchat 0.10", peers.join("peer_chitchat"), Settings::Lifeguard),
    ];
    let mut text = conditions(options);
    println!("{text}");
    for members in &options.members {
        let mut table = format!(
            "## {members} members\n\n\
             | | all see all | first gave up | all gave up | a join: known by all | packets | bytes | processor | live members given up |\n\
             |---|---:|---:|---:|---:|---:|---:|---:|---:|\n"
        );
        println!("\n{table}");
        for system in &systems {
            let row = measure(options, system, *members)?;
            println!("{row}");
            let _ = writeln!(table, "{row}");
        }
        let _ = write!(text, "\n{table}");
    }
    if !options.quick {
        println!("\n{}", page::write(options.out.as_deref(), "peers.md", &text)?);
    }
    Ok(())
}

/// A system's row.
fn measure(options: &Options, system: &System, members: usize) -> Result<String, String> {
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut agents = Agents::start(system.program.clone(), members, system.settings)?;
    let together = agents.joined()?;
    sleep(SETTLE);
    let (packets, bytes, processor) = at_rest(&agents, Duration::from_secs(options.seconds))?;
    let wronged = wrongs(&agents.seen(), began).failed;
    let (mut deaths, mut joins) = (Vec::<Detection>::new(), Vec::new());
    for _ in 0..options.rounds {
        deaths.extend(agents.kill(1)?);
        joins.push(agents.revive(1)?);
        // Not in step with what the round began.
        sleep(PERIOD.mul_f64(7.3));
    }
    let of = |pick: fn(&Detection) -> Duration| times(deaths.iter().map(pick).collect());
    Ok(format!(
        "| {} | {} | {} | {} | {} | {packets:.1} | {bytes:.0} | {processor:.2} | {wronged} |",
        system.name,
        together.as_millis(),
        of(|death| death.failed),
        of(|death| death.known),
        times(joins),
    ))
}

/// Packets and bytes that a member sends in a period while nothing happens, and the thousandths of a core that it takes for it.
fn at_rest(agents: &Agents, time: Duration) -> Result<(f64, f64, f64), String> {
    let (began, before, worked) = (Instant::now(), agents.sent()?, agents.processor()?);
    sleep(time);
    let (after, works) = (agents.sent()?, agents.processor()?);
    let (passed, members) = (began.elapsed().as_secs_f64(), agents.count() as f64);
    let each = |sent: u64| sent as f64 / (passed / PERIOD.as_secs_f64()) / members;
    Ok((each(after.0 - before.0), each(after.1 - before.1), (works - worked).as_secs_f64() * 1e3 / passed / members))
}

fn conditions(options: &Options) -> String {
    format!(
        "# Gossip of other libraries beside ours\n\n\
         `cargo bench -p muster-e2e --bench peers`, {}: the times are good for comparing the rows and \
         for nothing else.\n\n\
         Every member is a process of its own (one thread, tokio, no store) in a network namespace of its own, all on one bridge; all in one table met the same machine one after the \
         other. The period is 200 ms for all. Muster and `memberlist`: time-out 80 ms (ours: 10 to 80, as long as answers lately took), gossip every 40 ms to 3, three relays, \
         suspicion α = 4 and β = 6, full exchange every 6 s, streams probed too. `chitchat` has no probes: heartbeats ride on a reconciliation with three others in each \
         period, and a phi accrual detector (its own threshold of 8, window of 1,000; a first interval of 1 s and a longest of 2 s, a fifth of its defaults) judges for each member \
         by itself.\n\n\
         Milliseconds, median and worst of {} rounds. *All see all*: all processes start at once, from the last being ready. *Gave up*: after SIGKILL of one. *A join*: the \
         killed one starts again, from its being ready until all others see it. Packets and bytes: what a member sends in a period at rest, {} s, counted at the switch with \
         headers. *Processor*: thousandths of a core that a member takes meanwhile, the kernel's work for it included. *Live members given up*: lives, from the start to the end of the rest.\n",
        page::machine(),
        options.rounds,
        options.seconds,
    )
}
