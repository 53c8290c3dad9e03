//! Three nodes of Muster, three of etcd and a bare actix handler under the same load, in alternating rounds.
//!
//! ```text
//! options ── cells (what is measured) x systems (who is measured) x rounds ── results ── report (text), chart (SVG)
//! ```
//!
//! `cargo bench -p muster-e2e --bench versus` measures the static binaries as they are shipped: it takes them from
//! `MUSTER_BIN_DIR`, or builds them. etcd is found by `ETCD` or on `PATH` and left out with a word if it is absent. All
//! servers run for the whole time on data directories under `TMPDIR`, which must be on a disk. `--help` lists the options.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that cannot go on says so and stops")]
#![expect(clippy::print_stdout, reason = "a benchmark is a program for a terminal")]

mod bare;
mod binaries;
mod cell;
mod chart;
mod etcd;
mod goals;
mod muster;
mod options;
mod report;
mod results;
mod system;

use std::fs;
use std::io;
use std::process::ExitCode;

use clap::Parser;

use options::Options;
use results::{Results, Sample};
use system::System;

/// As `muster-node` has it, so that the bare handler differs from it in the store alone.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match options.serve_bare {
        Some(at) => bare::serve(at),
        None => binaries::prepare(&options).and_then(|ready| match ready {
            binaries::Prepared::Here => run(&options),
            binaries::Prepared::Elsewhere(code) => std::process::exit(code),
        }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("versus: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<()> {
    let conditions = report::conditions(options)?;
    println!("{conditions}");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let systems = runtime.block_on(System::start_all(options))?;
    let mut results = Results::default();
    for system in &systems {
        runtime.block_on(system.fill())?;
    }
    for round in 0..options.rounds() {
        for cell in &options.cells {
            // Who goes first changes, so that whatever the one leaves behind (dirty pages, a warm disk) meets both.
            let mut order: Vec<&System> = systems.iter().collect();
            order.rotate_left(round % systems.len());
            for system in order {
                let Some(job) = runtime.block_on(system.job(*cell, options)) else { continue };
                let outcome = job.run(&system.pids())?;
                let sample = Sample::new(&outcome);
                report::progress(round, *cell, system.name(), &sample);
                results.add(*cell, system.name(), sample);
            }
        }
    }
    report::rest(&systems, &mut results)?;
    let text = format!("{conditions}\n{}\n{}", goals::table(&results), report::tables(&results));
    println!("\n{text}");
    if let Some(out) = options.out() {
        fs::create_dir_all(&out)?;
        fs::write(out.join("versus.md"), text)?;
        chart::write_all(&results, &out)?;
        println!("written to {}", out.display());
    }
    Ok(())
}
