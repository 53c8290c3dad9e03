//! What a client does next, drawn from its seed.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::operation::{Call, Condition, Freshness, Micros, Seen};

/// 4 s: keys are used no longer, so that no key's history becomes long enough to be hard to judge.
const AGE: Micros = 4_000_000;
/// 4 keys at a time: few enough for clients to meet at them.
const KEYS: u32 = 4;

/// The plan of one client.
#[derive(Debug)]
pub struct Script {
    client: usize,
    chance: StdRng,
    /// Numbers its values and its idempotency keys, so that none is used twice.
    next: u64,
    /// The revisions that it has seen of keys.
    seen: BTreeMap<String, u64>,
}

/// What is done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// One call.
    Once(Call),
    /// A write with an idempotency key that is sent again, after so many microseconds, answered or not.
    Twice(Call, Micros),
}

/// Who does what a script says.
pub trait Hand: Sync {
    /// The time of the run.
    fn now(&self) -> Micros;

    /// How many nodes there are.
    fn nodes(&self) -> usize;

    /// Makes one call, at its own node or the one so many behind it, and writes it down.
    fn perform(&self, call: &Call, behind: usize) -> impl Future<Output = Seen> + Send;
}

impl Script {
    /// The same seed and client give the same deeds, as far as what it sees is the same.
    pub fn new(seed: u64, client: usize) -> Self {
        let chance = StdRng::seed_from_u64(seed ^ (client as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self { client, chance, next: 0, seen: BTreeMap::new() }
    }

    /// Does one deed after another, with a pause after each, until it is told to stop; then it is in no deed any more.
    pub async fn play(mut self, hand: &impl Hand, pace: Duration, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            match self.deed(hand.now()) {
                Deed::Once(call) => {
                    let seen = hand.perform(&call, 0).await;
                    self.saw(&call, &seen);
                }
                Deed::Twice(call, pause) => {
                    let elsewhere = self.below(hand.nodes().max(1));
                    let later = async {
                        tokio::time::sleep(Duration::from_micros(pause)).await;
                        hand.perform(&call, elsewhere).await
                    };
                    let (first, again) = tokio::join!(hand.perform(&call, 0), later);
                    self.saw(&call, &first);
                    self.saw(&call, &again);
                    if matches!((first, again), (Seen::Unknown(_), Seen::Unknown(_))) {
                        hand.perform(&call, elsewhere + 1).await;
                    }
                }
            }
            tokio::time::sleep(pace).await;
        }
    }

    /// What to do at this time of the run.
    fn deed(&mut self, now: Micros) -> Deed {
        let prefix = format!("reg/{}/", now / AGE);
        let key = format!("{prefix}{}", self.chance.random_range(0..KEYS));
        self.next += 1;
        let n = self.next;
        let value = format!("{}-{n}", self.client);
        let known = self.seen.get(&key).copied();
        let again = format!("torture-{}-{n}", self.client);
        let freshness = match self.chance.random_range(0..10) {
            0..5 => Freshness::Linearizable,
            5..9 => Freshness::Local,
            _ => Freshness::Within(500_000),
        };
        let condition = match (self.chance.random_range(0..3), known) {
            (0, _) => Condition::Absent,
            (1, Some(revision)) => Condition::At(revision),
            _ => Condition::Always,
        };
        // Removing what is not there would be a deed without sense, and the library has no words for it.
        let removal = if condition == Condition::Absent { Condition::Always } else { condition };
        let own = format!("own/{}/{}", self.client, n % 3);
        let put = |key, condition, again| Call::Put { key, value: value.clone(), condition, again };
        match self.chance.random_range(0..100) {
            0..22 => Deed::Once(put(key, condition, None)),
            22..28 => Deed::Once(put(key, condition, Some(again))),
            28..38 => Deed::Twice(put(key, condition, Some(again)), self.chance.random_range(0..20_000)),
            38..43 => Deed::Once(Call::Delete { key, condition: removal, again: None }),
            43..46 => Deed::Twice(Call::Delete { key, condition: removal, again: Some(again) }, 1_000),
            46..56 => Deed::Once(put(format!("once/{}/{n}", self.client), Condition::Absent, None)),
            56..61 => Deed::Once(put(own, Condition::Always, None)),
            61..66 => Deed::Once(Call::Get { key: own, freshness: Freshness::Local }),
            66..95 => Deed::Once(Call::Get { key, freshness }),
            _ => Deed::Once(Call::List { prefix, freshness }),
        }
    }

    /// Remembers what was seen.
    fn saw(&mut self, call: &Call, seen: &Seen) {
        let (Some(key), Some(revision)) = (call.key(), revision_in(seen)) else { return };
        self.seen.insert(key.to_owned(), revision);
    }

    /// A number below this.
    fn below(&mut self, end: usize) -> usize {
        self.chance.random_range(0..end)
    }
}

fn revision_in(seen: &Seen) -> Option<u64> {
    match seen {
        Seen::Wrote { revision, .. } => Some(*revision),
        Seen::Refused { current } => *current,
        Seen::Read { found, .. } => found.as_ref().map(|found| found.revision),
        Seen::Listed { .. } | Seen::Failed(_) | Seen::Unknown(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_deeds_and_every_kind() {
        let deeds = |seed| {
            let mut script = Script::new(seed, 3);
            (0..500).map(|n| script.deed(n * 1_000)).collect::<Vec<_>>()
        };
        assert_eq!(deeds(1), deeds(1));
        assert_ne!(deeds(1), deeds(2));
        let twice = deeds(1).iter().filter(|deed| matches!(deed, Deed::Twice(..))).count();
        assert!((30..120).contains(&twice), "{twice}");
        let lists = |deed: &&Deed| matches!(deed, Deed::Once(Call::List { .. }));
        assert!(deeds(1).iter().filter(lists).count() > 5);
    }
}
