//! One child process: started, signalled, awaited, and ended with its test.
//!
//! Its standard output and error are collected, and printed when the test that owns it fails. Only processes started
//! here are ever signalled, by their id.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::ready::{self, Ready};
use crate::wait::until;

/// Lines of a log that a failing test prints for each process; the rest is seldom of use. `MUSTER_E2E_LOG_LINES` overrides.
const SHOWN: usize = 150;
/// Lines that are kept; a server that logs more in one test has a defect of its own. What comes later is dropped.
const KEPT: usize = 50_000;
/// 20 s for a server to be ready: it takes a fraction of a second unless the machine is overloaded.
pub const READY_WITHIN: Duration = Duration::from_secs(20);
/// 15 s for a process to end its own children: more than it gives them itself.
const ITS_CHILDREN: Duration = Duration::from_secs(15);

/// A program that can be started several times over the same arguments.
#[derive(Debug)]
pub struct Process {
    name: String,
    program: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    netns: Option<String>,
    has_children: bool,
    left_behind: Vec<String>,
    child: Option<Child>,
    log: Log,
    /// Where the current run's lines begin.
    run_starts: usize,
}

#[derive(Debug, Clone)]
struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    since: Instant,
}

impl Process {
    /// Not started yet. `name` stands for it in messages.
    pub fn new(name: impl Into<String>, program: PathBuf, args: impl IntoIterator<Item = String>) -> Self {
        let log = Log { lines: Arc::default(), since: Instant::now() };
        let (args, name) = (args.into_iter().collect(), name.into());
        let (env, left_behind) = (Vec::new(), Vec::new());
        Self {
            name,
            program,
            args,
            env,
            netns: None,
            has_children: false,
            left_behind,
            child: None,
            log,
            run_starts: 0,
        }
    }

    /// With an environment variable more.
    pub fn with_env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Within a network namespace.
    pub fn in_netns(mut self, namespace: impl Into<String>) -> Self {
        self.netns = Some(namespace.into());
        self
    }

    /// That ends its own children when it is told to stop, and could not if it were killed.
    pub fn with_children(mut self) -> Self {
        self.has_children = true;
        self
    }

    /// That leaves a file behind, which is removed when it has ended. `{}` stands for its id.
    pub fn leaving(mut self, path: &str) -> Self {
        self.left_behind.push(path.to_owned());
        self
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its arguments; the next start uses them.
    pub fn args_mut(&mut self) -> &mut Vec<String> {
        &mut self.args
    }

    /// The next start runs this program.
    pub fn run_as(&mut self, program: PathBuf) {
        self.program = program;
    }

    /// Starts it, without waiting for anything.
    ///
    /// # Panics
    /// When it runs already or cannot be started.
    pub fn spawn(&mut self) {
        assert!(!self.is_running(), "{} runs already", self.name);
        self.tidy();
        let mut command = match &self.netns {
            // `ip netns exec` replaces itself by the program, so the process id is the program's.
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        // What the caller's shell has set must not change what is tested.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MUSTER_")) {
            command.env_remove(name);
        }
        command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.run_starts = self.log.push(format!("--- {} {}", self.program.display(), self.args.join(" ")));
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {}: {error}", self.name));
        self.log.collect(child.stdout.take().expect("piped"));
        self.log.collect(child.stderr.take().expect("piped"));
        self.child = Some(child);
    }

    /// Waits until it says `ready`.
    ///
    /// # Panics
    /// When it ends before, or takes longer than [`READY_WITHIN`].
    pub async fn ready(&mut self) -> Ready {
        let found = until(READY_WITHIN, async || match self.ready_now() {
            Some(ready) => Some(Ok(ready)),
            None => self.exited().map(Err),
        });
        match found.await {
            Some(Ok(ready)) => ready,
            Some(Err(status)) => panic!("{} ended ({status}) instead of getting ready:\n{}", self.name, self.run_log()),
            None => panic!("{} was not ready within {READY_WITHIN:?}:\n{}", self.name, self.run_log()),
        }
    }

    /// What its `ready` line says, if this run has written one.
    pub fn ready_now(&self) -> Option<Ready> {
        // The last one: a node that sets its data aside starts anew within one process.
        self.log.lines()[self.run_starts..].iter().rev().find_map(|line| ready::parse(line.get(11..)?))
    }

    /// The id of the running process.
    ///
    /// # Panics
    /// When it was not started, or was awaited since.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap_or_else(|| panic!("{} does not run", self.name)).id()
    }

