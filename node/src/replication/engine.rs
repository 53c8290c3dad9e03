//! How a node is to replicate, and how openraft is set up for that.

use std::path::PathBuf;
use std::time::Duration;

use openraft::{Config, SnapshotPolicy};
use uuid::Uuid;

use super::{Compaction, StartError};

/// How to replicate.
#[derive(Debug, Clone)]
pub struct Options {
    /// This node.
    pub id: Uuid,
    /// What people call it.
    pub name: String,
    /// Who of equally fresh logs leads.
    pub priority: i32,
    /// How often the leader lets itself be heard.
    pub heartbeat: Duration,
    /// How long its silence is borne.
    pub election_timeout: Duration,
    /// When the log is cut.
    pub compaction: Compaction,
    /// Where what is remembered of other voters is kept.
    pub data_dir: PathBuf,
    /// The stamp of this node's last life in gossip, as its disk holds it.
    pub stamp: u64,
}

impl Options {
    /// How long a leader bears it that no majority answers: twice as long as the voters bear its silence, so that it gives up after they have.
    pub(super) fn patience(&self) -> Duration {
        self.election_timeout * 2
    }
}

pub(super) fn config(options: &Options) -> Result<Config, StartError> {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: "muster".to_owned(),
        heartbeat_interval: ms(options.heartbeat),
        // Voters keep their lease for the upper bound; the lower one times only openraft's own elections, which are off.
        election_timeout_min: ms(options.election_timeout) / 2,
        election_timeout_max: ms(options.election_timeout),
        enable_elect: false,
        enable_pre_vote: Some(true),
        // A restarted leader is elected like everybody else: its disk may be an old copy.
        enable_leader_restore: Some(false),
        // A follower whose disk is an old copy is sent again what it lost. It must not take the leader down, and it votes no more.
        allow_log_reversion: Some(true),
        // Snapshots are taken by size, see `compaction`.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        // An entry may be a megabyte; the log reader also bounds a batch by bytes.
        max_payload_entries: 64,
        ..Config::default()
    };
    config.validate().map_err(|error| StartError::Timing(error.to_string()))
}
