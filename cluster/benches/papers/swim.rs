//! The figures of A. Das, I. Gupta, A. Motivala, "SWIM", 2002, section 5: message load, first detection, latency of spread,
//! suspicion time-out.

use std::time::Duration;

use muster_cluster::swim::{Config, Lifeguard};
use rand::RngExt;

use crate::chart::{Chart, Line};
use crate::foca;
use crate::group::{after, group, look_at};
use crate::options::Options;
use crate::report::{Section, one, two};
use crate::statistics::{confidence, largest, mean, median};

const PERIOD: Duration = Duration::from_secs(2);

/// So long that it does not come.
const NEVER: Duration = Duration::from_secs(1_000_000);

/// Plain SWIM with the paper's settings: one direct probe, one relay, 2 s, updates and suspicions for `3 log(N + 1)`.
pub(crate) fn papers_settings() -> Config {
    Config {
        probe_interval: PERIOD,
        probe_timeout: Duration::from_millis(500),
        probe_timeout_min: Duration::from_millis(500),
        indirect_probes: 1,
        stream_probes: false,
        lifeguard: Lifeguard::NONE,
        // No gossip but what rides on probes.
        gossip_fanout: 0,
        retransmit_multiplier: 3,
        // 7 times the decimal logarithm is 3.04 times the natural one.
        suspicion_multiplier: 7,
        exchange_interval: NEVER / 4,
        dead_probe_interval: NEVER,
        tombstone_ttl: NEVER,
        ..Config::lan("paper")
    }
}

pub(crate) fn measure(options: &Options) -> Section {
    let mut section = Section::new("SWIM, section 5");
    section.note(
        "Settings of the paper: one direct probe and one relay (K = 1) in a period of 2 s, updates sent and suspects given time for \
         3 log(N + 1) (ours: 3 ⌈ln(N + 1)⌉ and 7 log10(N + 1)); no gossip tick, no full exchange, no Lifeguard. Latencies evenly between \
         0.2 and 2 ms, no loss. `foca` 2.0 runs in the same simulator with the same periods, relays, transmissions and suspicion time-outs.",
    );
    load(options, &mut section);
    detection(options, &mut section);
    section
}

