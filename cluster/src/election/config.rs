//! How an election decides, and how long it waits for what.

use std::time::Duration;

/// How a candidate becomes the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Bully alone: who is not outranked by anybody that answers in time declares itself the victor, in the term after the highest
    /// that it has seen.
    ///
    /// What this promises is a *leader hint with a term*, not mutual exclusion: on both sides of a partition somebody leads. When the
    /// sides meet, the leader with the higher (term, rank) stays and the other steps down. Good for work that may be done twice;
    /// not good for writes that must not be lost.
    Plain,
    /// Bully only decides who campaigns and when. The caller runs a vote of the electorate's majority (with a pre-vote) and reports
    /// how it went. One leader per term, because the vote says so.
    Voted,
}

/// The waits of an election. [`Config::new`] derives all of them from the two numbers that an operator chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How candidates become leaders.
    pub mode: Mode,
    /// How often a leader lets itself be heard. In plain mode the core sends the victory again at this interval; in voted mode the
    /// caller's replication does it. 50 ms by default: a few packets a second on each link, and several may be lost within a lease.
    pub heartbeat: Duration,
    /// How long voters keep faith with a leader they have heard: 300 ms by default, six heartbeats. Nothing but a certain death
    /// starts an election sooner, because the voters would refuse it.
    pub lease: Duration,
    /// How long a leader may be silent before that alone starts an election. The lease and two heartbeats (400 ms) by default: when
    /// gossip or a peer suspects the leader as well the lease is enough, and without a second voice a heartbeat that is late by a
    /// scheduler's hiccup is forgiven.
    pub window: Duration,
    /// How long an ELECTION waits for answers. One heartbeat (50 ms) by default: many round trips of a LAN, one of a continent. When
    /// everybody has answered it does not wait.
    pub answer: Duration,
    /// How long a node that is outranked waits for the victory before it stands itself. One lease (300 ms) by default: the other asks
    /// for one `answer` and campaigns for one `campaign` in that time, and has some to spare.
    pub victory: Duration,
    /// How long the caller's vote may take before the core counts it as failed. Half a lease (150 ms) by default: two rounds of
    /// messages and two synced writes each.
    pub campaign: Duration,
    /// The shortest pause between two tries; the longest is this doubled with each failure, up to the window. A tenth of the lease
    /// (30 ms) by default: several tries fit into the time that the slowest voter still keeps its lease.
    pub retry: Duration,
    /// How much later a node moves for each peer that outranks it, and the spread of the jitter. A fifth of a heartbeat (10 ms) by default:
    /// the question of the node before it has arrived by then.
    pub step: Duration,
    /// The slower way when nobody answers although peers are reachable: then it is likely the messages that are lost (datagrams cut,
    /// streams whole), and the node campaigns unasked after this long. Two leases (600 ms) by default: longer than an election that
    /// works takes.
    pub fallback: Duration,
    /// Where chance comes from. The same seed and the same inputs give the same outputs; give each node its own.
    pub seed: u64,
}

/// Why a [`Config`] cannot work. Nothing was started; change the value that is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A wait of nothing at all.
    #[error("{0} must not be zero")]
    Zero(&'static str),
    /// Two values are in the wrong order.
    #[error("{shorter} must be shorter than {longer}")]
    Order {
        /// What must be shorter.
        shorter: &'static str,
        /// Than what.
        longer: &'static str,
    },
}

impl Config {
    /// The default waits, scaled to how often a leader is heard and how long its silence is borne.
    pub fn new(mode: Mode, heartbeat: Duration, election_timeout: Duration, seed: u64) -> Self {
        Self {
            mode,
            heartbeat,
            lease: election_timeout,
            window: election_timeout + heartbeat * 2,
            answer: heartbeat,
            victory: election_timeout,
            campaign: election_timeout / 2,
            retry: election_timeout / 10,
            step: heartbeat / 5,
            fallback: election_timeout * 2,
            seed,
        }
    }

    /// The default waits: a heartbeat of 50 ms and an election timeout of 300 ms.
    pub fn standard(mode: Mode, seed: u64) -> Self {
        Self::new(mode, Duration::from_millis(50), Duration::from_millis(300), seed)
    }

    /// Refuses what cannot work.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let waits = [
            ("heartbeat", self.heartbeat),
            ("lease", self.lease),
            ("window", self.window),
            ("answer", self.answer),
            ("victory", self.victory),
            ("campaign", self.campaign),
            ("retry", self.retry),
            ("step", self.step),
            ("fallback", self.fallback),
        ];
        for (name, wait) in waits {
            if wait.is_zero() {
                return Err(ConfigError::Zero(name));
            }
        }
        // Each of these, turned round, is an election that chases its own tail.
        if self.heartbeat * 2 > self.lease {
            return Err(ConfigError::Order { shorter: "twice the heartbeat", longer: "the lease" });
        }
        if self.window < self.lease {
            return Err(ConfigError::Order { shorter: "the lease", longer: "the window" });
        }
        if self.answer >= self.victory {
            return Err(ConfigError::Order { shorter: "the answer wait", longer: "the victory wait" });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_work_and_a_heartbeat_as_long_as_the_lease_does_not() {
        assert_eq!(Config::standard(Mode::Voted, 1).validate(), Ok(()));
        let slow = Config::new(Mode::Plain, Duration::from_millis(300), Duration::from_millis(300), 1);
        assert!(matches!(slow.validate(), Err(ConfigError::Order { .. })));
        let none = Config::new(Mode::Plain, Duration::ZERO, Duration::from_millis(300), 1);
        assert_eq!(none.validate(), Err(ConfigError::Zero("heartbeat")));
    }
}
