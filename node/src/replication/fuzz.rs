//! The doors of what peers say, and of what is remembered of them; see `crate::fuzz`.

use bytes::{Buf, BytesMut};
use futures_util::FutureExt;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::frame::{self, FrameReader};
use super::snapshot_lane;
use super::types::{Command, Payload, TypeConfig};
use super::wire::{AdminCall, Answer, Call, Claim, Hello, Refusal, Testimony, Welcome};
use super::witness;
use crate::fuzz::same_again;
use crate::kv::{Operation, Write};

/// Frames, one after another, taken for everything that a stream may carry.
pub(crate) fn frames(bytes: &[u8]) {
    read::<Hello>(bytes);
    read::<Welcome>(bytes);
    read::<Call>(bytes);
    read::<Answer>(bytes);
    read::<AppendEntriesRequest<TypeConfig>>(bytes);
    read::<AppendEntriesResponse<TypeConfig>>(bytes);
    read::<SnapshotResponse<TypeConfig>>(bytes);
    snapshot_lane::take_any(bytes);
}

fn read<T: DeserializeOwned + Serialize>(bytes: &[u8]) {
    for mut reader in [FrameReader::new(bytes), FrameReader::of_greetings(bytes)] {
        while let Some(Ok(Some((number, message)))) = reader.next::<T>().now_or_never() {
            let mut again = BytesMut::new();
            frame::put(&mut again, number, &message).expect("what was read can be written");
            again.advance(12);
            same_again::<T>(&again);
        }
    }
}

pub(crate) fn samples() -> Vec<Vec<u8>> {
    fn framed<T: Serialize>(message: &T) -> Vec<u8> {
        let mut buffer = BytesMut::new();
        frame::put(&mut buffer, 7, message).unwrap();
        buffer.to_vec()
    }
    let id = Uuid::from_u128(5);
    let testimony = Testimony { voters: vec![id; 3], membership_index: Some(9), votes: true, ..Testimony::default() };
    let mut samples = vec![
        framed(&Hello { cluster_id: Some(id) }),
        framed(&Welcome::Granted),
        framed(&Welcome::NotReady("starting".to_owned())),
        framed(&Call::Ping),
        framed(&Call::Election(vec![1, 2, 3])),
        framed(&Call::Admin(AdminCall::Leave(id))),
        framed(&Call::Claim(Claim { mark: Default::default(), full: true })),
        framed(&Call::Write(writes())),
        framed(&Answer::Recall(testimony)),
        framed(&Answer::ReadIndex(Err(Refusal::NotLeader(Some(id))))),
        framed(&snapshot_lane::a_message()),
    ];
    // Several on one stream.
    samples.push([samples[0].clone(), samples[3].clone(), samples[7].clone()].concat());
    samples
}

fn writes() -> Vec<Write> {
    let delete = Operation::DeletePrefix { prefix: "a/".into() };
    vec![Write { operation: delete, idempotency: None }; 2]
}

/// What entries of the log hold.
pub(crate) fn payloads() -> Vec<Vec<u8>> {
    let payloads = [Payload::Blank, Payload::Normal(Command::new(7, writes()))];
    let mut bytes: Vec<Vec<u8>> = payloads.iter().map(|payload| postcard::to_stdvec(payload).unwrap()).collect();
    bytes.push(Vec::new());
    bytes
}

/// The file `witness` of a data dir.
pub(crate) fn witness(bytes: &[u8]) {
    witness::take_any(bytes);
}

pub(crate) fn witness_samples() -> Vec<Vec<u8>> {
    (0..4).map(witness::a_file).collect()
}
