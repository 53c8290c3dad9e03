//! What became of each write, as its client saw it: acked, failed or unknown. And the check against what is there later.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use muster_client::api::Outcome;

use crate::http::{Answer, Lost};

/// What a client may conclude about a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Acknowledged with this revision: must be there for ever.
    Acked(u64),
    /// Refused as not applied: must never be there.
    Failed(String),
    /// Nobody can say.
    Unknown(String),
}

/// One write. Within a history no key is written twice, so that what is there says which write was applied.
#[derive(Debug, Clone)]
pub struct Written {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// Whom it was sent to.
    pub via: String,
    /// When it was sent.
    pub started: Instant,
    /// When its fate was known.
    pub ended: Instant,
    /// What became of it.
    pub fate: Fate,
}

/// Many writes, in the order in which their fates were known.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The writes.
    pub writes: Vec<Written>,
}

impl Fate {
    /// What a plain HTTP client may conclude.
    pub fn of(result: &Result<Answer, Lost>) -> Self {
        match result {
            Ok(answer) if answer.is_ok() => Self::Acked(answer.revision()),
            Ok(answer) => {
                let text = format!("{} {}", answer.status, answer.text());
                match answer.error().outcome {
                    Some(Outcome::NotApplied) => Self::Failed(text),
                    Some(Outcome::Unknown) | None => Self::Unknown(text),
                }
            }
            Err(lost) if lost.unsent => Self::Failed(lost.reason.clone()),
            Err(lost) => Self::Unknown(lost.reason.clone()),
        }
    }

    /// What a user of the client library may conclude.
    pub fn of_client(result: Result<u64, &muster_client::Error>) -> Self {
        match result {
            Ok(revision) => Self::Acked(revision),
            Err(error) if error.outcome() == Outcome::NotApplied => Self::Failed(error.to_string()),
            Err(error) => Self::Unknown(error.to_string()),
        }
    }
}

impl History {
    /// The writes that were acknowledged.
    pub fn acked(&self) -> impl Iterator<Item = &Written> {
        self.writes.iter().filter(|write| matches!(write.fate, Fate::Acked(_)))
    }

    /// The writes that were not acknowledged.
    pub fn not_acked(&self) -> impl Iterator<Item = &Written> {
        self.writes.iter().filter(|write| !matches!(write.fate, Fate::Acked(_)))
    }

    /// How many of each, for people.
    pub fn counts(&self) -> String {
        let unknown = self.writes.iter().filter(|write| matches!(write.fate, Fate::Unknown(_))).count();
        let acked = self.acked().count();
        format!("{acked} acked, {} failed, {unknown} unknown", self.writes.len() - acked - unknown)
    }

    /// From an event (a kill) to the first acknowledgement that can only come from after it: of a write sent since, or of
    /// one in flight that came later than an answer which was already on its way. `None` when there was none.
    pub fn next_ack_after(&self, event: Instant) -> Option<Duration> {
        const ON_ITS_WAY: Duration = Duration::from_millis(20);
        let after =
            |write: &&Written| write.ended > event && (write.started >= event || write.ended - event > ON_ITS_WAY);
        self.acked().filter(after).map(|write| write.ended - event).min()
    }

    /// The longest time that a write took until it was acknowledged.
    pub fn slowest_ack(&self) -> Duration {
        self.acked().map(|write| write.ended - write.started).max().unwrap_or_default()
    }

    /// The longest time without any acknowledgement between the first and the last.
    pub fn longest_silence(&self) -> Duration {
        let mut ends: Vec<Instant> = self.acked().map(|write| write.ended).collect();
        ends.sort_unstable();
        ends.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// What is wrong with what is there now: acknowledged writes that are missing or differ, refused ones that are there, and
    /// revisions that were given twice.
    pub fn faults(&self, there: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
        let mut faults = Vec::new();
        let mut revisions = BTreeMap::new();
        for write in &self.writes {
            let found = there.get(&write.key).map(|value| String::from_utf8_lossy(value));
            match (&write.fate, found) {
                (Fate::Acked(revision), found) => {
                    if found.as_deref() != Some(&write.value) {
                        faults.push(format!(
                            "acked at revision {revision} via {}, but {} is {found:?}",
                            write.via, write.key
                        ));
                    }
                    if let Some(other) = revisions.insert(*revision, &write.key) {
                        faults.push(format!("{} and {other} were both acked at revision {revision}", write.key));
                    }
                }
                (Fate::Failed(why), Some(_)) => {
                    faults.push(format!("{} was refused as not applied ({why}), but it is there", write.key));
                }
                (Fate::Unknown(_), Some(found)) if found != write.value => {
                    faults.push(format!("{} is {found:?}, which nobody wrote", write.key));
                }
                (Fate::Failed(_), None) | (Fate::Unknown(_), _) => {}
            }
        }
        faults
    }

    /// Checks that nothing acknowledged is lost and nothing refused is there.
    ///
    /// # Panics
    /// When something is wrong, with the first of what is.
    pub fn check(&self, there: &BTreeMap<String, Vec<u8>>) {
        assert!(self.acked().next().is_some(), "nothing was acknowledged, so nothing was tested: {}", self.counts());
        let faults = self.faults(there);
        let first: Vec<_> = faults.iter().take(10).collect();
        assert!(faults.is_empty(), "{} faults among {} writes: {first:#?}", faults.len(), self.writes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(fates: impl IntoIterator<Item = Fate>) -> History {
        let now = Instant::now();
        let write = |(n, fate)| Written {
            key: format!("k{n}"),
            value: "v".to_owned(),
            via: "n1".to_owned(),
            started: now,
            ended: now,
            fate,
        };
        History { writes: fates.into_iter().enumerate().map(write).collect() }
    }

    fn there(keys: &[&str]) -> BTreeMap<String, Vec<u8>> {
        keys.iter().map(|key| ((*key).to_owned(), b"v".to_vec())).collect()
    }

    #[test]
    fn the_check_bites() {
        let failed = || Fate::Failed(String::new());
        let unknown = || Fate::Unknown(String::new());
        let good = history([Fate::Acked(1), failed(), unknown(), unknown()]);
        assert_eq!(good.faults(&there(&["k0", "k2"])), Vec::<String>::new());
        assert_eq!(good.faults(&there(&[])).len(), 1, "an acknowledged write is lost");
        assert_eq!(good.faults(&there(&["k0", "k1"])).len(), 1, "a refused write is there");
        assert_eq!(
            history([Fate::Acked(1), Fate::Acked(1)]).faults(&there(&["k0", "k1"])).len(),
            1,
            "one revision twice"
        );
        let mut changed = there(&["k0", "k2"]);
        changed.insert("k0".to_owned(), b"x".to_vec());
        changed.insert("k2".to_owned(), b"x".to_vec());
        assert_eq!(good.faults(&changed).len(), 2, "values that nobody wrote");
    }

    #[test]
    fn an_answer_that_was_on_its_way_is_no_recovery() {
        let event = Instant::now();
        let mut history = history([Fate::Acked(1), Fate::Acked(2)]);
        let ms = Duration::from_millis;
        (history.writes[0].started, history.writes[0].ended) = (event - ms(5), event + ms(1));
        (history.writes[1].started, history.writes[1].ended) = (event - ms(5), event + ms(300));
        assert_eq!(history.next_ack_after(event), Some(ms(300)));
    }
}
