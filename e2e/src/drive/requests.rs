//! Requests, written out once, so that sending one is a single write of bytes that are there.

/// Requests of one kind over many keys.
#[derive(Debug, Clone)]
pub struct Requests {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    least_body: usize,
}

/// One request before it is written out.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `PUT`, ...
    pub method: &'static str,
    /// Path and query.
    pub path: String,
    /// The body; none is sent with a `GET`.
    pub body: Vec<u8>,
}

impl Requests {
    /// Writes out all of them. An answer with another status than 2xx or with a body of fewer than `least_body` bytes counts
    /// as a failure: a server that answers quickly that it has nothing is not quick.
    pub fn new(requests: impl IntoIterator<Item = Request>, least_body: usize) -> Self {
        let mut all = Self { bytes: Vec::new(), ends: Vec::new(), least_body };
        for Request { method, path, body } in requests {
            all.bytes.extend_from_slice(format!("{method} {path} HTTP/1.1\r\nHost: bench\r\n").as_bytes());
            if method != "GET" {
                all.bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
            }
            all.bytes.extend_from_slice(b"\r\n");
            all.bytes.extend_from_slice(&body);
            all.ends.push(all.bytes.len());
        }
        assert!(!all.ends.is_empty(), "a job needs something to send");
        all
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// The fewest bytes that a good answer's body has.
    pub fn least_body(&self) -> usize {
        self.least_body
    }

    /// One of them, by any number.
    pub fn nth(&self, number: u64) -> &[u8] {
        let count = self.ends.len() as u64;
        let index = usize::try_from(number % count).unwrap_or(0);
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_written_out_one_after_another_and_found_again() {
        let get = Request { method: "GET", path: "/kv/a".to_owned(), body: Vec::new() };
        let put = Request { method: "PUT", path: "/kv/b".to_owned(), body: b"12".to_vec() };
        let requests = Requests::new([get, put], 0);
        assert_eq!(requests.nth(0), b"GET /kv/a HTTP/1.1\r\nHost: bench\r\n\r\n");
        assert_eq!(requests.nth(1), b"PUT /kv/b HTTP/1.1\r\nHost: bench\r\nContent-Length: 2\r\n\r\n12");
        assert_eq!(requests.nth(2), requests.nth(0));
    }
}