fn load(options: &Options, section: &mut Section) {
    let sizes = [2, 4, 8, 16, 24, 32, 40, 48, 55];
    let runs = options.runs(20);
    let (mut rows, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    let mut most = 0.0_f64;
    for members in sizes {
        let loads: Vec<f64> = (0..runs).map(|run| load_of(members, options.seed + run)).collect();
        let peers: Vec<f64> = (0..runs).map(|run| foca::load(members, 40, PERIOD, options.seed + run)).collect();
        most = most.max(mean(&loads));
        ours.push((members as f64, mean(&loads)));
        theirs.push((members as f64, mean(&peers)));
        rows.push(vec![members.to_string(), two(mean(&loads)), "2.0".to_owned(), two(mean(&peers))]);
    }
    section.note(format!(
        "**Message load**: messages that a member sends (as many arrive) in a period, over 40 periods, mean of {runs} runs. A probe and its \
         answer, each counted once."
    ));
    section.table(&["N", "Muster", "paper", "foca"], &rows);
    section.goal(most <= 2.005, format!("at most 2.0 messages (rounded to two decimals): {most:.3}"));
    section.chart(Chart {
        file: "papers-load.svg",
        title: "Messages a member and period".to_owned(),
        axes: ["members", "messages"],
        lines: vec![line("Muster", ours, false), line("foca", theirs, true)],
    });
}

fn load_of(members: usize, seed: u64) -> f64 {
    let mut sim = group(&papers_settings(), members, seed);
    sim.run(5 * PERIOD);
    sim.watch = crate::group::Eye { since: sim.time(), ..Default::default() };
    sim.run(40 * PERIOD);
    sim.watch.sent as f64 / 40.0 / members as f64
}

/// What one crash gave, in periods.
struct Crash {
    /// Whole periods until the first probe that the dead one does not answer.
    probed: f64,
    suspected: f64,
    median: f64,
    last: f64,
    time_out: f64,
}

fn detection(options: &Options, section: &mut Section) {
    let sizes = [8, 16, 32, 55, 128, 512];
    let (mut rows, mut lines) = (Vec::new(), [Vec::new(), Vec::new(), Vec::new(), Vec::new()]);
    let mut all_probed = Vec::new();
    for members in options.sizes(&sizes) {
        let runs = options.runs(if members > 100 { 100 } else { 400 });
        let crashes: Vec<Crash> = (0..runs).map(|run| crash_of(members, options.seed + run)).collect();
        let of = |what: fn(&Crash) -> f64| -> Vec<f64> { crashes.iter().map(what).collect() };
        let (probed, suspected) = (of(|crash| crash.probed), of(|crash| crash.suspected));
        let (middle, last, time_out) = (of(|crash| crash.median), of(|crash| crash.last), of(|crash| crash.time_out));
        if members >= 16 {
            all_probed.extend(&probed);
        }
        let n = members as f64;
        let theory = 1.0 / (1.0 - (1.0 - 1.0 / (n - 1.0)).powf(n - 1.0));
        for (line, values) in lines.iter_mut().zip([&probed, &suspected, &middle, &last]) {
            line.push((n, mean(values)));
        }
        rows.push(vec![
            members.to_string(),
            format!("{} ± {}", two(mean(&probed)), two(confidence(&probed))),
            two(theory),
            two(mean(&suspected)),
            one(median(&middle)),
            one(median(&last)),
            one(largest(&last)),
            one(mean(&time_out)),
            one(3.0 * (n + 1.0).ln()),
            runs.to_string(),
        ]);
    }
    section.note(
        "**First detection** of a crash at a random moment, counted as the paper's theory counts: whole periods until the one in which somebody probes \
         the dead one, 1/(1 - e⁻¹) = 1.58 in large groups. The suspicion is spoken at the end of that period: the next column is the time \
         from the crash to it. **Spread**: from the first suspicion until the median and the last member have heard of it. **Time-out**: from \
         a member's suspicion to its verdict. All in periods.",
    );
    let head = [
        "N",
        "first probed (mean)",
        "theory",
        "suspected (mean)",
        "spread: median",
        "last",
        "worst run",
        "time-out",
        "paper: 3 ln(N+1)",
        "runs",
    ];
    section.table(&head, &rows);
    let (found, width) = (mean(&all_probed), confidence(&all_probed));
    section.goal(
        (found - 1.58).abs() <= 0.05,
        format!("first detection in 1.58 ± 0.05 periods (N of 16 and more): {found:.3} ± {width:.3}"),
    );
    let names = ["first probed", "first suspected", "spread: median", "spread: last"];
    section.chart(Chart {
        file: "papers-detection.svg",
        title: "Detection and spread with SWIM's settings".to_owned(),
        axes: ["members", "periods"],
        lines: names.iter().zip(lines).map(|(name, points)| line(name, points, false)).collect(),
    });
}

fn crash_of(members: usize, seed: u64) -> Crash {
    let mut sim = group(&papers_settings(), members, seed);
    let moment = sim.rng().random_range(3.0..4.0);
    sim.run(PERIOD.mul_f64(moment));
    let dead = sim.rng().random_range(0..members);
    let crashed = sim.time();
    sim.crash(dead);
    // What is under way to it now is not sent later.
    look_at(&mut sim, dead);
    let everyone = members - 1;
    sim.run_until(200 * PERIOD, PERIOD, |sim| sim.watch.failed.len() == everyone);
    let periods = |time: Duration| time.as_secs_f64() / PERIOD.as_secs_f64();
    let first = sim.watch.suspected.values().min().copied().unwrap_or(Duration::MAX);
    let heard = after(&sim.watch.suspected, first, PERIOD);
    let time_outs: Vec<f64> = sim
        .watch
        .failed
        .iter()
        .filter_map(|(host, at)| Some(periods(at.saturating_sub(*sim.watch.suspected.get(host)?))))
        .collect();
    Crash {
        probed: sim.watch.first_probe.map_or(f64::NAN, |at| periods(at - crashed).ceil()),
        suspected: periods(first.saturating_sub(crashed)),
        median: median(&heard),
        last: largest(&heard),
        // Of the first: the others hear its verdict.
        time_out: largest(&time_outs),
    }
}

pub(crate) fn line(name: &str, points: Vec<(f64, f64)>, dashed: bool) -> Line {
    Line { name: name.to_owned(), points, dashed }
}
