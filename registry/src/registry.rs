//! The roll and the store under one lock, with the clock, chance, counters and the log.
//!
//! What a caller is told is first remembered: a registration is in the journal when it is answered, a founding is synced
//! when it is confirmed. A journal that cannot be written does not stop discovery, which is a hint: registrations go on from
//! memory, `/readyz` says so, and the journal is written anew as soon as that works. Foundings are refused meanwhile.

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use muster_client::api::registry::{Clusters, Founding, Nodes, Registered, Registration, Seeds, Standing};
use rand::SeedableRng;
use rand::rngs::StdRng;
use uuid::Uuid;

use crate::founding::Verdict;
use crate::member::{Malformed, Member};
use crate::roll::{Arrival, Change, Full, MAX_CLUSTERS, Roll};
use crate::store::{Store, StoreError};

/// What has happened since the start, for `/metrics`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Nodes that were not on the roll.
    pub registered: u64,
    /// Renewals, with a change or without.
    pub renewed: u64,
    /// Nodes forgotten because their lease ran out.
    pub lapsed: u64,
    /// Nodes forgotten because they asked for it.
    pub deregistered: u64,
    /// Foundings recorded.
    pub founded: u64,
}

/// What there is now, for `/metrics` and `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What has happened since the start.
    pub counters: Counters,
    /// Registered nodes.
    pub nodes: usize,
    /// Recorded foundings.
    pub foundings: usize,
    /// Names with more than one cluster id, and the ids.
    pub conflicts: Vec<(String, Vec<Uuid>)>,
    /// Length of the journal of nodes.
    pub journal_bytes: u64,
    /// What the disk said when the journal could not be written, while that lasts.
    pub broken: Option<String>,
}

/// Why a founding was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum NotRecorded {
    /// Something else stands; `None`: several ids do. Nothing is recorded; asking again changes nothing.
    #[error(
        "another founding stands under this name, and it was left as it is; join that cluster, or forget it with DELETE /clusters/NAME"
    )]
    Stands(Option<Standing>),
    /// This registry started without a memory and still listens. Nothing is recorded; retry after that long.
    #[error(
        "this registry has lost its memory and first listens who is there; nothing was recorded, retry in a second"
    )]
    Quiet(Duration),
    /// Too many names. Nothing is recorded.
    #[error(
        "{MAX_CLUSTERS} clusters are recorded and no more are kept; nothing was recorded; forget one that is gone with DELETE /clusters/NAME"
    )]
    Full,
    /// The disk. Not confirmed, and unknown whether it will be remembered; the same founding may be asked for again.
    #[error("the founding record could not be put on disk ({0}); it is not confirmed, retry")]
    Disk(std::io::Error),
}

/// The registry. Every call takes its lock for microseconds; those that found or forget a cluster, for a disk sync.
#[derive(Debug)]
pub struct Registry {
    started: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    roll: Roll,
    store: Store,
    rng: StdRng,
    counters: Counters,
    broken: Option<String>,
    /// The ids per name that the log has been told of, so that a conflict is said when it changes and not at each renewal.
    told: Vec<(String, Vec<Uuid>)>,
    /// Whether what was learned could not be recorded, so that this is said once.
    unlearned: bool,
}

impl Registry {
    /// Opens the data directory.
    pub fn open(dir: &Path, lease: Duration) -> Result<Self, StoreError> {
        let (store, memory) = Store::open(dir)?;
        if memory.remembers {
            let (nodes, foundings) = (memory.nodes.len(), memory.foundings.len());
            log::info!("remembered {nodes} nodes and {foundings} foundings from {}", dir.display());
        }
        let inner = Inner {
            roll: Roll::new(lease, memory),
            store,
            // Which seeds are offered is no secret: the chance in an id is enough.
            rng: StdRng::seed_from_u64(Uuid::new_v4().as_u64_pair().1),
            counters: Counters::default(),
            broken: None,
            told: Vec::new(),
            unlearned: false,
        };
        Ok(Self { started: Instant::now(), inner: Mutex::new(inner) })
    }

