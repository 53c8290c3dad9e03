//! A machine: its sockets, its clock, its chance.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;

use crate::disk::Disk;
use crate::net::{listener, udp};
use crate::world::Millis;

/// Where ports that nobody chose begin.
const EPHEMERAL: u16 = 40_000;

#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) ip: IpAddr,
    /// Without power it neither hears nor answers.
    pub(crate) powered: bool,
    /// What its clock shows at the beginning of the run, since 1970.
    pub(crate) clock: Duration,
    pub(crate) chance: StdRng,
    pub(crate) disk: Disk,
    /// For how long its processes were paused, so far.
    pub(crate) slept: Millis,
    pub(crate) datagrams: BTreeMap<u16, Arc<udp::Bound>>,
    pub(crate) listeners: BTreeMap<u16, Arc<listener::Bound>>,
    next_port: u16,
}

impl Machine {
    pub(crate) fn new(ip: IpAddr, clock: Duration, chance: StdRng) -> Self {
        let (datagrams, listeners) = (BTreeMap::new(), BTreeMap::new());
        let disk = Disk::default();
        Self { ip, powered: true, clock, chance, disk, slept: 0, datagrams, listeners, next_port: EPHEMERAL }
    }

    /// A port that nobody listens on. Not used again for long.
    pub(crate) fn free_port(&mut self) -> u16 {
        loop {
            let port = self.next_port;
            self.next_port = self.next_port.checked_add(1).unwrap_or(EPHEMERAL);
            if !self.datagrams.contains_key(&port) && !self.listeners.contains_key(&port) {
                return port;
            }
        }
    }
}
