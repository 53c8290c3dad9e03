//! Where a member's last stamp is kept, and a file for it.
//!
//! The stamp is the one thing of the membership that must survive a restart: a member must never use a stamp twice, so each is on the
//! disk before it is used. Whoever keeps a database anyway implements [`StampStore`] with it; whoever does not uses [`StampFile`].

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::swim::Stamp;

/// Keeps one stamp. The calls may block; the driver makes them off its tasks, one at a time.
pub trait StampStore: Send + 'static {
    /// The stamp that was stored last; [`Stamp::ZERO`] if none ever was.
    ///
    /// # Errors
    /// When it cannot be known. The member is not started then: one that forgot its stamp could use it again.
    fn load(&mut self) -> io::Result<Stamp>;

    /// Keeps this stamp in place of the one before. Returns once it would survive a power cut.
    ///
    /// # Errors
    /// When that is not certain. The member goes on without using the stamp.
    fn store(&mut self, stamp: Stamp) -> io::Result<()>;
}

/// A file of 24 bytes, replaced whole: a magic with the format's version, the stamp, and a checksum over both.
#[derive(Debug, Clone)]
pub struct StampFile {
    path: PathBuf,
}

const MAGIC: [u8; 8] = *b"MSTAMP\x00\x01";
const LEN: usize = 24;

impl StampFile {
    /// At this path; its folder must exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    fn damaged(&self, what: &str) -> io::Error {
        let text = format!(
            "the stamp file {} is damaged ({what}); restore it, or remove it and start under a new id",
            self.path.display()
        );
        io::Error::new(io::ErrorKind::InvalidData, text)
    }
}

impl StampStore for StampFile {
    fn load(&mut self) -> io::Result<Stamp> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Stamp::ZERO),
            Err(error) => return Err(error),
        };
        let bytes: [u8; LEN] = bytes.try_into().map_err(|_| self.damaged("it has another length than it should"))?;
        let (head, sum) = bytes.split_at(LEN - 8);
        if sum != checksum(head) {
            return Err(self.damaged("its checksum does not fit"));
        }
        let (magic, stamp) = head.split_at(8);
        if magic != MAGIC {
            return Err(self.damaged("it is of a format that this version does not know"));
        }
        let mut bits = [0; 8];
        bits.copy_from_slice(stamp);
        Ok(Stamp::from_bits(u64::from_le_bytes(bits)))
    }

    fn store(&mut self, stamp: Stamp) -> io::Result<()> {
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&stamp.to_bits().to_le_bytes());
        let sum = checksum(&bytes[..16]);
        bytes[16..].copy_from_slice(&sum);
        let fresh = self.path.with_extension("new");
        let mut file = File::create(&fresh)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        #[cfg(simulated)]
        crate::world::disk::reached()?;
        drop(file);
        fs::rename(&fresh, &self.path)?;
        // The rename itself is in the folder.
        let folder = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

/// FNV-1a, 64 bits: it finds torn and flipped bytes, which is all that it is for.
fn checksum(bytes: &[u8]) -> [u8; 8] {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold).to_le_bytes()
}

/// What the fuzzers hold the stamp file to: no panic; what is not as it was written is refused, and what is understood is what stands there.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz(data: &[u8]) {
    thread_local! {
        static PATH: PathBuf = {
            let thread = format!("{:?}", std::thread::current().id());
            std::env::temp_dir().join(format!("muster-fuzz-stamp-{}-{thread}", std::process::id()))
        };
    }
    let load = |bytes: &[u8]| {
        PATH.with(|path| {
            fs::write(path, bytes).unwrap_or_else(|error| panic!("a file for the fuzzer: {error}"));
            let loaded = StampFile::new(path).load();
            let _: io::Result<()> = fs::remove_file(path);
            loaded
        })
    };
    let is_ours = |bytes: &[u8]| bytes.len() == LEN && bytes[..8] == MAGIC && bytes[16..] == checksum(&bytes[..16]);
    let judge = |bytes: &[u8]| match load(bytes) {
        Ok(stamp) => assert!(is_ours(bytes) && stamp.to_bits().to_le_bytes() == bytes[8..16], "believed: {bytes:?}"),
        Err(error) => assert!(!is_ours(bytes) && error.kind() == io::ErrorKind::InvalidData, "{error}: {bytes:?}"),
    };
    judge(data);
    // A checksum would refuse nearly all of it.
    let mut summed = data.to_vec();
    summed.resize(LEN, 0);
    let sum = checksum(&summed[..16]);
    summed[16..].copy_from_slice(&sum);
    judge(&summed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_found_again_and_none_is_zero() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = StampFile::new(folder.path().join("stamp"));
        assert_eq!(file.load().unwrap(), Stamp::ZERO);
        for bits in [1, u64::MAX, 77] {
            file.store(Stamp::from_bits(bits)).unwrap();
            assert_eq!(StampFile::new(folder.path().join("stamp")).load().unwrap(), Stamp::from_bits(bits));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left lying about");
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stamp");
        let mut file = StampFile::new(&path);
        file.store(Stamp::from_bits(42)).unwrap();
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            fs::write(&path, &bad).unwrap();
            assert_eq!(file.load().unwrap_err().kind(), io::ErrorKind::InvalidData, "byte {at}");
            fs::write(&path, &good[..at]).unwrap();
            assert_eq!(file.load().unwrap_err().kind(), io::ErrorKind::InvalidData, "cut at {at}");
        }
    }

    #[test]
    fn a_folder_that_is_missing_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = StampFile::new(folder.path().join("none").join("stamp"));
        assert!(file.store(Stamp::from_bits(1)).is_err());
    }
}