    /// The lock, after forgetting whose lease has run out.
    fn enter(&self) -> (Duration, MutexGuard<'_, Inner>) {
        // A panic under the lock would be our defect; the maps are whole between calls, so the others go on.
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.started.elapsed();
        let gone = inner.roll.expire(now);
        if !gone.is_empty() {
            for member in &gone {
                log::info!("Forgot node {} ({}): its lease ran out", member.id, member.name);
            }
            inner.counters.lapsed += gone.len() as u64;
            inner.remember(gone.into_iter().map(|member| Change::Left(member.id)));
            inner.tell_conflicts();
        }
        (now, inner)
    }

    /// What is due even when nobody calls: forgets, mends and shortens the journal, records what was learned.
    pub fn tick(&self) {
        let (now, mut inner) = self.enter();
        inner.learn(now);
        if inner.broken.is_some() || inner.store.is_overgrown(inner.roll.members().len()) {
            inner.rewrite();
        }
    }

    /// Registers or renews a node.
    pub fn register(&self, id: Uuid, said: Registration, from: IpAddr) -> Result<Registered, RegisterError> {
        let member = Member::new(id, said, from)?;
        let (now, mut inner) = self.enter();
        let Inner { roll, rng, .. } = &mut *inner;
        let (answer, arrival) = roll.register(now, member.clone(), rng)?;
        match arrival {
            Arrival::New => {
                log::info!("Registered node {id} at IP {}", member.seen_at());
                inner.counters.registered += 1;
            }
            Arrival::Changed => {
                log::info!("Node {id} at IP {} says something new: {}", member.seen_at(), describe(&member));
                inner.counters.renewed += 1;
            }
            Arrival::Renewed => inner.counters.renewed += 1,
        }
        if arrival != Arrival::Renewed {
            inner.remember([Change::Entered(member)]);
            inner.tell_conflicts();
        }
        Ok(answer)
    }

    /// Forgets a node. Returns whether it was there.
    pub fn deregister(&self, id: Uuid) -> bool {
        let (_, mut inner) = self.enter();
        let Some(member) = inner.roll.deregister(id) else { return false };
        log::info!("Forgot node {id} ({}): asked to", member.name);
        inner.counters.deregistered += 1;
        inner.remember([Change::Left(id)]);
        inner.tell_conflicts();
        true
    }

    /// Who is registered.
    pub fn nodes(&self, cluster: Option<&str>) -> Nodes {
        let (now, inner) = self.enter();
        inner.roll.nodes(now, cluster)
    }

    /// Some nodes to start from.
    pub fn seeds(&self, cluster: &str, limit: usize) -> Seeds {
        let (_, mut inner) = self.enter();
        let Inner { roll, rng, .. } = &mut *inner;
        Seeds { seeds: roll.seeds(cluster, limit, None, rng) }
    }

    /// What is known under each name.
    pub fn clusters(&self) -> Clusters {
        self.enter().1.roll.clusters()
    }

    /// Records a founding, synced to disk. `Ok(true)`: now; `Ok(false)`: it stood already.
    pub fn found(&self, name: &str, founding: Founding) -> Result<bool, NotRecorded> {
        let (now, mut inner) = self.enter();
        match inner.roll.judge(name, &founding) {
            Verdict::Stands => return Ok(false),
            Verdict::Refused(standing) => return Err(NotRecorded::Stands(standing)),
            Verdict::Record => {}
        }
        if let Some(left) = inner.roll.quiet_for(now) {
            return Err(NotRecorded::Quiet(left));
        }
        let mut foundings = inner.roll.foundings();
        if foundings.len() >= MAX_CLUSTERS {
            return Err(NotRecorded::Full);
        }
        foundings.insert(name.to_owned(), founding.clone());
        inner.store.record(&foundings).map_err(NotRecorded::Disk)?;
        log::info!(
            "Recorded cluster {} under the name {name}, founded by node {}",
            founding.cluster_id,
            founding.founder
        );
        inner.roll.set_recorded(name, Some(founding));
        inner.counters.founded += 1;
        inner.tell_conflicts();
        Ok(true)
    }

