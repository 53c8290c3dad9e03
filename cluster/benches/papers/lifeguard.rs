//! The experiment of A. Dadgar, J. Phillips, J. Currey, "Lifeguard: Local Health Awareness for More Accurate Failure Detection", 2018,
//! section V: members that are slow now and then; each part of Lifeguard alone. The one of section II is in `exhaustion.rs`.

use std::collections::HashSet;
use std::time::Duration;

use muster_cluster::sim::{Latency, Turns};
use muster_cluster::swim::{Config, Lifeguard};
use rand::seq::SliceRandom;
use uuid::Uuid;

use crate::group::{Eye, group};
use crate::options::Options;
use crate::report::Section;

/// The paper's settings of the memberlist of its time.
fn settings(lifeguard: Lifeguard) -> Config {
    Config {
        probe_interval: Duration::from_secs(1),
        probe_timeout: Duration::from_millis(500),
        probe_timeout_min: Duration::from_millis(500),
        indirect_probes: 3,
        suspicion_multiplier: 5,
        suspicion_max_multiplier: 6,
        suspicion_confirmations: 3,
        gossip_interval: Duration::from_millis(200),
        gossip_fanout: 3,
        lifeguard,
        ..Config::lan("lifeguard")
    }
}

/// False positives of plain SWIM at healthy members from which a share of them says something.
pub(crate) const ENOUGH: u64 = 100;

const PLAIN: Lifeguard = Lifeguard::NONE;

/// What is compared, and the paper's tables VI and VII: false positives in per cent of SWIM's, everywhere and at healthy members, messages.
pub(crate) fn variants() -> [(&'static str, Config, &'static str); 7] {
    let part = |lifeguard| settings(lifeguard);
    [
        ("plain SWIM", part(PLAIN), "100 / 100 / 100"),
        ("LHA-Probe alone", part(Lifeguard { probe: true, ..PLAIN }), "-"),
        ("LHA-Suspicion alone", part(Lifeguard { suspicion: true, ..PLAIN }), "-"),
        ("Buddy System alone", part(Lifeguard { buddy: true, ..PLAIN }), "-"),
        ("Lifeguard as in the paper", part(Lifeguard { lateness: false, ..Lifeguard::ALL }), "1.53 / 1.89 / 110.6"),
        ("and our late timers", part(Lifeguard::ALL), "-"),
        ("preset `lan` as shipped", Config::lan("lifeguard"), "-"),
    ]
}

/// What the runs of one variant gave.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Count {
    /// Verdicts on healthy members: everywhere, and at healthy members.
    pub(crate) wrong: u64,
    pub(crate) wrong_at_healthy: u64,
    pub(crate) sent: u64,
    pub(crate) bytes: u64,
    steps: u64,
}

impl Count {
    pub(crate) fn add(&mut self, other: Self) {
        self.wrong += other.wrong;
        self.wrong_at_healthy += other.wrong_at_healthy;
        self.sent += other.sent;
        self.bytes += other.bytes;
        self.steps += other.steps;
    }
}

/// Some members are not well.
pub(crate) struct Trouble {
    pub(crate) members: usize,
    pub(crate) slow: usize,
    pub(crate) turns: Turns,
    pub(crate) length: Duration,
}

pub(crate) fn measure(options: &Options) -> Section {
    let mut section = Section::new("Lifeguard, section V: slow members");
    section.note(
        "Settings of the paper: 1 s, 500 ms, three relays, suspicion α = 5 and β = 6, three confirmations, gossip to three every 200 ms. A false positive is a \
         verdict on a member that was never made slow, at any member or at one that was never slow itself. In brackets: per cent of plain SWIM's. Plain SWIM here is our core \
         with every part of Lifeguard off; the stream probe is on in all. The paper's figures of the single parts were not at hand.",
    );
    slow_members(options, &mut section);
    section
}

