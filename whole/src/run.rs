//! A run: nodes that find each other, clients at work, faults one after another, and the judges' word.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use muster_e2e::judges::{self, Violation};
use muster_e2e::torture::client::Control as ClientControl;
use muster_e2e::torture::operation::{Call, Condition, Freshness, Seen};
use muster_e2e::torture::record::{Copy, Record, Strike};
use muster_e2e::torture::script::{Hand, Script};
use muster_world::Millis;

use crate::client::Worker;
use crate::cluster::Cluster;
use crate::faults::{ALL, Fault, cut_off, heal};
use crate::watchdog;

/// 30 s of virtual time until writes go through every node again, as the torture has it.
const RESUMES_WITHIN: Millis = 30_000;
/// 60 s until every node votes, has what the others have, and nobody else votes.
const WHOLE_WITHIN: Millis = 60_000;
/// Longer than any deed takes.
const LAST_DEEDS: Millis = 10_000;
/// For so long clients write to both sides when a minority takes itself for all.
const BESIDE_EACH_OTHER: Millis = 4_000;
/// So often a node is asked what it holds after a run that ended before its time: ten seconds, if it says nothing.
const TRIES: usize = 4;

/// What is to be run.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// All chance of the run comes from it.
    pub seed: u64,
    /// Which faults; all when there are none.
    pub faults: Vec<Fault>,
    /// What is wrong on purpose, to see that it is found.
    pub control: Option<Control>,
}

/// A rule that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// In the clients, standing for a server with the defect.
    Client(ClientControl),
    /// Disks say that they have synced and have not: what all of them lose is in no log and in no memory.
    LyingDisks,
    /// A node that is cut off goes on alone, as if all others were lost for good.
    Minority,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// All that was seen.
    pub record: Record,
    /// What is wrong with it.
    pub violations: Vec<Violation>,
    /// Of everything that arrived anywhere, and every answer: equal for equal runs.
    pub trace: u64,
    /// The same after each millisecond, to find where two runs part.
    pub traces: Vec<u64>,
    /// What happened, for people.
    pub story: Vec<String>,
    /// How long it was, in virtual time.
    pub length: Millis,
}

/// Runs it.
pub fn run(plan: &Plan) -> Report {
    watchdog::begin(plan.seed);
    let mut run = Run::new(plan);
    let mut violations = Vec::new();
    if let Err(what) = run.all(plan) {
        run.tell(format!("the run ends: {what}"));
        violations.push(Violation { judge: "run", what });
        run.look_at_what_is_left();
    }
    let record = run.cluster.recorder.with(std::mem::take);
    // Whatever ended it: a lost write must not hide behind that.
    let mut judged = judges::judge(&record);
    if !violations.is_empty() && record.copies.is_empty() {
        // That nobody was left to ask says nothing about what was lost.
        judged.retain(|violation| violation.judge != "durable");
    }
    violations.extend(judged);
    run.cluster.sim.note(format!("{:?}", record.operations));
    let (trace, traces) = (run.cluster.sim.trace(), run.cluster.sim.traces().to_vec());
    Report { violations, trace, traces, story: run.story, length: muster_world::now(), record }
}

struct Run {
    cluster: Cluster,
    control: Option<Control>,
    /// The clients are to end.
    stop: Arc<AtomicBool>,
    story: Vec<String>,
    probes: usize,
}

impl Run {
    fn new(plan: &Plan) -> Self {
        let count = 3 + usize::try_from(plan.seed % 3).unwrap_or(0);
        let cluster = Cluster::new(plan.seed, count);
        Self { cluster, control: plan.control, stop: Arc::default(), story: Vec::new(), probes: 0 }
    }

