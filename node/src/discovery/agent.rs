//! The agent: one task per registry that registers, renews and backs off; what they hear is watched by the rest of the node.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use log::{debug, info, warn};
use muster_client::Error;
use muster_client::api::registry::{Registration, Seed};
use muster_client::http::Registry;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::pace::Pace;
use super::standing::{Standing, Word, weigh};
use crate::route;

/// What the registries say together, now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Picture {
    /// What they say of the cluster.
    pub standing: Standing,
    /// Nodes to start from, members of a cluster first, this node not among them. Those that were heard last are kept when every
    /// registry falls silent.
    pub seeds: Vec<Seed>,
    /// The address that this node's requests were seen to come from, if it is one of this machine's own.
    pub observed: Option<IpAddr>,
    /// How many registries are named, and how many of them answered when last asked.
    pub named: usize,
    /// See `named`.
    pub answering: usize,
    /// The cluster that this node told them it is part of.
    pub own: Option<Uuid>,
    /// Clusters whose place that one took.
    pub replaced: Vec<Uuid>,
}

impl Picture {
    /// What a person has to look into, for `/readyz`: more than one cluster, or another than this node's own. Silent
    /// registries are no trouble to a cluster that runs, nor is what is left of one whose place it took.
    pub fn trouble(&self) -> Option<String> {
        let is_ours = |id: &Uuid| self.own == Some(*id) || self.replaced.contains(id);
        match (&self.standing, self.own) {
            (Standing::Conflict(ids), _) if ids.iter().all(is_ours) => None,
            (Standing::Cluster(id), Some(_)) if is_ours(id) => None,
            (Standing::Conflict(ids), _) => {
                let ids = ids.iter().map(Uuid::to_string).collect::<Vec<_>>().join(", ");
                Some(format!(
                    "the registries know more than one cluster of this name ({ids}); stop the nodes of all but one"
                ))
            }
            (Standing::Cluster(theirs), Some(own)) => Some(format!(
                "this node is part of cluster {own}, but the registries know {theirs} under this name; the two never merge: \
                 give this node the right --cluster or --registry-address, or an empty --data-dir"
            )),
            _ => None,
        }
    }

    /// One line for the log when this differs from what was before.
    fn story(&self) -> String {
        match &self.standing {
            _ if self.answering == 0 && self.own.is_some() => {
                "no registry answers; the cluster goes on without, and they are tried again".to_owned()
            }
            Standing::Unheard | Standing::Silent => "no registry answers yet; trying again until one does".to_owned(),
            Standing::Waiting => "no cluster of this name yet; waiting for it to be founded".to_owned(),
            Standing::Offered => "no cluster of this name yet, and the founding is offered to this node".to_owned(),
            Standing::Cluster(id) => format!("the registries know cluster {id}"),
            Standing::Conflict(_) => self.trouble().unwrap_or_else(|| {
                "the registries still know a cluster whose place this one took; its disks have no part in this one"
                    .to_owned()
            }),
        }
    }
}

/// The handle. Clones share one agent; it ends when `leave` or `stop` is called, or the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Discovery {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) id: Uuid,
    pub(super) registries: Vec<Registry>,
    registration: watch::Sender<Registration>,
    picture: watch::Receiver<Picture>,
    end: CancellationToken,
    tasks: TaskTracker,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// What the tasks write to together.
struct Ears {
    words: Vec<Word>,
    picture: watch::Sender<Picture>,
}

