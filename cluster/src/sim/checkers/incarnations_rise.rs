//! Incarnations are monotone: an owner's stamps rise while it runs, and no observer sees a member's go back.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use super::Checker;
use crate::sim::Happening;
use crate::swim::{Event, Stamp};

/// See the file's head.
#[derive(Debug, Default)]
pub struct IncarnationsRise {
    /// By host, since its start.
    own: HashMap<usize, Stamp>,
    /// By observer, since its start, and member.
    seen: HashMap<(usize, Uuid), Stamp>,
}

impl Checker for IncarnationsRise {
    fn note(&mut self, _: Duration, happening: &Happening<'_>) -> Result<(), String> {
        match happening {
            Happening::Started { host, .. } => {
                self.own.remove(host);
                self.seen.retain(|(other, _), _| other != host);
            }
            Happening::Persisted { host, stamp, .. } => {
                let before = self.own.insert(*host, *stamp);
                if before.is_some_and(|before| *stamp <= before) {
                    return Err(format!("host {host} went from stamp {before:?} to {stamp}"));
                }
            }
            Happening::Heard {
                host,
                event:
                    Event::Joined(member)
                    | Event::Updated(member)
                    | Event::Suspected(member)
                    | Event::Refuted(member)
                    | Event::Failed(member)
                    | Event::Left(member),
            } => {
                let before = self.seen.insert((*host, member.id), member.incarnation);
                if before.is_some_and(|before| member.incarnation < before) {
                    let (id, now) = (member.id, member.incarnation);
                    return Err(format!("host {host} saw {id} go back from {before:?} to {now}"));
                }
            }
            Happening::Heard { host, event: Event::Forgotten { id } } => {
                self.seen.remove(&(*host, *id));
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
        let mut checker = IncarnationsRise::default();
        assert_eq!(heard(&mut checker, 0, Event::Joined(member(1, 5))), Ok(()));
        assert_eq!(heard(&mut checker, 0, Event::Suspected(member(1, 5))), Ok(()));
        assert!(heard(&mut checker, 0, Event::Refuted(member(1, 4))).is_err(), "it went back");
        let persisted = |stamp| Happening::Persisted { host: 0, id: id(1), stamp: Stamp::from_bits(stamp) };
        assert_eq!(checker.note(Duration::ZERO, &persisted(7)), Ok(()));
        assert!(checker.note(Duration::ZERO, &persisted(7)).is_err(), "used twice");
        assert_eq!(checker.note(Duration::ZERO, &started(0, 1)), Ok(()));
        assert_eq!(checker.note(Duration::ZERO, &persisted(3)), Ok(()), "a lost disk may begin again");
    }
}
