//! What a large cluster costs one member: time, allocations, memory.
//!
//! ```sh
//! cargo bench -p muster-cluster --bench scale                       # all, some minutes on one core
//! cargo bench -p muster-cluster --bench scale -- member             # some: member, simulated, node
//! cargo bench -p muster-cluster --bench scale -- --quick --out -    # a look, nothing written
//! ```
//!
//! Writes its sections of `docs/benchmarks/scale.md`.

#![allow(clippy::print_stdout, clippy::expect_used, reason = "a program for people, that stops where it cannot go on")]

#[path = "../papers/chart.rs"]
#[allow(dead_code, reason = "shared with the other benchmark, which draws")]
mod chart;
mod member;
mod node;
#[path = "../papers/options.rs"]
#[allow(dead_code, reason = "shared with the other benchmark, which has groups of many sizes")]
mod options;
mod peers;
#[path = "../papers/report.rs"]
#[allow(dead_code, reason = "shared with the other benchmark, which draws")]
mod report;
mod samples;
mod script;
mod simulated;
mod world;

use std::time::Instant;

use options::Options;
use report::{Report, Section};

const REPORT: Report = Report {
    file: "scale.md",
    head: "# Large clusters\n\nWritten by `cargo bench -p muster-cluster --bench scale`; how to read it: [README.md](README.md).\n\n",
};

/// Measures something and tells of it.
type Experiment = fn(&Options) -> Section;

fn main() {
    if let Some(seed) = node::asked_for() {
        return node::live(seed);
    }
    let options = match Options::read("scale [member] [simulated] [node] [--quick] [--out FOLDER, or - for nowhere]") {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("{wrong}");
            std::process::exit(2);
        }
    };
    let experiments: [(&str, Experiment); 3] =
        [("member", member::measure), ("simulated", simulated::measure), ("node", node::measure)];
    for (name, measure) in experiments {
        if !options.wants(name) {
            continue;
        }
        let begin = Instant::now();
        let mut section = measure(&options);
        section.note(format!("Measured in {:.0} s on one core.", begin.elapsed().as_secs_f64()));
        println!("{}", section.text());
        if let Some(out) = &options.out {
            section.write(&REPORT, name, out).expect("the results can be written");
        }
    }
}
