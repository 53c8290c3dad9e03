//! Scripts of protocol scenarios with their transcripts in one file: `cluster/testdata/*.txt`.
//!
//! A line that begins with `> ` is a command, one that begins with `#` a remark; all others are what the commands gave. With
//! `UPDATE=1` in the environment the files are rewritten; read the difference before you believe it.
//!
//! ```text
//! > start n1 [seeds n2,n3] [as n2] [at n2] [clock +500ms]   n1 has the id n2, or its address; its disk is kept over restarts
//! > crash n1 | leave n1 | wipe n1 (its disk) | rewind n1 (its disk to the stamp before)
//! > partition n1 n2 | n3        > deaf n1 n2 (no datagrams between the two)       > heal        > loss 10
//! > run 5s                      gives the events
//! > members n1 | state n1 | agree
//! > broadcast n1 text | message n1 n2 text | metadata n1 text
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use muster_cluster::sim::checkers::Checks;
use muster_cluster::sim::{EPOCH_MS, Host, Record, Sim};
use muster_cluster::swim::{Config, Event, Input, MemberState, Stamp};
use uuid::Uuid;

struct Run {
    sim: Sim<(Record, Checks)>,
    /// The numbers of the hosts.
    names: BTreeMap<String, usize>,
    told: usize,
    synced: Vec<(usize, u64)>,
    /// What the disks held at the last start.
    disk_before: BTreeMap<usize, Stamp>,
}

fn number(name: &str) -> u16 {
    name.trim_start_matches('n').parse().unwrap_or_else(|_| panic!("{name} is no name of a node"))
}

fn id(name: &str) -> Uuid {
    Uuid::from_u128(number(name).into())
}

fn address(name: &str) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(number(name)).expect("below 256")], 7_000))
}

fn called(id: Uuid) -> String {
    format!("n{}", id.as_u128())
}

fn stamp(stamp: Stamp) -> String {
    if stamp == Stamp::ZERO {
        return "nothing".to_owned();
    }
    format!("@{}.{}", stamp.wall().as_millis() as i128 - i128::from(EPOCH_MS), stamp.counter())
}

