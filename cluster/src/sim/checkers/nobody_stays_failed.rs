//! Once all is calm, nobody who lives is thought to be dead, and nobody who is dead to live. Judged by what programs were told, not
//! by what the core says when it is asked.

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;

use super::Checker;
use crate::sim::Happening;
use crate::swim::Event;

/// See the file's head.
#[derive(Debug, Default)]
pub struct NobodyStaysFailed {
    runs: BTreeMap<usize, Uuid>,
    /// By observer and member: whether it was said to live.
    told: BTreeMap<(usize, Uuid), bool>,
}

impl Checker for NobodyStaysFailed {
    fn note(&mut self, _: Duration, happening: &Happening<'_>) -> Result<(), String> {
        match happening {
            Happening::Started { host, id, .. } => {
                self.runs.insert(*host, *id);
            }
            Happening::Ended { host } => {
                self.runs.remove(host);
                self.told.retain(|(other, _), _| other != host);
            }
            Happening::Heard { host, event: Event::Joined(member) | Event::Refuted(member) } => {
                self.told.insert((*host, member.id), true);
            }
            Happening::Heard { host, event: Event::Failed(member) | Event::Left(member) } => {
                self.told.insert((*host, member.id), false);
            }
            _ => {}
        }
        Ok(())
    }

    fn calm(&mut self, _: Duration) -> Result<(), String> {
        for ((host, id), lives) in &self.told {
            if *lives != self.runs.values().any(|other| other == id) {
                let (is, said) = if *lives { ("dead", "lives") } else { ("alive", "is dead") };
                return Err(format!("{id} is {is}, and host {host} was told that it {said}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::history::*;
    use super::*;

    #[test]
    fn it_bites() {
        let mut checker = NobodyStaysFailed::default();
        for host in 0..2 {
            let happening = started(host, host as u128 + 1);
            assert_eq!(checker.note(Duration::ZERO, &happening), Ok(()));
        }
        assert_eq!(heard(&mut checker, 0, Event::Joined(member(2, 1))), Ok(()));
        assert_eq!(checker.calm(Duration::ZERO), Ok(()));
        assert_eq!(heard(&mut checker, 0, Event::Failed(member(2, 1))), Ok(()));
        assert!(checker.calm(Duration::ZERO).is_err(), "it lives");
        assert_eq!(checker.note(Duration::ZERO, &Happening::Ended { host: 1 }), Ok(()));
        assert_eq!(checker.calm(Duration::ZERO), Ok(()));
        assert_eq!(heard(&mut checker, 0, Event::Joined(member(2, 2))), Ok(()));
        assert!(checker.calm(Duration::ZERO).is_err(), "it is dead");
    }
}
