//! Every decoder of what callers send and of what is on the disk, given anything; as in the node (`node/src/fuzz`):
//!
//! ```sh
//! MUSTER_FUZZ=10000000 cargo test --release -p muster-registry --lib fuzz -- --nocapture
//! ```

#[allow(dead_code, reason = "inputs that are kept in files have the doors of the cluster's library only, so far")]
#[path = "../../cluster/tests/fuzzing/shake.rs"]
mod shake;

use std::net::Ipv4Addr;

use muster_client::api::registry::{Founding, Registration};
use uuid::Uuid;

use crate::member::Member;
use crate::store;

type Samples = fn() -> Vec<Vec<u8>>;

const DOORS: &[(shake::Door, Samples)] = &[
    (("nodes", store::take_any_nodes), store::some_nodes),
    (("foundings", store::take_any_foundings), store::some_foundings),
    (("registration", registration), registrations),
];

/// The body of a registration, and of a founding.
fn registration(bytes: &[u8]) {
    if let Ok(said) = serde_json::from_slice::<Registration>(bytes)
        && let Ok(member) = Member::new(Uuid::from_u128(1), said, Ipv4Addr::LOCALHOST.into())
    {
        let text = serde_json::to_vec(&member).expect("it is written");
        assert_eq!(serde_json::from_slice::<Member>(&text).expect("and read"), member);
    }
    let _: Result<Founding, _> = serde_json::from_slice(bytes);
}

fn registrations() -> Vec<Vec<u8>> {
    [
        r#"{"name":"n1","cluster":"muster","http":"0.0.0.0:8050","peer":"[::]:8051"}"#,
        r#"{"name":"n","cluster":"c","http":"a:1","peer":"10.0.0.1:2","advertise":"host.example","bootstrap_expect":3}"#,
        r#"{"cluster_id":"00000000-0000-0000-0000-000000000001","founder":"00000000-0000-0000-0000-000000000002"}"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

#[test]
fn every_decoder_takes_anything() {
    for (door, samples) in DOORS {
        let samples = samples();
        samples.iter().for_each(|sample| door.1(sample));
        shake::shake_all(&[*door], |_| samples.clone(), |_| 3_000);
    }
}
