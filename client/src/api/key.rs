//! Keys, and how they stand in a path.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};

/// Longest key in bytes of UTF-8.
pub const MAX_KEY: usize = 1024;

/// Everything but RFC 3986's unreserved characters is escaped, `/` too: what folds paths on the way finds nothing to fold.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A valid key: UTF-8, 1 to [`MAX_KEY`] bytes, neither `.` nor `..` (which no client could send).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(String);

/// Why something is not a key. Nothing was read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing after `/kv/`.
    #[error("the key is empty; a key has 1 to {MAX_KEY} bytes")]
    Empty,
    /// More than [`MAX_KEY`] bytes.
    #[error("the key has {0} bytes; a key has 1 to {MAX_KEY} bytes")]
    TooLong(usize),
    /// `.` or `..`.
    #[error("`.` and `..` cannot be keys: HTTP clients fold them away")]
    Dots,
    /// The decoded path is not UTF-8.
    #[error("the key is not UTF-8 once its %-escapes are decoded")]
    NotUtf8,
    /// `%` without two hexadecimal digits behind it.
    #[error("the key has a `%` without two hexadecimal digits behind it; write a percent sign as %25")]
    BadEscape,
}

impl Key {
    /// Checks a key.
    pub fn new(text: impl Into<String>) -> Result<Self, KeyError> {
        let text = text.into();
        match text.as_str() {
            "" => Err(KeyError::Empty),
            "." | ".." => Err(KeyError::Dots),
            long if long.len() > MAX_KEY => Err(KeyError::TooLong(long.len())),
            _ => Ok(Self(text)),
        }
    }

    /// Decodes a key from the raw part of a path behind `/kv/`. Strict: nothing is folded, guessed or replaced.
    pub fn from_path(raw: &str) -> Result<Self, KeyError> {
        let mut rest = raw.bytes();
        while let Some(byte) = rest.next() {
            let two = |rest: &mut std::str::Bytes<'_>| rest.next().zip(rest.next());
            if byte == b'%' && !two(&mut rest).is_some_and(|(a, b)| a.is_ascii_hexdigit() && b.is_ascii_hexdigit()) {
                return Err(KeyError::BadEscape);
            }
        }
        let text = percent_decode_str(raw).decode_utf8().map_err(|_| KeyError::NotUtf8)?;
        Self::new(text)
    }

    /// The key as one path segment, with every character escaped that anyone on the way might touch.
    pub fn to_path(&self) -> String {
        utf8_percent_encode(&self.0, ESCAPED).to_string()
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Key {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        Self::new(text)
    }
}

impl std::str::FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::new(text)
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_dots_and_plus_signs_are_themselves() {
        for key in ["a/b", "a//b", "a/../b", "/", "...", "a+b", "a b", "ä/€", "%", "?#&="] {
            let key = Key::new(key).unwrap();
            assert_eq!(Key::from_path(&key.to_path()).unwrap(), key);
        }
        assert_eq!(Key::from_path("a/../b").unwrap().as_str(), "a/../b");
        assert_eq!(Key::from_path("a%2Fb+c").unwrap().as_str(), "a/b+c");
    }

    #[test]
    fn what_cannot_be_a_key_is_refused_with_its_reason() {
        assert_eq!(Key::from_path(""), Err(KeyError::Empty));
        assert_eq!(Key::from_path("."), Err(KeyError::Dots));
        assert_eq!(Key::from_path("%2e%2E"), Err(KeyError::Dots));
        assert_eq!(Key::from_path("%ff"), Err(KeyError::NotUtf8));
        assert_eq!(Key::from_path("a%2"), Err(KeyError::BadEscape));
        assert_eq!(Key::from_path("a%zz"), Err(KeyError::BadEscape));
        assert_eq!(Key::new("k".repeat(1025)), Err(KeyError::TooLong(1025)));
        assert!(Key::new("k".repeat(1024)).is_ok());
    }
}
