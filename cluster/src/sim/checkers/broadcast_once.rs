//! A broadcast reaches a program at most once in each of its lives, never its own sender, and only if somebody sent it. For runs in
//! which no two broadcasts say the same.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::Checker;
use crate::sim::Happening;
use crate::swim::{Event, Input};

/// See the file's head.
#[derive(Debug, Default)]
pub struct BroadcastOnce {
    runs: HashMap<usize, Uuid>,
    sent: HashSet<(Uuid, Bytes)>,
    heard: HashSet<(usize, Uuid, Bytes)>,
}

impl Checker for BroadcastOnce {
    fn note(&mut self, _: Duration, happening: &Happening<'_>) -> Result<(), String> {
        match happening {
            Happening::Started { host, id, .. } => {
                self.runs.insert(*host, *id);
                self.heard.retain(|(other, _, _)| other != host);
            }
            Happening::Asked { host, input: Input::Broadcast(payload) } => {
                if let Some(id) = self.runs.get(host) {
                    self.sent.insert((*id, payload.clone()));
                }
            }
            Happening::Heard { host, event: Event::Broadcast { from, payload } } => {
                if self.runs.get(host) == Some(from) {
                    return Err(format!("host {host} heard its own broadcast {payload:?}"));
                }
                if !self.sent.contains(&(*from, payload.clone())) {
                    return Err(format!("host {host} heard {payload:?}, which {from} never sent"));
                }
                if !self.heard.insert((*host, *from, payload.clone())) {
                    return Err(format!("host {host} heard {payload:?} of {from} twice"));
                }
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
        let mut checker = BroadcastOnce::default();
        for host in 0..2 {
            let happening = started(host, host as u128 + 1);
            assert_eq!(checker.note(Duration::ZERO, &happening), Ok(()));
        }
        let input = Input::Broadcast(Bytes::from_static(b"news"));
        let asked = Happening::Asked { host: 0, input: &input };
        assert_eq!(checker.note(Duration::ZERO, &asked), Ok(()));
        let says = |from, text: &'static str| Event::Broadcast {
            from: id(from),
            payload: Bytes::from_static(text.as_bytes()),
        };
        assert!(heard(&mut checker, 0, says(1, "news")).is_err(), "its own");
        assert!(heard(&mut checker, 1, says(1, "lies")).is_err(), "invented");
        assert_eq!(heard(&mut checker, 1, says(1, "news")), Ok(()));
        assert!(heard(&mut checker, 1, says(1, "news")).is_err(), "twice");
        assert_eq!(checker.note(Duration::ZERO, &started(1, 2)), Ok(()));
        assert_eq!(heard(&mut checker, 1, says(1, "news")), Ok(()), "a new life has heard nothing");
    }
}
