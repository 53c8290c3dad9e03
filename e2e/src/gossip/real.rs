//! Members as processes, each in a network namespace of its own.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use muster_cluster::keyring::{KEY_LEN, Key, encode_key};
use tempfile::TempDir;

use super::{Detection, Seen, Settings, What, Wrongs, detection, joined, wrongs};
use crate::drive::usage::{self, Usage};
use crate::netns::Net;

/// The port of every agent.
const PORT: u16 = 7_000;

/// How often their lines are read.
const PAUSE: Duration = Duration::from_millis(50);

/// Much longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(90);

/// Agents that run. Dropped, they are killed.
#[derive(Debug)]
pub struct Agents {
    net: Net,
    program: PathBuf,
    settings: Settings,
    folder: TempDir,
    running: Vec<Option<Child>>,
}

/// The time on the clock that the agents write, which all processes of a machine share.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Busy loops, until they are dropped.
#[derive(Debug)]
pub struct Load(Vec<Child>);

impl Load {
    /// So many, at the priority of the caller.
    ///
    /// # Errors
    /// When there is no shell to do it.
    pub fn start(loops: usize) -> io::Result<Self> {
        let spin = |_| Command::new("sh").args(["-c", "while :; do :; done"]).stdin(Stdio::null()).spawn();
        Ok(Self((0..loops).map(spin).collect::<io::Result<_>>()?))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(end);
    }
}

fn end(child: &mut Child) {
    // It may have ended by itself; either way it is gone after this.
    let _ = child.kill();
    let _ = child.wait();
}

impl Agents {
    /// Starts so many at once, each knowing the first.
    ///
    /// # Errors
    /// When this machine does not let us make network namespaces, or the program cannot be started.
    pub fn start(program: PathBuf, count: usize, settings: Settings) -> Result<Self, String> {
        let net = Net::new(count)?;
        net.introduce()?;
        let folder = TempDir::new().map_err(|error| error.to_string())?;
        let mut agents = Self { net, program, settings, folder, running: (0..count).map(|_| None).collect() };
        if settings == Settings::Sealed {
            // Any key seals alike; this one protects nobody.
            let key: [u8; KEY_LEN] = std::array::from_fn(|n| n as u8);
            std::fs::write(agents.keys(), encode_key(&Key::new(key))).map_err(|error| error.to_string())?;
        }
        (0..count).try_for_each(|agent| agents.spawn(agent)).map_err(|error| error.to_string())?;
        Ok(agents)
    }

