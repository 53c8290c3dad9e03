//! A suspicion always ends, one way or the other, within its time-out (SWIM, section 4.2).

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;

use super::Checker;
use crate::sim::Happening;
use crate::swim::{Config, Event};

/// See the file's head.
#[derive(Debug)]
pub struct SuspicionEnds {
    within: Duration,
    /// By observer and suspect, since when; counted afresh when the observer was held, since it then gives the suspect its time again.
    running: BTreeMap<(usize, Uuid), Duration>,
}

impl SuspicionEnds {
    /// For members with these settings, in groups of at most a hundred: twice the longest time-out, for clocks that run slowly.
    #[must_use]
    pub const fn new(config: &Config) -> Self {
        let periods = config.suspicion_multiplier.saturating_mul(config.suspicion_max_multiplier);
        // The decimal logarithm of a hundred is two.
        Self { within: config.probe_interval.saturating_mul(periods).saturating_mul(2 * 2), running: BTreeMap::new() }
    }

    fn overdue(&self, at: Duration) -> Result<(), String> {
        match self.running.iter().find(|(_, since)| at.saturating_sub(**since) > self.within) {
            Some(((host, id), since)) => Err(format!("host {host} has suspected {id} since {since:?}")),
            None => Ok(()),
        }
    }
}

impl Checker for SuspicionEnds {
    fn note(&mut self, at: Duration, happening: &Happening<'_>) -> Result<(), String> {
        match happening {
            Happening::Ended { host } => self.running.retain(|(other, _), _| other != host),
            Happening::Held { host, held } => {
                for ((other, _), since) in &mut self.running {
                    if other == host {
                        *since = if *held { Duration::MAX } else { at };
                    }
                }
            }
            Happening::Heard { host, event: Event::Suspected(member) } => {
                self.running.insert((*host, member.id), at);
            }
            Happening::Heard { host, event: Event::Refuted(member) | Event::Failed(member) | Event::Left(member) } => {
                let since = self.running.remove(&(*host, member.id));
                if since.is_some_and(|since| at.saturating_sub(since) > self.within) {
                    return Err(format!("host {host} suspected {} from {since:?} until now", member.id));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn calm(&mut self, at: Duration) -> Result<(), String> {
        self.overdue(at)
    }
}

#[cfg(test)]
mod tests {
    use super::super::history::*;
    use super::*;

    #[test]
    fn it_bites() {
        let mut checker = SuspicionEnds::new(&Config::lan("test"));
        let hour = Duration::from_secs(3_600);
        assert_eq!(heard(&mut checker, 0, Event::Suspected(member(1, 1))), Ok(()));
        assert_eq!(checker.calm(Duration::from_secs(1)), Ok(()));
        assert!(checker.calm(hour).is_err(), "never ended");
        let late = Event::Failed(member(1, 1));
        assert!(checker.note(hour, &Happening::Heard { host: 0, event: &late }).is_err(), "ended late");
        assert_eq!(checker.calm(hour), Ok(()));
        assert_eq!(heard(&mut checker, 0, Event::Suspected(member(1, 1))), Ok(()));
        assert_eq!(checker.note(Duration::ZERO, &Happening::Held { host: 0, held: true }), Ok(()));
        assert_eq!(checker.calm(hour), Ok(()), "who does not run cannot end it");
        assert_eq!(checker.note(hour, &Happening::Held { host: 0, held: false }), Ok(()));
        assert!(checker.calm(2 * hour).is_err());
    }
}
