//! What gossip reports: most of it for people, some of it against this node's vote.

use log::{info, warn};
use muster_cluster::swim::{self, Event};
use tokio::sync::broadcast;

use super::Joining;
use crate::roster::Card;

impl Joining {
    pub(super) async fn hear_events(&self, mut events: broadcast::Receiver<Event>) {
        loop {
            match events.recv().await {
                Ok(event) => self.hear(event),
                Err(broadcast::error::RecvError::Lagged(missed)) => warn!("{missed} events of gossip were missed"),
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    fn hear(&self, event: Event) {
        let me = self.replication.me();
        match event {
            Event::SetBack { heard, held } => self.replication.hear_of_later_life(heard.to_bits(), held.to_bits()),
            Event::Duplicate { id, boots: [one, other] } if id == me => {
                self.replication.note_double(&format!("boot numbers {one} and {other}"));
            }
            Event::Duplicate { id, .. } => warn!("two nodes run under the identity {id}; neither is believed"),
            Event::Joined(member) => info!("{} is there, at {}", name(&member), member.address),
            Event::Suspected(member) => info!("{} does not answer gossip", name(&member)),
            Event::Refuted(member) => info!("{} answers gossip again", name(&member)),
            Event::Failed(member) => warn!("{} is given up by gossip", name(&member)),
            Event::Left(member) => info!("{} has stopped in good order", name(&member)),
            Event::Updated(_)
            | Event::Synced { .. }
            | Event::Forgotten { .. }
            | Event::Broadcast { .. }
            | Event::Message { .. }
            | Event::LeaveDone { .. } => {}
        }
    }
}

fn name(member: &swim::Member) -> String {
    match Card::decode(&member.metadata) {
        Some(card) if !card.name.is_empty() => format!("{} ({})", card.name, member.id),
        _ => member.id.to_string(),
    }
}
