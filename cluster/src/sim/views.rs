//! What the members of a run think of each other.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{Sim, Watch};
use crate::swim::{MemberState, Stamp};

impl<W: Watch> Sim<W> {
    /// Whether all members that are up see all of them alive and nobody else, with the same stamps.
    ///
    /// # Errors
    /// Who sees something else, and what.
    pub fn agree(&self) -> Result<(), String> {
        self.agree_among(&self.up())
    }

    /// The same for some hosts: whether they see each other alive and nobody else.
    ///
    /// # Errors
    /// Who sees something else, and what.
    pub fn agree_among(&self, hosts: &[usize]) -> Result<(), String> {
        let live: BTreeMap<Uuid, Stamp> =
            hosts.iter().map(|host| (self.host(*host).id, self.host(*host).stamp())).collect();
        for host in hosts {
            let Some(swim) = &self.host(*host).swim else { continue };
            let seen: BTreeMap<Uuid, Stamp> = swim
                .members()
                .into_iter()
                .filter(|member| member.state == MemberState::Alive)
                .map(|member| (member.id, member.incarnation))
                .collect();
            if seen != live {
                let more: Vec<_> = seen.iter().filter(|(id, stamp)| live.get(id) != Some(stamp)).collect();
                let less: Vec<_> = live.iter().filter(|(id, stamp)| seen.get(id) != Some(stamp)).collect();
                return Err(format!("host {host} sees alive what is not: {more:?}, and not what is: {less:?}"));
            }
        }
        Ok(())
    }

    /// How many different sets of dictionaries the members hold.
    #[must_use]
    pub fn different_states(&self) -> usize {
        let swims = self.hosts().filter_map(|host| host.swim.as_ref());
        swims.map(|swim| format!("{:?}", swim.state())).collect::<BTreeSet<_>>().len()
    }
}
