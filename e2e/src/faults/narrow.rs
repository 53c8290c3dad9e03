//! A machine's link carries 64 to 512 kbit/s and holds back what is more: answers come late, and some not at all. Seen: packets that had to wait.

use std::time::Duration;

use rand::RngExt;

use super::{Strikes, Struck};
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let victim = world.victim().await?;
        let rate = world.chance.random_range(64..512);
        world.net.tc(victim, &format!("qdisc add dev eth0 root tbf rate {rate}kbit burst 4kb latency 200ms"))?;
        tokio::time::sleep(hold).await;
        let shown = world.net.tc(victim, "-s qdisc show dev eth0");
        world.net.tc(victim, "qdisc del dev eth0 root")?;
        let waited = count(&shown?, "overlimits");
        let on = format!("{}, {rate} kbit/s", world.names(&[victim]));
        let evidence = format!("{waited} times too much at once");
        (waited > 0).then_some(Struck { on, evidence }).ok_or_else(|| "nothing had to wait".to_owned())
    })
}

fn count(shown: &str, name: &str) -> u64 {
    let mut words = shown.split_whitespace().skip_while(|word| *word != name).skip(1);
    words.next().and_then(|count| count.parse().ok()).unwrap_or(0)
}
