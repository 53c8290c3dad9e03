//! The network: how long packets take, which are lost, doubled or late, and who does not hear whom.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;

/// How long something takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Latency {
    /// Always the same.
    Fixed(Duration),
    /// Anything between the two, evenly.
    Uniform(Duration, Duration),
    /// Mostly about `median`, now and then much longer: log-normal. `sigma` is the deviation of the natural logarithm; 0.5 gives a 99th
    /// percentile of three medians, 1 of ten.
    LogNormal {
        /// Half take longer.
        median: Duration,
        /// Of the logarithm.
        sigma: f64,
    },
}

impl Latency {
    /// 0.2 to 2 ms: one data centre, with some reordering.
    pub const LAN: Self = Self::Uniform(Duration::from_micros(200), Duration::from_micros(2_000));

    /// Draws one.
    pub fn draw(&self, rng: &mut Xoshiro256PlusPlus) -> Duration {
        match *self {
            Self::Fixed(duration) => duration,
            Self::Uniform(least, most) if least >= most => least,
            Self::Uniform(least, most) => Duration::from_nanos(rng.random_range(nanos(least)..nanos(most))),
            Self::LogNormal { median, sigma } => {
                // Box and Muller; the first number is never 0.
                let (a, b): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
                let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
                // Bounded, since a number may be anything and time must go on.
                median.mul_f64((sigma * normal).exp().min(1_000.0))
            }
        }
    }
}

/// A duration as the simulator counts them; runs are shorter than 584 years.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The network between all hosts. Its fields may be changed at any time, and count for what is sent (the cuts: for what arrives)
/// from then on.
#[derive(Debug, Clone)]
pub struct Network {
    /// How long a packet or frame is under way. Each is drawn for itself, so packets overtake each other; frames of one stream do not.
    pub latency: Latency,
    /// How many of all datagrams are lost, 0 to 1.
    pub loss: f64,
    /// How many of all datagrams arrive twice, 0 to 1.
    pub duplicates: f64,
    /// How many of all datagrams are held up, 0 to 1, and for how long at most: those are overtaken by many.
    pub late: (f64, Duration),
    /// Hosts of different groups do not hear each other; those beyond the end are in group 0.
    groups: Vec<u32>,
    /// From whom to whom nothing goes. A stream needs both ways.
    cuts: BTreeSet<(usize, usize)>,
    /// Between whom no datagrams go, though streams do.
    deaf: BTreeSet<(usize, usize)>,
    /// Hosts whose datagrams are lost more often, on their way in and out, 0 to 1.
    lossy: Vec<f64>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            latency: Latency::LAN,
            loss: 0.0,
            duplicates: 0.0,
            late: (0.0, Duration::ZERO),
            groups: Vec::new(),
            cuts: BTreeSet::new(),
            deaf: BTreeSet::new(),
            lossy: Vec::new(),
        }
    }
}

impl Network {
    /// Puts a host into a group; hosts of different groups do not hear each other.
    pub fn put_in_group(&mut self, host: usize, group: u32) {
        if self.groups.len() <= host {
            self.groups.resize(host + 1, 0);
        }
        self.groups[host] = group;
    }

    /// Nothing goes from one to the other; the way back is open.
    pub fn cut_one_way(&mut self, from: usize, to: usize) {
        self.cuts.insert((from, to));
    }

    /// No datagram goes between two, either way; streams do.
    pub fn deafen(&mut self, a: usize, b: usize) {
        self.deaf.insert((a, b));
        self.deaf.insert((b, a));
    }

    /// This host loses more than the others: `loss` of what it sends and of what is sent to it, beside the network's own.
    pub fn make_lossy(&mut self, host: usize, loss: f64) {
        if self.lossy.len() <= host {
            self.lossy.resize(host + 1, 0.0);
        }
        self.lossy[host] = loss;
    }

    /// Takes away every cut and group. Loss, duplicates and delays stay.
    pub fn heal(&mut self) {
        self.groups.clear();
        self.cuts.clear();
        self.deaf.clear();
    }

    /// Takes away everything that is wrong with it. The latency stays.
    pub fn repair(&mut self) {
        *self = Self { latency: self.latency, ..Self::default() };
    }

