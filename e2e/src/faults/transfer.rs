//! The leadership is handed from one to another, again and again, under load. Seen: nodes that say that they lead now.

use std::time::{Duration, Instant};

use super::{Strikes, Struck};
use crate::torture::World;

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let (since, mut done, mut refused) = (Instant::now(), 0, String::new());
        while since.elapsed() < hold || done == 0 {
            let leader = world.leader().await?;
            let next = world.one_of(&world.others(&[leader]));
            let to = world.cluster.nodes[next].id(&world.http).await;
            let call = world
                .http
                .post(world.cluster.nodes[leader].url("/cluster/leader/transfer"), &serde_json::json!({"to": to}));
            match call.send().await {
                Ok(answer) if answer.is_ok() => done += 1,
                Ok(answer) => refused = answer.text(),
                Err(lost) => refused = lost.reason,
            }
            if since.elapsed() > Duration::from_secs(30) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let evidence = format!("{done} times");
        (done > 0).then_some(Struck { on: "the leadership".to_owned(), evidence }).ok_or(refused)
    })
}