    /// Whether it was started and has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.is_some() && self.exited().is_none()
    }

    /// How it ended, if it did.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().expect("wait for a child"))
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn wait(&mut self, within: Duration) -> ExitStatus {
        match until(within, async || self.exited()).await {
            Some(status) => {
                self.tidy();
                self.child = None;
                status
            }
            None => panic!("{} did not end within {within:?}:\n{}", self.name, self.run_log()),
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed()).expect("an id of a process is positive");
        self.log.push(format!("--- {signal:?}"));
        // A child that has not been awaited keeps its id, so this reaches nobody else.
        kill_process(pid, signal).unwrap_or_else(|error| panic!("cannot signal {}: {error}", self.name));
    }

    /// SIGKILL, and waits for the end, which is at once.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.child.as_mut().expect("it runs").wait().expect("wait for a child");
        self.tidy();
        self.child = None;
    }

    /// SIGKILL, without waiting: one that waits for a disk ends only when the disk answers.
    pub fn send_kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Removes what the process has left behind.
    fn tidy(&self) {
        let Some(child) = &self.child else { return };
        for path in &self.left_behind {
            // It may have removed it itself.
            let _ = std::fs::remove_file(path.replace("{}", &child.id().to_string()));
        }
    }

    /// SIGTERM, and waits for the end.
    pub async fn terminate(&mut self, within: Duration) -> ExitStatus {
        self.send_terminate();
        self.wait(within).await
    }

    /// SIGTERM, without waiting.
    pub fn send_terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGSTOP: it keeps its sockets and its memory and does nothing.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Everything it wrote since it was last started.
    pub fn run_log(&self) -> String {
        self.log.lines()[self.run_starts..].join("\n")
    }

    /// Everything it wrote in all its runs.
    pub fn whole_log(&self) -> String {
        self.log.lines().join("\n")
    }

    /// Whether it wrote this since it was last started.
    pub fn has_logged(&self, text: &str) -> bool {
        self.log.lines()[self.run_starts..].iter().any(|line| line.contains(text))
    }

    /// Resident memory in bytes.
    ///
    /// # Panics
    /// When it does not run.
    pub fn resident_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:").expect("a running process has a size")
    }

    /// Resident memory that belongs to it alone, in bytes: neither its program nor any page that the system keeps of a file. `None` when it
    /// ends just now.
    ///
    /// # Panics
    /// When it does not run.
    pub fn anonymous_bytes(&self) -> Option<u64> {
        self.status_bytes("RssAnon:")
    }

    fn status_bytes(&self, name: &str) -> Option<u64> {
        status_bytes(self.pid(), name)
    }
}

/// A figure in kB from the kernel's description of a process; `None` when there is none such.
pub fn status_bytes(pid: u32, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.has_children && self.is_running() {
            self.send_terminate();
            let deadline = Instant::now() + ITS_CHILDREN;
            while self.exited().is_none() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(10));
            }
        }
        if let Some(child) = &mut self.child {
            // SIGKILL ends a stopped process as well.
            let _ = child.kill();
            let _ = child.wait();
        }
        self.tidy();
        if thread::panicking() {
            let shown = std::env::var("MUSTER_E2E_LOG_LINES").ok().and_then(|n| n.parse().ok()).unwrap_or(SHOWN);
            let lines = self.log.lines();
            let mut text = String::new();
            for line in &lines[lines.len().saturating_sub(shown)..] {
                let _ = writeln!(text, "{:>10} | {line}", self.name);
            }
            eprint!("=== log of {} ({} of {} lines)\n{text}", self.name, shown.min(lines.len()), lines.len());
        }
    }
}

impl Log {
    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a line with the time since the test began, and returns where it stands.
    fn push(&self, line: String) -> usize {
        let mut lines = self.lines();
        if lines.len() < KEPT {
            lines.push(format!("{:>9.3}s {line}", self.since.elapsed().as_secs_f64()));
        }
        lines.len() - 1
    }

    fn collect(&self, pipe: impl Read + Send + 'static) {
        let log = self.clone();
        thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                log.push(String::from_utf8_lossy(&line).into_owned());
            }
        });
    }
}
