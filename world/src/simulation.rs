//! Drives a world: a millisecond at a time, one machine after the other.

use std::future::Future;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::RngExt;
use rand::distr::uniform::{SampleRange, SampleUniform};
use tokio::runtime::Runtime;

use crate::disk::{Moment, Sectors};
use crate::link::Link;
use crate::met::Met;
use crate::world::{self, Millis, with};

/// The least that time moves by. Coarser than any computing here takes, finer than any wait.
const STEP: Duration = Duration::from_millis(1);

/// tokio numbers the tasks of all threads together, and when a runtime ends it drops its tasks by the last bits of their numbers: what they do then
/// would be another run's chance. So there is one simulation of a process at a time, and its first task has a number that ends in as many zeros.
static ONE: Mutex<()> = Mutex::new(());
/// More lists than tokio keeps of the tasks of one thread (4).
const TASK_LISTS: u64 = 64;

/// The machines' programs, and the world that they run in. One of a process at a time: others wait for its end.
#[derive(Debug)]
pub struct Simulation {
    _one: MutexGuard<'static, ()>,
    programs: Vec<Option<Program>>,
    /// The trace after each step.
    traces: Vec<u64>,
}

/// A process that runs, or sleeps.
#[derive(Debug)]
struct Program {
    runtime: Runtime,
    /// Since when it is paused.
    paused: Option<Millis>,
}

impl Simulation {
    /// A world of this seed, without machines.
    pub fn new(seed: u64) -> Self {
        // Of one that panicked nothing is left.
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        begin_tasks_anew();
        world::begin(seed);
        Self { _one: one, programs: Vec::new(), traces: Vec::new() }
    }

    /// Adds a machine with this address, and power; nothing runs on it.
    pub fn add(&mut self, ip: IpAddr) -> usize {
        self.programs.push(None);
        with(|world| world.add(ip))
    }

