//! Keys as people write them down: one to a line, 64 hex digits or 44 characters of base64; the first seals; `#` begins a comment;
//! the word `plain` stands for "unsealed".

use std::fmt::Write;

use super::{Entry, KEY_LEN, Key, Keyring, MAX_KEYS};

/// The word for the entry that is no key.
pub(super) const PLAIN: &str = "plain";

/// What [`Keyring::to_text`] begins with.
pub const KEY_FILE_HEAD: &str = "# Keys of a Muster cluster, one to a line. The first seals, all open; `plain` takes (first: sends) what is not sealed.\n# Keep it secret. `muster keys` and the node itself rewrite it.\n";

/// Why a text is no ring. Says where, never what stands there: it may be a key with a slip in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// Neither a key nor `plain`.
    #[error("line {line} is neither a key ({KEY_LEN} bytes as 64 hex digits or as base64) nor the word `plain`")]
    Malformed {
        /// Counted from 1.
        line: usize,
    },
    /// The same twice.
    #[error("line {line} says the same as line {before}")]
    Twice {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        before: usize,
    },
    /// Of one byte again and again: somebody's placeholder.
    #[error("line {line} is a key that anybody guesses; make one with `muster keys generate`")]
    Weak {
        /// Counted from 1.
        line: usize,
    },
    /// More than [`MAX_KEYS`].
    #[error("more than {MAX_KEYS} entries")]
    TooMany,
    /// Nothing but comments.
    #[error("no key in it; make one with `muster keys generate`")]
    Empty,
}

impl Keyring {
    /// Reads a ring.
    ///
    /// # Errors
    /// What is wrong, and on which line.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut lines: Vec<usize> = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let number = at + 1;
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let entry = match line {
                PLAIN => Entry::Plain,
                text => {
                    let key = parse_key(text).ok_or(KeyFileError::Malformed { line: number })?;
                    if key.secret().iter().all(|byte| *byte == key.secret()[0]) {
                        return Err(KeyFileError::Weak { line: number });
                    }
                    Entry::Key(key)
                }
            };
            if let Some(before) = entries.iter().position(|known| *known == entry) {
                return Err(KeyFileError::Twice { line: number, before: lines[before] });
            }
            entries.push(entry);
            lines.push(number);
        }
        match entries.len() {
            0 => Err(KeyFileError::Empty),
            1..=MAX_KEYS => Ok(Self { entries }),
            _ => Err(KeyFileError::TooMany),
        }
    }

    /// Writes the ring as [`Keyring::parse`] reads it. Secret.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = KEY_FILE_HEAD.to_owned();
        for entry in self.entries() {
            let _ = match entry {
                Entry::Key(key) => writeln!(text, "{} # {}", encode_key(key), key.name()),
                Entry::Plain => writeln!(text, "{PLAIN}"),
            };
        }
        text
    }
}

/// A key as 64 hex digits or as base64, padded or not. None for anything else.
#[must_use]
pub fn parse_key(text: &str) -> Option<Key> {
    let mut bytes = [0; KEY_LEN];
    (unhex(text, &mut bytes) || unbase64(text, &mut bytes)).then(|| Key::new(bytes))
}

/// A key in base64: what `muster keys generate` prints. Secret.
#[must_use]
pub fn encode_key(key: &Key) -> String {
    let mut out = String::with_capacity(44);
    for chunk in key.secret().chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for at in 0..4 {
            let sextet = (bits >> (18 - 6 * at)) as usize & 63;
            out.push(if at <= chunk.len() { char::from(ALPHABET[sextet]) } else { '=' });
        }
    }
    out
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Whether the text is hex digits that fill the place.
pub(super) fn unhex(text: &str, into: &mut [u8]) -> bool {
    let digits = text.as_bytes();
    digits.len() == 2 * into.len()
        && into.iter_mut().zip(digits.chunks_exact(2)).all(|(byte, pair)| {
            let digit = |at: usize| char::from(pair[at]).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            match (digit(0), digit(1)) {
                (Some(high), Some(low)) => {
                    *byte = high << 4 | low;
                    true
                }
                (_, _) => false,
            }
        })
}

/// Whether the text is base64 of exactly a key. A last character with bits that say nothing is a slip, and refused.
fn unbase64(text: &str, into: &mut [u8; KEY_LEN]) -> bool {
    let text = text.strip_suffix('=').unwrap_or(text);
    if text.len() != 43 {
        return false;
    }
    let (mut bits, mut count, mut at) = (0_u32, 0, 0);
    for character in text.bytes() {
        let Some(sextet) = ALPHABET.iter().position(|known| *known == character) else { return false };
        bits = bits << 6 | u32::try_from(sextet).unwrap_or_default();
        count += 6;
        if count >= 8 {
            count -= 8;
            into[at] = (bits >> count) as u8;
            at += 1;
        }
    }
    bits & 0b11 == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";
    const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn both_notations_say_the_same() {
        let key = parse_key(HEX).unwrap();
        assert_eq!(parse_key(BASE64).unwrap().secret(), key.secret());
        assert_eq!(parse_key(BASE64.trim_end_matches('=')).unwrap().secret(), key.secret());
        assert_eq!(key.secret()[31], 31);
        assert_eq!(encode_key(&key), BASE64);
        let ring = Keyring::parse(&format!("# ours\n\n  {HEX}  # the first\nplain\n")).unwrap();
        assert_eq!((ring.sealing(), ring.takes_plain()), (Some(&key), true));
    }

    #[test]
    fn errors_name_the_line_and_not_what_stands_there() {
        let slip = BASE64.replace("AAEC", "AA*C");
        for (text, error) in [
            (String::new(), KeyFileError::Empty),
            ("# nothing\n \n".to_owned(), KeyFileError::Empty),
            (format!("plain\n\n{slip}"), KeyFileError::Malformed { line: 3 }),
            (format!("{}9=", &BASE64[..42]), KeyFileError::Malformed { line: 1 }),
            (HEX[1..].to_owned(), KeyFileError::Malformed { line: 1 }),
            (format!("{HEX}\n#\n{BASE64}"), KeyFileError::Twice { line: 3, before: 1 }),
            ("plain\nplain".to_owned(), KeyFileError::Twice { line: 2, before: 1 }),
            ("00".repeat(32), KeyFileError::Weak { line: 1 }),
        ] {
            assert_eq!(Keyring::parse(&text), Err(error));
            assert!(!error.to_string().contains("AA"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn keys_survive_the_file(secret: [u8; 32], plain: bool) {
            prop_assume!(secret.iter().any(|byte| *byte != secret[0]));
            let mut ring = Keyring::sealed(Key::new(secret));
            if plain {
                ring = ring.after(&super::super::Change::Add(Entry::Plain)).unwrap();
            }
            let back = Keyring::parse(&ring.to_text()).unwrap();
            prop_assert_eq!(back.sealing().unwrap().secret(), &secret);
            prop_assert_eq!(back, ring);
        }

        #[test]
        fn arbitrary_text_does_no_harm(text: String) {
            let _ = Keyring::parse(&text);
            let _ = parse_key(&text);
        }
    }
}
