//! What cannot be read as a request: how actix answers it, and how we do.

use std::time::SystemTime;

use actix_http::error::ParseError;
use actix_web::http::header::HttpDate;
use muster_client::api::{ErrorBody, ErrorCode, ErrorDetail, Outcome};

/// 256 bytes: actix's bare answers have a status, a length, a connection and a date, in some 120.
const LONGEST_BARE: usize = 256;

/// What the `http` crate takes; a key of the greatest length, all of it escaped, is 3,072 bytes.
const LONGEST_URI: usize = 65_534;

/// A refusal as actix makes it, without a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bare {
    /// 400 or 431.
    Unreadable,
    /// 408.
    Slow,
}

/// Whether these bytes end like a bare refusal, and where it begins. It may also be the end of a value that looks so.
pub(crate) fn bare_at_end(bytes: &[u8]) -> Option<(usize, Bare)> {
    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let from = bytes.len().saturating_sub(LONGEST_BARE);
    let tail = &bytes[from..];
    let at = tail.windows(9).rposition(|part| part == b"HTTP/1.1 " || part == b"HTTP/1.0 ")?;
    let head = &tail[at..];
    let bare = match head.get(9..13)? {
        b"400 " | b"431 " => Bare::Unreadable,
        b"408 " => Bare::Slow,
        _ => return None,
    };
    let only_head = head.windows(4).position(|part| part == b"\r\n\r\n")? == head.len() - 4;
    let empty = head.windows(21).any(|part| part.eq_ignore_ascii_case(b"\r\ncontent-length: 0\r\n"));
    (only_head && empty).then_some((from + at, bare))
}

/// The answer to what is no request.
pub(crate) fn answer(why: &ParseError, headers: &str) -> Vec<u8> {
    let escaped = "write what is not ASCII as %-escapes of its UTF-8 bytes";
    let message = match why {
        ParseError::TooLarge => {
            let message = "the head of a request has at most 128 KiB and 96 headers; nothing was done";
            return whole("431 Request Header Fields Too Large", ErrorCode::TooLarge, message, headers);
        }
        ParseError::Uri(error) => {
            format!("the path and query are no URI ({error}): at most {LONGEST_URI} bytes; {escaped}")
        }
        ParseError::Method => "the request line begins with no method; write GET, PUT, POST or DELETE".to_owned(),
        ParseError::Version => "the request line does not end in HTTP/1.1 or HTTP/1.0".to_owned(),
        ParseError::Header => {
            format!(
                "the request line or a header is malformed; {escaped}, each header as `Name: value`, and one of them `Host`"
            )
        }
        _ => "this is no request of HTTP/1.1".to_owned(),
    };
    whole("400 Bad Request", ErrorCode::BadRequest, &format!("{message}; nothing was done"), headers)
}

/// The answer to a head that does not come to its end.
pub(crate) fn slow(headers: &str) -> Vec<u8> {
    let message = "the head of the request did not arrive in time; nothing was done";
    whole("408 Request Timeout", ErrorCode::RequestTimeout, message, headers)
}

fn whole(status: &str, code: ErrorCode, message: &str, headers: &str) -> Vec<u8> {
    let error = ErrorDetail { code, message: message.to_owned(), outcome: Some(Outcome::NotApplied), leader: None };
    // Text keys and text values: it cannot fail.
    let body = serde_json::to_string(&ErrorBody { error }).unwrap_or_default();
    let (length, date) = (body.len(), HttpDate::from(SystemTime::now()));
    format!(
        "HTTP/1.1 {status}\r\n{headers}content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\
         date: {date}\r\n\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\ndate: now\r\n\r\n";

    #[test]
    fn a_bare_refusal_is_found_at_the_end_and_nowhere_else() {
        assert_eq!(bare_at_end(BARE), Some((0, Bare::Unreadable)));
        let behind = [&[b'x'; 1000][..], BARE].concat();
        assert_eq!(bare_at_end(&behind), Some((1000, Bare::Unreadable)));
        assert_eq!(bare_at_end(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n"), Some((0, Bare::Slow)));
        for other in [
            &b""[..],
            b"\r\n\r\n",
            &BARE[..BARE.len() - 1],
            &[BARE, b"x"].concat(),
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 7\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\nbody\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
        ] {
            assert_eq!(bare_at_end(other), None, "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn the_answer_says_what_is_wrong_and_is_framed() {
        let text = String::from_utf8(answer(&ParseError::TooLarge, "muster-node: n\r\n")).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 431 ") && head.contains("\r\nmuster-node: n\r\n"), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        let body: ErrorBody = serde_json::from_str(body).unwrap();
        assert_eq!((body.error.code, body.error.outcome), (ErrorCode::TooLarge, Some(Outcome::NotApplied)));
    }
}
