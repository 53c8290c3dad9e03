//! What the fuzzers hold the decoders to: no panic, and whatever is understood is understood again when it is written anew.

use bytes::Bytes;
use uuid::Uuid;

use super::codec::Reader;
use super::envelope::{Envelope, head};
use super::message::Message;
use super::{Answer, ClusterHash, FRAME_HEAD, Preface, VERSIONS, frame_len};
use crate::swim::hlc::Stamp;

/// The cluster that fuzzed packets are addressed to.
pub(crate) fn cluster() -> ClusterHash {
    ClusterHash::of("fuzz")
}

/// `data` with a good header of our cluster before it.
pub(crate) fn with_head(sender: Uuid, data: &[u8]) -> Bytes {
    let mut bytes = head(VERSIONS.max, cluster(), sender);
    bytes.extend_from_slice(data);
    bytes.into()
}

/// A packet or frame: as it is, and behind a good header.
pub(crate) fn envelope(data: &[u8]) {
    for bytes in [Bytes::copy_from_slice(data), with_head(Uuid::from_u128(2), data)] {
        let len = bytes.len();
        let believable = Stamp::from_bits(1 << 60);
        let Ok(envelope) = Envelope::open(&bytes, cluster(), believable, Vec::new()) else { continue };
        let messages = envelope.messages.len();
        // Each has a head of three bytes.
        assert!(messages * 3 <= len, "{messages} messages in {len} bytes");
    }
}

/// One message.
pub(crate) fn message(data: &[u8]) {
    let read = |bytes: &[u8]| Message::read(&mut Reader::new(bytes), Stamp::from_bits(u64::MAX));
    let Ok(Some(message)) = read(data) else { return };
    let again = message.encode();
    assert_eq!(read(&again), Ok(Some(message)), "written anew, it is another");
}

/// The two heads of a stream and the one of a frame.
pub(crate) fn preface(data: &[u8]) {
    if let Some(Ok(preface)) = data.first_chunk().map(Preface::decode) {
        assert_eq!(Preface::decode(&preface.encode()), Ok(preface));
        let _ = preface.answer(cluster(), Uuid::from_u128(1));
    }
    if let Some(Ok(answer)) = data.first_chunk().map(Answer::decode) {
        assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
    }
    if let Some(Ok(len)) = data.first_chunk::<FRAME_HEAD>().map(|head| frame_len(*head)) {
        assert!(len <= super::MAX_FRAME);
    }
}
