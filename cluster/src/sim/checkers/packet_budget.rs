//! A datagram is within its budget, with the room for a seal that it does not have set aside.

use std::time::Duration;

use super::Checker;
use crate::sim::Happening;
use crate::swim::wire::{PACKET_BUDGET, SEAL_OVERHEAD};

/// See the file's head.
#[derive(Debug)]
pub struct PacketBudget;

/// Where the flags stand; zero in a datagram without a seal.
const FLAGS: usize = 3;

impl Checker for PacketBudget {
    fn note(&mut self, _: Duration, happening: &Happening<'_>) -> Result<(), String> {
        let Happening::Sent { host, bytes, .. } = happening else { return Ok(()) };
        let seal = if bytes.get(FLAGS) == Some(&0) { SEAL_OVERHEAD } else { 0 };
        if bytes.len() + seal > PACKET_BUDGET {
            return Err(format!("host {host} sent {} bytes, and a seal takes {seal}", bytes.len()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::sim::Sim;

    #[test]
    fn it_bites() {
        let judge = |len: usize, flags: u8| {
            let mut packet = vec![0; len];
            packet[FLAGS] = flags;
            let bytes = Bytes::from(packet);
            PacketBudget.note(Duration::ZERO, &Happening::Sent { host: 0, to: Sim::<()>::address(1), bytes: &bytes })
        };
        assert_eq!(judge(PACKET_BUDGET - SEAL_OVERHEAD, 0), Ok(()));
        assert!(judge(PACKET_BUDGET - SEAL_OVERHEAD + 1, 0).is_err());
        assert_eq!(judge(PACKET_BUDGET, 1), Ok(()));
        assert!(judge(PACKET_BUDGET + 1, 1).is_err());
    }
}
