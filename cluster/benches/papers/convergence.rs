//! How long until everybody knows: gossip to three members every 200 ms, beside serf's formula for the same.

use bytes::Bytes;
use muster_cluster::swim::{Config, Input};
use std::time::Duration;

use crate::chart::Chart;
use crate::group::{after, group};
use crate::options::Options;
use crate::report::{Section, two};
use crate::statistics::{largest, mean, quantile};
use crate::swim::line;

const SIZES: [usize; 7] = [10, 100, 1_000, 2_000, 4_000, 10_000, 16_384];
const LOSSES: [f64; 4] = [0.0, 0.1, 0.25, 0.5];

/// Serf's figures for 99.99 % of all: members, without loss, with 25 %.
const SERF: [(usize, &str, &str); 3] = [(100, "1.4", "-"), (1_000, "1.6", "2.2"), (10_000, "2.0", "2.6")];

pub(crate) fn measure(options: &Options) -> Section {
    let mut section = Section::new("Convergence at 200 ms and fan-out 3");
    section.note(
        "A member broadcasts; preset `lan`, latencies of 0.2 to 2 ms. Seconds until 99 % and until all have it, means of the runs; in brackets the slowest \
         run. Lost datagrams are lost in both directions alike. The rounds of gossip and the probes carry it; exchanges do not.",
    );
    let mut lines = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    let (mut rows, mut goal, mut missing) = (Vec::new(), None, 0);
    for members in options.sizes(&SIZES) {
        let runs = options.runs(match members {
            0..=1_000 => 20,
            1_001..=4_000 => 5,
            _ => 2,
        });
        let mut row = vec![members.to_string()];
        for (loss, line) in LOSSES.into_iter().zip(&mut lines) {
            let mut times = (Vec::new(), Vec::new());
            for run in 0..runs {
                let all = spread(members, loss, options.seed + run);
                missing += members - 1 - all.len();
                times.0.push(quantile(&all, 0.99));
                times.1.push(largest(&all));
            }
            let (most, all) = (mean(&times.0), mean(&times.1));
            line.push((members as f64, all));
            row.push(format!("{} / {} ({})", two(most), two(all), two(largest(&times.1))));
            if loss == 0.0 && (10_000..12_000).contains(&members) {
                goal = Some(largest(&times.1));
            }
        }
        let serf = SERF.iter().find(|row| row.0 == members);
        row.push(serf.map_or("-".to_owned(), |row| format!("{} / {}", row.1, row.2)));
        row.push(runs.to_string());
        rows.push(row);
        println!("convergence: N = {members} done");
    }
    let head = ["N", "no loss: 99 % / all", "10 %", "25 %", "50 %", "serf's formula, t99: no loss / 25 %", "runs"];
    section.table(&head, &rows);
    if let Some(slowest) = goal {
        section.goal(
            slowest <= 2.2,
            format!("everyone knows within 2.2 s at 10,000 members: {} s in the slowest run", two(slowest)),
        );
    }
    section.note(format!("Members that had not heard after ten seconds, in all runs: {missing}."));
    section.chart(Chart {
        file: "papers-convergence.svg",
        title: "Until all know, at 200 ms and fan-out 3".to_owned(),
        axes: ["members", "seconds"],
        lines: LOSSES
            .iter()
            .zip(lines)
            .map(|(loss, points)| line(&format!("{:.0} % lost", loss * 100.0), points, false))
            .collect(),
    });
    section
}

fn spread(members: usize, loss: f64, seed: u64) -> Vec<f64> {
    let mut sim = group(&Config::lan("spread"), members, seed);
    // Suspicions and refutations that loss makes belong to it, but their beginnings do not.
    sim.run(Duration::from_secs(1));
    sim.network.loss = loss;
    sim.watch.since = sim.time();
    let begun = sim.time();
    sim.ask(0, Input::Broadcast(Bytes::from_static(b"news"))).expect("it is short");
    sim.run_until(Duration::from_secs(10), Duration::from_millis(100), |sim| sim.watch.told.len() == members - 1);
    after(&sim.watch.told, begun, Duration::from_secs(1))
}
