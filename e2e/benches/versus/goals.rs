//! What is to be reached, and whether it is.

use std::fmt::Write as _;

use crate::cell::Cell;
use crate::report;
use crate::results::{Results, Sample};

struct Goal {
    what: &'static str,
    cell: Cell,
    over: &'static str,
    figure: fn(&Sample) -> f64,
    reached: fn(f64) -> bool,
    wanted: &'static str,
}

const GOALS: [Goal; 4] = [
    Goal {
        what: "writes over 64 connections, rate over etcd's",
        cell: Cell::Write64,
        over: "etcd",
        figure: |sample| sample.rate,
        reached: |ratio| ratio >= 3.0,
        wanted: "at least 3.00",
    },
    Goal {
        what: "a lone writer's p50 over etcd's",
        cell: Cell::Write1,
        over: "etcd",
        figure: |sample| sample.p50,
        reached: |ratio| ratio <= 0.65,
        wanted: "at most 0.65",
    },
    Goal {
        what: "linearizable reads over 64 connections, rate over etcd's",
        cell: Cell::Linearizable64,
        over: "etcd",
        figure: |sample| sample.rate,
        reached: |ratio| ratio >= 3.5,
        wanted: "at least 3.50",
    },
    Goal {
        what: "local reads over 64 connections, rate over the bare handler's",
        cell: Cell::Local64,
        over: "bare",
        figure: |sample| sample.rate,
        reached: |ratio| ratio >= 0.8,
        wanted: "at least 0.80",
    },
];

/// The goals, judged by the median of the rounds' ratios.
pub(crate) fn table(results: &Results) -> String {
    let mut text = String::from("| goal | wanted | reached, median (least to most) | |\n|---|---|---|---|\n");
    for goal in &GOALS {
        let found = results.ratio(goal.cell, ("muster", goal.over), goal.figure);
        let (reached, verdict) = match found {
            Some(ratio) if (goal.reached)(ratio.median) => (report::spread(&ratio, |r| format!("{r:.2}")), "pass"),
            Some(ratio) => (report::spread(&ratio, |r| format!("{r:.2}")), "falls short"),
            None => ("-".to_owned(), "not measured"),
        };
        let _ = writeln!(text, "| {} | {} | {reached} | {verdict} |", goal.what, goal.wanted);
    }
    text
}
