//! A random run: members start, things go wrong, all is repaired, and then they must agree within a bound.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::checkers::{Checks, converges};
use super::faults::{Fault, SEEDS};
use super::{Record, Sim};
use crate::swim::{Config, Event, Input, Swim};

/// With the preset `local` and eight members, after the network is whole and nobody starts or stops any more: a suspicion that is
/// running ends within two seconds, every dead member is probed within some seconds, the halves exchange what they know, and all
/// refute.
pub const CONVERGES_WITHIN: Duration = Duration::from_secs(20);

/// After that long every pair has exchanged its full state, directly or not: the dictionaries are equal to the last entry.
pub const EQUAL_WITHIN: Duration = Duration::from_secs(30);

/// Faults in a run.
const FAULTS: usize = 14;

/// What a run was like.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Two runs that gave the same did the same.
    pub fingerprint: u64,
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams that did not arrive.
    pub lost: u64,
    /// Inputs handed to members.
    pub steps: u64,
    /// Which faults there were, and how often.
    pub faults: BTreeMap<Fault, u64>,
    /// How long after the repair all agreed.
    pub converged_in: Duration,
}

/// A run of three to eight members.
///
/// # Errors
/// What must not be, with a command that repeats it.
pub fn trial(seed: u64) -> Result<Outcome, String> {
    judge(seed).map_err(|broken| {
        format!(
            "{broken}\nrepeat with: MUSTER_SEED={seed} cargo nextest run -p muster-cluster trials_from_the_environment"
        )
    })
}

type Run = Sim<(Record, Checks)>;

fn judge(seed: u64) -> Result<Outcome, String> {
    let mut chance = Xoshiro256PlusPlus::seed_from_u64(seed);
    let (mut sim, history) = spoil(seed, &mut chance)?;
    let converged_in = calm_down(&mut sim).map_err(|broken| format!("{broken}\nafter: {history:?}"))?;
    let mut faults = BTreeMap::new();
    for (_, fault) in history {
        *faults.entry(fault).or_default() += 1;
    }
    Ok(Outcome {
        fingerprint: sim.watch.0.fingerprint(),
        sent: sim.watch.0.sent,
        lost: sim.watch.0.lost,
        steps: sim.steps(),
        faults,
        converged_in,
    })
}

/// What must be once all is repaired; how long it took until all agreed.
fn calm_down(sim: &mut Run) -> Result<Duration, String> {
    let converged_in = converges(sim, CONVERGES_WITHIN)?;
    sim.run(CONVERGES_WITHIN.saturating_sub(converged_in));
    sim.agree().map_err(|difference| format!("they agreed, and then not: {difference}"))?;
    let calm_since = sim.watch.0.events.len();
    sim.run(EQUAL_WITHIN);
    sim.agree().map_err(|difference| format!("later: {difference}"))?;
    if sim.different_states() != 1 {
        return Err("they agree on who lives, and their dictionaries differ".to_owned());
    }
    // Nobody who is alive is troubled any more, and nobody who is dead comes back.
    if let Some((at, host, event)) =
        sim.watch.0.events[calm_since..].iter().find(|(_, _, event)| !matches!(event, Event::Synced { .. }))
    {
        return Err(format!("all was calm, and at {at:?} host {host} heard {event:?}"));
    }
    let now = sim.time();
    sim.watch.1.calm(now);
    sim.watch.1.verdict()?;
    Ok(converged_in)
}

/// The part of a run in which things go wrong, and are repaired at its end.
fn spoil(seed: u64, chance: &mut Xoshiro256PlusPlus) -> Result<(Run, Vec<(Duration, Fault)>), String> {
    let config = Config::local("random");
    let watch = (Record::default(), Checks::all(&config));
    let mut sim = Sim::new(config, seed, watch);
    for _ in 0..chance.random_range(3..=8) {
        let host = sim.add_next();
        sim.host_mut(host).clock.ahead_ms = chance.random_range(-2_000..2_000);
        sim.start(host, Run::first_addresses());
    }
    // Everybody knows everybody once: after that, seeds are a help and not a need.
    sim.run(Duration::from_secs(5));
    sim.agree().map_err(|difference| format!("at the start: {difference}"))?;
    let mut faults = Vec::new();
    for _ in 0..FAULTS {
        if let Some(fault) = sim.random_fault(chance) {
            faults.push((sim.time(), fault));
        }
        sim.run(Duration::from_millis(chance.random_range(100..6_000)));
    }
    sim.network.repair();
    for host in sim.up() {
        sim.take_turns(host, None);
    }
    // In every other run the seeds are forgotten: the two halves must find each other by the dead that they remember. Not when somebody
    // moved or left: half a cluster that moved while it was cut off is at places that nobody can know, and nobody looks for one that
    // left and came back among others.
    let needed = |fault: &Fault| matches!(fault, Fault::RestartElsewhere | Fault::Leave);
    if seed.is_multiple_of(2) && !faults.iter().any(|(_, fault)| needed(fault)) {
        for host in sim.up() {
            if sim.host(host).swim.as_ref().is_some_and(Swim::is_synced) {
                // Refused by none: those who leave have seeds no more than others.
                let _ = sim.ask(host, Input::Seeds(Vec::new()));
            }
        }
    }
    // A door must be open: somebody runs at a seed's address.
    if !(0..SEEDS).any(|host| sim.host(host).is_up()) {
        sim.start(0, Run::first_addresses());
    }
    // Who was leaving has left.
    sim.run(sim.config.leave_timeout);
    Ok((sim, faults))
}
