//! The doors of the log's files; see `crate::fuzz`.

use super::super::Position;
use super::control::{self, Marks};
use super::record::{self, Brand, Head, Kind};
use super::segment::{Found, Header};
use super::u64_at;
use crate::fuzz::same_again;
use crate::replication::types::Payload;

/// A record, and the entry in it.
pub(crate) fn record(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    if bytes.len() < record::HEADER {
        assert!(record::parse(&bytes, Brand { generation: 0, salt: 0 }).is_none());
        return;
    }
    let generation = u64_at(&bytes, 8);
    assert!(record::resembles(&bytes, generation));
    // Of a segment of either version, whichever its own bytes say: what is zero there has no salt.
    let brand = Brand { generation, salt: u64_at(&bytes, 40) >> 8 };
    // As it is, then with the checksum of what its length says.
    let _ = record::parse(&bytes, brand);
    let end = record::HEADER.saturating_add(super::u32_at(&bytes, 4) as usize).min(bytes.len());
    let checksum = crc32fast::hash(&bytes[4..end]);
    bytes[..4].copy_from_slice(&checksum.to_le_bytes());
    if let Some(parsed) = record::parse(&bytes, brand) {
        assert!(record::parse(&bytes, Brand { salt: brand.salt ^ 1, ..brand }).is_none());
        let mut again = Vec::new();
        record::encode(&parsed.head, parsed.payload, &mut again);
        assert_eq!(again.len(), parsed.size());
        assert_eq!(record::parse(&again, brand).map(|again| again.head), Some(parsed.head));
        same_again::<Payload>(parsed.payload);
    }
}

pub(crate) fn record_samples() -> Vec<Vec<u8>> {
    let payloads = crate::replication::fuzz::payloads();
    let mut samples = Vec::new();
    for (index, payload) in (1_u64..).zip(&payloads) {
        let kind = if payload.is_empty() { Kind::Cut } else { Kind::Entry };
        for salt in [0, 0xab_cdef] {
            let brand = Brand { generation: 3, salt };
            let mut sample = Vec::new();
            record::encode(&Head { kind, brand, index, term: 2, previous: 9, synced: 8 }, payload, &mut sample);
            samples.push(sample);
        }
    }
    samples
}

/// The head of a segment.
pub(crate) fn segment_head(bytes: &[u8]) {
    let _ = Header::parse(bytes);
    let mut bytes = bytes.to_vec();
    bytes.resize(super::segment::HEADER, 0);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..12]);
    hasher.update(&bytes[16..]);
    bytes[12..16].copy_from_slice(&hasher.finalize().to_le_bytes());
    if let Found::Header(header, _) = Header::parse(&bytes) {
        let (again, checksum) = header.encode();
        assert_eq!(Header::parse(&again), Found::Header(header, checksum));
    }
}

pub(crate) fn segment_head_samples() -> Vec<Vec<u8>> {
    let header = |brand| Header { brand, size: 1 << 20, previous_end: 5_000, previous_checksum: 77 };
    let brands = (0..3).flat_map(|generation| [0, 5 << 40].map(|salt| Brand { generation, salt }));
    brands.map(|brand| header(brand).encode().0.to_vec()).collect()
}

/// The slots of `control`, one after another.
pub(crate) fn control(bytes: &[u8]) {
    control::take_any(bytes);
    same_again::<Marks>(bytes);
}

pub(crate) fn control_samples() -> Vec<Vec<u8>> {
    let position = |index| Some(Position { term: 3, index });
    let marks = Marks { committed: position(300), purged: position(2), first_generation: 4, flushed: (5, 70_000) };
    let encoded = postcard::to_stdvec(&marks).unwrap();
    vec![encoded.clone(), control::a_slot(0, 9, &[1; 30]), control::a_slot(2, 10, &encoded)]
}
