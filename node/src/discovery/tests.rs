//! The agent against real registries on loopback, in this process.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use muster_client::api::registry::{Founding, Registration};
use muster_client::http::{Recorded, Registry};
use muster_registry::flags::Flags;
use muster_registry::startup::{Serving, StartError};
use muster_registry::store::StoreError;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::time::timeout;
use uuid::Uuid;

use super::{Claims, Discovery, Settled, Standing};

/// Far beyond what anything here takes, so that only a hang runs into it.
const DEADLINE: Duration = Duration::from_secs(20);

/// A registry on a thread of its own.
struct Running {
    url: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    fn start(dir: &Path) -> Self {
        let http = "127.0.0.1:0".parse().unwrap();
        let flags = Flags { http, data_dir: dir.to_owned(), lease: Duration::from_secs(2), config: None };
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let began = Instant::now();
                let serving = loop {
                    match Serving::start(&flags) {
                        Ok(serving) => break serving,
                        // Threads of an earlier one in this process let go of the directory a moment after its stop.
                        Err(StartError::Store(StoreError::Locked(_))) if began.elapsed() < DEADLINE => {
                            tokio::time::sleep(Duration::from_millis(10)).await;
                        }
                        Err(error) => panic!("{error}"),
                    }
                };
                tell.send(format!("http://{}", serving.address)).unwrap();
                serving.run_until(async { drop(stopped.await) }).await.unwrap();
            });
        });
        Self { url: told.recv_timeout(DEADLINE).unwrap(), stop: Some(stop), thread: Some(thread) }
    }

    fn client(&self) -> Registry {
        Registry::new(&self.url).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// A disk that remembers what was asked of it.
#[derive(Default)]
struct Disk {
    claim: Mutex<Option<Uuid>>,
    confirmed: Mutex<Option<Uuid>>,
}

impl Disk {
    fn claiming(id: Uuid) -> Self {
        Self { claim: Mutex::new(Some(id)), ..Self::default() }
    }
}

impl Claims for Disk {
    type Error = std::convert::Infallible;

    async fn unconfirmed(&self) -> Option<Uuid> {
        *self.claim.lock().unwrap()
    }

    async fn write(&self) -> Result<Uuid, Self::Error> {
        let id = Uuid::new_v4();
        assert_eq!(self.claim.lock().unwrap().replace(id), None, "a claim was standing");
        Ok(id)
    }

    async fn confirm(&self, cluster_id: Uuid) -> Result<(), Self::Error> {
        assert_eq!(self.claim.lock().unwrap().take(), Some(cluster_id));
        assert_eq!(self.confirmed.lock().unwrap().replace(cluster_id), None);
        Ok(())
    }

    async fn drop_claim(&self, cluster_id: Uuid) -> Result<(), Self::Error> {
        assert_eq!(self.claim.lock().unwrap().take(), Some(cluster_id));
        Ok(())
    }
}

fn registration(expect: u32) -> Registration {
    Registration {
        name: "n".to_owned(),
        cluster: "muster".to_owned(),
        http: "0.0.0.0:8050".to_owned(),
        peer: "0.0.0.0:8051".to_owned(),
        cluster_id: None,
        advertise: None,
        bootstrap_expect: expect,
        replaces: Vec::new(),
    }
}

fn node(n: u128, registries: &[&Running], expect: u32) -> Discovery {
    let urls: Vec<String> = registries.iter().map(|registry| registry.url.clone()).collect();
    Discovery::start(Uuid::from_u128(n), &urls, registration(expect)).unwrap()
}

async fn settled(node: &Discovery, disk: &Disk) -> Settled {
    timeout(DEADLINE, node.settle(disk)).await.expect("settles").unwrap()
}

fn id_of(settled: &Settled) -> Uuid {
    match settled {
        Settled::Founder { cluster_id } | Settled::Join { cluster_id, .. } => *cluster_id,
    }
}

async fn until(node: &Discovery, what: impl Fn(&super::Picture) -> bool) {
    timeout(DEADLINE, node.picture().wait_for(what)).await.expect("comes about").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_that_start_one_founds_and_two_join() {
    let dir = TempDir::new().unwrap();
    let registry = Running::start(dir.path());
    let nodes = [node(1, &[&registry], 3), node(2, &[&registry], 3), node(3, &[&registry], 3)];
    let disks = [Disk::default(), Disk::default(), Disk::default()];
    let (a, b, c) =
        tokio::join!(settled(&nodes[0], &disks[0]), settled(&nodes[1], &disks[1]), settled(&nodes[2], &disks[2]));
    assert!(matches!(a, Settled::Founder { .. }), "{a:?}");
    assert!(matches!(b, Settled::Join { .. }) && matches!(c, Settled::Join { .. }), "{b:?} {c:?}");
    assert!(id_of(&a) == id_of(&b) && id_of(&b) == id_of(&c));
    assert_eq!(*disks[0].confirmed.lock().unwrap(), Some(id_of(&a)));
    nodes[0].update(|said| said.cluster_id = Some(id_of(&a)));
    until(&nodes[1], |picture| picture.seeds.first().is_some_and(|seed| seed.cluster_id == Some(id_of(&a)))).await;
    assert_eq!(nodes[1].picture().borrow().observed, Some("127.0.0.1".parse().unwrap()));
    nodes[2].leave().await;
    assert!(registry.client().nodes("muster").await.unwrap().iter().all(|node| node.id != Uuid::from_u128(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_three_registries_a_majority_confirms_one_founder_with_one_of_them_gone() {
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap()];
    let [r1, r2, r3] = dirs.each_ref().map(|dir| Running::start(dir.path()));
    let nodes = [node(1, &[&r1, &r2, &r3], 2), node(2, &[&r1, &r2, &r3], 2)];
    drop(r3);
    let disks = [Disk::default(), Disk::default()];
    let (a, b) = tokio::join!(settled(&nodes[0], &disks[0]), settled(&nodes[1], &disks[1]));
    assert_eq!(id_of(&a), id_of(&b));
    for registry in [&r1, &r2] {
        let clusters = registry.client().clusters().await.unwrap().clusters;
        assert_eq!(clusters[0].founding.as_ref().unwrap().cluster_id, id_of(&a));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unconfirmed_founder_that_comes_back_is_confirmed_or_drops_its_claim() {
    let dir = TempDir::new().unwrap();
    let registry = Running::start(dir.path());
    let first = node(1, &[&registry], 1);
    let claim = Uuid::from_u128(100);
    let disk = Disk::claiming(claim);
    assert_eq!(settled(&first, &disk).await, Settled::Founder { cluster_id: claim });

    let second = node(2, &[&registry], 1);
    let disk = Disk::claiming(Uuid::from_u128(200));
    assert_eq!(id_of(&settled(&second, &disk).await), claim);
    assert_eq!((disk.unconfirmed().await, *disk.confirmed.lock().unwrap()), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_founders_that_each_hold_a_registry_end_as_one() {
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let [r1, r2] = dirs.each_ref().map(|dir| Running::start(dir.path()));
    let claims = [100, 200].map(Uuid::from_u128);
    for (registry, n) in [(&r1, 1), (&r2, 2)] {
        let founding = Founding { cluster_id: Uuid::from_u128(n * 100), founder: Uuid::from_u128(n) };
        while registry.client().record("muster", &founding).await != Ok(Recorded::Yes) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let nodes = [node(1, &[&r1, &r2], 1), node(2, &[&r1, &r2], 1)];
    let disks = claims.map(|claim| Arc::new(Disk::claiming(claim)));
    let settling = [0, 1].map(|n| {
        let (node, disk) = (nodes[n].clone(), disks[n].clone());
        // Spawned, as a program would: the future has to be Send.
        tokio::spawn(async move { settled(&node, &disk).await })
    });
    for task in settling {
        assert_eq!(id_of(&task.await.unwrap()), claims[0], "the lower id's claim stands");
    }
    assert_eq!((disks[1].unconfirmed().await, *disks[1].confirmed.lock().unwrap()), (None, None));
    for registry in [&r1, &r2] {
        let clusters = registry.client().clusters().await.unwrap().clusters;
        assert_eq!(clusters[0].founding.as_ref().unwrap().cluster_id, claims[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_registries_confirms_nothing() {
    let (dirs, claim) = ([TempDir::new().unwrap(), TempDir::new().unwrap()], Uuid::from_u128(100));
    let [r1, r2] = dirs.each_ref().map(|dir| Running::start(dir.path()));
    let node = node(1, &[&r1, &r2], 1);
    drop(r2);
    let disk = Disk::claiming(claim);
    let settling = node.settle(&disk);
    let recorded = async {
        while r1.client().clusters().await.unwrap().clusters.iter().all(|cluster| cluster.founding.is_none()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        settled = settling => panic!("{settled:?}"),
        _ = timeout(DEADLINE, recorded) => {}
    }
    assert_eq!((disk.unconfirmed().await, *disk.confirmed.lock().unwrap()), (Some(claim), None));
    // The other one comes back with its port, and the same claim goes on.
    let _r2 = Running::start(dirs[1].path());
    assert_eq!(settled(&node, &disk).await, Settled::Founder { cluster_id: claim });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_registry_learns_from_a_member_and_offers_nothing() {
    let dir = TempDir::new().unwrap();
    let registry = Running::start(dir.path());
    let cluster = Uuid::from_u128(100);
    let member = node(1, &[&registry], 1);
    member.update(|said| said.cluster_id = Some(cluster));
    let newcomer = node(2, &[&registry], 1);
    until(&newcomer, |picture| picture.standing == Standing::Cluster(cluster)).await;
    drop(registry);
    until(&member, |picture| picture.answering == 0).await;
    assert_eq!(member.picture().borrow().trouble(), None, "silence is no trouble");
    for file in ["foundings", "nodes"] {
        std::fs::remove_file(dir.path().join(file)).unwrap();
    }
    let registry = Running::start(dir.path());
    let joined = settled(&newcomer, &Disk::default()).await;
    assert!(matches!(&joined, Settled::Join { cluster_id, .. } if *cluster_id == cluster), "{joined:?}");
    let known = registry.client().clusters().await.unwrap().clusters;
    assert!(known[0].founding.as_ref().is_none_or(|founding| founding.cluster_id == cluster), "{known:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_cluster_whose_record_a_person_takes_away_founds_the_next() {
    let dir = TempDir::new().unwrap();
    let registry = Running::start(dir.path());
    let lost = Founding { cluster_id: Uuid::from_u128(100), founder: Uuid::from_u128(9) };
    while registry.client().record("muster", &lost).await != Ok(Recorded::Yes) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let node = node(1, &[&registry], 1);
    let disk = Disk::default();
    assert!(matches!(settled(&node, &disk).await, Settled::Join { cluster_id, .. } if cluster_id == lost.cluster_id));
    drop(registry);
    until(&node, |picture| picture.answering == 0).await;
    assert_eq!(node.gone(lost.cluster_id).now_or_never(), None, "silence says nothing");
    let registry = Running::start(dir.path());
    until(&node, |picture| picture.answering == 1).await;
    assert_eq!(node.gone(lost.cluster_id).now_or_never(), None, "it is there still");
    assert!(registry.client().forget_cluster("muster").await.unwrap());
    timeout(DEADLINE, node.gone(lost.cluster_id)).await.expect("it is gone");
    let founded = settled(&node, &disk).await;
    assert!(matches!(founded, Settled::Founder { cluster_id } if cluster_id != lost.cluster_id), "{founded:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_ids_under_one_name_are_said_and_none_is_joined() {
    let dir = TempDir::new().unwrap();
    let registry = Running::start(dir.path());
    let members = [node(1, &[&registry], 1), node(2, &[&registry], 1)];
    for (member, cluster) in members.iter().zip([100, 200]) {
        member.update(|said| said.cluster_id = Some(Uuid::from_u128(cluster)));
    }
    let newcomer = node(3, &[&registry], 1);
    until(&newcomer, |picture| matches!(picture.standing, Standing::Conflict(_))).await;
    let trouble = newcomer.picture().borrow().trouble().unwrap();
    assert!(trouble.contains(&Uuid::from_u128(100).to_string()), "{trouble}");
    until(&members[0], |picture| picture.trouble().is_some()).await;
    // Once the nodes of one have gone, the other is joined.
    members[1].leave().await;
    assert_eq!(id_of(&settled(&newcomer, &Disk::default()).await), Uuid::from_u128(100));
}
