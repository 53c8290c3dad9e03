//! What the evidence means. Pure: what was seen goes in, findings come out, the most important first.

use std::collections::{BTreeMap, BTreeSet};

use muster_client::api::cluster::{Member, MemberState, Role, Status};
use serde::Serialize;
use uuid::Uuid;

use super::evidence::Evidence;
use crate::node::{called, short};

/// 100 ms: twice the default heartbeat. A log sync that long delays every write that waits for it.
const SLOW_SYNC_MS: f64 = 100.0;
/// 256 MiB: a log segment, a snapshot and some minutes to act.
const LITTLE_SPACE: u64 = 256 << 20;

/// How bad it is, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// Worth knowing; nothing is wrong.
    Note,
    /// It works, but not well or not for long.
    Warning,
    /// Writes or reads fail.
    Critical,
}

impl Level {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// What is the case.
    pub(super) what: String,
    /// What to do; empty when nothing.
    pub(super) advice: String,
}

/// Judges. Within a level, findings keep the order of the checks, which goes from causes to consequences.
pub(super) fn diagnose(evidence: &Evidence) -> Vec<Finding> {
    let mut report = Report { findings: Vec::new(), people: people(evidence) };
    report.silence(evidence);
    report.identity(evidence);
    report.leadership(evidence);
    report.disks(evidence);
    report.streams(evidence);
    report.gossip(evidence);
    report.tolerance(evidence);
    report.readiness(evidence);
    report.versions(evidence);
    report.learners(evidence);
    report.registries(evidence);
    report.findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    report.findings
}

/// Every member that anyone knows, for names.
fn people(evidence: &Evidence) -> Vec<Member> {
    let mut known: BTreeMap<Uuid, Member> = BTreeMap::new();
    for member in evidence.nodes.iter().filter_map(|node| node.members.as_ref().ok()).flat_map(|list| &list.members) {
        known.entry(member.id).or_insert_with(|| member.clone());
    }
    known.into_values().collect()
}

struct Report {
    findings: Vec<Finding>,
    people: Vec<Member>,
}

impl Report {
    fn add(&mut self, level: Level, what: impl Into<String>, advice: impl Into<String>) {
        self.findings.push(Finding { level, what: what.into(), advice: advice.into() });
    }

    fn name(&self, id: Uuid) -> String {
        called(id, &self.people)
    }

    fn silence(&mut self, evidence: &Evidence) {
        if evidence.nodes.is_empty() {
            let what = format!("no node of the cluster `{}` is known to anyone I asked", evidence.cluster);
            return self.add(Level::Critical, what, "Start nodes, or name one with --endpoint.");
        }
        let none = evidence.nodes.iter().all(|node| node.status.is_err());
        for node in &evidence.nodes {
            let Err(why) = &node.status else { continue };
            let member = self.people.iter().find(|member| member.http == node.address);
            let who = member.map_or(node.address.clone(), |member| format!("{} ({})", member.name, node.address));
            let advice = match why {
                why if why.contains("refused") => "Nothing listens there: start the node, or look into its log.",
                why if why.contains("no answer") => {
                    "The host or the process hangs, or the network is cut: see whether it runs, and look into its log."
                }
                _ => "Look into its log.",
            };
            let advice = match self.people.is_empty() {
                true => format!("{advice} Or name another with --endpoint, or a registry with --registry-address."),
                false => advice.to_owned(),
            };
            let level = if none { Level::Critical } else { Level::Warning };
            self.add(level, format!("{who} does not answer: {why}"), advice);
        }
    }

    fn identity(&mut self, evidence: &Evidence) {
        let mut ids: BTreeMap<Uuid, Vec<String>> = BTreeMap::new();
        let mut homeless = Vec::new();
        for status in statuses(evidence) {
            match status.cluster_id {
                Some(id) => ids.entry(id).or_default().push(status.name.clone()),
                None => homeless.push(status.name.clone()),
            }
        }
        if ids.len() > 1 {
            let sides = ids.iter().map(|(id, names)| format!("{} ({})", names.join(", "), short(*id)));
            let sides = sides.collect::<Vec<_>>().join(" and ");
            self.add(
                Level::Critical,
                format!("there are several clusters under one name, and they never merge: {sides}"),
                "Decide which data to keep; stop the nodes of the other, move their data dirs away, and start them anew.",
            );
        }
        if !homeless.is_empty() {
            let what = format!("{} in no cluster yet", agree(&homeless, "is", "are"));
            self.add(
                Level::Critical,
                what,
                "They wait for a registry, a peer, or more nodes (--bootstrap-expect); their logs say for which.",
            );
        }
    }

