//! Query strings, read strictly: a misspelt parameter must not silently mean its default.

use std::borrow::Cow;
use std::str::FromStr;
use std::time::Duration;

use muster_client::api::quantity::Span;
use percent_encoding::percent_decode;

use super::error::ApiError;
use crate::kv::Freshness;

/// How long a call waits for a leader or for freshness when it does not say: longer than any election.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// One minute: what proxies and clients give an idle connection at least; a longer wait would be cut off unseen.
const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// The parameters of a request, each to be taken once.
#[derive(Debug, Default)]
pub(super) struct Query<'a> {
    left: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Query<'a> {
    /// Splits and decodes. A `+` is a space; a parameter given twice is refused, since nobody could say which counts.
    pub(super) fn parse(raw: &'a str) -> Result<Self, ApiError> {
        let mut left: Vec<(Cow<'a, str>, Cow<'a, str>)> = Vec::new();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name)?;
            if left.iter().any(|(known, _)| *known == name) {
                return Err(ApiError::bad_request(format!("the query parameter `{}` stands twice", shown(&name))));
            }
            left.push((name, decode(value)?));
        }
        Ok(Self { left })
    }

    /// Takes a parameter as text.
    pub(super) fn text(&mut self, name: &str) -> Option<Cow<'a, str>> {
        let at = self.left.iter().position(|(known, _)| known == name)?;
        Some(self.left.swap_remove(at).1)
    }

    /// Takes `true` or `false`; absent is `false`.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, ApiError> {
        match self.text(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(bad(name, other, "write true or false")),
        }
    }

    /// Takes a whole number.
    pub(super) fn number(&mut self, name: &str) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits => Ok(Some(number)),
            _ => Err(bad(name, &text, "write a whole number")),
        }
    }

    /// Takes a duration.
    pub(super) fn duration(&mut self, name: &str) -> Result<Option<Duration>, ApiError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match Span::from_str(&text) {
            Ok(span) => Ok(Some(span.0)),
            Err(_) => Err(bad(name, &text, "write a whole number and ms, s, m or h, such as 200ms or 5s")),
        }
    }

    /// Takes `timeout`.
    pub(super) fn timeout(&mut self) -> Result<Duration, ApiError> {
        match self.duration("timeout")? {
            None => Ok(DEFAULT_TIMEOUT),
            Some(wanted) if wanted <= MAX_TIMEOUT => Ok(wanted),
            Some(wanted) => Err(bad("timeout", &Span(wanted).to_string(), "at most 1m is possible")),
        }
    }

    /// Takes the read modes.
    pub(super) fn freshness(&mut self) -> Result<Freshness, ApiError> {
        let linearizable = match self.text("consistency").as_deref() {
            None | Some("local") => false,
            Some("linearizable") => true,
            Some(other) => return Err(bad("consistency", other, "write local or linearizable")),
        };
        let max_staleness = self.duration("max_staleness")?;
        Ok(Freshness { linearizable, max_staleness, min_revision: self.number("min_revision")? })
    }

    /// Refuses what nobody took.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        match self.left.first() {
            None => Ok(()),
            Some((name, _)) => {
                Err(ApiError::bad_request(format!("this call has no query parameter `{}`", shown(name))))
            }
        }
    }
}

fn bad(name: &str, value: &str, hint: &str) -> ApiError {
    ApiError::bad_request(format!("query parameter `{name}`: `{}` cannot be; {hint}", shown(value)))
}

/// Enough of a caller's text to recognise it by.
fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

fn decode(raw: &str) -> Result<Cow<'_, str>, ApiError> {
    let bytes = raw.as_bytes();
    let whole = |at: usize| bytes.get(at + 1..at + 3).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
    if (0..bytes.len()).any(|at| bytes[at] == b'%' && !whole(at)) {
        let message = "the query has a `%` without two hexadecimal digits behind it; write a percent sign as %25";
        return Err(ApiError::bad_request(message));
    }
    let not_utf8 = |_| ApiError::bad_request("the query is not UTF-8 once its %-escapes are decoded");
    if !raw.contains('+') {
        return percent_decode(bytes).decode_utf8().map_err(not_utf8);
    }
    let spaced = raw.replace('+', " ");
    Ok(Cow::Owned(percent_decode(spaced.as_bytes()).decode_utf8().map_err(not_utf8)?.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<T>(result: Result<T, ApiError>) -> String {
        match result {
            Ok(_) => panic!("was accepted"),
            Err(error) => format!("{error:?}"),
        }
    }

    #[test]
    fn a_plus_is_a_space_and_an_escaped_plus_a_plus() {
        let mut query = Query::parse("prefix=a+b%2Bc%20d&&").unwrap();
        assert_eq!(query.text("prefix").unwrap(), "a b+c d");
        query.finish().unwrap();
    }

    #[test]
    fn unknown_doubled_and_broken_parameters_are_named() {
        assert!(refusal(Query::parse("limt=3").unwrap().finish()).contains("limt"));
        assert!(refusal(Query::parse("limit=3&limit=4")).contains("`limit` stands twice"));
        assert!(refusal(Query::parse("a=%2")).contains("%25"));
        assert!(refusal(Query::parse("a=%ff")).contains("UTF-8"));
        assert!(refusal(Query::parse("n=-1").unwrap().number("n")).contains("whole number"));
        assert!(refusal(Query::parse("n=%2B1").unwrap().number("n")).contains("whole number"));
        assert!(refusal(Query::parse("n").unwrap().number("n")).contains("whole number"));
        assert!(refusal(Query::parse("f=yes").unwrap().flag("f")).contains("true or false"));
        assert!(refusal(Query::parse("timeout=61s").unwrap().timeout()).contains("1m"));
        assert!(refusal(Query::parse("consistency=strong").unwrap().freshness()).contains("linearizable"));
    }

    #[test]
    fn the_defaults_are_a_local_read_and_five_seconds() {
        let mut query = Query::parse("").unwrap();
        assert_eq!(query.freshness().unwrap(), Freshness::default());
        assert_eq!(query.timeout().unwrap(), Duration::from_secs(5));
    }
}
