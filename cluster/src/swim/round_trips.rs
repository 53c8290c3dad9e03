//! Round trips as they were lately, and what follows for how long the next answer is waited for: their 99th percentile and a tenth
//! more.
//!
//! They are kept coarsely, so that a member who knows thousands keeps sixteen bytes for each: an eighth of an octave, rounded up.
//! Nothing here allocates.

use std::time::Duration;

/// Round trips with one member that are kept.
const RING: usize = 11;

/// From this many on, a member's own history counts. Its 99th percentile is then its longest.
const ENOUGH: u8 = 8;

/// From this many on, the history with all counts.
const ENOUGH_OVERALL: u32 = 32;

/// At this many the old ones count half, so that what was long ago fades.
const FADE_AT: u32 = 2_048;

/// The buckets of the histogram that people see.
pub(super) const BOUNDS: [Duration; 14] = [
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
];

/// The class of a round trip: three bits behind the leading one.
fn class(micros: u32) -> u8 {
    let micros = micros.max(1);
    let octave = micros.ilog2();
    let eighth = ((u64::from(micros) << 3) >> octave) & 7;
    // Below 32 octaves of 8.
    (octave * 8) as u8 + eighth as u8
}

/// The upper end of a class.
fn upper(class: u8) -> Duration {
    let (octave, eighth) = (u32::from(class / 8), u64::from(class % 8));
    Duration::from_micros((((8 + eighth + 1) << octave) >> 3).max(1))
}

fn micros(round_trip: Duration) -> u32 {
    u32::try_from(round_trip.as_micros()).unwrap_or(u32::MAX).max(1)
}

fn with_a_tenth(longest: Duration) -> Duration {
    longest + longest / 10
}

/// Those with one member.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RoundTrips {
    /// In microseconds; 0 is none.
    last: u32,
    ring: [u8; RING],
    /// The low half: how many are in the ring; the high half: where the next one goes.
    fill: u8,
}

impl RoundTrips {
    pub(super) fn note(&mut self, round_trip: Duration) {
        self.last = micros(round_trip);
        let (count, next) = (self.fill & 0xf, self.fill >> 4);
        self.ring[usize::from(next) % RING] = class(self.last);
        let (count, next) = ((count + 1).min(RING as u8), (next + 1) % RING as u8);
        self.fill = count | (next << 4);
    }

    /// The last one, to the microsecond.
    pub(super) fn last(&self) -> Option<Duration> {
        (self.last > 0).then(|| Duration::from_micros(u64::from(self.last)))
    }

    /// How long to wait for this member, if there is enough history.
    fn time_out(&self) -> Option<Duration> {
        let count = self.fill & 0xf;
        let longest = self.ring.iter().take(usize::from(count)).max();
        longest.filter(|_| count >= ENOUGH).map(|class| with_a_tenth(upper(*class)))
    }
}

/// Those with all members, the old ones fading.
#[derive(Debug)]
pub(super) struct Overall {
    counts: [u16; 256],
    total: u32,
    /// Those since the start, which do not fade: one more than there are bounds.
    buckets: [u64; BOUNDS.len() + 1],
    sum: Duration,
}

impl Overall {
    pub(super) const fn new() -> Self {
        Self { counts: [0; 256], total: 0, buckets: [0; BOUNDS.len() + 1], sum: Duration::ZERO }
    }

    pub(super) const fn buckets(&self) -> &[u64] {
        &self.buckets
    }

    pub(super) const fn sum(&self) -> Duration {
        self.sum
    }

    pub(super) fn note(&mut self, round_trip: Duration) {
        self.buckets[BOUNDS.partition_point(|bound| *bound < round_trip)] += 1;
        self.sum = self.sum.saturating_add(round_trip);
        let count = &mut self.counts[usize::from(class(micros(round_trip)))];
        *count = count.saturating_add(1);
        self.total += 1;
        if self.total >= FADE_AT {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().map(|count| u32::from(*count)).sum();
        }
    }