impl Discovery {
    /// Registers node `id` with every registry of `urls` and keeps it registered. Fails only for a URL that is none; what
    /// does not answer is tried for ever. Must be called in a tokio runtime.
    ///
    /// `registration.cluster_id` is what the node was *admitted* to (or founded and had confirmed), never a mere claim.
    pub fn start(id: Uuid, urls: &[String], registration: Registration) -> Result<Self, Error> {
        let registries = urls.iter().map(|url| Registry::new(url)).collect::<Result<Vec<_>, _>>()?;
        let named = registries.len();
        let (own, replaced) = (registration.cluster_id, registration.replaces.clone());
        let picture = watch::Sender::new(Picture { named, own, replaced, ..Picture::default() });
        let shared = Shared {
            id,
            registries,
            registration: watch::Sender::new(registration),
            picture: picture.subscribe(),
            end: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let ears = Arc::new(std::sync::Mutex::new(Ears { words: vec![Word::Untried; named], picture }));
        for (at, registry) in shared.registries.iter().enumerate() {
            let agent = Agent {
                at,
                id,
                registry: registry.clone(),
                registration: shared.registration.subscribe(),
                ears: ears.clone(),
                rng: StdRng::seed_from_u64(Uuid::new_v4().as_u64_pair().1),
                said_substitute: false,
            };
            shared.tasks.spawn(shared.end.clone().run_until_cancelled_owned(agent.run()));
        }
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What the registries say, now and whenever it changes.
    pub fn picture(&self) -> watch::Receiver<Picture> {
        self.shared.picture.clone()
    }

    /// Changes what this node says of itself, and says it at once.
    pub fn update(&self, change: impl FnOnce(&mut Registration)) {
        self.shared.registration.send_modify(change);
    }

    /// The name of the cluster.
    pub(super) fn cluster(&self) -> String {
        self.shared.registration.borrow().cluster.clone()
    }

    /// Ends the agent and keeps the registrations: after a restart they are still there, otherwise they lapse.
    pub async fn stop(&self) {
        self.shared.end.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Ends the agent and takes this node off every registry that answers, within a second or so. The others forget it
    /// after its lease.
    pub async fn leave(&self) {
        self.stop().await;
        let goodbyes = self.shared.registries.iter().map(|registry| async move {
            if let Err(error) = registry.forget(self.shared.id).await {
                debug!(
                    "{} was not told that this node leaves; it forgets it after its lease: {error}",
                    registry.endpoint()
                );
            }
        });
        futures_util::future::join_all(goodbyes).await;
    }
}

struct Agent {
    at: usize,
    id: Uuid,
    registry: Registry,
    registration: watch::Receiver<Registration>,
    ears: Arc<std::sync::Mutex<Ears>>,
    rng: StdRng,
    said_substitute: bool,
}

impl Agent {
    async fn run(mut self) {
        let mut pace = Pace::default();
        let mut substitute: Option<IpAddr> = None;
        loop {
            let mut saying = self.registration.borrow_and_update().clone();
            if saying.advertise.is_none() {
                saying.advertise = substitute.map(|ip| ip.to_string());
            }
            let has_cluster = saying.cluster_id.is_some();
            let chance = self.rng.random();
            let (word, wait, again) = match self.registry.register(self.id, &saying).await {
                Ok(answer) => {
                    let wait = pace.answered(Duration::from_millis(answer.renew_ms), has_cluster, chance);
                    // A proxy's or gateway's address is nobody's way to this node.
                    let foreign = !route::is_own(answer.observed_ip);
                    let wanted = if foreign { self.own_address().await } else { None };
                    let again = saying.advertise.is_none() && wanted.is_some() && wanted != substitute;
                    self.tell_substitute(answer.observed_ip, wanted.filter(|_| again));
                    substitute = wanted;
                    (Word::Said(answer), wait, again)
                }
                Err(error) => (Word::Silent(error.to_string()), pace.failed(chance), false),
            };
            self.hear(word, saying.cluster_id, &saying.replaces);
            if again {
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                changed = self.registration.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Where this machine would send from to the registry, resolved afresh.
    async fn own_address(&self) -> Option<IpAddr> {
        let target = self.registry.endpoint();
        let target = target.split_once("://").map_or(target, |(_, rest)| rest);
        let target = target.split('/').next().unwrap_or(target).to_owned();
        let mut addresses = tokio::net::lookup_host(target).await.ok()?;
        addresses.find_map(route::towards)
    }

    fn tell_substitute(&mut self, observed: IpAddr, substitute: Option<IpAddr>) {
        if let Some(own) = substitute
            && !self.said_substitute
        {
            self.said_substitute = true;
            warn!(
                "{} sees this node at {observed}, which is none of its own addresses (a proxy or gateway between the two?); \
                 {own} is offered to others instead, set --advertise if that is wrong",
                self.registry.endpoint()
            );
        }
    }

    fn hear(&self, word: Word, own: Option<Uuid>, replaced: &[Uuid]) {
        let mut ears = self.ears.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let url = self.registry.endpoint();
        match (&ears.words[self.at], &word) {
            (Word::Untried | Word::Silent(_), Word::Said(answer)) => {
                info!("registered with {url}, seen at {}", answer.observed_ip);
            }
            (Word::Untried, Word::Silent(reason)) => info!("{url} does not answer yet ({reason}); trying again"),
            (Word::Said(_), Word::Silent(reason)) => info!("{url} does not answer any more ({reason}); trying again"),
            (Word::Silent(before), Word::Silent(reason)) if before != reason => debug!("{url}: {reason}"),
            (Word::Untried | Word::Said(_) | Word::Silent(_), _) => {}
        }
        ears.words[self.at] = word;
        let picture = Picture { replaced: replaced.to_vec(), ..draw(&ears.words, own, &ears.picture.borrow()) };
        ears.picture.send_if_modified(|current| {
            if *current == picture {
                return false;
            }
            if current.story() != picture.story() && picture.standing != Standing::Unheard {
                match picture.trouble() {
                    Some(trouble) => warn!("{trouble}"),
                    None => info!("{}", picture.story()),
                }
            }
            *current = picture;
            true
        });
    }
}

fn draw(words: &[Word], own: Option<Uuid>, before: &Picture) -> Picture {
    let said = || {
        words.iter().filter_map(|word| match word {
            Word::Said(answer) => Some(answer),
            Word::Untried | Word::Silent(_) => None,
        })
    };
    let answering = said().count();
    let mut seeds: BTreeMap<Uuid, Seed> = BTreeMap::new();
    for seed in said().flat_map(|answer| &answer.seeds) {
        // Two registries may differ for a moment; the word that it has a cluster is the newer one.
        let known = seeds.entry(seed.id).or_insert_with(|| seed.clone());
        if known.cluster_id.is_none() {
            *known = seed.clone();
        }
    }
    let mut seeds: Vec<Seed> = seeds.into_values().collect();
    seeds.sort_by_key(|seed| (seed.cluster_id.is_none(), seed.id));
    if answering == 0 {
        seeds.clone_from(&before.seeds);
    }
    let observed = said().map(|answer| answer.observed_ip).find(|ip| route::is_own(*ip)).or(before.observed);
    Picture { standing: weigh(words), seeds, observed, named: words.len(), answering, own, replaced: Vec::new() }
}