    /// Starts a process on a machine, in place of the one that may run there. It has power from now on.
    ///
    /// # Panics
    /// When the system has no means for a runtime.
    pub fn start<F: Future<Output = ()> + Send + 'static>(&mut self, machine: usize, program: impl FnOnce() -> F) {
        self.end(machine);
        let runtime = runtime(with(|world| world.machines[machine].chance.random()));
        with(|world| world.machines[machine].powered = true);
        within(machine, || drop(runtime.spawn(program())));
        self.programs[machine] = Some(Program { runtime, paused: None });
    }

    /// `kill -9`: the process is gone, its machine says so to whoever asks.
    pub fn kill(&mut self, machine: usize) {
        self.end(machine);
    }

    /// The power is gone: nobody hears anything of this machine, and what its disks had not synced may be lost.
    pub fn power_off(&mut self, machine: usize) {
        with(|world| world.machines[machine].powered = false);
        self.end(machine);
    }

    /// The process does nothing; the machine goes on.
    pub fn pause(&mut self, machine: usize) {
        if let Some(program) = &mut self.programs[machine] {
            program.paused.get_or_insert(world::now());
        }
    }

    /// It goes on as if no time had passed, but its clocks say that it has.
    pub fn resume(&mut self, machine: usize) {
        let Some(program) = &mut self.programs[machine] else { return };
        let Some(since) = program.paused.take() else { return };
        let missed = world::now() - since;
        with(|world| world.machines[machine].slept += missed);
        let missed = Duration::from_millis(missed);
        within(machine, || program.runtime.block_on(async { tokio::time::advance(missed).await }));
    }

    /// For how long processes of this machine were paused, so far.
    pub fn slept(&self, machine: usize) -> Millis {
        with(|world| world.machines[machine].slept)
    }

    /// Whether a process is there.
    pub fn runs(&self, machine: usize) -> bool {
        self.programs[machine].is_some()
    }

    /// Whether one is there and awake.
    pub fn is_awake(&self, machine: usize) -> bool {
        self.programs[machine].as_ref().is_some_and(|program| program.paused.is_none())
    }

    /// Moves a machine's time of day: forward for more than zero. Its other clock knows nothing of it.
    pub fn move_clock(&mut self, machine: usize, by: i64) {
        with(|world| {
            let clock = &mut world.machines[machine].clock;
            let by_much = Duration::from_millis(by.unsigned_abs());
            *clock = if by < 0 { clock.saturating_sub(by_much) } else { *clock + by_much };
        });
    }

    /// What its clock showed at the beginning of the run, since 1970, as it is set now.
    pub fn clock(&self, machine: usize) -> Duration {
        with(|world| world.machines[machine].clock)
    }

    /// How often its disk was asked to sync something, so far.
    pub fn syncs(&self, machine: usize) -> u64 {
        with(|world| world.machines[machine].disk.syncs)
    }

    /// What power cuts made of what its disk had not synced, so far.
    pub fn sectors(&self, machine: usize) -> Sectors {
        with(|world| world.machines[machine].disk.sectors)
    }

    /// Its power fails at its n-th sync, counted from the beginning of the run. The process is still there then, and can do nothing that
    /// anybody would see: end it with [`Self::power_off`].
    pub fn fail_power_at_sync(&mut self, machine: usize, number: u64, moment: Moment) {
        with(|world| world.machines[machine].disk.fails = Some((number, moment)));
    }

    /// Whether it has power.
    pub fn is_powered(&self, machine: usize) -> bool {
        with(|world| world.machines[machine].powered)
    }

    /// Changes one direction of the way between two machines.
    pub fn link(&mut self, from: usize, to: usize, change: impl FnOnce(&mut Link)) {
        with(|world| change(world.link(from, to)));
    }

    /// What packets met on the way from one machine to another, so far.
    pub fn met(&self, from: usize, to: usize) -> Met {
        with(|world| world.met(from, to))
    }

    /// Runs something on a machine that does not run now: to look into its process.
    pub fn within<T>(&self, machine: usize, run: impl FnOnce() -> T) -> T {
        within(machine, run)
    }

    /// Spawns a task in a machine's process; it ends with the process.
    pub fn spawn(&self, machine: usize, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(program) = &self.programs[machine] {
            within(machine, || drop(program.runtime.spawn(task)));
        }
    }

    /// Draws from the run's chance.
    pub fn draw<T: SampleUniform, R: SampleRange<T>>(&mut self, range: R) -> T {
        with(|world| world.chance.random_range(range))
    }

    /// A millisecond passes.
    pub fn step(&mut self) {
        with(|world| world.now += 1);
        crate::net::deliver();
        let count = self.programs.len();
        // Nobody is always the first.
        let first = self.draw(0..count.max(1));
        for machine in (first..count).chain(0..first) {
            if let Some(Program { runtime, paused: None }) = &self.programs[machine] {
                within(machine, || runtime.block_on(async { tokio::time::sleep(STEP).await }));
            }
        }
        self.traces.push(self.trace());
    }

    /// Makes something of the run's part of its trace.
    pub fn note(&mut self, what: impl Hash) {
        with(|world| world.note(what));
    }

    /// What all that arrived, and all that was noted, comes to. Two runs with one trace were the same.
    pub fn trace(&self) -> u64 {
        with(|world| world.trace())
    }

    /// The trace after each step so far: where two runs that should be the same part.
    pub fn traces(&self) -> &[u64] {
        &self.traces
    }

    fn end(&mut self, machine: usize) {
        let program = self.programs[machine].take();
        if let Some(since) = program.as_ref().and_then(|program| program.paused) {
            with(|world| world.machines[machine].slept += world.now - since);
        }
        // Sockets are closed by whoever has them.
        within(machine, || drop(program));
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        for machine in 0..self.programs.len() {
            self.end(machine);
        }
        world::end();
    }
}

/// One whose clock stands still. Without tokio's unstable flag its own chance has another source than the seed.
#[expect(clippy::expect_used, reason = "without a runtime there is no run")]
#[cfg_attr(not(tokio_unstable), expect(unused_variables, reason = "nobody takes it"))]
fn runtime(seed: [u8; 32]) -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true);
    #[cfg(tokio_unstable)]
    builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&seed));
    builder.build().expect("a runtime")
}

/// The next task's number ends in zeros.
fn begin_tasks_anew() {
    let runtime = runtime([0; 32]);
    let number = |task: tokio::task::JoinHandle<()>| task.id().to_string().parse().unwrap_or(0_u64);
    while !(number(runtime.spawn(async {})) + 1).is_multiple_of(TASK_LISTS) {}
}

/// Runs something as this machine.
fn within<T>(machine: usize, run: impl FnOnce() -> T) -> T {
    let before = with(|world| world.current.replace(machine));
    let ran = run();
    with(|world| world.current = before);
    ran
}
