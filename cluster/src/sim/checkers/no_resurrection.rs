//! Nobody speaks for another's life: a life that ended stays ended, and none appears that its owner never began.
//!
//! SWIM, section 4.2: confirm overrides alive, whatever its incarnation; here a newer life may follow, of the owner's own making.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use uuid::Uuid;

use super::Checker;
use crate::sim::Happening;
use crate::swim::{Event, Member, Stamp};

/// See the file's head.
#[derive(Debug, Default)]
pub struct NoResurrection {
    /// Per observer and member, the highest life that it saw end.
    ended: HashMap<(usize, Uuid), Stamp>,
    /// Every stamp that reached its owner's disk.
    begun: HashSet<(Uuid, Stamp)>,
}

impl NoResurrection {
    fn lives(&self, host: usize, member: &Member) -> Result<(), String> {
        let (id, stamp) = (member.id, member.incarnation);
        if self.ended.get(&(host, id)).is_some_and(|ended| stamp <= *ended) {
            return Err(format!("host {host} saw {id} rise from the dead at {stamp}"));
        }
        if !self.begun.contains(&(id, stamp)) {
            return Err(format!("host {host} saw {id} live at {stamp}, a stamp that its owner never had"));
        }
        Ok(())
    }
}

impl Checker for NoResurrection {
    fn note(&mut self, _: Duration, happening: &Happening<'_>) -> Result<(), String> {
        match happening {
            Happening::Started { host, .. } => self.ended.retain(|(other, _), _| other != host),
            Happening::Persisted { id, stamp, .. } => {
                self.begun.insert((*id, *stamp));
            }
            Happening::Heard {
                host,
                event: Event::Joined(member) | Event::Updated(member) | Event::Refuted(member),
            } => {
                return self.lives(*host, member);
            }
            Happening::Heard { host, event: Event::Failed(member) | Event::Left(member) } => {
                let ended = self.ended.entry((*host, member.id)).or_default();
                *ended = member.incarnation.max(*ended);
            }
            Happening::Heard { host, event: Event::Forgotten { id } } => {
                self.ended.remove(&(*host, *id));
            }
            _ => {}
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
        let mut checker = NoResurrection::default();
        for stamp in [1, 2] {
            let happening = Happening::Persisted { host: 0, id: id(1), stamp: Stamp::from_bits(stamp) };
            assert_eq!(checker.note(Duration::ZERO, &happening), Ok(()));
        }
        let mut heard = |host, event| heard(&mut checker, host, event);
        assert_eq!(heard(2, Event::Joined(member(1, 1))), Ok(()));
        assert_eq!(heard(2, Event::Failed(member(1, 1))), Ok(()));
        assert_eq!(heard(3, Event::Joined(member(1, 1))), Ok(()), "another has not seen it end");
        assert_eq!(heard(2, Event::Joined(member(1, 2))), Ok(()));
        assert_eq!(heard(2, Event::Failed(member(1, 2))), Ok(()));
        assert!(heard(2, Event::Joined(member(1, 2))).is_err(), "risen from the dead");
        assert!(heard(2, Event::Joined(member(1, 3))).is_err(), "invented");
    }
}
