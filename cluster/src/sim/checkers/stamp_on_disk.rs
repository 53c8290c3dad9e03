//! No member uses a stamp that its disk does not hold, and the core's own books are in order.

use std::time::Duration;

use super::Checker;
use crate::sim::Happening;
use crate::swim::{Stamp, Swim};

/// The books are looked at every so many steps: it takes longer than a step, and what is wrong in them stays wrong.
const BOOKS: u64 = 16;

/// See the file's head.
#[derive(Debug, Default)]
pub struct StampOnDisk {
    steps: u64,
}

impl Checker for StampOnDisk {
    fn note(&mut self, _: Duration, _: &Happening<'_>) -> Result<(), String> {
        Ok(())
    }

    fn stepped(&mut self, host: usize, swim: &Swim, disk: Stamp) -> Result<(), String> {
        self.steps += 1;
        if self.steps.is_multiple_of(BOOKS) {
            swim.check_invariants().map_err(|broken| format!("host {host}: {broken}"))?;
        }
        let own = swim.member(swim.id()).map_or(Stamp::ZERO, |own| own.incarnation);
        if own > disk { Err(format!("host {host} uses {own}, its disk holds {disk}")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Checks;
    use super::*;
    use crate::sim::Sim;
    use crate::swim::Config;

    /// A driver that says that a stamp is on the disk, and loses it.
    #[test]
    fn it_bites() {
        let mut sim = Sim::new(Config::lan("test"), 1, Checks::of(vec![Box::new(StampOnDisk::default())]));
        for host in 0..2 {
            sim.add_next();
            sim.start(host, vec![Sim::<()>::address(1)]);
        }
        sim.run(Duration::from_secs(2));
        assert_eq!(sim.watch.verdict(), Ok(()));
        sim.lose_disk(0);
        sim.run(Duration::from_secs(2));
        assert!(sim.watch.verdict().is_err());
    }
}
