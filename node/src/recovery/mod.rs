//! Recovery from one disk, when the disks of a majority of the voters are gone for good: `muster-node recover`.
//!
//! ```text
//!   look   what does this disk hold? does anybody else answer?                      nothing is changed
//!   note   DIR/recovering: which cluster follows which, and where                   from here on it is done, by the next start if need be
//!   log    one voter alone, revisions skipped, the old cluster noted                (replication::offline)
//!   rest   a new identity, no memory of the others, the new cluster's id
//! ```
//!
//! The one who knows that the others are gone is a person, so nothing here happens by itself. The survivor goes on under **a new cluster id and a new
//! node id**: nodes of different clusters never exchange an entry or a vote, so no old disk, not even a copy of the survivor's own, can
//! take part in what follows, and none can be taken for the survivor.

#[cfg(test)]
pub(crate) mod fuzz;
mod note;
mod report;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use muster_cluster::world;
use uuid::Uuid;

use crate::identity::{Identity, IdentityError};
use crate::replication::offline::{self, Continuation, Found};
use crate::set_aside;
use crate::storage::{OpenError, Position, Storage, StorageOptions};
use note::Note;

/// How long somebody at a remembered address may take to accept a connection: a machine that is there does so at once.
const CONNECT: Duration = Duration::from_secs(1);

/// How to recover.
#[derive(Args, Debug, Clone)]
pub struct Recover {
    /// Do it, for the cluster with this id. Without it nothing is changed: what the disk holds is shown, and what would be lost.
    #[arg(long, value_name = "CLUSTER_ID")]
    pub confirm: Option<Uuid>,

    /// Do it although somebody answers where another member was last seen: for addresses that belong to somebody else by now.
    #[arg(long)]
    pub even_if_reached: bool,
}

/// Why nothing was recovered. Unless a variant says otherwise, the data is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// There is no node's data.
    #[error("there is no data of a node in {0}; name the data dir of the node that survived with --data-dir")]
    NoData(PathBuf),
    /// A node has the dir, or it is damaged.
    #[error(transparent)]
    Data(#[from] OpenError),
    /// The identity cannot be used, or not be written: then the same command goes on with it.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The data of an earlier life is being moved.
    #[error(
        "the data in {0} is being set aside, since it was an old copy; start the node once, or name the folder set-aside-... in it with --data-dir"
    )]
    BeingSetAside(PathBuf),
    /// Nothing was ever received.
    #[error(
        "the node in {0} holds nothing of a cluster; name the data dir of one that does, or start it as it is: it joins"
    )]
    Empty(PathBuf),
    /// Another cluster was meant.
    #[error("--confirm names cluster {given}, but the data in {dir} is of {found}; nothing was changed")]
    OtherCluster {
        /// The data dir.
        dir: PathBuf,
        /// Which was named.
        given: Uuid,
        /// Which it is.
        found: Uuid,
    },
    /// It is the only voter already.
    #[error(
        "by its disk this node is the only voter of its cluster and needs no recovery; nothing was changed, start it"
    )]
    NotNeeded,
    /// Others may live.
    #[error(
        "somebody answers at {}, where members of this cluster were last seen; nothing was changed. Stop those that are left, and compare their disks \
         with this one; if it is somebody else's address by now, say --even-if-reached", .0.join(", ")
    )]
    Reached(Vec<String>),
    /// The disk failed.
    #[error(
        "{path}: {cause}; see to the rights and the room there, then run the same command again: it goes on where it stopped"
    )]
    Io {
        /// Where.
        path: PathBuf,
        /// As the system says it.
        cause: io::Error,
    },
}

/// What a stopped node has.
#[derive(Debug)]
struct Survivor {
    node: Uuid,
    cluster_id: Uuid,
    name: String,
    found: Found,
    /// Addresses of other members where somebody answers.
    reached: Vec<String>,
    /// How long ago the log was last written to.
    written: Option<Duration>,
}

/// Looks, or recovers; returns what a person is to be told.
///
/// # Errors
/// When it cannot be done, or must not.
pub fn run(dir: &Path, recover: &Recover) -> Result<String, RecoveryError> {
    if !dir.join("format").exists() {
        return Err(RecoveryError::NoData(dir.to_owned()));
    }
    if set_aside::is_unfinished(dir) {
        return Err(RecoveryError::BeingSetAside(dir.to_owned()));
    }
    if is_unfinished(dir) {
        let note = finish(dir)?;
        return Ok(format!("A recovery was interrupted here, and is finished now. {}", report::tell(&note)));
    }
    let written = last_written(&dir.join("log"));
    let storage = open(dir)?;
    let survivor = look(dir, &storage, written)?;
    let Some(given) = recover.confirm else {
        return Ok(format!("{}\n{}", report::describe(dir, &survivor), report::advise(dir, &survivor)));
    };
    if survivor.found.replaced.contains(&given) {
        return Ok(format!(
            "It was done before: the data in {} is of cluster {}, which takes the place of {given}. Nothing was changed; start the node.\n",
            dir.display(),
            survivor.cluster_id
        ));
    }
    let note = decide(dir, &survivor, given, recover.even_if_reached)?;
    note.write(dir).map_err(|cause| RecoveryError::Io { path: dir.to_owned(), cause })?;
    carry_out(dir, &storage, &note)?;
    Ok(format!("{}\n{}", report::describe(dir, &survivor), report::tell(&note)))
}