    /// The time within which `percent` of those that are remembered came back; rounded up.
    pub(super) fn percentile(&self, percent: u32) -> Option<Duration> {
        let mut beyond = self.total * (100 - percent.min(100)) / 100;
        for (class, count) in (0..=u8::MAX).zip(&self.counts).rev() {
            let count = u32::from(*count);
            if count > beyond {
                return Some(upper(class));
            }
            beyond -= count;
        }
        None
    }

    fn time_out(&self) -> Option<Duration> {
        self.percentile(99).filter(|_| self.total >= ENOUGH_OVERALL).map(with_a_tenth)
    }
}

/// How long to wait for a member: by its own history, by everybody's, or `most`; between `least` and `most`.
pub(super) fn time_out(own: &RoundTrips, all: &Overall, least: Duration, most: Duration) -> Duration {
    own.time_out().or_else(|| all.time_out()).unwrap_or(most).clamp(least.min(most), most)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEAST: Duration = Duration::from_millis(1);
    const MOST: Duration = Duration::from_millis(500);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn near(given: Duration, wanted: Duration) -> bool {
        given >= wanted && given <= wanted.mul_f64(1.13)
    }

    #[test]
    fn without_history_the_longest_with_some_everybodys_with_enough_its_own() {
        let (mut own, mut all) = (RoundTrips::default(), Overall::new());
        assert_eq!(time_out(&own, &all, LEAST, MOST), MOST);
        (0..ENOUGH_OVERALL).for_each(|_| all.note(ms(100)));
        assert!(near(time_out(&own, &all, LEAST, MOST), ms(110)));
        (0..ENOUGH - 1).for_each(|_| own.note(ms(10)));
        assert!(near(time_out(&own, &all, LEAST, MOST), ms(110)));
        own.note(ms(20));
        assert!(near(time_out(&own, &all, LEAST, MOST), ms(22)));
        assert_eq!(own.last(), Some(ms(20)));
        // The slow one leaves the ring.
        (0..RING).for_each(|_| own.note(ms(5)));
        assert!(near(time_out(&own, &all, LEAST, MOST), ms(5) + ms(5) / 10));
        // Within bounds.
        assert_eq!(time_out(&own, &all, ms(50), MOST), ms(50));
        assert_eq!(time_out(&own, &all, LEAST, ms(2)), ms(2));
    }

    #[test]
    fn one_in_a_hundred_does_not_count_two_do() {
        let mut all = Overall::new();
        (0..99).for_each(|_| all.note(ms(10)));
        all.note(ms(400));
        assert!(near(all.percentile(99).expect("a hundred"), ms(10)));
        (0..98).for_each(|_| all.note(ms(10)));
        all.note(ms(400));
        all.note(ms(400));
        assert!(near(all.percentile(99).expect("two hundred"), ms(400)));
    }

    #[test]
    fn what_was_long_ago_fades() {
        let mut all = Overall::new();
        (0..1_000).for_each(|_| all.note(ms(300)));
        (0..20_000).for_each(|_| all.note(ms(1)));
        assert!(near(all.percentile(99).expect("many"), ms(1)));
        assert!(all.total < FADE_AT);
    }

    #[test]
    fn the_histogram_counts_each_below_its_bound() {
        let mut all = Overall::new();
        for micros in [1, 100, 101, 2_500_000, 2_500_001] {
            all.note(Duration::from_micros(micros));
        }
        assert_eq!((all.buckets()[0], all.buckets()[1], all.buckets()[13], all.buckets()[14]), (2, 1, 1, 1));
        assert_eq!(all.sum(), Duration::from_micros(5_000_203));
    }

    #[test]
    fn the_size_of_a_history() {
        assert_eq!(size_of::<RoundTrips>(), 16);
    }

    proptest! {
        #[test]
        fn classes_round_up_by_an_eighth_at_most(micros in 1..u32::MAX) {
            let given = upper(class(micros)).as_micros();
            let micros = u128::from(micros);
            prop_assert!(given >= micros && given <= micros + micros / 8 + 1, "{micros} became {given}");
        }

        #[test]
        fn classes_keep_the_order(a in 1..u32::MAX, b in 1..u32::MAX) {
            prop_assert!(a > b || class(a) <= class(b));
        }
    }
}
