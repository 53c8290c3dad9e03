//! Paths and queries, written so that nothing on the way finds anything to fold.

use std::fmt::{Display, Write};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A path and its query in the making.
#[derive(Debug)]
pub(super) struct Target {
    text: String,
    separator: char,
}

impl Target {
    pub(super) fn new(path: impl Into<String>) -> Self {
        Self { text: path.into(), separator: '?' }
    }

    /// Adds one more segment, whatever stands in it.
    pub(super) fn segment(mut self, segment: &str) -> Self {
        let _ = write!(self.text, "/{}", utf8_percent_encode(segment, ESCAPED));
        self
    }

    /// Adds a parameter.
    pub(super) fn query(mut self, name: &str, value: impl Display) -> Self {
        let value = value.to_string();
        let _ = write!(self.text, "{}{name}={}", self.separator, utf8_percent_encode(&value, ESCAPED));
        self.separator = '&';
        self
    }

    /// Adds a parameter if there is a value for it.
    pub(super) fn query_if(self, name: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    pub(super) fn into_string(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_put_in_stays_one_segment_or_one_value() {
        let target = Target::new("/a").segment("b/c?d").query("x", "1&2+3").query_if("y", None::<u64>).query("z", "ä");
        assert_eq!(target.into_string(), "/a/b%2Fc%3Fd?x=1%262%2B3&z=%C3%A4");
    }
}