    /// Forgets the record of a name, or only if it is of cluster `only`. `Ok(false)`: there was none.
    pub fn forget(&self, name: &str, only: Option<Uuid>) -> Result<bool, NotRecorded> {
        let (_, mut inner) = self.enter();
        let mut foundings = inner.roll.foundings();
        let Some(founding) = foundings.remove(name) else { return Ok(false) };
        if only.is_some_and(|only| only != founding.cluster_id) {
            let standing = Standing { cluster_id: founding.cluster_id, founder: Some(founding.founder) };
            return Err(NotRecorded::Stands(Some(standing)));
        }
        inner.store.record(&foundings).map_err(NotRecorded::Disk)?;
        log::info!("Forgot cluster {} under the name {name}: asked to", founding.cluster_id);
        inner.roll.set_recorded(name, None);
        inner.tell_conflicts();
        Ok(true)
    }

    /// What there is now.
    pub fn report(&self) -> Report {
        let (_, inner) = self.enter();
        Report {
            counters: inner.counters,
            nodes: inner.roll.members().len(),
            foundings: inner.roll.foundings().len(),
            conflicts: inner.roll.conflicts().into_iter().map(|(name, ids)| (name.to_owned(), ids)).collect(),
            journal_bytes: inner.store.journal_bytes(),
            broken: inner.broken.clone(),
        }
    }

    /// Puts the journal on disk, for a stop in good order.
    pub fn sync(&self) -> std::io::Result<()> {
        self.enter().1.store.sync()
    }
}

/// Why a registration is refused. State unchanged.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The caller's fault.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Nobody's fault; retry after the lease.
    #[error(transparent)]
    Full(#[from] Full),
}

impl Inner {
    fn remember(&mut self, changes: impl IntoIterator<Item = Change>) {
        if self.broken.is_some() {
            // A line cut short may be at the end: nothing may follow it. The whole is written anew by the next tick.
            return;
        }
        if let Err(error) = self.store.append(changes) {
            log::error!("the journal of nodes cannot be written ({error}); going on from memory and trying again");
            self.broken = Some(error.to_string());
        }
    }

    /// Records the clusters that nodes carry and that no record names: this registry lost its memory, or was named later.
    fn learn(&mut self, now: Duration) {
        let learned = self.roll.unrecorded(now);
        let mut foundings = self.roll.foundings();
        if learned.is_empty() || foundings.len() + learned.len() > MAX_CLUSTERS {
            return;
        }
        foundings.extend(learned.iter().cloned());
        match self.store.record(&foundings) {
            Ok(()) => {
                self.unlearned = false;
                for (name, founding) in learned {
                    let Founding { cluster_id, founder } = &founding;
                    log::info!("Learned cluster {cluster_id} under the name {name} from node {founder}");
                    self.roll.set_recorded(&name, Some(founding));
                }
            }
            Err(error) if !self.unlearned => {
                self.unlearned = true;
                log::error!("clusters that were learned from their nodes cannot be recorded ({error}); trying again");
            }
            Err(_) => {}
        }
    }

    fn rewrite(&mut self) {
        let Self { roll, store, broken, .. } = self;
        match store.rewrite(roll.members()) {
            Ok(()) => {
                if broken.take().is_some() {
                    log::info!("the journal of nodes is written again");
                }
            }
            Err(error) => {
                if broken.is_none() {
                    log::error!(
                        "the journal of nodes cannot be written ({error}); going on from memory and trying again"
                    );
                }
                *broken = Some(error.to_string());
            }
        }
    }

    fn tell_conflicts(&mut self) {
        let now: Vec<(String, Vec<Uuid>)> =
            self.roll.conflicts().into_iter().map(|(name, ids)| (name.to_owned(), ids)).collect();
        if now == self.told {
            return;
        }
        for (name, ids) in now.iter().filter(|conflict| !self.told.contains(conflict)) {
            log::warn!(
                "more than one cluster goes by the name {name}: {}; none is picked and nobody new is sent to either. Stop the \
                 nodes of all but one, or forget a wrong record with DELETE /clusters/{name}",
                ids.iter().map(Uuid::to_string).collect::<Vec<_>>().join(", ")
            );
        }
        for (name, _) in self.told.iter().filter(|(name, _)| !now.iter().any(|(other, _)| other == name)) {
            log::info!("only one cluster goes by the name {name} now");
        }
        self.told = now;
    }
}

