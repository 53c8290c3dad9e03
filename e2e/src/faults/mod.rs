//! What is done to a cluster: one fault a file, which says what it does and how one sees that it really happened. A fault that cannot show
//! that is an error of the run.

mod alone;
mod amid_loss;
mod blackout;
mod bridge;
mod clock_drift;
mod clock_far;
mod clock_jump;
mod clock_strobe;
mod corrupted;
mod crash_at_sync;
mod cut_file;
mod cut_off;
mod delayed;
mod doubled;
mod failed_sync;
mod falsified;
mod flipped_bit;
mod full_disk;
mod gossip_cut;
mod growth;
mod growth_under_cut;
mod half_open;
mod halves;
mod interrupted_change;
mod io_error;
mod kill;
mod kill_all;
mod long_cut;
mod lossy;
mod minority;
mod narrow;
mod new_address;
mod old_disk;
mod one_way;
mod overtaken;
mod pause;
mod pause_all;
mod power_off;
mod read_error;
mod registry_gone;
mod registry_wiped;
mod replaced_under_cut;
mod restart;
mod ring;
mod rot;
mod slow_disk;
mod stalled_disk;
mod streams_cut;
mod torn_writes;
mod transfer;
mod unsynced_lost;
mod upgrade;
mod wiped_disk;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use rand::RngExt;

use crate::cluster::SOON;
use crate::torture::World;
use crate::wire::{Carried, Trouble, Wire};
use crate::{firewall, until};

/// What a fault met, and how one sees that it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Struck {
    /// Whom, for people.
    pub on: String,
    /// How one sees that it happened.
    pub evidence: String,
}

/// A fault under way: it happens, is held, and is taken away again.
pub type Strikes<'a> = Pin<Box<dyn Future<Output = Result<Struck, String>> + 'a>>;

/// What does it.
type Strike = fn(&mut World, Duration) -> Strikes<'_>;

/// What a fault takes beside nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Nothing more.
    Nodes,
    /// Nodes with disks of the harness's own.
    Disks,
    /// Nodes with clocks of their own.
    Clocks,
    /// Nodes that began with the program of an earlier release.
    Earlier,
}

/// What there is to do faults with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Means {
    /// How many nodes.
    pub nodes: usize,
    /// Whether they have disks of the harness's own.
    pub disks: bool,
    /// Whether they have clocks of their own.
    pub clocks: bool,
    /// Whether they began with the program of an earlier release.
    pub earlier: bool,
}

/// A fault.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// Its name.
    pub name: &'static str,
    /// How many nodes it takes at least.
    pub nodes: usize,
    /// What it takes beside nodes.
    pub takes: Takes,
    /// Does it, for so long, and takes it away again.
    pub strike: fn(&mut World, Duration) -> Strikes<'_>,
}

const fn fault(name: &'static str, nodes: usize, strike: fn(&mut World, Duration) -> Strikes<'_>) -> Fault {
    Fault { name, nodes, takes: Takes::Nodes, strike }
}

const fn on_disk(name: &'static str, nodes: usize, strike: fn(&mut World, Duration) -> Strikes<'_>) -> Fault {
    Fault { takes: Takes::Disks, ..fault(name, nodes, strike) }
}

const fn by_clock(name: &'static str, strike: fn(&mut World, Duration) -> Strikes<'_>) -> Fault {
    Fault { takes: Takes::Clocks, ..fault(name, 1, strike) }
}

/// A control, never drawn: a minority that takes itself for all.
pub const MINORITY: Fault = fault("minority", 3, minority::strike);

/// All faults.
pub const FAULTS: [Fault; 56] = [
    fault("kill", 1, kill::strike),
    fault("kill-all", 1, kill_all::strike),
    fault("pause", 1, pause::strike),
    fault("pause-all", 1, pause_all::strike),
    fault("restart", 1, restart::strike),
    fault("power-off", 1, power_off::strike),
    fault("cut-off", 1, cut_off::strike),
    fault("alone", 3, alone::strike),
    fault("halves", 3, halves::strike),
    fault("one-way", 3, one_way::strike),
    fault("bridge", 3, bridge::strike),
    fault("ring", 4, ring::strike),
    fault("lossy", 2, lossy::strike),
    fault("amid-loss", 3, amid_loss::strike),
    fault("doubled", 2, doubled::strike),
    fault("narrow", 2, narrow::strike),
    fault("delayed", 2, delayed::strike),
    fault("overtaken", 2, overtaken::strike),
    fault("corrupted", 2, corrupted::strike),
    fault("falsified", 2, falsified::strike),
    fault("gossip-cut", 3, gossip_cut::strike),
    fault("streams-cut", 3, streams_cut::strike),
    fault("half-open", 3, half_open::strike),
    fault("registry-gone", 1, registry_gone::strike),
    fault("registry-wiped", 1, registry_wiped::strike),
    fault("wiped-disk", 3, wiped_disk::strike),
    fault("full-disk", 3, full_disk::strike),
    fault("brim-full-disk", 3, full_disk::strike_to_the_brim),
    fault("old-disk", 3, old_disk::strike),
    fault("new-address", 3, new_address::strike),
    fault("growth", 3, growth::strike),
    fault("transfer", 3, transfer::strike),
    fault("long-cut", 3, long_cut::strike),
    fault("interrupted-change", 3, interrupted_change::strike),
    fault("growth-under-cut", 3, growth_under_cut::strike),
    fault("replaced-under-cut", 5, replaced_under_cut::strike),
    Fault { takes: Takes::Earlier, ..fault("upgrade", 1, upgrade::strike) },
    on_disk("unsynced-lost", 1, unsynced_lost::strike),
    on_disk("torn-writes", 1, torn_writes::strike),
    on_disk("blackout", 1, blackout::strike),
    on_disk("crash-at-sync", 1, crash_at_sync::strike),
    on_disk("failed-sync", 3, failed_sync::strike),
    on_disk("io-error", 3, io_error::strike),
    on_disk("read-error", 3, read_error::strike),
    on_disk("stalled-disk", 3, stalled_disk::strike),
    on_disk("slow-disk", 1, slow_disk::strike),
    on_disk("flipped-bit", 3, flipped_bit::strike),
    on_disk("rot", 3, rot::strike),
    on_disk("cut-file", 3, cut_file::strike),
    by_clock("clock-jump", clock_jump::strike),
    by_clock("clock-jump-all", clock_jump::strike_all),
    by_clock("clock-far", clock_far::strike),
    by_clock("clock-strobe", clock_strobe::strike),
    by_clock("clock-strobe-all", clock_strobe::strike_all),
    by_clock("clock-drift", clock_drift::strike),
    by_clock("clock-drift-all", clock_drift::strike_all),
];

