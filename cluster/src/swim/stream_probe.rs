//! Probing over a stream, beside the indirect probes: where a firewall or a full queue eats datagrams and lets connections through, the
//! member behind it lives.
//!
//! ```text
//!   us ---Preface, kind Probe---> target
//!      ---frame: Ping-----------> core of the target, so an accepting socket alone is no sign of life
//!      <-----------frame: Ack----
//! ```

use std::net::SocketAddr;

use bytes::Bytes;
use uuid::Uuid;

use super::Swim;
use super::io::{Output, StreamId};
use super::probe::Way;
use super::wire::{Envelope, Message, VERSIONS, head};

impl Swim {
    pub(super) fn probe_by_stream(&mut self, seq: u32, target: Uuid, to: SocketAddr) {
        let frame = self.frame_of(&Message::Ping { seq, target });
        let number = self.streams.number();
        self.probes.set_stream(seq, number);
        self.outputs.push_back(Output::ProbeStream { stream: StreamId::Dialled(number), to, target, frame });
    }

    fn frame_of(&self, message: &Message) -> Bytes {
        let mut out = head(VERSIONS.min, self.cluster, self.identity.id);
        out.extend_from_slice(&message.encode());
        out.into()
    }

    /// A frame came back on a stream of ours that was tried for a probe.
    pub(super) fn handle_probe_answer(&mut self, number: u64, envelope: Option<&Envelope>) {
        let Some(seq) = self.probes.of_stream(number) else { return };
        if let Some(envelope) = envelope
            && let Some(Message::Ack { seq: answered, subject }) = envelope.messages.first()
            && *answered == seq
            && envelope.sender == *subject
            && self.probes.open(seq) == Some(*subject)
        {
            self.probe_answered(seq, Way::Stream);
        }
        self.probes.end_stream(number);
        self.close_stream(number);
    }

    /// A member asks over a stream whether we live.
    pub(super) fn answer_probe_by_stream(&mut self, stream: StreamId, seq: u32, target: Uuid) {
        if target != self.identity.id {
            self.stats.not_for_us += 1;
        }
        if target == self.identity.id && self.own.life.is_some() && !self.leaving.is_over() {
            let frame = self.frame_of(&Message::Ack { seq, subject: target });
            self.outputs.push_back(Output::SendFrame { stream, frame, last: true });
        } else {
            self.outputs.push_back(Output::CloseStream { stream });
        }
    }

    pub(super) fn close_stream(&mut self, number: u64) {
        self.outputs.push_back(Output::CloseStream { stream: StreamId::Dialled(number) });
    }
}
