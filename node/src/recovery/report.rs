//! What a person is told: what the disk holds, what would become of it, and what became of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use muster_client::api::quantity::Span;
use uuid::Uuid;

use super::Survivor;
use super::note::Note;
use crate::replication::offline::SKIPPED_REVISIONS;
use crate::storage::Position;

/// What the disk holds, to be compared with what others hold.
pub(super) fn describe(dir: &Path, survivor: &Survivor) -> String {
    let Survivor { found, cluster_id, name, node, written, .. } = survivor;
    let mut text = format!("The data in {}, of a node that is stopped:\n\n", dir.display());
    let mut line = |what: &str, value: String| {
        let _: Result<_, _> = writeln!(text, "  {what:<9} {value}");
    };
    line("cluster", format!("{cluster_id} (named {name})"));
    line("node", node.to_string());
    line("voters", names(&found.voters, *node));
    line("learners", names(&found.learners, *node));
    let known =
        format!("known to be committed up to {}, applied up to {}", index(found.committed), index(found.applied));
    line("log", format!("ends with {}; {known}", position(found.last)));
    let waiting = match found.waiting {
        0 => "and no further write is in the log".to_owned(),
        1 => "and 1 further write is in the log".to_owned(),
        more => format!("and {more} further writes are in the log"),
    };
    line("revision", format!("{} is applied, {waiting}", found.revision));
    if let Some(ago) = written {
        line("written", format!("{} ago, by the dates of its log", Span(roughly(*ago))));
    }
    text
}

/// What is to be known before it is done, and how to do it.
pub(super) fn advise(dir: &Path, survivor: &Survivor) -> String {
    let Survivor { found, cluster_id, node, reached, .. } = survivor;
    let needed = found.voters.len() / 2 + 1;
    if found.voters.len() == 1 && found.voters.contains_key(node) {
        return "By its disk this node is the only voter of its cluster: it needs no recovery. Nothing was changed; start it.\n".to_owned();
    }
    let mut text = format!(
        "Nothing was changed. While {needed} of the {} voters can be brought back with their disks, do that: nothing is lost then.\n\
         If they are gone for good, this node can go on alone:\n\n  \
         muster-node recover --data-dir {} --confirm {cluster_id}\n\n",
        found.voters.len(),
        dir.display()
    );
    let mut point = |what: String| {
        let _: Result<_, _> = writeln!(text, "- {what}");
    };
    if !found.voters.contains_key(node) {
        point("THIS NODE DID NOT VOTE. Nobody waited for it before a write was acknowledged: look at the voters' disks first.".to_owned());
    }
    if !reached.is_empty() {
        point(format!(
            "SOMEBODY ANSWERS at {}, where members of this cluster were last seen. If it is one of them, it is not gone.",
            reached.join(", ")
        ));
    }
    point(format!(
        "If several disks survive, look at each like this, and take the one whose log ends last: the highest term counts, then the \
         highest entry. This one ends with {}.",
        position(found.last)
    ));
    point("LOST FOR GOOD is every write that was acknowledged by the others and is not in this log. How many these are cannot be told from here.".to_owned());
    point("All that is in this log is kept: what nobody acknowledged as well.".to_owned());
    point(format!(
        "Revisions go on {SKIPPED_REVISIONS} higher, so that none stands for two writes. Clients that remember one of a lost write find \
         that a condition on it does not hold."
    ));
    point(
        "The cluster gets a new id. Disks of the old one have no part in it: start the other machines with empty data dirs, and do not \
         start an old disk while the new cluster is down."
            .to_owned(),
    );
    point("Copy this data dir first: there is no way back but that copy.".to_owned());
    text
}

/// What became of it.
pub(super) fn tell(note: &Note) -> String {
    format!(
        "Done. Node {} is the only voter of cluster {}, which takes the place of {}. It holds all that was in this log; revisions go on \
         {SKIPPED_REVISIONS} higher.\nStart it as before, and the other machines with empty data dirs: they join by themselves. Disks of \
         {} take no part any more; keep them until you are sure that nothing in them is missed.\n",
        note.node, note.to, note.from, note.from
    )
}

/// Seconds, minutes, hours: as many as a person looks at.
fn roughly(ago: Duration) -> Duration {
    let unit = match ago.as_secs() {
        0..300 => 1,
        300..36_000 => 60,
        36_000.. => 3_600,
    };
    Duration::from_secs(ago.as_secs() / unit * unit)
}

fn names(nodes: &BTreeMap<Uuid, String>, me: Uuid) -> String {
    if nodes.is_empty() {
        return "none".to_owned();
    }
    let one = |(id, name): (&Uuid, &String)| match (name.as_str(), *id == me) {
        ("", false) => id.to_string(),
        ("", true) => format!("{id} (this node)"),
        (name, false) => format!("{name} {id}"),
        (name, true) => format!("{name} {id} (this node)"),
    };
    nodes.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn position(position: Option<Position>) -> String {
    position.map_or_else(|| "nothing".to_owned(), |at| format!("entry {} of term {}", at.index, at.term))
}

fn index(position: Option<Position>) -> String {
    position.map_or_else(|| "nothing".to_owned(), |at| format!("entry {}", at.index))
}