    fn all(&mut self, plan: &Plan) -> Result<(), String> {
        let count = self.cluster.count();
        for node in 0..count {
            self.cluster.start(node);
            let pause = self.cluster.sim.draw(0..300);
            self.pass(pause)?;
        }
        self.whole("the start")?;
        self.cluster.is_founded();
        // From here on revisions are counted.
        let begin = Call::List { prefix: "nothing/".to_owned(), freshness: Freshness::Linearizable };
        self.perform(0, begin)?;
        for number in 0..count {
            let control = match plan.control {
                Some(Control::Client(control)) => Some(control),
                Some(Control::LyingDisks | Control::Minority) | None => None,
            };
            let worker = Worker { control, ..self.worker(number) };
            self.cluster
                .sim
                .spawn(self.cluster.clients(), worker.work(Script::new(plan.seed, number), self.stop.clone()));
        }
        if self.control == Some(Control::Minority) {
            self.take_a_minority_for_all()?;
        } else {
            self.strikes(&plan.faults)?;
        }
        self.end_of_deeds()?;
        self.whole("all faults")?;
        (0..count).try_for_each(|node| self.copy(node))
    }

    fn strikes(&mut self, faults: &[Fault]) -> Result<(), String> {
        let (count, among) = (self.cluster.count(), if faults.is_empty() { &ALL[..] } else { faults });
        let faults: Vec<Fault> = among.iter().copied().filter(|fault| fault.is_for(count)).collect();
        if faults.is_empty() {
            return Err(format!("none of {among:?} is for {count} nodes"));
        }
        for _ in 0..self.cluster.sim.draw(4..8) {
            if self.control == Some(Control::LyingDisks) {
                self.cluster.lie();
                let pause = self.cluster.sim.draw(100..1_000);
                self.pass(pause)?;
            }
            self.strike(&faults)?;
            let pause = self.cluster.sim.draw(100..1_500);
            self.pass(pause)?;
        }
        Ok(())
    }

    fn end_of_deeds(&mut self) -> Result<(), String> {
        self.stop.store(true, Ordering::Relaxed);
        self.pass(LAST_DEEDS)
    }

    /// Asks a node for all that it holds.
    fn copy(&mut self, node: usize) -> Result<(), String> {
        let list = Call::List { prefix: String::new(), freshness: Freshness::Linearizable };
        match self.perform(node, list)? {
            Seen::Listed { found, applied, .. } => {
                let copy = Copy { node, revision: applied.unwrap_or(0), found };
                self.cluster.recorder.with(|record| record.copies.push(copy));
                Ok(())
            }
            other => Err(format!("n{node} does not say what it holds: {other:?}")),
        }
    }

    /// After an end before its time: nothing is in the way any more, the clients end, and whoever can says what it holds.
    fn look_at_what_is_left(&mut self) {
        heal(&mut self.cluster);
        self.stop.store(true, Ordering::Relaxed);
        for _ in 0..LAST_DEEDS {
            // Why it ended was said.
            let _: Result<(), String> = self.cluster.step();
        }
        let had: Vec<usize> = self.cluster.recorder.with(|record| record.copies.iter().map(|copy| copy.node).collect());
        for node in (0..self.cluster.count()).filter(|node| !had.contains(node)) {
            if !(0..TRIES).any(|_| self.copy(node).is_ok()) {
                self.tell(format!("n{node} does not say what it holds"));
            }
        }
    }

    /// What must never be done: a node that is cut off is given a majority of its own while the others live.
    fn take_a_minority_for_all(&mut self) -> Result<(), String> {
        let one = self.cluster.sim.draw(0..self.cluster.count());
        let cluster = self.cluster.look(one, |replication| replication.cluster_id()).flatten();
        let cluster = cluster.ok_or_else(|| format!("n{one} is of no cluster"))?;
        cut_off(&mut self.cluster, one);
        self.tell(format!("n{one} is cut off"));
        let pause = self.cluster.sim.draw(100..3_000);
        self.pass(pause)?;
        self.cluster.stop(one, false);
        self.cluster.recover(one, cluster)?;
        self.cluster.start(one);
        self.tell(format!("n{one} goes on alone"));
        self.pass(BESIDE_EACH_OTHER)
    }

