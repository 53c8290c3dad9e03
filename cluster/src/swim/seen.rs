//! Which user broadcasts have come by already: a window for each origin and start, so that none is delivered twice.

use std::collections::BTreeMap;

use uuid::Uuid;

/// Origins, or rather their starts, that are remembered; when there are more, the one that was silent longest is forgotten.
const ORIGINS: usize = 4_096;

/// Broadcasts of one origin may overtake each other by this many; older ones count as seen.
const WINDOW: u64 = 128;

#[derive(Debug, Clone, Copy)]
struct Window {
    highest: u64,
    /// Bit `i` is set when `highest - i` was seen.
    bits: u128,
    used: u64,
}

/// The windows.
#[derive(Debug)]
pub(super) struct Seen {
    windows: BTreeMap<(Uuid, u64), Window>,
    uses: u64,
    origins: usize,
}

impl Default for Seen {
    fn default() -> Self {
        Self::with_origins(ORIGINS)
    }
}

impl Seen {
    /// Remembers so many origins.
    pub(super) const fn with_origins(origins: usize) -> Self {
        Self { windows: BTreeMap::new(), uses: 0, origins }
    }

    /// Marks a broadcast; whether it is new.
    pub(super) fn insert(&mut self, origin: Uuid, boot: u64, seq: u64) -> bool {
        self.uses += 1;
        let used = self.uses;
        let Some(window) = self.windows.get_mut(&(origin, boot)) else {
            if self.windows.len() >= self.origins {
                let silent = self.windows.iter().min_by_key(|(_, window)| window.used).map(|(id, _)| *id);
                silent.and_then(|id| self.windows.remove(&id));
            }
            self.windows.insert((origin, boot), Window { highest: seq, bits: 1, used });
            return true;
        };
        window.used = used;
        if seq > window.highest {
            let by = seq - window.highest;
            window.bits = if by >= WINDOW { 1 } else { (window.bits << by) | 1 };
            window.highest = seq;
            return true;
        }
        let back = window.highest - seq;
        if back >= WINDOW || window.bits & (1 << back) != 0 {
            return false;
        }
        window.bits |= 1 << back;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Within the window it knows exactly what a set knows.
        #[test]
        fn as_a_set_would(seqs in prop::collection::vec(0..WINDOW, 0..300)) {
            let (mut seen, mut set) = (Seen::default(), BTreeSet::new());
            for seq in seqs {
                prop_assert_eq!(seen.insert(Uuid::from_u128(1), 1, seq), set.insert(seq));
            }
        }

        #[test]
        fn any_numbers_do_no_harm(seqs in prop::collection::vec(any::<(u64, bool)>(), 0..50)) {
            let mut seen = Seen::default();
            for (seq, boot) in seqs {
                seen.insert(Uuid::from_u128(1), u64::from(boot), seq);
                prop_assert!(!seen.insert(Uuid::from_u128(1), u64::from(boot), seq));
            }
        }
    }

    #[test]
    fn origins_are_bounded() {
        let mut seen = Seen::default();
        for id in 1..=(ORIGINS as u128 + 10) {
            assert!(seen.insert(Uuid::from_u128(id), 1, 1));
        }
        assert_eq!(seen.windows.len(), ORIGINS);
    }
}
