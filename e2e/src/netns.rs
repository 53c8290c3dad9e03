//! Machines that are not there: network namespaces on one bridge, so that a cable can be pulled.
//!
//! ```text
//! test ── bridge 10.x.y.1 ──┬── veth ── namespace 1, 10.x.y.11
//!                           ├── veth ── namespace 2, 10.x.y.12
//!                           └── ...
//! ```
//!
//! It needs root and `ip`; where either is missing, tests say so and skip. All names begin with `mst` and the test's process id, and everything
//! is removed when it is dropped.

use std::net::Ipv4Addr;
use std::process::Command;

/// Namespaces on a bridge.
#[derive(Debug)]
pub struct Net {
    tag: String,
    subnet: [u8; 3],
    machines: usize,
}

/// Runs `ip`; the error is what it said.
fn ip(args: &str) -> Result<(), String> {
    match Command::new("ip").args(args.split_whitespace()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("ip {args}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("ip: {error}")),
    }
}

impl Net {
    /// A bridge with so many machines.
    ///
    /// # Errors
    /// When this machine does not let us: not root, no `ip`, or a kernel without it.
    pub fn new(machines: usize) -> Result<Self, String> {
        let pid = std::process::id();
        let [low, high, ..] = pid.to_le_bytes();
        let net = Self { tag: format!("mst{pid}"), subnet: [10, high, low], machines };
        let [a, b, c] = net.subnet;
        let bridge = net.bridge();
        ip(&format!("link add {bridge} type bridge"))?;
        ip(&format!("addr add {a}.{b}.{c}.1/24 dev {bridge}"))?;
        ip(&format!("link set {bridge} up"))?;
        for machine in 0..machines {
            let (space, outer, at) = (net.namespace(machine), net.cable(machine), net.address(machine));
            ip(&format!("netns add {space}"))?;
            ip(&format!("link add {outer} type veth peer name eth0 netns {space}"))?;
            ip(&format!("link set {outer} master {bridge} up"))?;
            ip(&format!("-n {space} addr add {at}/24 dev eth0"))?;
            ip(&format!("-n {space} link set lo up"))?;
            ip(&format!("-n {space} link set eth0 up"))?;
        }
        Ok(net)
    }

    fn bridge(&self) -> String {
        format!("{}b", self.tag)
    }

    fn cable(&self, machine: usize) -> String {
        format!("{}v{machine}", self.tag)
    }

    /// The namespace of a machine, for [`Process::in_netns`](crate::Process::in_netns).
    pub fn namespace(&self, machine: usize) -> String {
        format!("{}n{machine}", self.tag)
    }

    /// The address of a machine.
    pub fn address(&self, machine: usize) -> Ipv4Addr {
        let [a, b, c] = self.subnet;
        Ipv4Addr::new(a, b, c, 11 + u8::try_from(machine).expect("a few machines"))
    }

    /// Pulls a machine's cable: nothing goes in or out, and nobody is told.
    ///
    /// # Panics
    /// When it cannot be done.
    pub fn cut(&self, machine: usize) {
        // Down on the bridge's side, so that the machine's own addresses and routes stay.
        ip(&format!("link set {} nomaster", self.cable(machine))).expect("cut a cable");
    }

    /// Plugs it in again.
    ///
    /// # Panics
    /// When it cannot be done.
    pub fn heal(&self, machine: usize) {
        ip(&format!("link set {} master {}", self.cable(machine), self.bridge())).expect("heal a cable");
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        // Whatever was made; what is gone already only fails to be removed once more.
        for machine in 0..self.machines {
            let _ = ip(&format!("link del {}", self.cable(machine)));
            let _ = ip(&format!("netns del {}", self.namespace(machine)));
        }
        let _ = ip(&format!("link del {}", self.bridge()));
    }
}
