//! How a [`Swim`](super::Swim) behaves: presets for three kinds of network, and the check that the numbers can work.

use std::time::Duration;

use super::hlc::Stamp;
use super::wire::{self, ClusterHash};

/// Settings of the protocol. Members of one cluster should agree on them, but need not: nothing breaks while they are
/// rolled out.
///
/// Take a preset and change what must differ:
/// ```
/// use muster_cluster::swim::Config;
/// let config = Config { gossip_fanout: 4, ..Config::lan("staging") };
/// assert!(config.validate().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Name of the cluster, 1 to 255 bytes. Packets of clusters of another name are dropped.
    pub cluster: String,
    /// The protocol period: one member is probed in each.
    pub probe_interval: Duration,
    /// How many members are probed directly in each period.
    pub direct_probes: usize,
    /// How long a direct probe is waited for, at most, before others are asked to probe for us. Below the interval.
    pub probe_timeout: Duration,
    /// How long it is waited for at least. In between, the time-out is the 99th percentile of recent round trips and a tenth more: those
    /// with the member itself once there are enough, those with all until then. Equal to `probe_timeout`, it is fixed.
    pub probe_timeout_min: Duration,
    /// How many others are asked, at most [`MAX_INDIRECT_PROBES`].
    pub indirect_probes: usize,
    /// Whether a stream is tried beside the indirect probes: a member whose datagrams are blocked and whose streams are not lives.
    pub stream_probes: bool,
    /// A suspect is given `suspicion_multiplier * max(1, ln(n + 1) / ln(10)) * probe_interval` to refute, at least.
    pub suspicion_multiplier: u32,
    /// This many times as much while nobody confirms the suspicion.
    pub suspicion_max_multiplier: u32,
    /// Independent confirmations after which a suspect has the least time, at most [`MAX_CONFIRMATIONS`].
    pub suspicion_confirmations: usize,
    /// The worst score of our own health: interval and time-out of probes are stretched up to `health_max + 1` times.
    pub health_max: u32,
    /// Which parts of Lifeguard are on.
    pub lifeguard: Lifeguard,
    /// How often news go out by themselves, beside the probes that carry them.
    pub gossip_interval: Duration,
    /// To how many members each time. With 0 news only ride on probes and their answers, as in SWIM's paper, and take longer.
    pub gossip_fanout: usize,
    /// Each piece of news is sent `retransmit_multiplier * ceil(ln(n + 1))` times.
    pub retransmit_multiplier: u32,
    /// How often the full state is exchanged with a random member.
    pub exchange_interval: Duration,
    /// After this an exchange that did not finish is given up.
    pub exchange_timeout: Duration,
    /// How often one of the failed members is probed, to notice when a partition has healed.
    pub dead_probe_interval: Duration,
    /// How often a seed that is no live member is tried, to find the other half of a cluster that fell apart long ago. While nobody
    /// else is known several are tried at once, every other period at least.
    pub seed_interval: Duration,
    /// How long a leaving member waits for others to have heard of it.
    pub leave_timeout: Duration,
    /// How long the removal of a member is remembered. Must outlive several full exchanges, or the dead come back.
    pub tombstone_ttl: Duration,
    /// How far a foreign stamp may push our own clock ahead of the wall clock.
    pub drift_bound: Duration,
    /// Members of whom we keep a record, the dead included; more are not taken in, and counted.
    pub max_members: usize,
    /// User broadcasts that wait to be passed on; when full, the one sent most often makes room.
    pub broadcast_queue: usize,
    /// A user broadcast is passed on for this long at most.
    pub broadcast_age: Duration,
}

/// Most relays of one probe.
pub const MAX_INDIRECT_PROBES: usize = 16;

/// Most direct probes in a period.
pub const MAX_DIRECT_PROBES: usize = 64;

/// The worst score of health that can be asked for: beyond it a member would hardly take part.
const MAX_HEALTH: usize = 63;

/// Most independent confirmations that a suspicion can ask for: with the first accuser they fit beside a probe and the longest
/// broadcast.
pub const MAX_CONFIRMATIONS: usize = 7;