    fn keys(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    fn journal(&self, agent: usize) -> PathBuf {
        self.folder.path().join(format!("{agent}.txt"))
    }

    fn spawn(&mut self, agent: usize) -> io::Result<()> {
        let journal: File = OpenOptions::new().create(true).append(true).open(self.journal(agent))?;
        let mut command = Command::new("ip");
        // `ip netns exec` replaces itself by the program, so the process id is the program's.
        command.args(["netns", "exec", &self.net.namespace(agent)]).arg(&self.program);
        command.args(["--number", &agent.to_string(), "--bind", &format!("{}:{PORT}", self.net.address(agent))]);
        command.args(["--join", &format!("{}:{PORT}", self.net.address(0))]);
        match self.settings {
            Settings::Lifeguard => {}
            Settings::Plain => _ = command.arg("--plain"),
            Settings::Sealed => _ = command.arg("--keys-file").arg(self.keys()),
        }
        command.arg("--stamp").arg(self.folder.path().join(format!("{agent}.stamp")));
        self.running[agent] = Some(command.stdin(Stdio::null()).stdout(journal).spawn()?);
        Ok(())
    }

    /// How many there are, the killed included.
    pub fn count(&self) -> usize {
        self.running.len()
    }

    /// All that was seen so far.
    pub fn seen(&self) -> Vec<Seen> {
        (0..self.count()).flat_map(|by| self.lines(by)).collect()
    }

    fn lines(&self, by: usize) -> Vec<Seen> {
        let text = std::fs::read_to_string(self.journal(by)).unwrap_or_default();
        let line = |line: &str| {
            let mut words = line.split(' ');
            let at = Duration::from_micros(words.next()?.parse().ok()?);
            let what = match words.next()? {
                "joined" => What::Joined,
                "suspected" => What::Suspected,
                "refuted" => What::Refuted,
                "failed" => What::Failed,
                _ => return None,
            };
            Some(Seen { at, by, what, whom: words.next()?.parse().ok()?, life: words.next()?.parse().ok()? })
        };
        // A last line without its end is still being written.
        text.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .filter_map(|text| line(text.trim_end()))
            .collect()
    }

    /// When the last one of those that run said that it was ready.
    fn ready(&self) -> Option<Duration> {
        let ready = |agent| {
            let text = std::fs::read_to_string(self.journal(agent)).ok()?;
            let line = text.lines().rfind(|line| line.contains(" ready "))?;
            Some(Duration::from_micros(line.split(' ').next()?.parse().ok()?))
        };
        (0..self.count()).map(ready).collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    fn wait<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> Result<T, String> {
        let began = now();
        loop {
            if let Some(found) = look(self) {
                return Ok(found);
            }
            if now() > began + DEADLINE {
                return Err(format!("waited {DEADLINE:?} in vain for: {what}\n{}", self.last_words()));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// What each wrote last, for whoever looks for the reason of a failure.
    fn last_words(&self) -> String {
        let words = |agent| {
            let text = std::fs::read_to_string(self.journal(agent)).unwrap_or_default();
            let last: Vec<&str> = text.lines().rev().take(8).collect();
            format!("{agent}: {}", last.into_iter().rev().collect::<Vec<_>>().join("; "))
        };
        (0..self.count()).map(words).collect::<Vec<_>>().join("\n")
    }

    /// From when the last process was ready until all saw all.
    ///
    /// # Errors
    /// When it takes too long.
    pub fn joined(&self) -> Result<Duration, String> {
        let ready = self.wait("every agent is ready", Self::ready)?;
        let last = |agents: &Self| joined(&agents.seen(), agents.count(), Duration::ZERO);
        Ok(self.wait("all see all", last)?.saturating_sub(ready))
    }

    /// Kills the last so many (SIGKILL) in one breath, and tells how each death came to be known. [`Self::revive`] starts them again.
    ///
    /// # Errors
    /// When it takes too long.
    pub fn kill(&mut self, victims: usize) -> Result<Vec<Detection>, String> {
        let left = self.count() - victims;
        let since = now();
        for child in self.running[left..].iter_mut().flatten() {
            child.kill().map_err(|error| error.to_string())?;
        }
        self.running[left..].iter_mut().flatten().for_each(end);
        let survivors: BTreeSet<usize> = (0..left).collect();
        self.wait("all know of the deaths", |agents| {
            let seen = agents.seen();
            (left..agents.count()).map(|victim| detection(&seen, victim, since, &survivors)).collect()
        })
    }

    /// Starts the last so many again, which were killed; how long after the last of them was ready all others had seen them all.
    ///
    /// # Errors
    /// When it takes too long.
    pub fn revive(&mut self, victims: usize) -> Result<Duration, String> {
        let (left, again) = (self.count() - victims, now());
        (left..self.count()).try_for_each(|agent| self.spawn(agent)).map_err(|error| error.to_string())?;
        let ready = self.wait("the killed are ready", |agents| agents.ready().filter(|ready| *ready > again))?;
        let back = self.wait("the killed are back", |agents| {
            let seen = agents.seen();
            let back = |by, whom| {
                let hit = |s: &&Seen| s.what == What::Joined && (s.by, s.whom) == (by, whom) && s.at > again;
                seen.iter().find(hit).map(|seen| seen.at)
            };
            let all: Option<Vec<Duration>> = (left..agents.count())
                .flat_map(|whom| (0..left).map(move |by| (by, whom)))
                .map(|(by, whom)| back(by, whom))
                .collect();
            all?.into_iter().max()
        })?;
        Ok(back.saturating_sub(ready))
    }

    /// Packets and bytes that all machines have sent so far, ARP and the headers of Ethernet included.
    ///
    /// # Errors
    /// When the switch does not tell.
    pub fn sent(&self) -> Result<(u64, u64), String> {
        self.net.sent()
    }

    /// Processor time that those that run have used so far, all together.
    ///
    /// # Errors
    /// When one of them is gone.
    pub fn processor(&self) -> Result<Duration, String> {
        let pids: Vec<u32> = self.running.iter().flatten().map(Child::id).collect();
        let usages = usage::of(&pids).map_err(|error| error.to_string())?;
        Ok(usages.iter().map(Usage::processor).sum())
    }

    /// Drops so many percent of the packets that reach each machine, UDP and TCP alike, for so long, and counts who was wronged. Also
    /// returns how many packets were dropped.
    ///
    /// # Errors
    /// When the kernel cannot drop them, or dropped nothing though it should.
    pub fn lose(&self, percent: u32, time: Duration) -> Result<(Wrongs, u64), String> {
        if percent > 0 {
            (0..self.count()).try_for_each(|machine| self.net.lose(machine, percent))?;
        }
        let since = now();
        std::thread::sleep(time);
        let wrongs = wrongs(&self.seen(), since);
        let mut dropped = 0;
        if percent > 0 {
            for machine in 0..self.count() {
                dropped += self.net.lose_no_more(machine)?;
            }
            if dropped == 0 {
                return Err("no packet was dropped".to_owned());
            }
        }
        Ok((wrongs, dropped))
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        self.running.iter_mut().flatten().for_each(end);
    }
}
