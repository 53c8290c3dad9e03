//! Nodes as people name them: by name, by id, or by the start of an id.

use muster_client::api::cluster::{Member, MemberState, Role};
use uuid::Uuid;

use crate::failure::{Failure, Status};
use crate::output::{Cell, Tone};

/// Help for every argument that names a node.
pub(crate) const HELP: &str = "A node's name, its id, or the start of its id";

/// The one member that `text` means. Exact names and ids come before starts of ids; a name that two members have is
/// ambiguous, unless only one of them is still there.
pub(crate) fn resolve<'a>(text: &str, members: &'a [Member]) -> Result<&'a Member, Failure> {
    let named: Vec<_> = members.iter().filter(|member| member.name == text).collect();
    let there: Vec<_> = named.iter().copied().filter(|member| member.state != MemberState::Left).collect();
    let exact: Vec<_> = text.parse().map_or(Vec::new(), |id: Uuid| members.iter().filter(|m| m.id == id).collect());
    let start = text.to_ascii_lowercase();
    let started = || members.iter().filter(|m| !text.is_empty() && m.id.to_string().starts_with(&start)).collect();
    let found: Vec<&Member> = [exact, there, named].into_iter().find(|list| !list.is_empty()).unwrap_or_else(started);
    match found.as_slice() {
        [one] => Ok(one),
        [] => {
            let known = members.iter().map(|member| member.name.as_str()).collect::<Vec<_>>().join(", ");
            Err(Failure::new(Status::NotFound, format!("no member is called `{text}`; the members are: {known}")))
        }
        several => {
            let ids = several.iter().map(|member| member.id.to_string()).collect::<Vec<_>>().join(", ");
            Err(Failure::new(Status::Usage, format!("`{text}` could be any of {ids}; write more of the id")))
        }
    }
}

/// The first eight digits of an id: enough for people to tell a cluster's nodes apart.
pub(crate) fn short(id: Uuid) -> String {
    id.to_string().chars().take(8).collect()
}

/// An id with the name that goes with it.
pub(crate) fn called(id: Uuid, members: &[Member]) -> String {
    let named = members.iter().find(|member| member.id == id).map(|member| member.name.clone());
    named.filter(|name| !name.is_empty()).unwrap_or_else(|| short(id))
}

pub(crate) fn state_text(state: MemberState) -> &'static str {
    match state {
        MemberState::Alive => "alive",
        MemberState::Suspect => "suspect",
        MemberState::Failed => "failed",
        MemberState::Left => "left",
    }
}

pub(crate) fn state(state: MemberState) -> Cell {
    let tone = match state {
        MemberState::Alive => Tone::Good,
        MemberState::Suspect => Tone::Warning,
        MemberState::Failed => Tone::Bad,
        MemberState::Left => Tone::Plain,
    };
    Cell::new(state_text(state), tone)
}

pub(crate) fn role(role: Option<Role>) -> &'static str {
    match role {
        Some(Role::Leader) => "leader",
        Some(Role::Voter) => "voter",
        Some(Role::Learner) => "learner",
        None => "-",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u128, name: &str, state: MemberState) -> Member {
        Member {
            id: Uuid::from_u128(id),
            name: name.to_owned(),
            http: String::new(),
            peer: String::new(),
            state,
            incarnation: 0,
            role: None,
            priority: 0,
            last_seen_ms: None,
            round_trip_ms: None,
            suspected_by: Vec::new(),
        }
    }

    #[test]
    fn a_node_is_found_by_name_by_id_and_by_the_start_of_an_id() {
        let n1 = member(0xa100_0000 << 96, "n1", MemberState::Alive);
        let n2 = member(0xa200_0000 << 96, "n2", MemberState::Alive);
        let members = [n1.clone(), n2.clone()];
        for text in ["n1", "a1", "A100", &n1.id.to_string()] {
            assert_eq!(resolve(text, &members).unwrap().name, "n1", "{text}");
        }
        for text in ["a", "n3", ""] {
            assert!(resolve(text, &members).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_passes_to_the_successor_of_one_that_left() {
        let members = [member(1, "n1", MemberState::Left), member(2, "n1", MemberState::Alive)];
        assert_eq!(resolve("n1", &members).unwrap().id, Uuid::from_u128(2));
        let twins = [member(1, "n1", MemberState::Alive), member(2, "n1", MemberState::Alive)];
        assert!(resolve("n1", &twins).is_err());
    }
}
