//! Looks on: who says of itself that it leads, and in which term.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use muster_client::api::cluster::{Role, Status};

use super::client::Addresses;
use super::record::{Recorder, Reign};
use crate::http::Http;

/// 50 ms between two looks: a sixth of the shortest reign, since no election takes place sooner after another.
const PAUSE: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(1);

/// Looks at a node until it is told to stop.
pub(super) async fn watch(http: Http, addresses: Addresses, node: usize, recorder: Recorder, stop: Arc<AtomicBool>) {
    let mut last = None;
    while !stop.load(Ordering::Relaxed) {
        let url = format!("{}/cluster/status", addresses.of(node));
        let answer = http.get(url).within(PATIENCE).send().await;
        let status: Option<Status> = answer.ok().and_then(|answer| answer.parsed());
        if let Some(status) = status.filter(|status| status.role == Some(Role::Leader)) {
            let reign = (status.term, status.id);
            if last.replace(reign) != Some(reign) {
                let at = recorder.now();
                recorder.so_far().reigns.push(Reign { term: status.term, leader: status.id, at });
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
