//! A run: a world, clients at work, one fault after another, and the judges' word.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use muster_client::Client;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinHandle;

use super::client::{Control, Way, Worker};
use super::operation::{Call, Freshness};
use super::record::{Record, Recorder, Strike};
use super::replay::replay;
use super::script::{Hand, Script};
use super::standing::standings;
use super::watch::watch;
use super::world::World;
use crate::clock::Clock;
use crate::faults::{self, Fault, Means};
use crate::judges::live::RESUMES_WITHIN;
use crate::judges::{self, Violation};

/// 2 clients use the library; the others are plain, one for each node.
const LIBRARIES: usize = 2;
/// 60 s until everybody votes again after a fault: a lost disk is filled anew and its voter replaced before the next fault may come.
const WHOLE_WITHIN: Duration = Duration::from_secs(60);

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// All chance of the run comes from it, but that of the processes.
    pub seed: u64,
    /// How long faults go on. Those that are named strike once each at least, however long that takes.
    pub length: Duration,
    /// How many nodes.
    pub nodes: usize,
    /// Which faults; all that fit when there are none.
    pub faults: Vec<String>,
    /// Whether nodes have disks of their own ([`Disk`](crate::disk::Disk)), and their faults are among those drawn.
    pub disks: bool,
    /// Whether all between nodes is sealed with a key.
    pub keys: bool,
    /// The folder with the programs of an earlier release, if all nodes begin with that one.
    pub from: Option<PathBuf>,
    /// What is wrong with the clients or the disks on purpose, to see that it is found.
    pub control: Option<Control>,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// All that was seen.
    pub record: Record,
    /// What is wrong with it.
    pub violations: Vec<Violation>,
    /// What the processes said, by name.
    pub logs: Vec<(String, String)>,
}

/// Runs it, telling each step.
///
/// # Errors
/// When this machine does not let us, or a fault is not known. One that did not happen ends the run and is in the report.
pub async fn run(plan: &Plan, tell: &(dyn Fn(&str) + Send + Sync)) -> Result<Report, String> {
    let library = Clock::library();
    let means = Means { nodes: plan.nodes, disks: plan.disks, clocks: library.is_ok(), earlier: plan.from.is_some() };
    // Before anything is started: a name that is not known needs no cluster.
    faults::chosen(&plan.faults, means).map_err(|why| with_reason(why, &library))?;
    let mut world = World::new(plan).await?;
    let clocks = library.and_then(|path| world.hooked().map(|()| path));
    match &clocks {
        Ok(path) => tell(&format!("every node goes by a clock of its own ({})", path.display())),
        Err(why) => tell(&format!("{why}: clocks are left as they are")),
    }
    let means = Means { clocks: clocks.is_ok(), ..means };
    let catalogue = match plan.control {
        Some(Control::Minority) => vec![faults::MINORITY],
        _ => faults::chosen(&plan.faults, means).map_err(|why| with_reason(why, &clocks))?,
    };
    if plan.control == Some(Control::Unsynced) {
        world.disk(0)?;
        world.disks.iter().for_each(|disk| disk.trouble(|trouble| trouble.lies = true));
    }
    let clients = Clients::start(&world, plan).await;
    let since = Instant::now();
    let mut deck: Vec<Fault> = Vec::new();
    let (mut gave_up, mut violations) = (None, Vec::new());
    // Other draws than the clients'. Each fault gets chance of its own: how often one draws is a matter of the machine, and must not
    // change what comes after it.
    let mut order = StdRng::seed_from_u64(plan.seed.rotate_left(32));
    let (mut dealt, named) = (0, if plan.faults.is_empty() { 0 } else { catalogue.len() });
    while (since.elapsed() < plan.length || dealt < named) && gave_up.is_none() {
        if deck.is_empty() {
            // Every fault once before any comes again.
            deck.clone_from(&catalogue);
        }
        let fault = deck.swap_remove(order.random_range(0..deck.len()));
        dealt += 1;
        world.chance = StdRng::seed_from_u64(order.random());
        // What that control leaves behind is never whole again.
        let patience = if plan.control == Some(Control::Minority) { Duration::ZERO } else { WHOLE_WITHIN };
        let strike = match surviving(one(&mut world, &fault, patience, tell)).await {
            Ok(strike) => strike,
            Err(what) => {
                // What all hold at the end is not to be a matter of a fault that was left half done.
                faults::open_walls(&world);
                violations.push(Violation { judge: "faults", what });
                break;
            }
        };
        gave_up = strike.recovered.is_none().then(|| strike.fault.clone());
        world.recorder.so_far().strikes.push(strike);
        if plan.control.is_some() {
            // Found without what is there at the end, so that the time until then can be told.
            let found = early(&world.recorder.so_far().clone());
            if let Some(violation) = found {
                tell(&format!("{} found: {violation}", clock(world.recorder.now())));
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(order.random_range(200..1_500))).await;
    }
    let recorder = clients.stop(&mut violations).await;
    // Where clients are wrong on purpose, what they say they sent is not what they sent.
    if violations.is_empty() && gave_up.is_none() && plan.control.is_none() {
        match surviving(replay(&mut world)).await {
            Ok(sent) => tell(&format!("{} {sent} writes were sent again", clock(world.recorder.now()))),
            Err(what) => violations.push(Violation { judge: "once", what }),
        }
    }
    match surviving(world.copies()).await {
        Ok(copies) => recorder.so_far().copies = copies,
        Err(what) => violations.push(Violation { judge: "replicas", what }),
    }
    match surviving(standings(&mut world)).await {
        Ok(standings) => recorder.so_far().standings = standings,
        Err(what) => violations.push(Violation { judge: "replicas", what }),
    }
    let logs = world.cluster.nodes.iter().map(|node| (node.name().to_owned(), node.process.whole_log()));
    let logs = logs.chain([("registry".to_owned(), world.cluster.registry.process.whole_log())]).collect();
    let record = recorder.so_far().clone();
    tell(&record.counts());
    violations.extend(judges::judge(&record));
    Ok(Report { record, violations, logs })
}

/// What it comes to, or the first line of what it says when it panics: a node that does not get ready again is a finding like any other,
/// with a history and logs to keep.
async fn surviving<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let mut work = pin!(work);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        polled.unwrap_or_else(|panic| Poll::Ready(Err(reason(&*panic))))
    })
    .await
}