/// The parts of Lifeguard (A. Dadgar, J. Phillips, J. Currey, "Lifeguard: Local Health Awareness for More Accurate Failure
/// Detection", 2018, section IV), each of which works without the others; and one of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifeguard {
    /// LHA-Probe: who sees signs that it is slow itself probes less often and waits longer.
    pub probe: bool,
    /// LHA-Suspicion: a suspicion begins with a long time-out that shrinks as others confirm it. Without it the time-out is the shortest
    /// from the start, as in plain SWIM.
    pub suspicion: bool,
    /// Buddy System: a suspect is told so in every packet that it is sent, before anything else.
    pub buddy: bool,
    /// Not in the paper: our own timers that go off late are a sign that we are slow. Without effect when `probe` is off.
    pub lateness: bool,
}

impl Lifeguard {
    /// Every part.
    pub const ALL: Self = Self { probe: true, suspicion: true, buddy: true, lateness: true };

    /// No part: plain SWIM with suspicion.
    pub const NONE: Self = Self { probe: false, suspicion: false, buddy: false, lateness: false };
}

impl Config {
    /// For members on one machine or one rack: crashes are noticed within a second or two.
    #[must_use]
    pub fn local(cluster: impl Into<String>) -> Self {
        Self {
            probe_interval: Duration::from_millis(250),
            // Loopback answers in well under a millisecond; a busy machine may still take its time to schedule.
            probe_timeout: Duration::from_millis(100),
            probe_timeout_min: Duration::from_millis(20),
            gossip_interval: Duration::from_millis(50),
            exchange_interval: Duration::from_secs(10),
            exchange_timeout: Duration::from_secs(2),
            dead_probe_interval: Duration::from_secs(1),
            seed_interval: Duration::from_secs(4),
            leave_timeout: Duration::from_secs(1),
            ..Self::lan(cluster)
        }
    }

    /// For members in one data centre; the default choice.
    #[must_use]
    pub fn lan(cluster: impl Into<String>) -> Self {
        Self {
            cluster: cluster.into(),
            // With the time-out below: twice the round trips of a bad day in one data centre.
            probe_interval: Duration::from_secs(1),
            // Each member is then probed once a period by somebody, as in the papers.
            direct_probes: 1,
            probe_timeout: Duration::from_millis(400),
            // A process that waits for its turn on a busy machine is not gone.
            probe_timeout_min: Duration::from_millis(50),
            // Three relays: with 10 % loss a live member is missed by all in less than 1 of 100 periods.
            indirect_probes: 3,
            stream_probes: true,
            // Four periods are enough for one to hear of the suspicion and for the refutation to come back by gossip.
            suspicion_multiplier: 4,
            // The two that Lifeguard's authors recommend.
            suspicion_max_multiplier: 6,
            suspicion_confirmations: 3,
            // Theirs as well (section IV-A): a member in distress probes every ninth period.
            health_max: 8,
            lifeguard: Lifeguard::ALL,
            // Five rounds a period, three members each: at N = 1,000 all know within two periods.
            gossip_interval: Duration::from_millis(200),
            gossip_fanout: 3,
            // With the natural logarithm: 8 sends at N = 3, 16 at N = 30; with the decimal one small groups miss members.
            retransmit_multiplier: 4,
            // What gossip missed is repaired within the minute.
            exchange_interval: Duration::from_secs(30),
            exchange_timeout: Duration::from_secs(10),
            dead_probe_interval: Duration::from_secs(5),
            seed_interval: Duration::from_secs(15),
            leave_timeout: Duration::from_secs(3),
            // Longer than any partition that people do not know about.
            tombstone_ttl: Duration::from_secs(24 * 3600),
            // Worse than any clock that is kept by NTP, better than one that nobody looks after.
            drift_bound: Duration::from_millis(500),
            // Twice the size of cluster that the protocol is meant for: as many dead as living.
            max_members: 32_768,
            // A megabyte at the largest size of a broadcast.
            broadcast_queue: 1_024,
            // News that are older are no news.
            broadcast_age: Duration::from_secs(30),
        }
    }

