//! Finds the end of an HTTP/1.1 answer and its status. It reads what servers under test send, so it knows only
//! `Content-Length`; anything else is reported, not guessed.

/// An answer that has arrived whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// How many bytes the head and the body take together.
    pub length: usize,
    /// How many of them are the body.
    pub body: usize,
}

/// What no server under test may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The first line is none of HTTP/1.1.
    #[error("the answer does not begin with HTTP/1.1 and a status")]
    StatusLine,
    /// The end of the body cannot be found.
    #[error("the answer has no usable Content-Length")]
    Length,
}

/// Reads the first answer in `bytes`; `None` while it is not there to its end.
///
/// # Errors
/// When no further bytes can make it an answer.
pub fn parse(bytes: &[u8]) -> Result<Option<Answer>, Malformed> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = &bytes[..end];
    let status = match head {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1', b' ', a, b, c, ..] => number(&[*a, *b, *c]),
        _ => None,
    };
    let status = status.and_then(|status| u16::try_from(status).ok()).ok_or(Malformed::StatusLine)?;
    let body = head.split(|byte| *byte == b'\n').find_map(content_length).ok_or(Malformed::Length)?;
    let body = number(body).ok_or(Malformed::Length)?;
    let length = end.checked_add(4).and_then(|start| start.checked_add(body)).ok_or(Malformed::Length)?;
    Ok((bytes.len() >= length).then_some(Answer { status, length, body }))
}

fn content_length(line: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"content-length:";
    let (name, value) = line.split_at_checked(NAME.len())?;
    name.eq_ignore_ascii_case(NAME).then(|| value.trim_ascii())
}

fn number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &[u8] = b"HTTP/1.1 201 Created\r\nX: y\r\nCONTENT-length: 5\r\n\r\nhello";

    #[test]
    fn an_answer_is_found_at_its_last_byte_and_not_before() {
        for cut in 0..WHOLE.len() {
            assert_eq!(parse(&WHOLE[..cut]), Ok(None), "{cut} bytes");
        }
        let whole = Answer { status: 201, length: WHOLE.len(), body: 5 };
        assert_eq!(parse(WHOLE), Ok(Some(whole)));
        assert_eq!(parse(&[WHOLE, b"HTTP/1.1 2"].concat()), Ok(Some(whole)), "what follows is another answer's");
    }

    #[test]
    fn what_cannot_be_judged_is_refused() {
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), Err(Malformed::Length));
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), Err(Malformed::Length));
        let most = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", usize::MAX);
        assert_eq!(parse(most.as_bytes()), Err(Malformed::Length));
        assert_eq!(parse(b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n"), Err(Malformed::StatusLine));
        assert_eq!(parse(b"\r\n\r\n"), Err(Malformed::StatusLine));
    }
}
