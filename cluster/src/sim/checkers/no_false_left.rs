//! Nobody is said to have left who did not say so itself.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use uuid::Uuid;

use super::Checker;
use crate::sim::Happening;
use crate::swim::{Event, Input};

/// See the file's head.
#[derive(Debug, Default)]
pub struct NoFalseLeft {
    runs: HashMap<usize, Uuid>,
    left: HashSet<Uuid>,
}

impl Checker for NoFalseLeft {
    fn note(&mut self, _: Duration, happening: &Happening<'_>) -> Result<(), String> {
        match happening {
            Happening::Started { host, id, .. } => {
                self.runs.insert(*host, *id);
            }
            Happening::Asked { host, input: Input::Leave } => {
                self.left.extend(self.runs.get(host));
            }
            Happening::Heard { host, event: Event::Left(member) } if !self.left.contains(&member.id) => {
                return Err(format!("host {host} heard that {} left, which it never did", member.id));
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
        let mut checker = NoFalseLeft::default();
        for host in 0..2 {
            let happening = started(host, host as u128 + 1);
            assert_eq!(checker.note(Duration::ZERO, &happening), Ok(()));
        }
        let leave = Happening::Asked { host: 0, input: &Input::Leave };
        assert_eq!(checker.note(Duration::ZERO, &leave), Ok(()));
        assert_eq!(heard(&mut checker, 1, Event::Left(member(1, 1))), Ok(()));
        assert!(heard(&mut checker, 0, Event::Left(member(2, 1))).is_err());
    }
}