    /// One fault, or two that overlap.
    fn strike(&mut self, faults: &[Fault]) -> Result<(), String> {
        let draw = |cluster: &mut Cluster| faults[cluster.sim.draw(0..faults.len())];
        let first = draw(&mut self.cluster);
        let second = (self.cluster.sim.draw(0..3) == 0).then(|| draw(&mut self.cluster));
        // Two disks at once may be more than the promise is about.
        let second = second.filter(|second| *second != Fault::WipedDisk && first != Fault::WipedDisk);
        let began = self.cluster.recorder.now();
        let mut struck = Vec::new();
        for fault in [Some(first), second].into_iter().flatten() {
            let begun = fault.begin(&mut self.cluster);
            self.tell(format!("{fault:?} begins on {}", begun.names()));
            for since in 0..self.cluster.sim.draw(100..3_000) {
                begun.goes_on(&mut self.cluster, since);
                self.cluster.step()?;
            }
            struck.push(begun);
        }
        heal(&mut self.cluster);
        let ended = self.cluster.recorder.now();
        let recovered = self.writes_everywhere()?.then(|| self.cluster.recorder.now());
        // What shows nothing was no fault.
        let (mut names, mut on, mut evidence) = (Vec::new(), Vec::new(), Vec::new());
        for begun in struck {
            let shown = begun.evidence(&self.cluster);
            self.tell(format!("{:?} over: {}", begun.fault, shown.as_deref().unwrap_or("nothing shows that it was")));
            if let Some(shown) = shown {
                names.push(format!("{:?}", begun.fault));
                on.push(begun.names());
                evidence.push(shown);
            }
        }
        let (fault, on, evidence) = (names.join(" and "), on.join(", "), evidence.join("; "));
        if !names.is_empty() {
            let strike = Strike { fault: fault.clone(), on, began, ended, recovered, evidence };
            self.cluster.recorder.with(|record| record.strikes.push(strike));
        }
        if recovered.is_none() {
            return Err(format!("no writes through every node within {RESUMES_WITHIN} ms after {fault}"));
        }
        if first == Fault::WipedDisk {
            self.whole("a wiped disk")?;
        }
        Ok(())
    }

    fn writes_everywhere(&mut self) -> Result<bool, String> {
        let deadline = muster_world::now() + RESUMES_WITHIN;
        for node in 0..self.cluster.count() {
            loop {
                if muster_world::now() >= deadline {
                    return Ok(false);
                }
                self.probes += 1;
                let (key, value) = (format!("probe/{node}"), format!("probe-{}", self.probes));
                let put = Call::Put { key, value, condition: Condition::Always, again: None };
                if matches!(self.perform(node, put)?, Seen::Wrote { .. }) {
                    break;
                }
                self.pass(20)?;
            }
        }
        Ok(true)
    }

    /// Waits until every node votes, and nobody else.
    fn whole(&mut self, after: &str) -> Result<(), String> {
        let deadline = muster_world::now() + WHOLE_WITHIN;
        loop {
            let Err(missing) = self.cluster.is_whole() else {
                self.tell(format!("whole after {after}"));
                return Ok(());
            };
            if muster_world::now() >= deadline {
                return Err(format!("not whole {WHOLE_WITHIN} ms after {after}: {missing}"));
            }
            self.pass(20)?;
        }
    }

    fn worker(&self, number: usize) -> Worker {
        let (doors, recorder) = (self.cluster.doors.clone(), self.cluster.recorder.clone());
        Worker { number, doors, recorder, control: None }
    }

    /// One call by a client of the harness's own.
    fn perform(&mut self, node: usize, call: Call) -> Result<Seen, String> {
        let number = self.cluster.count();
        let worker = self.worker(number);
        let seen = Arc::new(Mutex::new(None));
        let told = seen.clone();
        self.cluster.sim.spawn(self.cluster.clients(), async move {
            // A worker's own node is the one of its number.
            let answer = worker.perform(&call, node).await;
            *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        });
        loop {
            if let Some(seen) = seen.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Ok(seen);
            }
            self.cluster.step()?;
        }
    }

    fn pass(&mut self, time: Millis) -> Result<(), String> {
        (0..time).try_for_each(|_| self.cluster.step())
    }

    fn tell(&mut self, what: String) {
        log::info!("{:>6} ms: {what}", muster_world::now());
        self.story.push(format!("{:>6} ms: {what}", muster_world::now()));
    }
}
