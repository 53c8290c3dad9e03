//! Machines that are not there: network namespaces on one bridge, so that a cable can be pulled.
//!
//! ```text
//! test, 10.x.y.1 ── switch (a namespace with a bridge) ──┬── machine 0, 10.x.y.11
//!                                                        ├── machine 1, 10.x.y.12
//!                                                        └── ...
//! ```
//!
//! The bridge has a namespace of its own, since what a host filters (container engines drop what is forwarded) is none of
//! a test's business. It needs root and `ip`; where either is missing, tests say so and skip. All names begin with `mst`,
//! the test's process id and a letter, and everything is removed when it is dropped.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use crate::{Cluster, Node, Plan, RegistryServer};

/// Namespaces on a switch.
#[derive(Debug)]
pub struct Net {
    tag: String,
    subnet: [u8; 3],
    machines: usize,
    /// How often each machine got another address.
    moves: Vec<u8>,
}

/// Runs `ip`; the error is what it said.
fn ip(args: &str) -> Result<(), String> {
    match Command::new("ip").args(args.split_whitespace()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("ip {args}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("ip: {error}")),
    }
}

/// Runs many commands of `ip`, one a line, in a namespace.
fn ip_batch(space: &str, commands: &str) -> Result<(), String> {
    let told = |error: std::io::Error| format!("ip -batch: {error}");
    let mut command = Command::new("ip");
    command.args(["-n", space, "-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(told)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(commands.as_bytes()).map_err(told)?;
    }
    let output = child.wait_with_output().map_err(told)?;
    output.status.success().then_some(()).ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

impl Net {
    /// A switch with so many machines.
    ///
    /// # Errors
    /// When this machine does not let us: not root, no `ip`, or a kernel without it.
    pub fn new(machines: usize) -> Result<Self, String> {
        // Several tests of a process may have one at the same time.
        static NETS: AtomicU8 = AtomicU8::new(0);
        let (pid, number) = (std::process::id(), NETS.fetch_add(1, Ordering::Relaxed) % 26);
        // 1,009 apart, so that the process that was started next has none of them.
        let [low, high, ..] = (pid + u32::from(number) * 1_009).to_le_bytes();
        let tag = format!("mst{pid}{}", char::from(b'a' + number));
        let net = Self { tag, subnet: [10, high, low], machines, moves: vec![0; machines] };
        let [a, b, c] = net.subnet;
        let switch = net.switch();
        ip(&format!("netns add {switch}"))?;
        ip(&format!("-n {switch} link add bridge type bridge"))?;
        ip(&format!("-n {switch} link set bridge up"))?;
        ip(&format!("link add {} type veth peer name host netns {switch}", net.tag))?;
        ip(&format!("-n {switch} link set host master bridge up"))?;
        ip(&format!("addr add {a}.{b}.{c}.1/24 dev {}", net.tag))?;
        ip(&format!("link set {} up", net.tag))?;
        for machine in 0..machines {
            let (space, cable, at) = (net.namespace(machine), cable(machine), net.address(machine));
            ip(&format!("netns add {space}"))?;
            let card = card(machine);
            ip(&format!("link add {cable} netns {switch} type veth peer name eth0 address {card} netns {space}"))?;
            ip(&format!("-n {switch} link set {cable} master bridge up"))?;
            ip(&format!("-n {space} addr add {at}/24 dev eth0"))?;
            ip(&format!("-n {space} link set lo up"))?;
            ip(&format!("-n {space} link set eth0 up"))?;
        }
        Ok(net)
    }

    /// Tells every machine the others' cards. For more than some thirty machines: they would ask each other, and the system's table for the
    /// answers has 1,024 places for all namespaces together; beyond that packets are lost.
    ///
    /// # Errors
    /// When this machine does not let us.
    pub fn introduce(&self) -> Result<(), String> {
        for machine in 0..self.machines {
            let others = (0..self.machines).filter(|&other| other != machine);
            let line = |other| {
                format!("neigh replace {} lladdr {} dev eth0 nud permanent\n", self.address(other), card(other))
            };
            ip_batch(&self.namespace(machine), &others.map(line).collect::<String>())?;
        }
        Ok(())
    }

    /// A registry on the test's side and a node on every machine, with nothing but the registry's address: default ports, every interface.
    /// Started, usable and settled.
    pub async fn cluster(&self) -> Cluster {
        self.cluster_with(&[]).await
    }

    /// The same, with these flags besides.
    pub async fn cluster_with(&self, flags: &[&str]) -> Cluster {
        let [a, b, c] = self.subnet;
        let mut cluster = Plan::new(0).expect(self.machines).without_registry().lay();
        let registry_at = SocketAddr::from(([a, b, c, 1], 8080));
        cluster.registry = RegistryServer::new(&cluster.folder("registry"), registry_at, &[]);
        cluster.registry.start().await;
        for machine in 0..self.machines {
            let name = format!("n{}", machine + 1);
            let expect = self.machines.to_string();
            let args = ["-ra", &cluster.registry.url(), "--bootstrap-expect", &expect];
            let args = args.iter().chain(flags).map(|&flag| flag.to_owned());
            let host = IpAddr::V4(self.address(machine));
            let node = Node::new(&name, &cluster.folder(&name), args).on(self.namespace(machine), host);
            cluster.nodes.push(node);
        }
        cluster.start_all().await;
        cluster
    }

    fn switch(&self) -> String {
        format!("{}s", self.tag)
    }

    /// The namespace of a machine, for [`Process::in_netns`](crate::Process::in_netns).
    pub fn namespace(&self, machine: usize) -> String {
        format!("{}n{machine}", self.tag)
    }

    /// The address of the test's side.
    pub fn host(&self) -> Ipv4Addr {
        let [a, b, c] = self.subnet;
        Ipv4Addr::new(a, b, c, 1)
    }

    /// How many machines there are.
    pub fn machines(&self) -> usize {
        self.machines
    }

    /// The address of a machine.
    pub fn address(&self, machine: usize) -> Ipv4Addr {
        let [a, b, c] = self.subnet;
        // 15 machines at most, each with 15 addresses in turn.
        Ipv4Addr::new(a, b, c, 11 + u8::try_from(machine).expect("a few machines") + 16 * (self.moves[machine] % 15))
    }

    /// Gives a machine an address that it has not now, and returns it.
    ///
    /// # Errors
    /// When it cannot be done.
    pub fn readdress(&mut self, machine: usize) -> Result<Ipv4Addr, String> {
        let (space, before) = (self.namespace(machine), self.address(machine));
        self.moves[machine] = self.moves[machine].wrapping_add(1);
        let after = self.address(machine);
        // The old one first: the kernel removes what came later with the first of a subnet.
        ip(&format!("-n {space} addr del {before}/24 dev eth0"))?;
        ip(&format!("-n {space} addr add {after}/24 dev eth0"))?;
        Ok(after)
    }

    /// Gives a machine an IPv6 address beside the other, and returns it.
    ///
    /// # Errors
    /// When it cannot be done.
    pub fn add_ipv6(&self, machine: usize) -> Result<Ipv6Addr, String> {
        let at = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1 + u16::try_from(machine).unwrap_or(u16::MAX - 1));
        // Nobody else is there who could have it already.
        ip(&format!("-n {} addr add {at}/64 dev eth0 nodad", self.namespace(machine)))?;
        Ok(at)
    }

    /// Lets a machine's cable carry packets of so many bytes and no longer ones; it is 1,500 before.
    ///
    /// # Errors
    /// When it cannot be done.
    pub fn set_mtu(&self, machine: usize, bytes: u16) -> Result<(), String> {
        ip(&format!("-n {} link set eth0 mtu {bytes}", self.namespace(machine)))
    }

    /// Pulls a machine's cable: nothing goes in or out, and nobody is told.
    ///
    /// # Panics
    /// When it cannot be done.
    pub fn cut(&self, machine: usize) {
        // At the switch, so that the machine's own addresses and routes stay.
        ip(&format!("-n {} link set {} nomaster", self.switch(), cable(machine))).expect("cut a cable");
    }

    /// Takes a machine's network card down: as if the machine had lost its power, if what runs on it is killed next.
    ///
    /// # Panics
    /// When it cannot be done.
    pub fn power_off(&self, machine: usize) {
        ip(&format!("-n {} link set eth0 down", self.namespace(machine))).expect("take a link down");
    }

    /// Takes it up again.
    ///
    /// # Panics
    /// When it cannot be done.
    pub fn power_on(&self, machine: usize) {
        ip(&format!("-n {} link set eth0 up", self.namespace(machine))).expect("take a link up");
    }

    /// Lets two machines no longer reach each other, in either direction and without telling them; all else goes on.
    ///
    /// # Panics
    /// When it cannot be done.
    pub fn part(&self, one: usize, other: usize) {
        for (from, to) in [(one, other), (other, one)] {
            // Frames for an address that no card has.
            let (space, at) = (self.namespace(from), self.address(to));
            ip(&format!("-n {space} neigh replace {at} lladdr 02:00:00:00:00:fe dev eth0 nud permanent"))
                .expect("part two machines");
        }
    }

    /// Lets them reach each other again.
    ///
    /// # Panics
    /// When it cannot be done.
    pub fn join(&self, one: usize, other: usize) {
        for (from, to) in [(one, other), (other, one)] {
            let (space, at) = (self.namespace(from), self.address(to));
            ip(&format!("-n {space} neigh del {at} dev eth0")).expect("join two machines");
        }
    }

    /// Plugs it in again.
    ///
    /// # Panics
    /// When it cannot be done.
    pub fn heal(&self, machine: usize) {
        ip(&format!("-n {} link set {} master bridge", self.switch(), cable(machine))).expect("heal a cable");
    }

    /// Cuts a machine's cable in two at the switch and leaves the ends to somebody who carries frames from one to the other; see
    /// [`Wire`](crate::wire::Wire).
    ///
    /// # Errors
    /// When it cannot be done.
    pub(crate) fn cut_in_two(&self, machine: usize) -> Result<Joint, String> {
        let joint = Joint { switch: self.switch(), space: self.namespace(machine), machine };
        let (switch, near, far) = (&joint.switch, cable(machine), joint.far());
        ip(&format!("-n {switch} link add {far} type veth peer name plug{machine}"))?;
        // One packet at a time comes out at either end: the kernel sends as many at once as it likes, where no real card is in the way.
        ip(&format!("-n {switch} link set plug{machine} gso_max_segs 1"))?;
        ip(&format!("-n {} link set eth0 gso_max_segs 1", joint.space))?;
        ip(&format!("-n {switch} link set {near} nomaster"))?;
        ip(&format!("-n {switch} link set {far} up"))?;
        ip(&format!("-n {switch} link set plug{machine} master bridge up"))?;
        Ok(joint)
    }

    /// Cuts one direction of a machine's cable, and tells nobody.
    ///
    /// # Errors
    /// When this machine has no `nft` or a kernel without it.
    pub fn cut_one_way(&self, machine: usize, way: Way) -> Result<(), String> {
        let (hook, at) = match way {
            Way::Out => ("output", "oifname"),
            Way::In => ("input", "iifname"),
        };
        let rules = format!(
            "add table inet cut; add chain inet cut way {{ type filter hook {hook} priority 0; }}; \
             add rule inet cut way {at} \"eth0\" drop"
        );
        self.nft(machine, &rules).map(drop)
    }

    /// Mends what [`Self::cut_one_way`] cut.
    ///
    /// # Panics
    /// When it cannot be done.
    pub fn mend(&self, machine: usize) {
        self.nft(machine, "delete table inet cut").expect("mend a cable");
    }

    /// Drops so many percent of all packets that reach a machine, each at random, and tells nobody. (At the receiver, since a packet that
    /// is dropped where it is sent is an error of the sender's call; and without `netem`, which many kernels do not have.)
    ///
    /// # Errors
    /// When this machine has no `nft` or its kernel no random numbers for it.
    pub fn lose(&self, machine: usize, percent: u32) -> Result<(), String> {
        let rules = format!(
            "add table inet loss; add chain inet loss way {{ type filter hook input priority 0; }}; \
             add rule inet loss way iifname \"eth0\" numgen random mod 100 < {percent} counter drop"
        );
        self.nft(machine, &rules).map(drop)
    }

    /// Ends [`Self::lose`]. How many packets were dropped.
    ///
    /// # Errors
    /// When nothing was being dropped.
    pub fn lose_no_more(&self, machine: usize) -> Result<u64, String> {
        let told = self.nft(machine, "list table inet loss")?;
        let dropped = told.split("counter packets ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
        self.nft(machine, "delete table inet loss")?;
        dropped.ok_or(told)
    }

    /// Packets and bytes that all machines have sent so far, as the switch has counted them, headers of Ethernet and ARP included.
    ///
    /// # Errors
    /// When this machine's `ip` does not tell.
    pub fn sent(&self) -> Result<(u64, u64), String> {
        let output = Command::new("ip").args(["-n", &self.switch(), "-s", "-j", "link"]).output();
        let links: Vec<serde_json::Value> = output
            .map_err(|error| error.to_string())
            .and_then(|output| serde_json::from_slice(&output.stdout).map_err(|error| error.to_string()))
            .map_err(|error| format!("ip -s link: {error}"))?;
        let of = |link: &serde_json::Value, what: &str| link["stats64"]["rx"][what].as_u64().unwrap_or(0);
        let cables = links.iter().filter(|link| link["ifname"].as_str().is_some_and(|name| name.starts_with("port")));
        Ok(cables.fold((0, 0), |(packets, bytes), link| (packets + of(link, "packets"), bytes + of(link, "bytes"))))
    }

    /// The streams that stand between a machine and the others: its own end of each, and the other's.
    ///
    /// # Errors
    /// When this machine's `ss` does not tell.
    pub fn streams(&self, machine: usize) -> Result<Vec<(SocketAddrV4, SocketAddrV4)>, String> {
        let others: Vec<Ipv4Addr> =
            (0..self.machines).filter(|&other| other != machine).map(|other| self.address(other)).collect();
        let told = self.run(machine, &["ss", "-Htn", "state", "established"])?;
        let address = |word: &str| word.replace("[::ffff:", "").replace(']', "").parse::<SocketAddrV4>().ok();
        let ends = |line: &str| {
            let mut words = line.split_whitespace().skip(2);
            Some((address(words.next()?)?, address(words.next()?)?))
        };
        Ok(told.lines().filter_map(ends).filter(|(_, other)| others.contains(other.ip())).collect())
    }

    /// Runs `tc` on a machine, and returns what it printed.
    ///
    /// # Errors
    /// What it says, or why it does not run.
    pub fn tc(&self, machine: usize, args: &str) -> Result<String, String> {
        self.run(machine, &["tc"].into_iter().chain(args.split_whitespace()).collect::<Vec<_>>())
    }

    /// Makes the way to a machine slow, from everywhere, with a queue of `latency_ms`, until [`Net::widen`].
    ///
    /// # Errors
    /// What `tc` says, or why it does not run.
    pub fn narrow(&self, machine: usize, kbit_per_second: u32, latency_ms: u32) -> Result<(), String> {
        let queue = format!("rate {kbit_per_second}kbit burst 16kb latency {latency_ms}ms");
        let args = format!("netns exec {} tc qdisc add dev {} root tbf {queue}", self.switch(), cable(machine));
        ip(&args)
    }

    /// Makes the way to a machine as wide as it was.
    pub fn widen(&self, machine: usize) {
        // It fails where there is nothing to take away.
        let _ = ip(&format!("netns exec {} tc qdisc del dev {} root", self.switch(), cable(machine)));
    }

    /// Runs `nft` on a machine, and returns what it printed.
    pub(crate) fn nft(&self, machine: usize, rules: &str) -> Result<String, String> {
        self.run(machine, &["nft", rules])
    }

    /// Runs a program on a machine, and returns what it printed.
    fn run(&self, machine: usize, program: &[&str]) -> Result<String, String> {
        let mut command = Command::new("ip");
        match command.args(["netns", "exec", &self.namespace(machine)]).args(program).output() {
            Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            Ok(output) => Err(format!("{}: {}", program.join(" "), String::from_utf8_lossy(&output.stderr).trim())),
            Err(error) => Err(format!("ip: {error}")),
        }
    }
}

/// A direction, as the machine sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It hears and is not heard.
    Out,
    /// It is heard and does not hear.
    In,
}

/// The address of a machine's network card.
fn card(machine: usize) -> String {
    format!("02:00:00:00:01:{machine:02x}")
}

/// Where a machine's cable is cut in two. Whole again when it is dropped.
#[derive(Debug)]
pub(crate) struct Joint {
    switch: String,
    space: String,
    machine: usize,
}

impl Joint {
    /// The namespace that both ends are in.
    pub(crate) fn namespace(&self) -> &str {
        &self.switch
    }

    /// The end that goes to the machine.
    pub(crate) fn near(&self) -> String {
        cable(self.machine)
    }

    /// The end that goes to the switch.
    pub(crate) fn far(&self) -> String {
        format!("far{}", self.machine)
    }
}

impl Drop for Joint {
    fn drop(&mut self) {
        // All that can be done if one of them fails is to do the others.
        let _ = ip(&format!("-n {} link del {}", self.switch, self.far()));
        let _ = ip(&format!("-n {} link set eth0 gso_max_segs {ALL_AT_ONCE}", self.space));
        let _ = ip(&format!("-n {} link set {} master bridge", self.switch, self.near()));
    }
}

/// What the kernel sets by itself: as many packets as it likes.
const ALL_AT_ONCE: u32 = 65_535;

/// A machine's cable, as the switch calls its end.
fn cable(machine: usize) -> String {
    format!("port{machine}")
}

impl Drop for Net {
    fn drop(&mut self) {
        // Whatever was made; a cable goes with either of its ends, and a second removal only fails.
        let _ = ip(&format!("link del {}", self.tag));
        for machine in 0..self.machines {
            let _ = ip(&format!("netns del {}", self.namespace(machine)));
        }
        let _ = ip(&format!("netns del {}", self.switch()));
    }
}
