//! The tables of the papers, measured in the simulator on the production core.
//!
//! ```sh
//! cargo bench -p muster-cluster --bench papers                      # all, groups of up to 2,048 members
//! cargo bench -p muster-cluster --bench papers -- swim go           # some of them
//! cargo bench -p muster-cluster --bench papers -- large --max 16384 # larger groups
//! cargo bench -p muster-cluster --bench papers -- --quick --out -   # few runs, nothing written
//! ```
//!
//! Writes its sections of `docs/benchmarks/papers.md`, and the plots beside it.

#![allow(clippy::print_stdout, clippy::expect_used, reason = "a program for people, that stops where it cannot go on")]

mod chart;
mod convergence;
mod exhaustion;
mod foca;
mod go;
mod group;
mod joins;
mod large;
mod lifeguard;
mod options;
mod report;
mod statistics;
mod swim;

use std::time::Instant;

use options::Options;
use report::{Report, Section};

const USAGE: &str = "papers [swim] [joins] [go] [large] [lifeguard] [exhaustion] [convergence] [--max MEMBERS] [--seed FIRST] [--quick] [--out FOLDER, or - for nowhere]";

const REPORT: Report = Report {
    file: "papers.md",
    head: "# The papers' tables\n\nWritten by `cargo bench -p muster-cluster --bench papers`; what it compares and how to read it: \
[README.md](README.md).\n\n",
};

/// Measures something and tells of it.
type Experiment = fn(&Options) -> Section;

fn main() {
    let options = match Options::read(USAGE) {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("{wrong}");
            std::process::exit(2);
        }
    };
    let experiments: [(&str, Experiment); 7] = [
        ("swim", swim::measure),
        ("joins", joins::measure),
        ("go", go::measure),
        ("large", large::measure),
        ("lifeguard", lifeguard::measure),
        ("exhaustion", exhaustion::measure),
        ("convergence", convergence::measure),
    ];
    for (name, measure) in experiments {
        if !options.wants(name) {
            continue;
        }
        let begin = Instant::now();
        let mut section = measure(&options);
        let took = begin.elapsed().as_secs_f64();
        section.note(format!(
            "Measured in {took:.0} s on one core that others may have used as well; seeds from {}.",
            options.seed
        ));
        println!("{}", section.text());
        if let Some(out) = &options.out {
            section.write(&REPORT, name, out).expect("the results can be written");
        }
    }
}