    fn leadership(&mut self, evidence: &Evidence) {
        let all: Vec<&Status> = statuses(evidence).filter(|status| status.cluster_id.is_some()).collect();
        if all.is_empty() {
            return;
        }
        let latest = all.iter().map(|status| status.term).max().unwrap_or_default();
        let ruling: BTreeSet<Uuid> =
            all.iter().filter(|s| s.term == latest && s.role == Some(Role::Leader)).map(|s| s.id).collect();
        let here: BTreeSet<Uuid> = all.iter().map(|status| status.id).collect();
        let named: BTreeSet<Uuid> = all.iter().filter_map(|status| status.leader).collect();
        if ruling.is_empty() && named.is_disjoint(&here) {
            let what = match named.iter().next() {
                Some(gone) => format!(
                    "the leader, {}, does not answer, and nobody took over: nothing can be written",
                    self.name(*gone)
                ),
                None => {
                    let reasons: BTreeSet<&str> = all.iter().filter_map(|s| s.no_leader_reason.as_deref()).collect();
                    let reasons = reasons.into_iter().collect::<Vec<_>>().join("; ");
                    let why = if reasons.is_empty() { String::new() } else { format!(": {reasons}") };
                    format!("nobody leads, so nothing can be written{why}")
                }
            };
            let voters: BTreeMap<Uuid, &str> =
                all.iter().flat_map(|s| &s.voters).map(|voter| (voter.id, voter.name.as_str())).collect();
            let missing: Vec<String> =
                voters.keys().filter(|id| !here.contains(*id)).map(|id| self.name(*id)).collect();
            let needed = voters.len() / 2 + 1;
            let advice = if voters.len() - missing.len() < needed && !voters.is_empty() {
                format!(
                    "{needed} of {} voters must be there, {} did not answer: bring {} back. Nothing is lost meanwhile. (If their disks are gone for good: docs/recovery.md.)",
                    voters.len(),
                    missing.join(", "),
                    if missing.len() == 1 { "it" } else { "enough of them" }
                )
            } else {
                "Enough voters answer me: look below for who cannot reach whom. An election takes less than a second."
                    .to_owned()
            };
            return self.add(Level::Critical, what, advice);
        }
        for status in &all {
            if status.leader.is_none() {
                let why = status.no_leader_reason.as_deref().map_or(String::new(), |why| format!(": {why}"));
                let what = format!("{} knows no leader, others do{why}", status.name);
                self.add(Level::Warning, what, "It answers local reads only. See whom it cannot reach.");
            }
        }
        let known: BTreeSet<Uuid> = all.iter().filter(|s| s.term == latest).filter_map(|s| s.leader).collect();
        if known.len() > 1 {
            let names = known.iter().map(|id| self.name(*id)).collect::<Vec<_>>().join(" and ");
            self.add(
                Level::Warning,
                format!("nodes disagree about who leads: {names}"),
                "An election may be under way; if it stays so, see who cannot reach whom.",
            );
        }
    }

    fn disks(&mut self, evidence: &Evidence) {
        for status in statuses(evidence) {
            let disk = &status.disk;
            if let Some(ms) = disk.stalled_ms {
                let what = format!("the disk of {} has not answered for {} s", status.name, ms / 1_000);
                let advice = "It neither leads nor acknowledges until the disk answers, and goes on by itself then. See to the disk or the machine.";
                self.add(Level::Critical, what, advice);
            }
            if disk.full {
                let what = format!("the disk of {} is full: it refuses writes", status.name);
                self.add(Level::Critical, what, "Make room; writes resume by themselves, reads go on meanwhile.");
            } else if disk.free_bytes > 0 && disk.free_bytes < LITTLE_SPACE {
                let what = format!("the disk of {} has only {} MiB left", status.name, disk.free_bytes >> 20);
                self.add(Level::Warning, what, "Make room before writes are refused.");
            }
            if disk.sync_ms_p99 > SLOW_SYNC_MS {
                let (p50, p99) = (disk.sync_ms_p50, disk.sync_ms_p99);
                let what =
                    format!("the disk of {} is slow: log syncs take {p50:.0} ms, the slowest {p99:.0} ms", status.name);
                let advice = "See what else writes to it. If it leads, `muster leader transfer` makes it matter less.";
                self.add(Level::Warning, what, advice);
            }
        }
    }

