//! Who leads: the bully core over gossip's messages, among the live members.
//!
//! Plain bully: the highest (priority, id) that is heard leads, and nobody counts voices. That is a hint with a term and not more: under a
//! partition both sides have a leader.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use log::{info, warn};
use muster_cluster::election::{Config, Election, Freshness, Input, Message, Output};
use muster_cluster::runtime::{Cluster, View};
use muster_cluster::swim::Event;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use uuid::Uuid;

use crate::roster::Card;

/// One hour: nothing is due, and a wake-up more or less costs nothing.
const IDLE: Duration = Duration::from_secs(3600);

/// Who leads, as this node knows it.
#[derive(Debug, Clone, Copy)]
pub struct Lead {
    /// The leader; `None` while there is none.
    pub leader: Option<Uuid>,
    /// Its term, or that of the last one.
    pub term: u64,
    /// Since when this is so.
    pub since: Instant,
}

impl Default for Lead {
    fn default() -> Self {
        Self { leader: None, term: 0, since: Instant::now() }
    }
}

/// Takes part in elections until the membership stops.
pub async fn run(cluster: Cluster, mut election: Election, priority: i32, lead: watch::Sender<Lead>) {
    let (mut views, mut events) = (cluster.members(), cluster.events());
    let electorate = |view: &View| view.live().map(|member| member.id).collect::<BTreeSet<Uuid>>();
    let first = electorate(&views.borrow_and_update());
    election.handle(cluster.now(), Input::Rank { freshness: Freshness::default(), priority });
    election.handle(cluster.now(), Input::Electorate(first));
    election.handle(cluster.now(), Input::Start);
    loop {
        while let Some(output) = election.poll() {
            match output {
                // A lost message is the election's business, and a member that has gone needs none.
                Output::Send { to, message } => drop(cluster.send_to(to, message.encode()).await),
                Output::LeaderChanged { leader, term } => {
                    tell(&cluster, leader, term);
                    lead.send_replace(Lead { leader, term, since: Instant::now() });
                }
                Output::TransferRefused(why) => warn!("the lead is not handed over: {why}"),
                // These belong to elections with a vote.
                Output::Campaign | Output::DropLease { .. } | Output::Transfer { .. } => {}
            }
        }
        let wait = election.next_deadline().map_or(IDLE, |at| at.saturating_since(cluster.now()));
        let input = tokio::select! {
            changed = views.changed() => match changed {
                Ok(()) => Input::Electorate(electorate(&views.borrow_and_update())),
                Err(_) => return,
            },
            event = events.recv() => match event {
                Ok(Event::Message { from, payload }) => match Message::decode(&payload) {
                    Ok(message) => Input::Message { from, message },
                    Err(_) => continue,
                },
                Ok(Event::Suspected(member) | Event::Failed(member)) => Input::LeaderSuspected { leader: member.id },
                Ok(_) | Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            },
            () = tokio::time::sleep(wait.max(Duration::from_micros(1))) => Input::Tick,
        };
        election.handle(cluster.now(), input);
    }
}

fn tell(cluster: &Cluster, leader: Option<Uuid>, term: u64) {
    let name = |id: Uuid| {
        let view = cluster.view();
        let card = view.member(id).and_then(|member| Card::decode(&member.metadata)).unwrap_or_default();
        if card.name.is_empty() { id.to_string() } else { card.name }
    };
    match leader {
        Some(id) if id == cluster.id() => info!("this node leads in term {term}"),
        Some(id) => info!("{} leads in term {term}", name(id)),
        None => info!("nobody leads any more; the last term was {term}"),
    }
}

/// The core of this node, with the waits that the flags ask for.
pub fn core(me: Uuid, heartbeat: Duration, election_timeout: Duration) -> Result<Election, String> {
    let config =
        Config::new(muster_cluster::election::Mode::Plain, heartbeat, election_timeout, Uuid::new_v4().as_u64_pair().1);
    Election::new(me, config)
        .map_err(|error| format!("--heartbeat and --election-timeout do not work together: {error}"))
}