/// Whether a crash has left something that the next start has to finish.
pub fn is_unfinished(dir: &Path) -> bool {
    Note::exists(dir)
}

/// Does the rest of a recovery that was interrupted, and says what it was.
fn finish(dir: &Path) -> Result<Note, RecoveryError> {
    let failed = |cause| RecoveryError::Io { path: dir.join("recovering"), cause };
    let gone = || io::Error::new(io::ErrorKind::NotFound, "the note is gone");
    let storage = open(dir)?;
    let note = Note::read(dir).and_then(|note| note.ok_or_else(gone)).map_err(failed)?;
    carry_out(dir, &storage, &note)?;
    Ok(note)
}

/// Does the rest of a recovery that was interrupted, before a node starts.
///
/// # Errors
/// When it cannot be done; the next start tries again.
pub fn finish_before_start(dir: &Path) -> Result<(), RecoveryError> {
    let note = finish(dir)?;
    log::warn!(
        "a recovery was interrupted here, and is finished now: cluster {} takes the place of {}",
        note.to,
        note.from
    );
    Ok(())
}

fn open(dir: &Path) -> Result<Storage, RecoveryError> {
    // Small segments in tests, which write hundreds of them.
    #[cfg(test)]
    let options = StorageOptions { segment_bytes: 64 << 10, reserve_bytes: 0, ..StorageOptions::default() };
    #[cfg(not(test))]
    let options = StorageOptions::default();
    Ok(Storage::open(dir, &options)?)
}

fn look(dir: &Path, storage: &Storage, written: Option<Duration>) -> Result<Survivor, RecoveryError> {
    let failed = |cause| RecoveryError::Io { path: dir.to_owned(), cause };
    let identity = Identity::open(dir, true)?;
    let found = offline::look(storage).map_err(failed)?;
    let (Some(cluster_id), Some(_), false) = (storage.cluster_id(), found.last, found.voters.is_empty()) else {
        return Err(RecoveryError::Empty(dir.to_owned()));
    };
    Ok(Survivor {
        node: identity.id(),
        cluster_id,
        name: identity.cluster().unwrap_or_default().to_owned(),
        found,
        reached: who_answers(identity.peers()),
        written,
    })
}

fn decide(dir: &Path, survivor: &Survivor, given: Uuid, even_if_reached: bool) -> Result<Note, RecoveryError> {
    let Survivor { found, cluster_id, node, reached, .. } = survivor;
    if given != *cluster_id {
        return Err(RecoveryError::OtherCluster { dir: dir.to_owned(), given, found: *cluster_id });
    }
    if found.voters.len() == 1 && found.voters.contains_key(node) {
        return Err(RecoveryError::NotNeeded);
    }
    if !reached.is_empty() && !even_if_reached {
        return Err(RecoveryError::Reached(reached.clone()));
    }
    let last = found.last.unwrap_or_default();
    let name = found.voters.get(node).or_else(|| found.learners.get(node)).cloned().unwrap_or_default();
    Ok(Note {
        node: world::uuid(),
        name,
        // Above all that this disk has seen: nobody has given that term to anybody.
        term: found.term.max(last.term).saturating_add(1),
        index: last.index + 1,
        revision: found.revision,
        began: world::wall_clock().as_secs(),
        ..Note::new(*cluster_id, world::uuid())
    })
}

/// Everything that the note says. What is done already is done again, which changes nothing; the cluster's id comes last.
fn carry_out(dir: &Path, storage: &Storage, note: &Note) -> Result<(), RecoveryError> {
    let failed = |path: PathBuf| move |cause| RecoveryError::Io { path, cause };
    if storage.cluster_id() != Some(note.to) {
        let at = Position { term: note.term, index: note.index };
        let how = Continuation {
            node: note.node,
            name: note.name.clone(),
            at,
            replaced: note.from,
            note: format!("{} {} {}", note.began, note.revision, note.index),
        };
        offline::continue_alone(storage, &how).map_err(failed(dir.join("log")))?;
        Identity::open(dir, true)?.begin_anew(note.node)?;
        // How far nodes of the old cluster had come is of no use to the new one.
        match fs::remove_file(dir.join("witness")) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(failed(dir.join("witness"))(cause)),
            Ok(()) | Err(_) => {}
        }
        storage.replace_cluster_id(note.from, note.to)?;
    }
    Note::remove(dir).map_err(failed(dir.to_owned()))
}

/// Those of the addresses where somebody accepts a connection.
fn who_answers(addresses: &[String]) -> Vec<String> {
    let answers = |address: &&String| {
        address.parse::<SocketAddr>().is_ok_and(|at| TcpStream::connect_timeout(&at, CONNECT).is_ok())
    };
    std::thread::scope(|scope| {
        let asked: Vec<_> = addresses.iter().map(|address| (address, scope.spawn(move || answers(&address)))).collect();
        let answered =
            asked.into_iter().filter_map(|(address, asked)| asked.join().is_ok_and(|yes| yes).then_some(address));
        answered.cloned().collect()
    })
}

/// How long ago a segment of the log was last written to.
fn last_written(log: &Path) -> Option<Duration> {
    let files = fs::read_dir(log).ok()?.filter_map(Result::ok);
    let dates = files.filter_map(|file| file.metadata().ok()?.modified().ok());
    dates.max()?.elapsed().ok()
}