    fn streams(&mut self, evidence: &Evidence) {
        // Nodes open streams when they are of one cluster: before that none has tried.
        let of_a_cluster = || statuses(evidence).filter(|status| status.cluster_id.is_some());
        let here: BTreeSet<Uuid> = of_a_cluster().map(|status| status.id).collect();
        let cut: BTreeMap<(Uuid, Uuid), String> = of_a_cluster()
            .flat_map(|status| status.network.iter().map(move |link| (status.id, link)))
            .filter(|(_, link)| !link.connected && here.contains(&link.id))
            .map(|(from, link)| ((from, link.id), link.last_error.clone().unwrap_or_default()))
            .collect();
        for ((from, to), why) in &cut {
            let why = if why.is_empty() { String::new() } else { format!(": {why}") };
            let both = cut.contains_key(&(*to, *from));
            if both && from > to {
                continue;
            }
            let (from, to) = (self.name(*from), self.name(*to));
            let what = match both {
                true => format!("{from} and {to} cannot reach each other over their peer ports{why}"),
                false => format!("{from} cannot reach the peer port of {to}, though {to} reaches {from}{why}"),
            };
            let advice = "Both answer me: see the firewall and the route between them (TCP and UDP), and --advertise.";
            self.add(Level::Warning, what, advice);
        }
    }

    fn gossip(&mut self, evidence: &Evidence) {
        let answering: BTreeSet<Uuid> = statuses(evidence).map(|status| status.id).collect();
        let mut views: BTreeMap<Uuid, BTreeMap<MemberStateOrder, Vec<Uuid>>> = BTreeMap::new();
        for members in evidence.nodes.iter().filter_map(|node| node.members.as_ref().ok()) {
            for member in &members.members {
                let order = MemberStateOrder::of(member.state);
                views.entry(member.id).or_default().entry(order).or_default().push(members.local);
            }
        }
        for (id, states) in views {
            let who = self.name(id);
            let seen = |order: MemberStateOrder| states.get(&order).map(|by| self.names(by)).unwrap_or_default();
            let (suspect, failed) = (seen(MemberStateOrder::Suspect), seen(MemberStateOrder::Failed));
            let doubted =
                [suspect, failed].into_iter().filter(|names| !names.is_empty()).collect::<Vec<_>>().join(", ");
            if answering.contains(&id) && !doubted.is_empty() {
                let what = format!("{who} answers me, but gossip at {doubted} takes it for dead or doubtful");
                let advice = "UDP may be blocked towards its peer port, or it is overloaded or was just started.";
                self.add(Level::Warning, what, advice);
            } else if states.len() > 1 {
                let sides = states.iter().map(|(order, by)| format!("{} at {}", order.name(), self.names(by)));
                let what = format!("nodes disagree about {who}: {}", sides.collect::<Vec<_>>().join(", "));
                self.add(Level::Note, what, "Normal for some seconds after a change; if it stays, see the network.");
            }
        }
    }

    fn names(&self, ids: &[Uuid]) -> String {
        ids.iter().map(|id| self.name(*id)).collect::<Vec<_>>().join(", ")
    }

    fn tolerance(&mut self, evidence: &Evidence) {
        // Whoever leads knows best; else whoever has seen most.
        let ranked = |s: &&Status| (s.role == Some(Role::Leader), s.term, s.applied_index);
        let Some(leader) = statuses(evidence).max_by_key(ranked) else { return };
        let dead = |state: Option<MemberState>| matches!(state, Some(MemberState::Failed | MemberState::Left));
        let gone: Vec<String> = leader.voters.iter().filter(|v| dead(v.state)).map(|v| self.name(v.id)).collect();
        if !gone.is_empty() {
            let what = format!("{} dead and still counted as a voter", agree(&gone, "is", "are"));
            let advice = "Bring it back, or start a new node, which takes its place after `replace-after`; `muster remove` if it is gone for good.";
            self.add(Level::Warning, what, advice);
        }
        // Gossip needs some seconds to give a member up; who does not answer me counts as gone at once.
        let here: BTreeSet<Uuid> = statuses(evidence).map(|status| status.id).collect();
        let (voters, answering) = (leader.voters.len(), leader.voters.iter().filter(|v| here.contains(&v.id)).count());
        let spare = answering.saturating_sub(voters / 2 + 1).min(leader.failures_tolerated as usize);
        match (voters, spare) {
            (0, _) => {}
            (1, _) => self.add(
                Level::Note,
                "there is one voter: when it stops, writes stop, and its disk is the only copy",
                "Start two more nodes to tolerate one failure.",
            ),
            (_, 0) => self.add(
                Level::Warning,
                format!("no failure is tolerated now: {answering} of {voters} voters answer me"),
                "Bring the others back or start another node.",
            ),
            _ => {
                self.add(
                    Level::Note,
                    format!("{answering} of {voters} voters answer me; {spare} of them may fail now"),
                    "",
                );
            }
        }
    }

