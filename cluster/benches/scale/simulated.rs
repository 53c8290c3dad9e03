//! A simulated cluster of many members, each with a view of its own: how long it takes to build, and what it takes.

use std::time::Duration;

use muster_cluster::sim::Sim;
use muster_cluster::swim::Config;

use crate::options::Options;
use crate::report::{Section, one};
use crate::samples::processor_time;

const MEMBERS: usize = 16_384;

const GOAL: f64 = 60.0;

/// Virtual time that it runs after that.
const RUN: Duration = Duration::from_secs(10);

/// What this process has of the machine's memory, in MiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1_024.0
}

pub(crate) fn measure(options: &Options) -> Section {
    let mut section = Section::new("A simulated cluster of 16,384 members");
    section.note(
        "Each member is a production core with a view of its own; what all know alike they share until they know otherwise. After it \
         is built, the cluster lives for some virtual seconds. Seconds are processor time of the one thread.",
    );
    let before = resident();
    let begin = processor_time();
    let mut sim = Sim::new(Config::lan("scale"), options.seed, ());
    for _ in 0..MEMBERS {
        sim.add_next();
    }
    sim.start_acquainted();
    let built = (processor_time() - begin).as_secs_f64();
    let after = resident();
    let begin = processor_time();
    sim.run(RUN);
    let ran = (processor_time() - begin).as_secs_f64();
    let lived = resident();
    let all = sim.up().into_iter().all(|host| sim.host(host).swim.as_ref().is_some_and(|swim| swim.live() == MEMBERS));
    section.table(
        &["", "processor, s", "memory of the process, MiB"],
        &[
            vec!["before".into(), String::new(), one(before)],
            vec!["built".into(), one(built), one(after)],
            vec![format!("{} s of virtual time later", RUN.as_secs()), one(ran), one(lived)],
        ],
    );
    section.goal(built < GOAL, format!("built in under {GOAL} s on one core: {}", one(built)));
    section.goal(all, "nobody lost sight of anybody who lives");
    section
}
