//! An agent: a member that shows what it sees, tells the others about itself and passes on what you type.
//!
//! In two terminals, from a clean checkout:
//!
//! ```sh
//! cargo run -p muster-cluster --example agent -- --bind 127.0.0.1:7001 --metadata kitchen
//! cargo run -p muster-cluster --example agent -- --bind 127.0.0.1:7002 --join 127.0.0.1:7001
//! ```
//!
//! A line that you type goes to all members; `/meta TEXT` changes what is known of this one, `/members` lists them, `/quit` (or the end of
//! the input) leaves. End one with Ctrl-C and watch the others suspect it and give it up; start it again and watch it come back.

#![expect(clippy::print_stdout, reason = "a program for a terminal")]

use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_cluster::runtime::{Cluster, Options, StampFile};
use muster_cluster::swim::{Config, Event, Member};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{broadcast::error::RecvError, mpsc};
use uuid::Uuid;

/// What the flags say.
struct Flags {
    bind: SocketAddr,
    join: Vec<String>,
    metadata: String,
    folder: PathBuf,
}

impl Flags {
    fn parse() -> Result<Self, Box<dyn Error>> {
        let (mut bind, mut join, mut metadata, mut folder) = (None, Vec::new(), String::new(), None);
        let mut args = std::env::args().skip(1);
        while let Some(flag) = args.next() {
            let value = args.next().ok_or_else(|| format!("{flag} wants a value"))?;
            match flag.as_str() {
                "--bind" => bind = Some(value.parse()?),
                "--join" => join.push(value),
                "--metadata" => metadata = value,
                "--data" => folder = Some(PathBuf::from(value)),
                _ => return Err(format!("{flag}? There are --bind, --join, --metadata and --data").into()),
            }
        }
        let bind: SocketAddr = bind.ok_or("--bind IP:PORT says where this member is reached")?;
        let folder = folder.unwrap_or_else(|| std::env::temp_dir().join(format!("muster-agent-{}", bind.port())));
        Ok(Self { bind, join, metadata, folder })
    }
}

/// The id of a member is kept: it is the same member after a restart.
fn id_in(folder: &Path) -> Result<Uuid, Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    let file = folder.join("id");
    if let Ok(text) = std::fs::read_to_string(&file) {
        return Ok(text.trim().parse()?);
    }
    let id = Uuid::new_v4();
    std::fs::write(file, id.to_string())?;
    Ok(id)
}

fn describe(member: &Member) -> String {
    let metadata = String::from_utf8_lossy(&member.metadata);
    let tail = if metadata.is_empty() { String::new() } else { format!(" ({metadata})") };
    format!("{} at {}{tail}", member.id, member.address)
}

fn show(event: Event) {
    match event {
        Event::Joined(member) => println!("joined     {}", describe(&member)),
        Event::Updated(member) => println!("updated    {}", describe(&member)),
        Event::Suspected(member) => println!("suspected  {}", describe(&member)),
        Event::Refuted(member) => println!("refuted    {}", describe(&member)),
        Event::Failed(member) => println!("failed     {}", describe(&member)),
        Event::Left(member) => println!("left       {}", describe(&member)),
        Event::Broadcast { from, payload } => println!("{from} says: {}", String::from_utf8_lossy(&payload)),
        Event::Message { from, payload } => println!("{from} says to us: {}", String::from_utf8_lossy(&payload)),
        Event::SetBack { .. } => println!("our disk is an old copy: stop, and start with another --data"),
        Event::Duplicate { id, .. } => println!("two copies of {id} are running"),
        Event::Forgotten { .. } | Event::Synced { .. } | Event::LeaveDone { .. } => {}
    }
}

/// Lines of the standard input. A thread of its own, since reading a terminal blocks.
fn lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::parse()?;
    // The last stamp outlives the process, or a restarted member would be taken for the one that died.
    let stamps = StampFile::new(flags.folder.join("stamp"));
    let mut options = Options::new(Config::local("agents"), id_in(&flags.folder)?, flags.bind, stamps);
    options.seeds = flags.join;
    options.metadata = flags.metadata.into();
    // The program binds: one port for datagrams and streams.
    let (udp, tcp) = (UdpSocket::bind(flags.bind).await?, TcpListener::bind(flags.bind).await?);
    // This program serves no streams of its own; dropping their receiver refuses them.
    let (cluster, _) = Cluster::start(options, udp, tcp).await?;
    println!("this is    {} at {}", cluster.id(), cluster.local_address());

    let (mut events, mut lines) = (cluster.events(), lines());
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(event) => show(event),
                // We were too slow, and the view says more than the events did.
                Err(RecvError::Lagged(missed)) => println!("missed {missed} events"),
                Err(RecvError::Closed) => return Ok(()),
            },
            line = lines.recv() => match line.as_deref().map(str::trim) {
                Some("") => {}
                Some("/members") => {
                    for member in &cluster.view().members {
                        println!("{:<10?} {}", member.state, describe(member));
                    }
                }
                None | Some("/quit") => break,
                Some(text) => {
                    let done = match text.strip_prefix("/meta ") {
                        Some(metadata) => cluster.set_metadata(metadata.to_owned()).await,
                        None => cluster.broadcast(text.to_owned()).await,
                    };
                    if let Err(why) = done {
                        println!("not done: {why}");
                    }
                }
            },
        }
    }
    match cluster.leave(Duration::from_secs(3)).await {
        Ok(heard_by) => println!("left; {heard_by} have heard it"),
        Err(why) => println!("left without being heard: {why}"),
    }
    Ok(())
}