    fn readiness(&mut self, evidence: &Evidence) {
        for node in &evidence.nodes {
            let Some(health) = node.health.as_ref().filter(|health| !health.ok) else { continue };
            let name = node.status.as_ref().map_or(node.address.clone(), |status| status.name.clone());
            for (check, failed) in health.checks.iter().filter(|(_, check)| !check.ok) {
                let what = format!("{name} is not ready: {check}: {}", failed.message);
                self.add(Level::Warning, what, "");
            }
        }
    }

    fn versions(&mut self, evidence: &Evidence) {
        let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for status in statuses(evidence) {
            versions.entry(&status.version).or_default().push(&status.name);
        }
        if versions.len() > 1 {
            let sides = versions.iter().map(|(version, names)| format!("{version} at {}", names.join(", ")));
            let what = format!("several versions run: {}", sides.collect::<Vec<_>>().join("; "));
            self.add(Level::Note, what, "Fine during an upgrade; finish it.");
        }
    }

    fn learners(&mut self, evidence: &Evidence) {
        let leader = statuses(evidence).filter(|s| s.role == Some(Role::Leader)).max_by_key(|s| s.term);
        for learner in leader.iter().flat_map(|leader| &leader.learners) {
            let name = self.name(learner.id);
            match (learner.snapshot_percent, learner.lag) {
                (Some(percent), _) => self.add(Level::Note, format!("{name} receives a snapshot: {percent} %"), ""),
                (None, Some(lag)) if lag > 0 => {
                    self.add(Level::Note, format!("{name} is catching up: {lag} entries behind"), "");
                }
                _ => {}
            }
        }
    }

    fn registries(&mut self, evidence: &Evidence) {
        let ids: BTreeSet<Uuid> = statuses(evidence).filter_map(|status| status.cluster_id).collect();
        for view in &evidence.registries {
            let known = match &view.answer {
                Ok(known) => known,
                Err(why) => {
                    let what = format!("the registry {} does not answer: {why}", view.address);
                    let advice = "The cluster goes on without it; new nodes need one (or --join) to find their peers.";
                    self.add(Level::Warning, what, advice);
                    continue;
                }
            };
            let Some(cluster) = &known.cluster else { continue };
            if cluster.seen.len() > 1 {
                let seen = cluster.seen.iter().map(|id| short(*id)).collect::<Vec<_>>().join(", ");
                let what = format!("nodes of several clusters ({seen}) register at {} under one name", view.address);
                self.add(
                    Level::Critical,
                    what,
                    "See which nodes belong together with `muster registry`; rename one cluster.",
                );
            }
            if let Some(founding) = &cluster.founding
                && !ids.is_empty()
                && !ids.contains(&founding.cluster_id)
            {
                let what = format!(
                    "the registry {} records the cluster {} under this name, the nodes belong to {}",
                    view.address,
                    short(founding.cluster_id),
                    ids.iter().map(|id| short(*id)).collect::<Vec<_>>().join(", ")
                );
                let advice =
                    "New nodes would look for the wrong one: correct it with DELETE /clusters/NAME at the registry.";
                self.add(Level::Warning, what, advice);
            }
        }
    }
}

/// The states in an order of their own: from well to gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum MemberStateOrder {
    Alive,
    Suspect,
    Failed,
    Left,
}

impl MemberStateOrder {
    fn of(state: MemberState) -> Self {
        match state {
            MemberState::Alive => Self::Alive,
            MemberState::Suspect => Self::Suspect,
            MemberState::Failed => Self::Failed,
            MemberState::Left => Self::Left,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Failed => "failed",
            Self::Left => "left",
        }
    }
}

fn statuses(evidence: &Evidence) -> impl Iterator<Item = &Status> {
    evidence.nodes.iter().filter_map(|node| node.status.as_ref().ok())
}

fn agree(names: &[String], one: &str, many: &str) -> String {
    format!("{} {}", names.join(", "), if names.len() == 1 { one } else { many })
}

#[cfg(test)]
mod tests;