    /// For members that are continents apart.
    #[must_use]
    pub fn wan(cluster: impl Into<String>) -> Self {
        Self {
            probe_interval: Duration::from_secs(5),
            // Once around the world takes 300 ms; a lost packet of a tunnel and its repair take three times as long.
            probe_timeout: Duration::from_secs(2),
            // Nearby members answer sooner, but the way to them is shared with traffic that comes in bursts.
            probe_timeout_min: Duration::from_millis(300),
            suspicion_multiplier: 6,
            gossip_interval: Duration::from_millis(500),
            gossip_fanout: 4,
            exchange_interval: Duration::from_secs(60),
            exchange_timeout: Duration::from_secs(30),
            dead_probe_interval: Duration::from_secs(15),
            seed_interval: Duration::from_secs(60),
            leave_timeout: Duration::from_secs(10),
            ..Self::lan(cluster)
        }
    }

    /// The hash of the cluster's name, as it stands in every packet and stream preface.
    #[must_use]
    pub fn cluster_hash(&self) -> ClusterHash {
        ClusterHash::of(&self.cluster)
    }

    /// Checks that the numbers can work.
    ///
    /// # Errors
    /// The first thing that cannot.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.cluster.is_empty() || self.cluster.len() > wire::MAX_CLUSTER_NAME {
            return Err(ConfigError::ClusterName { len: self.cluster.len() });
        }
        for (name, value) in [
            ("probe_interval", self.probe_interval),
            ("probe_timeout", self.probe_timeout),
            ("probe_timeout_min", self.probe_timeout_min),
            ("gossip_interval", self.gossip_interval),
            ("exchange_interval", self.exchange_interval),
            ("exchange_timeout", self.exchange_timeout),
            ("dead_probe_interval", self.dead_probe_interval),
            ("seed_interval", self.seed_interval),
            ("leave_timeout", self.leave_timeout),
            ("broadcast_age", self.broadcast_age),
        ] {
            // A millisecond is the finest that drivers' timers can do; below it they spin.
            if value < Duration::from_millis(1) {
                return Err(ConfigError::TooShort { name });
            }
        }
        // The timers are jittered by a tenth, hence the margin.
        if self.probe_timeout.saturating_mul(10) > self.probe_interval.saturating_mul(9) {
            return Err(ConfigError::ProbeTimeout { timeout: self.probe_timeout, interval: self.probe_interval });
        }
        if self.probe_timeout_min > self.probe_timeout {
            return Err(ConfigError::TimeoutBounds { min: self.probe_timeout_min, max: self.probe_timeout });
        }
        for (name, value) in [
            ("direct_probes", self.direct_probes),
            ("suspicion_multiplier", self.suspicion_multiplier as usize),
            ("suspicion_max_multiplier", self.suspicion_max_multiplier as usize),
            ("retransmit_multiplier", self.retransmit_multiplier as usize),
            ("max_members", self.max_members),
            ("broadcast_queue", self.broadcast_queue),
        ] {
            if value == 0 {
                return Err(ConfigError::Zero { name });
            }
        }
        for (name, value, max) in [
            ("indirect_probes", self.indirect_probes, MAX_INDIRECT_PROBES),
            ("direct_probes", self.direct_probes, MAX_DIRECT_PROBES),
            ("suspicion_confirmations", self.suspicion_confirmations, MAX_CONFIRMATIONS),
            ("health_max", self.health_max as usize, MAX_HEALTH),
        ] {
            if value > max {
                return Err(ConfigError::TooMany { name, max });
            }
        }
        if self.max_members > wire::MAX_ROWS {
            return Err(ConfigError::TooManyMembers { max_members: self.max_members });
        }
        if self.tombstone_ttl < self.exchange_interval.saturating_mul(4) {
            return Err(ConfigError::TombstoneTtl {
                ttl: self.tombstone_ttl,
                exchange_interval: self.exchange_interval,
            });
        }
        Ok(())
    }
}

