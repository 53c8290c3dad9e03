//! A member of the crate `chitchat`: Scuttlebutt with a phi accrual failure detector, as Quickwit uses it.

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use chitchat::transport::UdpTransport;
use chitchat::{ChitchatConfig, ChitchatId, FailureDetectorConfig, spawn_chitchat};
use clap::Parser;
use muster_peers::{Flags, PERIOD, generation, tell};

// One thread, as all that are compared.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::parse();
    let config = ChitchatConfig {
        chitchat_id: ChitchatId::new(flags.number.to_string(), generation(), flags.bind),
        cluster_id: "peers".to_owned(),
        gossip_interval: PERIOD,
        listen_addr: flags.bind,
        seed_nodes: flags.join.iter().map(ToString::to_string).collect(),
        // Its own threshold and window; its intervals are made for a period of a second, ours is a fifth of it.
        failure_detector_config: FailureDetectorConfig {
            max_interval: Duration::from_secs(2),
            initial_interval: Duration::from_secs(1),
            ..FailureDetectorConfig::default()
        },
        marked_for_deletion_grace_period: Duration::from_secs(3_600),
        catchup_callback: None,
        extra_liveness_predicate: None,
    };
    let member = spawn_chitchat(config, Vec::new(), &UdpTransport).await?;
    tell("ready", "0");
    let mut live = member.with_chitchat(|chitchat| chitchat.live_nodes_watcher()).await;
    let mut known = BTreeSet::new();
    loop {
        let now: BTreeSet<ChitchatId> = live.borrow_and_update().keys().cloned().collect();
        let others = |id: &&ChitchatId| id.node_id != flags.number.to_string();
        now.difference(&known).filter(others).for_each(|id| tell("joined", &id.node_id));
        known.difference(&now).filter(others).for_each(|id| tell("failed", &id.node_id));
        known = now;
        live.changed().await?;
    }
}
