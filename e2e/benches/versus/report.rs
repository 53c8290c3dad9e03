//! The figures as text, in Markdown, so that what is printed can be published as it is.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use muster_e2e::drive::usage;

use crate::cell::Cell;
use crate::options::{Options, Route};
use crate::results::{Results, Sample, Spread};
use crate::system::{KEYS, MEMBERS, System, VALUE};

/// The systems in the order of the tables.
pub(crate) const SYSTEMS: [&str; 3] = ["muster", "etcd", "bare"];
/// 5 s for caches and buffers to be given back before memory at rest is read.
const REST: Duration = Duration::from_secs(5);
/// File systems that keep their files in memory: an fsync there is free, and so says nothing.
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];

/// Under what conditions is measured.
///
/// # Errors
/// When the data would not be on a disk.
pub(crate) fn conditions(options: &Options) -> io::Result<String> {
    let dir = std::env::temp_dir();
    let kind = file_system(&dir)?;
    if IN_MEMORY.contains(&kind.as_str()) {
        let why = format!(
            "{} is in memory ({kind}), where an fsync costs nothing; set TMPDIR to a folder on a disk",
            dir.display()
        );
        return Err(io::Error::other(why));
    }
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or("unknown");
    let route = match options.route {
        Route::Spread => "connections are spread over all three members, a lone writer takes them in turns",
        Route::Leader => "all connections go to the leader",
    };
    Ok(format!(
        "{MEMBERS} members of each on one machine with {cores} processors ({}), Linux {}, load average {load} before the start, data on {kind}, fsync on everywhere; \
         the load generator shares the processors. {KEYS} keys, values of {VALUE} bytes; {route}. {} alternating rounds of \
         {:.1} s a measurement after {:.1} s of warm-up.\n",
        processor().unwrap_or_else(|| "unknown".to_owned()),
        kernel.trim(),
        options.rounds(),
        options.measured().as_secs_f64(),
        options.warm_up().as_secs_f64(),
    ))
}

fn processor() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The kind of file system that a folder is on: that of the longest mount point above it.
fn file_system(dir: &Path) -> io::Result<String> {
    let dir = dir.canonicalize()?;
    let mounts = fs::read_to_string("/proc/mounts")?;
    let points = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let above = points.filter(|(point, _)| dir.starts_with(point));
    let (_, kind) = above.max_by_key(|(point, _)| point.len()).ok_or_else(|| io::Error::other("no mounts"))?;
    Ok(kind.to_owned())
}

/// One measurement, as soon as it is there.
pub(crate) fn progress(round: usize, cell: Cell, system: &str, sample: &Sample) {
    println!(
        "round {} | {:<24} | {:<6} | {:>8.0}/s | p50 {:>8} | p99 {:>8} | servers {:.2} generator {:.2} processors{}",
        round + 1,
        cell.title(),
        system,
        sample.rate,
        time(sample.p50),
        time(sample.p99),
        sample.busy,
        sample.generator,
        match &sample.first_failure {
            Some(failure) => format!(" | {} FAILED, first: {failure}", sample.failures),
            None => String::new(),
        },
    );
}

/// Reads the servers' memory once they have nothing to do any more.
pub(crate) fn rest(systems: &[System], results: &mut Results) -> io::Result<()> {
    thread::sleep(REST);
    for system in systems {
        results.rest(system.name(), &usage::of(&system.pids())?);
    }
    Ok(())
}

/// All figures.
pub(crate) fn tables(results: &Results) -> String {
    let mut text = String::from(
        "| | | requests/s, median (least to most) | p50 | p99 | processor time a request, all servers (kernel) | largest server |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for cell in results.cells() {
        for system in SYSTEMS {
            let figure = |of: fn(&Sample) -> f64| results.spread(cell, system, of);
            let Some(rate) = figure(|s| s.rate) else { continue };
            let shown = |of: fn(&Sample) -> f64| figure(of).map_or(0.0, |spread| spread.median);
            let failures: u64 = results.of(cell, system).iter().map(|s| s.failures).sum();
            let failed = if failures > 0 { format!(", **{failures} failed**") } else { String::new() };
            let _ = writeln!(
                text,
                "| {} | {system} | {}{failed} | {} | {} | {} ({:.0} %) | {:.0} MiB |",
                cell.title(),
                spread(&rate, |rate| format!("{rate:.0}")),
                time(shown(|s| s.p50)),
                time(shown(|s| s.p99)),
                time(shown(|s| s.processor)),
                shown(|s| s.system_share) * 100.0,
                shown(|s| s.memory),
            );
        }
    }
    let _ = writeln!(
        text,
        "\n| muster over etcd, round by round | rate | p50 | p99 | processor time |\n|---|---|---|---|---|"
    );
    for cell in results.cells() {
        let ratio = |of: fn(&Sample) -> f64| {
            let found = results.ratio(cell, ("muster", "etcd"), of);
            found.map_or("-".to_owned(), |found| spread(&found, |ratio| format!("{ratio:.2}")))
        };
        let (rate, p50, p99) = (ratio(|s| s.rate), ratio(|s| s.p50), ratio(|s| s.p99));
        let _ = writeln!(text, "| {} | {rate} | {p50} | {p99} | {} |", cell.title(), ratio(|s| s.processor));
    }
    let _ = writeln!(text, "\nMemory at rest after all that:");
    for (system, servers) in &results.rested {
        let each: Vec<String> = servers.iter().map(|size| format!("{size:.0}")).collect();
        let _ = writeln!(text, "- {system}: {} MiB", each.join(", "));
    }
    text
}

/// `median (least to most)`.
pub(crate) fn spread(figures: &Spread, show: impl Fn(f64) -> String) -> String {
    format!("{} ({} to {})", show(figures.median), show(figures.least), show(figures.most))
}

/// A time in microseconds, in the unit that suits it.
pub(crate) fn time(micros: f64) -> String {
    match micros {
        ..1e3 => format!("{micros:.0} µs"),
        1e3..1e4 => format!("{:.2} ms", micros / 1e3),
        1e4..1e6 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{:.1} s", micros / 1e6),
    }
}