impl Means {
    /// What is missing for a fault.
    fn lack(&self, fault: &Fault) -> Option<String> {
        match fault.takes {
            _ if fault.nodes > self.nodes => Some(format!("{} nodes", fault.nodes)),
            Takes::Disks if !self.disks => Some("disks of the harness's own".to_owned()),
            Takes::Clocks if !self.clocks => Some("nodes with clocks of their own".to_owned()),
            Takes::Earlier if !self.earlier => Some("the programs of an earlier release (--from)".to_owned()),
            Takes::Nodes | Takes::Disks | Takes::Clocks | Takes::Earlier => None,
        }
    }
}

/// The faults of these names, or all that can be done with what there is when there are none.
///
/// # Errors
/// When a name is not known, or takes more than there is.
pub fn chosen(names: &[String], means: Means) -> Result<Vec<Fault>, String> {
    if names.is_empty() {
        return Ok(FAULTS.into_iter().filter(|fault| means.lack(fault).is_none()).collect());
    }
    let named = |name: &String| {
        let found = FAULTS.into_iter().find(|fault| fault.name == name);
        let known = || FAULTS.map(|fault| fault.name).join(", ");
        let found = found.ok_or_else(|| format!("there is no fault {name}; there are: {}", known()))?;
        means.lack(&found).map_or(Ok(found), |lack| Err(format!("{name} takes {lack}")))
    };
    names.iter().map(named).collect()
}

/// Holds what the machines' firewalls do, counts what they caught, and opens them all.
async fn hold_walls(world: &World, on: String, hold: Duration) -> Result<Struck, String> {
    tokio::time::sleep(hold).await;
    // Gossip may have had nothing to say so far.
    let caught = until(SOON, async || {
        let caught = (0..world.net.machines()).map(|machine| firewall::caught(&world.net, machine)).sum::<u64>();
        (caught > 0).then_some(caught)
    });
    let caught = caught.await.unwrap_or(0);
    open_walls(world);
    match caught {
        0 => Err(format!("nothing was caught on its way on {on}")),
        caught => Ok(Struck { on, evidence: format!("{caught} packets caught") }),
    }
}

/// Has trouble on a machine's cable for so long. What it carried.
async fn hold_wire(world: &mut World, machine: usize, trouble: &Trouble, hold: Duration) -> Result<Carried, String> {
    let wire = Wire::lay(&world.net, machine, trouble, world.chance.random())?;
    tokio::time::sleep(hold).await;
    let carried = wire.mend()?;
    match carried.refused {
        0 => Ok(carried),
        refused => Err(format!("{refused} frames could not be carried on: {carried:?}")),
    }
}

/// Lets nobody of the one side hear anybody of the other, or the reverse.
fn wall_between(world: &World, one: &[usize], other: &[usize], kind: firewall::Kind) -> Result<(), String> {
    let mut pairs = one.iter().map(|machine| (machine, other)).chain(other.iter().map(|machine| (machine, one)));
    if_built(world, pairs.try_for_each(|(&machine, those)| firewall::deafen(&world.net, machine, those, kind)))
}

/// Opens all machines' firewalls if something is wrong: nothing is left of a fault that did not come about.
fn if_built<T>(world: &World, built: Result<T, String>) -> Result<T, String> {
    built.inspect_err(|_| open_walls(world))
}

/// Opens all machines' firewalls.
pub(crate) fn open_walls(world: &World) {
    (0..world.net.machines()).for_each(|machine| firewall::open(&world.net, machine));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_once_and_others_are_refused() {
        let means = Means { nodes: 3, disks: false, clocks: false, earlier: false };
        let chosen = |name: &str| chosen(&[name.to_owned()], means);
        assert_eq!(chosen("kill").map(|found| found.len()), Ok(1));
        assert!(chosen("kil").is_err());
        assert!(chosen("ring").is_err(), "takes four");
        assert!(chosen("blackout").is_err(), "takes disks");
        assert!(chosen("clock-jump").is_err(), "takes clocks");
        assert!(chosen("upgrade").is_err(), "takes an earlier release");
        for fault in FAULTS {
            assert_eq!(FAULTS.iter().filter(|other| other.name == fault.name).count(), 1, "{}", fault.name);
        }
    }
}