fn state(state: MemberState) -> &'static str {
    match state {
        MemberState::Alive => "alive",
        MemberState::Suspect => "suspect",
        MemberState::Failed => "failed",
        MemberState::Left => "left",
    }
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Run {
    fn new() -> Self {
        let config = Config::lan("golden");
        let watch = (Record::default(), Checks::all(&config));
        Self {
            sim: Sim::new(config, 1, watch),
            names: BTreeMap::new(),
            told: 0,
            synced: Vec::new(),
            disk_before: BTreeMap::new(),
        }
    }

    fn command(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["start", name, options @ ..] => self.start(name, options),
            ["crash", name] => self.sim.crash(self.names[*name]),
            ["leave", name] => self.ask(name, Input::Leave),
            ["wipe", name] => self.sim.lose_disk(self.names[*name]),
            ["rewind", name] => self.node(name).disk = self.disk_before[&self.names[*name]],
            ["partition", groups @ ..] => {
                for (group, names) in (0..).zip(groups.split(|word| *word == "|")) {
                    for name in names {
                        self.sim.network.put_in_group(self.names[*name], group);
                    }
                }
            }
            ["deaf", a, b] => self.sim.network.deafen(self.names[*a], self.names[*b]),
            ["heal"] => self.sim.network.heal(),
            ["loss", percent] => self.sim.network.loss = percent.parse::<f64>().expect("a number") / 100.0,
            ["run", duration] => {
                self.sim.run(seconds(duration));
                return self.events();
            }
            ["members", name] => return self.members(name),
            ["state", name] => return self.state(name),
            ["agree"] => {
                return match self.sim.agree() {
                    Ok(()) => format!("all {} see each other alive and nobody else\n", self.sim.up().len()),
                    Err(_) => "they do not agree\n".to_owned(),
                };
            }
            ["broadcast", name, what] => self.ask(name, Input::Broadcast(Bytes::from((*what).to_owned()))),
            ["message", name, to, what] => {
                self.ask(name, Input::Message { to: id(to), payload: Bytes::from((*what).to_owned()) });
            }
            ["metadata", name, what] => self.ask(name, Input::Metadata(Bytes::from((*what).to_owned()))),
            _ => panic!("no such command: {line}"),
        }
        String::new()
    }

    fn ask(&mut self, name: &str, input: Input) {
        self.sim.ask(self.names[name], input).expect("nothing is asked for that cannot be done");
    }

    fn node(&mut self, name: &str) -> &mut Host {
        self.sim.host_mut(self.names[name])
    }

    fn start(&mut self, name: &str, options: &[&str]) {
        if !self.names.contains_key(name) {
            let host = self.sim.add(id(name), address(name));
            self.names.insert(name.to_owned(), host);
        }
        let host = self.names[name];
        self.disk_before.insert(host, self.sim.host(host).disk);
        let mut seeds = Vec::new();
        for pair in options.chunks(2) {
            match *pair {
                ["seeds", names] => seeds = names.split(',').map(address).collect(),
                ["as", other] => {
                    let disk = self.names.get(other).map_or(Stamp::ZERO, |other| self.sim.host(*other).disk);
                    let node = self.node(name);
                    (node.id, node.disk) = (id(other), disk);
                }
                ["at", other] => self.node(name).address = address(other),
                ["clock", ms] => {
                    self.node(name).clock.ahead_ms = ms.trim_end_matches("ms").parse().expect("milliseconds");
                }
                _ => panic!("no such option: {pair:?}"),
            }
        }
        self.sim.start(host, seeds);
    }

    fn events(&mut self) -> String {
        let mut out = String::new();
        let names: BTreeMap<usize, &String> = self.names.iter().map(|(name, host)| (*host, name)).collect();
        for (time, host, event) in &self.sim.watch.0.events[self.told..] {
            let what = match event {
                Event::Joined(m) => format!("{} joined {}", called(m.id), stamp(m.incarnation)),
                Event::Updated(m) => {
                    format!(
                        "{} updated {} at {} \"{}\"",
                        called(m.id),
                        stamp(m.incarnation),
                        m.address,
                        text(&m.metadata)
                    )
                }
                Event::Suspected(m) => format!("{} suspected {}", called(m.id), stamp(m.incarnation)),
                Event::Refuted(m) => format!("{} refuted {}", called(m.id), stamp(m.incarnation)),
                Event::Failed(m) => format!("{} failed {}", called(m.id), stamp(m.incarnation)),
                Event::Left(m) => format!("{} left {}", called(m.id), stamp(m.incarnation)),
                Event::Forgotten { id } => format!("{} forgotten", called(*id)),
                Event::Broadcast { from, payload } => format!("{} broadcasts \"{}\"", called(*from), text(payload)),
                Event::Message { from, payload } => format!("{} says \"{}\"", called(*from), text(payload)),
                Event::Synced { with } => {
                    // Only the first of each start: the others are routine.
                    let start = (*host, self.sim.host(*host).starts);
                    if self.synced.contains(&start) {
                        continue;
                    }
                    self.synced.push(start);
                    format!("first synced with {}", called(*with))
                }
                Event::SetBack { heard, held } => {
                    format!("was set back: the cluster has {}, the disk {}", stamp(*heard), stamp(*held))
                }
                Event::Duplicate { id, .. } => format!("{} runs twice", called(*id)),
                Event::LeaveDone { heard_by } => format!("has left, confirmed by {heard_by}"),
            };
            writeln!(out, "{:>8.3} {}: {what}", time.as_secs_f64(), names[host]).expect("a string");
        }
        self.told = self.sim.watch.0.events.len();
        out
    }

    fn members(&mut self, name: &str) -> String {
        let mut out = String::new();
        for m in self.node(name).swim.as_ref().expect("it runs").members() {
            let twice = if m.duplicate { " twice" } else { "" };
            let (name, what, stamp) = (called(m.id), state(m.state), stamp(m.incarnation));
            writeln!(out, "{name} {what}{twice} {stamp} {} \"{}\"", m.address, text(&m.metadata)).expect("a string");
        }
        out
    }

    fn state(&mut self, name: &str) -> String {
        let state = self.node(name).swim.as_ref().expect("it runs").state();
        let mut out = String::new();
        for (id, (address, at)) in state.add_set {
            writeln!(out, "add    {}={address}: {}", called(id), stamp(at)).expect("a string");
        }
        for (id, (address, at)) in state.remove_set {
            let address = address.map_or("?".to_owned(), |address| address.to_string());
            writeln!(out, "remove {}={address}: {}", called(id), stamp(at)).expect("a string");
        }
        out
    }
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs_f64(text.trim_end_matches('s').parse().unwrap_or_else(|_| panic!("{text} is no duration")))
}

fn transcript(script: &str) -> String {
    let mut run = Run::new();
    let mut out = String::new();
    for line in script.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            writeln!(out, "{line}").expect("a string");
            out.push_str(&run.command(command));
        } else if line.starts_with('#') {
            writeln!(out, "{line}").expect("a string");
        }
    }
    if let Err(broken) = run.sim.watch.1.verdict() {
        panic!("{broken}");
    }
    out
}

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut scripts: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder of scripts")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    scripts.sort();
    scripts
}

#[test]
fn transcripts_are_as_written() {
    let update = std::env::var_os("UPDATE").is_some();
    let scripts = scripts();
    assert!(scripts.len() >= 10, "only {} scripts were found", scripts.len());
    let mut different = Vec::new();
    for path in scripts {
        let written = std::fs::read_to_string(&path).expect("a script");
        let given = transcript(&written);
        if update {
            std::fs::write(&path, given).expect("the script can be rewritten");
        } else if given != written {
            let mut lines = written.lines().zip(given.lines());
            let line = lines.position(|(written, given)| written != given);
            let at = line.unwrap_or_else(|| written.lines().count().min(given.lines().count()));
            different.push(format!(
                "{}:{}\n  written: {}\n  given:   {}",
                path.display(),
                at + 1,
                written.lines().nth(at).unwrap_or("(end)"),
                given.lines().nth(at).unwrap_or("(end)"),
            ));
        }
    }
    assert!(different.is_empty(), "run with UPDATE=1 and read the difference:\n{}", different.join("\n"));
}
