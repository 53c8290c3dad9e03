//! Once the network is whole and nobody starts or stops, all come to see the same within a bound, with nobody's help.

use std::time::Duration;

use crate::sim::{Sim, Watch};

/// How often it is looked whether they agree.
const LOOK: Duration = Duration::from_millis(100);

/// Lets time pass until all that are up see each other alive and nobody else; how long that took.
///
/// # Errors
/// Who sees something else at the end of the bound.
pub fn converges<W: Watch>(sim: &mut Sim<W>, within: Duration) -> Result<Duration, String> {
    let begin = sim.time();
    if sim.run_until(within, LOOK, |sim| sim.agree().is_ok()) {
        return Ok(sim.time() - begin);
    }
    sim.agree().map(|()| within).map_err(|difference| format!("not one view after {within:?}: {difference}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swim::Config;

    /// A network that was never healed.
    #[test]
    fn it_bites() {
        let mut sim = Sim::new(Config::local("test"), 1, ());
        for host in 0..4 {
            sim.add_next();
            sim.start(host, vec![Sim::<()>::address(1)]);
        }
        let bound = Duration::from_secs(10);
        assert!(converges(&mut sim, bound).is_ok());
        sim.network.put_in_group(3, 1);
        sim.run(Duration::from_secs(1));
        assert!(converges(&mut sim, bound).is_err());
        sim.network.heal();
        assert!(converges(&mut sim, bound).is_ok());
    }
}