    fn group(&self, host: usize) -> u32 {
        self.groups.get(host).copied().unwrap_or(0)
    }

    /// Whether a datagram from one host can arrive at another.
    #[must_use]
    pub fn carries_datagram(&self, from: usize, to: usize) -> bool {
        self.group(from) == self.group(to)
            && (self.cuts.is_empty() || !self.cuts.contains(&(from, to)))
            && (self.deaf.is_empty() || !self.deaf.contains(&(from, to)))
    }

    /// Whether a stream between two hosts can be opened and used.
    #[must_use]
    pub fn carries_stream(&self, a: usize, b: usize) -> bool {
        self.group(a) == self.group(b)
            && (self.cuts.is_empty() || !(self.cuts.contains(&(a, b)) || self.cuts.contains(&(b, a))))
    }

    /// After which times copies of a datagram arrive: none, one or two of them. Cuts are not looked at.
    pub fn fate(&self, from: usize, to: Option<usize>, rng: &mut Xoshiro256PlusPlus) -> [Option<Duration>; 2] {
        let lost = rng.random_bool(self.loss)
            || [Some(from), to].into_iter().flatten().any(|host| {
                let extra = self.lossy.get(host).copied().unwrap_or(0.0);
                extra > 0.0 && rng.random_bool(extra)
            });
        if lost {
            return [None, None];
        }
        let twice = self.duplicates > 0.0 && rng.random_bool(self.duplicates);
        [Some(self.delay(rng)), twice.then(|| self.delay(rng))]
    }

    fn delay(&self, rng: &mut Xoshiro256PlusPlus) -> Duration {
        let usual = self.latency.draw(rng);
        let (share, most) = self.late;
        if share > 0.0 && rng.random_bool(share) { usual + most.mul_f64(rng.random()) } else { usual }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn latencies_are_what_they_say() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let ms = Duration::from_millis;
        let mut draws = |latency: Latency| -> Vec<Duration> {
            let mut all: Vec<_> = (0..10_001).map(|_| latency.draw(&mut rng)).collect();
            all.sort();
            all
        };
        let even = draws(Latency::Uniform(ms(10), ms(20)));
        assert!(even[0] >= ms(10) && even[10_000] < ms(20) && (ms(14)..ms(16)).contains(&even[5_000]));
        let tailed = draws(Latency::LogNormal { median: ms(10), sigma: 1.0 });
        assert!((ms(9)..ms(11)).contains(&tailed[5_000]), "{:?}", tailed[5_000]);
        assert!((ms(80)..ms(130)).contains(&tailed[9_900]), "{:?}", tailed[9_900]);
        assert_eq!(draws(Latency::Fixed(ms(7)))[0], ms(7));
    }

    #[test]
    fn losses_and_doubles_are_as_often_as_they_should() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let mut network = Network { loss: 0.25, duplicates: 0.1, ..Network::default() };
        network.make_lossy(3, 0.5);
        let mut count = |from, to| {
            let fates: Vec<_> = (0..10_000).map(|_| network.fate(from, Some(to), &mut rng)).collect();
            let arrived = fates.iter().filter(|[first, _]| first.is_some()).count();
            (arrived, fates.iter().filter(|[_, second]| second.is_some()).count())
        };
        let (arrived, twice) = count(0, 1);
        assert!((7_300..7_700).contains(&arrived) && (650..850).contains(&twice), "{arrived} {twice}");
        let (arrived, _) = count(0, 3);
        assert!((3_550..3_950).contains(&arrived), "{arrived}");
    }

    #[test]
    fn cuts_have_directions() {
        let mut network = Network::default();
        network.cut_one_way(0, 1);
        network.deafen(2, 3);
        network.put_in_group(4, 1);
        assert!(!network.carries_datagram(0, 1) && network.carries_datagram(1, 0));
        assert!(!network.carries_stream(0, 1) && !network.carries_stream(1, 0));
        assert!(!network.carries_datagram(3, 2) && network.carries_stream(2, 3));
        assert!(!network.carries_datagram(4, 0) && !network.carries_stream(0, 4));
        network.heal();
        assert!(network.carries_datagram(0, 1) && network.carries_datagram(2, 3) && network.carries_stream(4, 0));
    }
}
