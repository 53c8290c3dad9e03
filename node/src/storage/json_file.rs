//! Small JSON files of a data dir, each an object with a checksum in it: disks turn bits over, and an id with another digit is an id too.
//!
//! Written whole beside the old one, synced, and renamed over it, so that a crash at any moment leaves the one or the other.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::Error as _;
use serde_json::{Error, Map, Value};

use super::log::sync_dir;

/// Of all other members of the object: CRC-32 (IEEE) of them as compact JSON, in eight hexadecimal digits. Releases before 2.4 neither wrote it nor look
/// at it.
const SUM: &str = "sum";

/// The object in a file, and whether a checksum has vouched for it.
///
/// # Errors
/// When it is no object, or its checksum does not fit.
pub(crate) fn parse(text: &[u8]) -> Result<(Value, bool), Error> {
    let mut object: Map<String, Value> = serde_json::from_slice(text)?;
    let Some(said) = object.remove(SUM) else { return Ok((Value::Object(object), false)) };
    if said != sum(&object)? {
        return Err(Error::custom(format_args!(
            "its checksum does not fit: a bit has turned over on the disk, or it was edited (whoever means to do that takes `{SUM}` out)"
        )));
    }
    Ok((Value::Object(object), true))
}

fn sum(object: &Map<String, Value>) -> Result<String, Error> {
    Ok(format!("{:08x}", crc32fast::hash(&serde_json::to_vec(object)?)))
}

/// Puts this into the place of the file, with its checksum. On the disk when it returns.
///
/// # Errors
/// The system's; the file is as it was then.
pub(crate) fn replace(path: &Path, content: &impl Serialize) -> io::Result<()> {
    let Value::Object(mut object) = serde_json::to_value(content)? else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "only objects have room for a checksum"));
    };
    object.insert(SUM.to_owned(), sum(&object)?.into());
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    serde_json::to_writer_pretty(&mut file, &object)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    #[cfg(simulated)]
    muster_cluster::world::disk::reached()?;
    std::fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_bit_turns_over_unseen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let content =
            json!({"version": 1, "id": "00000000-0000-0000-0000-000000000001", "left": false, "peers": ["[::1]:8051"]});
        replace(&path, &content).unwrap();
        let text = std::fs::read(&path).unwrap();
        assert_eq!(parse(&text).unwrap(), (content.clone(), true));
        for bit in 0..text.len() * 8 {
            let mut turned = text.clone();
            turned[bit / 8] ^= 1 << (bit % 8);
            // What is left of it where it was the checksum's name that changed has the same content.
            if let Ok((mut read, vouched)) = parse(&turned) {
                read.as_object_mut().unwrap().retain(|name, _| content.get(name).is_some());
                assert_eq!((read, vouched), (content.clone(), vouched), "bit {bit}");
            }
        }
    }

    #[test]
    fn files_of_earlier_releases_and_edited_ones_read() {
        assert_eq!(parse(br#"{"format": 1}"#).unwrap(), (json!({"format": 1}), false));
        let edited = parse(br#"{"format": 1, "sum": "00000000"}"#).unwrap_err().to_string();
        assert!(edited.contains("takes `sum` out"), "{edited}");
        assert!(parse(b"[]").is_err() && parse(b"").is_err());
    }
}