/// What a panic says first.
fn reason(panic: &(dyn Any + Send)) -> String {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    let text = owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
    text.lines().next().unwrap_or_default().to_owned()
}

/// Why a fault cannot be had, and, if that is so, why there are no clocks.
fn with_reason(why: String, clocks: &Result<PathBuf, String>) -> String {
    clocks.as_ref().map_or_else(|no_clocks| format!("{why}; {no_clocks}"), |_| why.clone())
}

/// What the judges say of a run that goes on who do not mind that writes under way are not in its record yet.
fn early(record: &Record) -> Option<Violation> {
    let mut found = judges::judge(record);
    found.retain(|violation| matches!(violation.judge, "order" | "once"));
    (!found.is_empty()).then(|| found.swap_remove(0))
}

async fn one(
    world: &mut World,
    fault: &Fault,
    patience: Duration,
    tell: &(dyn Fn(&str) + Send + Sync),
) -> Result<Strike, String> {
    let hold = Duration::from_millis(world.chance.random_range(500..4_000));
    let began = world.recorder.now();
    tell(&format!("{} {} for {:.1} s", clock(began), fault.name, hold.as_secs_f64()));
    let struck = (fault.strike)(world, hold).await.map_err(|why| format!("{}: {why}", fault.name))?;
    let ended = world.recorder.now();
    let recovered = world.writes_everywhere(RESUMES_WITHIN).await.then(|| world.recorder.now());
    let took = recovered.map_or("NEVER".to_owned(), |at| format!("{} ms", (at - ended) / 1_000));
    tell(&format!(
        "{} {} on {} over ({}); writes everywhere after {took}",
        clock(ended),
        fault.name,
        struck.on,
        struck.evidence
    ));
    let whole = world.whole(patience).await;
    if let Err(why) = &whole {
        tell(&format!("{} not whole {patience:?} after {}: {why}", clock(world.recorder.now()), fault.name));
    }
    let (fault, recovered) = (fault.name.to_owned(), recovered.filter(|_| whole.is_ok()));
    Ok(Strike { fault, on: struck.on, began, ended, recovered, evidence: struck.evidence })
}

fn clock(at: u64) -> String {
    format!("{:>8.3}", at as f64 / 1e6)
}

struct Clients {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
    recorder: Recorder,
}

impl Clients {
    async fn start(world: &World, plan: &Plan) -> Self {
        let (stop, recorder) = (Arc::new(AtomicBool::new(false)), world.recorder.clone());
        let nodes = world.all();
        let worker = |number, way| {
            let (addresses, recorder) = (world.addresses.clone(), world.recorder.clone());
            Worker { number, way, addresses, recorder, control: plan.control }
        };
        // From here on revisions are counted.
        let all = Call::List { prefix: "nothing/".to_owned(), freshness: Freshness::Linearizable };
        worker(nodes.len() + LIBRARIES, Way::Plain(world.http.clone(), 0)).perform(&all, 0).await;
        let plain = nodes.iter().map(|&node| Way::Plain(world.http.clone(), node));
        let library = |_| {
            let client = Client::builder().endpoints(world.addresses.all()).build();
            Way::Library(client.expect("a client"))
        };
        let ways: Vec<Way> = plain.chain((0..LIBRARIES).map(library)).collect();
        let working = ways.into_iter().enumerate().map(|(number, way)| {
            tokio::spawn(worker(number, way).work(Script::new(plan.seed, number), Arc::clone(&stop)))
        });
        let mut tasks: Vec<_> = working.collect();
        tasks.extend((0..world.net.machines()).map(|node| {
            let (http, addresses) = (world.http.clone(), world.addresses.clone());
            tokio::spawn(watch(http, addresses, node, recorder.clone(), Arc::clone(&stop)))
        }));
        Self { stop, tasks, recorder }
    }

    /// Ends them. A client that met an answer which no server may give has ended before.
    async fn stop(self, violations: &mut Vec<Violation>) -> Recorder {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            if let Err(ended) = task.await {
                let what = ended.try_into_panic().map_or_else(|ended| ended.to_string(), |panic| reason(&*panic));
                violations.push(Violation { judge: "clients", what });
            }
        }
        self.recorder
    }
}

impl Report {
    /// Writes the history and the logs into a folder.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn save(&self, folder: &Path) -> std::io::Result<PathBuf> {
        std::fs::create_dir_all(folder)?;
        let history = folder.join("history.jsonl");
        self.record.save(&history)?;
        for (name, log) in &self.logs {
            std::fs::write(folder.join(format!("{name}.log")), log)?;
        }
        Ok(history)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_panics_is_told_by_its_first_line() {
        let panics = async {
            tokio::task::yield_now().await;
            let node = "n1";
            panic!("{node} ended instead of getting ready:\nits log");
        };
        let ended: Result<(), String> = surviving(panics).await;
        assert_eq!(ended, Err("n1 ended instead of getting ready:".to_owned()));
        assert_eq!(surviving(async { Ok(1) }).await, Ok(1));
    }
}