fn slow_members(options: &Options, section: &mut Section) {
    let ms = Duration::from_millis;
    let slow: &[usize] = if options.quick { &[16] } else { &[4, 16, 32] };
    let lengths: &[u64] = if options.quick { &[16_384] } else { &[8_192, 32_768] };
    let pauses = [16, 1_024];
    let mut troubles = Vec::new();
    for slow in slow {
        for length in lengths {
            for pause in pauses {
                let turns = Turns {
                    run: Latency::Fixed(ms(pause)),
                    wait: Latency::Fixed(ms(*length)),
                    mute: true,
                    work: Duration::ZERO,
                };
                troubles.push(Trouble { members: 128, slow: *slow, turns, length: Duration::from_secs(120) });
            }
        }
    }
    section.note(format!(
        "**Slow members** (the interval experiment): of 128 members {slow:?} neither send nor receive for {lengths:?} ms, do so for {pauses:?} ms, and so on \
         for 120 s, all of them together; their timers go on meanwhile. All {} combinations, {} run each: as much of the paper's grid (up to nine \
         numbers, lengths and pauses each) as ten minutes of one core allow.",
        troubles.len(),
        options.runs(1)
    ));
    compare(options, section, &troubles, options.runs(1));
}

fn compare(options: &Options, section: &mut Section, troubles: &[Trouble], runs: u64) {
    let mut rows = Vec::new();
    let mut plain = Count::default();
    for (number, (name, config, paper)) in variants().into_iter().enumerate() {
        let mut count = Count::default();
        for trouble in troubles {
            for run in 0..runs {
                count.add(suffer(&config, trouble, options.seed + run));
            }
        }
        if number == 0 {
            plain = count;
        }
        let (wrong, healthy) = (share(count.wrong, plain.wrong), share(count.wrong_at_healthy, plain.wrong_at_healthy));
        let (sent, bytes) = (share(count.sent, plain.sent), share(count.bytes, plain.bytes));
        rows.push(vec![
            name.to_owned(),
            format!("{} ({wrong:.2})", count.wrong),
            format!("{} ({healthy:.2})", count.wrong_at_healthy),
            format!("{sent:.1}"),
            format!("{bytes:.1}"),
            paper.to_owned(),
        ]);
        println!("lifeguard: {name} done, {} steps", count.steps);
        // Against next to nothing there is nothing to win.
        if number >= 4 && plain.wrong_at_healthy >= ENOUGH {
            section.goal(
                healthy <= 1.5 && sent <= 110.0,
                format!("{name}: at healthy members at most 1.5 % of plain SWIM's false positives for at most 110 % of its messages: {healthy:.2} % for {sent:.1} %"),
            );
        }
    }
    let head = [
        "",
        "false positives (%)",
        "at healthy members (%)",
        "messages %",
        "bytes %",
        "paper: FP / at healthy / messages, %",
    ];
    section.table(&head, &rows);
}

pub(crate) fn share(of: u64, all: u64) -> f64 {
    100.0 * of as f64 / all.max(1) as f64
}

pub(crate) fn suffer(config: &Config, trouble: &Trouble, seed: u64) -> Count {
    let mut sim = group(config, trouble.members, seed);
    sim.run(Duration::from_secs(15));
    let mut hosts: Vec<usize> = (0..trouble.members).collect();
    hosts.shuffle(sim.rng());
    let slow: HashSet<usize> = hosts.into_iter().take(trouble.slow).collect();
    sim.watch = Eye { since: sim.time(), ..Eye::default() };
    let mut ordered: Vec<usize> = slow.iter().copied().collect();
    ordered.sort_unstable();
    for host in &ordered {
        sim.take_turns(*host, Some(trouble.turns));
    }
    sim.run(trouble.length);
    let sick: HashSet<Uuid> = slow.iter().map(|host| sim.host(*host).id).collect();
    let mut count = Count { sent: sim.watch.sent, bytes: sim.watch.bytes, steps: sim.steps(), ..Count::default() };
    for ((observer, accused), times) in &sim.watch.given_up {
        if !sick.contains(accused) {
            count.wrong += times;
            count.wrong_at_healthy += if slow.contains(observer) { 0 } else { *times };
        }
    }
    count
}
