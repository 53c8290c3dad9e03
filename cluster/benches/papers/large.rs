//! A crash and a join in groups that the Go library published no figures of; a run takes a while, so there are few.

use muster_cluster::swim::Config;

use crate::go::{Times, crash, join};
use crate::options::Options;
use crate::report::{Section, one};
use crate::statistics::mean;

const SIZES: [usize; 3] = [4_096, 8_192, 16_384];

pub(crate) fn measure(options: &Options) -> Section {
    let mut section = Section::new("The same beyond 2,048 members");
    let runs = options.runs(30).min(3);
    section.note(format!(
        "As in the table of the Go library, which ends at 2,048 with 30 to 33 periods until all know of a crash. Means of {runs} runs: a row tells where it goes, and not how it varies."
    ));
    let lan = Config::lan("large");
    let piggyback = Config { gossip_fanout: 0, ..lan.clone() };
    let (mut rows, mut wrong, mut missing) = (Vec::new(), 0, 0);
    for members in options.sizes(&SIZES) {
        let mut row = vec![members.to_string()];
        for config in [&lan, &piggyback] {
            let seeds = options.seed..options.seed + runs;
            let crashes: Vec<Times> = seeds.clone().map(|seed| crash(config, members, seed)).collect();
            let joins: Vec<Times> = seeds.map(|seed| join(config, members, seed)).collect();
            let of = |times: &[Times], what: fn(&Times) -> f64| one(mean(&times.iter().map(what).collect::<Vec<_>>()));
            row.extend([
                of(&crashes, |run| run.first),
                of(&crashes, |run| run.all),
                of(&joins, |run| run.median),
                of(&joins, |run| run.all),
            ]);
            wrong += crashes.iter().map(|run| run.wrong).sum::<u64>();
            missing += joins.iter().chain(&crashes).map(|run| run.missing).sum::<usize>();
        }
        println!("large: N = {members}: {}", row.join(" | "));
        rows.push(row);
    }
    section.table(
        &[
            "N",
            "lan: crash, first",
            "all",
            "join, median",
            "all",
            "piggyback: crash, first",
            "all",
            "join, median",
            "all",
        ],
        &rows,
    );
    section.goal(wrong == 0, format!("no live member was given up in any of these runs: {wrong} were"));
    section.goal(missing == 0, format!("all heard of every crash and join: {missing} did not"));
    section
}