fn describe(member: &Member) -> String {
    let Member { name, cluster, http, peer, cluster_id, .. } = member;
    let part_of = cluster_id.map_or_else(|| "no cluster yet".to_owned(), |id| format!("cluster {id}"));
    format!("name {name}, cluster name {cluster}, http {http}, peer {peer}, {part_of}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    const LEASE: Duration = Duration::from_secs(60);

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn register(registry: &Registry, n: u128) -> Registered {
        let said = Registration {
            name: "n".to_owned(),
            cluster: "muster".to_owned(),
            http: "0.0.0.0:8050".to_owned(),
            peer: "0.0.0.0:8051".to_owned(),
            cluster_id: None,
            advertise: None,
            bootstrap_expect: 9,
            replaces: Vec::new(),
        };
        registry.register(id(n), said, "10.0.0.1".parse().unwrap()).unwrap()
    }

    /// A directory with a memory, so that nothing is quiet.
    fn opened() -> (TempDir, Registry) {
        let dir = TempDir::new().unwrap();
        drop(Store::open(dir.path()).unwrap());
        let registry = Registry::open(dir.path(), LEASE).unwrap();
        (dir, registry)
    }

    #[test]
    fn a_full_disk_stops_no_discovery_and_is_mended_by_itself() {
        let (dir, registry) = opened();
        register(&registry, 1);
        registry.inner.lock().unwrap().store.fill_disk();
        register(&registry, 2);
        assert!(registry.report().broken.is_some());
        assert_eq!(registry.nodes(None).nodes.len(), 2);
        registry.deregister(id(1));
        registry.tick();
        assert_eq!(registry.report().broken, None);
        drop(registry);
        let nodes = Registry::open(dir.path(), LEASE).unwrap().nodes(None).nodes;
        assert_eq!(nodes.iter().map(|node| node.id).collect::<Vec<_>>(), [id(2)]);
    }

    #[test]
    fn a_founding_that_cannot_be_put_on_disk_is_not_confirmed_and_not_kept() {
        let (dir, registry) = opened();
        let founding = Founding { cluster_id: id(100), founder: id(1) };
        let away = dir.path().with_extension("away");
        std::fs::rename(dir.path(), &away).unwrap();
        assert!(matches!(registry.found("muster", founding.clone()), Err(NotRecorded::Disk(_))));
        assert!(registry.clusters().clusters.is_empty());
        std::fs::rename(&away, dir.path()).unwrap();
        assert!(registry.found("muster", founding.clone()).unwrap());
        assert!(!registry.found("muster", founding).unwrap(), "it stands already");
    }

    #[test]
    fn a_cluster_learned_from_its_nodes_outlasts_their_leases_unless_a_person_has_it_forgotten() {
        let (dir, registry) = opened();
        let carried = Some(id(100));
        let said = |cluster_id| Registration {
            name: "n".to_owned(),
            cluster: "muster".to_owned(),
            http: "0.0.0.0:8050".to_owned(),
            peer: "0.0.0.0:8051".to_owned(),
            cluster_id,
            advertise: None,
            bootstrap_expect: 1,
            replaces: Vec::new(),
        };
        let from = "10.0.0.1".parse().unwrap();
        registry.register(id(1), said(carried), from).unwrap();
        registry.tick();
        registry.deregister(id(1));
        drop(registry);
        let registry = Registry::open(dir.path(), LEASE).unwrap();
        let answer = registry.register(id(2), said(None), from).unwrap();
        assert_eq!((answer.found, answer.cluster_id), (false, carried));
        registry.register(id(1), said(carried), from).unwrap();
        assert!(registry.forget("muster", None).unwrap());
        registry.tick();
        registry.deregister(id(1));
        assert!(registry.register(id(2), said(None), from).unwrap().found, "the deliberate way to start anew");
    }

    #[test]
    fn renewals_are_not_written() {
        let (_dir, registry) = opened();
        register(&registry, 1);
        let before = registry.report().journal_bytes;
        for _ in 0..100 {
            register(&registry, 1);
        }
        assert_eq!(registry.report().journal_bytes, before);
        assert_eq!(registry.report().counters.renewed, 100);
    }
}