/// Why a [`Config`] cannot work. Nothing was started; correct the setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The name is empty or too long.
    #[error("the cluster's name must have 1 to {} bytes, this one has {len}", wire::MAX_CLUSTER_NAME)]
    ClusterName {
        /// Its length in bytes.
        len: usize,
    },
    /// A duration below a millisecond.
    #[error("{name} must be at least 1ms")]
    TooShort {
        /// Which.
        name: &'static str,
    },
    /// A count of zero.
    #[error("{name} must be at least 1")]
    Zero {
        /// Which.
        name: &'static str,
    },
    /// The probe would not be over when the next period begins.
    #[error("probe_timeout ({timeout:?}) must be at most nine tenths of probe_interval ({interval:?})")]
    ProbeTimeout {
        /// The time-out.
        timeout: Duration,
        /// The interval.
        interval: Duration,
    },
    /// The least probe time-out is above the greatest.
    #[error("probe_timeout_min ({min:?}) must be at most probe_timeout ({max:?})")]
    TimeoutBounds {
        /// The least.
        min: Duration,
        /// The greatest.
        max: Duration,
    },
    /// A count beyond its bound.
    #[error("{name} must be at most {max}")]
    TooMany {
        /// Which.
        name: &'static str,
        /// The bound.
        max: usize,
    },
    /// The disk holds a stamp that nobody would believe.
    #[error(
        "the last stamp, {stamp} (milliseconds since 1970), is more than ten years ahead of this machine's clock, or of 2026: no member would believe the next one. If the \
         clock is wrong, set it and start again. If it was wrong when this stamp was made, nobody has heard of this member since, and it has to come \
         back as a new one, without its stamp"
    )]
    Clock {
        /// The stamp.
        stamp: Stamp,
    },
    /// Removals would be forgotten before everybody has heard of them.
    #[error("tombstone_ttl ({ttl:?}) must be at least four times exchange_interval ({exchange_interval:?})")]
    TombstoneTtl {
        /// The time to live.
        ttl: Duration,
        /// The interval.
        exchange_interval: Duration,
    },
    /// More members than a full-state frame can carry.
    #[error("max_members must be at most {}, not {max_members}", wire::MAX_ROWS)]
    TooManyMembers {
        /// What was asked for.
        max_members: usize,
    },
    /// The member's own description is not usable.
    #[error("the member's {what}")]
    Identity {
        /// What is wrong with it.
        what: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_work() {
        for config in [Config::local("c"), Config::lan("c"), Config::wan("c")] {
            assert_eq!(config.validate(), Ok(()));
        }
    }

    #[test]
    fn what_cannot_work_is_an_error() {
        let lan = Config::lan("c");
        let too_long = Config { probe_timeout: lan.probe_interval, ..lan.clone() };
        assert!(matches!(too_long.validate(), Err(ConfigError::ProbeTimeout { .. })));
        let nameless = Config { cluster: String::new(), ..lan.clone() };
        assert!(matches!(nameless.validate(), Err(ConfigError::ClusterName { len: 0 })));
        let hasty = Config { suspicion_multiplier: 0, ..lan.clone() };
        assert_eq!(hasty.validate(), Err(ConfigError::Zero { name: "suspicion_multiplier" }));
        let spinning = Config { gossip_interval: Duration::ZERO, ..lan.clone() };
        assert_eq!(spinning.validate(), Err(ConfigError::TooShort { name: "gossip_interval" }));
        let forgetful = Config { tombstone_ttl: Duration::from_secs(60), ..lan.clone() };
        assert!(matches!(forgetful.validate(), Err(ConfigError::TombstoneTtl { .. })));
        let upside_down = Config { probe_timeout_min: lan.probe_timeout * 2, ..lan.clone() };
        assert!(matches!(upside_down.validate(), Err(ConfigError::TimeoutBounds { .. })));
        let crowd = Config { indirect_probes: MAX_INDIRECT_PROBES + 1, ..lan.clone() };
        assert_eq!(crowd.validate(), Err(ConfigError::TooMany { name: "indirect_probes", max: MAX_INDIRECT_PROBES }));
        let huge = Config { max_members: usize::MAX, ..lan };
        assert!(matches!(huge.validate(), Err(ConfigError::TooManyMembers { .. })));
    }
}
