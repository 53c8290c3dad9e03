//! Plain HTTP without any help: no retries, no redirects, one request and what came of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use muster_client::api::{ErrorBody, ErrorDetail, header};
use reqwest::{Client, Method, RequestBuilder};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// 15 s: three times what a node waits for a leader, so that what is seen is the server's verdict and not ours.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Sends requests over kept connections. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Http {
    client: Client,
}

/// A request that is being put together.
#[derive(Debug)]
#[must_use = "nothing is sent until `send` or `ok`"]
pub struct Call {
    request: RequestBuilder,
    shown: String,
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    headers: reqwest::header::HeaderMap,
    shown: String,
}

/// A request without an answer.
#[derive(Debug)]
pub struct Lost {
    /// Whether it certainly never was sent: the connection was refused.
    pub unsent: bool,
    /// For people.
    pub reason: String,
}

impl Default for Http {
    fn default() -> Self {
        let builder = Client::builder().timeout(TIMEOUT).no_proxy().redirect(reqwest::redirect::Policy::none());
        Self { client: builder.build().expect("an HTTP client") }
    }
}

impl Http {
    /// `GET`.
    pub fn get(&self, url: impl AsRef<str>) -> Call {
        self.call(Method::GET, url.as_ref())
    }

    /// `HEAD`.
    pub fn head(&self, url: impl AsRef<str>) -> Call {
        self.call(Method::HEAD, url.as_ref())
    }

    /// `DELETE`.
    pub fn delete(&self, url: impl AsRef<str>) -> Call {
        self.call(Method::DELETE, url.as_ref())
    }

    /// `PUT` with a body.
    pub fn put(&self, url: impl AsRef<str>, body: impl Into<Vec<u8>>) -> Call {
        self.call(Method::PUT, url.as_ref()).map(|request| request.body(body.into()))
    }

    /// `POST` with a JSON body.
    pub fn post(&self, url: impl AsRef<str>, body: &Value) -> Call {
        self.call(Method::POST, url.as_ref()).map(|request| request.json(body))
    }

    fn call(&self, method: Method, url: &str) -> Call {
        Call { request: self.client.request(method.clone(), url), shown: format!("{method} {url}") }
    }
}

impl Call {
    fn map(self, change: impl FnOnce(RequestBuilder) -> RequestBuilder) -> Self {
        Self { request: change(self.request), shown: self.shown }
    }

    /// With a header.
    pub fn header(self, name: &str, value: impl AsRef<str>) -> Self {
        self.map(|request| request.header(name, value.as_ref()))
    }

    /// With a query parameter.
    pub fn query(self, name: &str, value: impl ToString) -> Self {
        let shown = format!("{} {name}={}", self.shown, value.to_string());
        Self { request: self.request.query(&[(name, value.to_string())]), shown }
    }

    /// Gives up after this long.
    pub fn within(self, limit: Duration) -> Self {
        self.map(|request| request.timeout(limit))
    }

    /// Sends it.
    pub async fn send(self) -> Result<Answer, Lost> {
        let lost = |error: reqwest::Error| Lost { unsent: error.is_connect(), reason: whole(&error) };
        let response = self.request.send().await.map_err(lost)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.map_err(|error| Lost { unsent: false, reason: whole(&error) })?.to_vec();
        Ok(Answer { status, body, headers, shown: self.shown })
    }

    /// Sends it and expects this status.
    ///
    /// # Panics
    /// When there is no answer or another one, with all that it says.
    pub async fn expect(self, status: u16) -> Answer {
        let shown = self.shown.clone();
        match self.send().await {
            Ok(answer) if answer.status == status => answer,
            Ok(answer) => panic!("{shown}: expected {status}, got {} {}", answer.status, answer.text()),
            Err(lost) => panic!("{shown}: expected {status}, got no answer: {}", lost.reason),
        }
    }

    /// Sends it and expects 200 or 201.
    ///
    /// # Panics
    /// When there is no answer or another one, with all that it says.
    pub async fn ok(self) -> Answer {
        let shown = self.shown.clone();
        match self.send().await {
            Ok(answer) if answer.is_ok() => answer,
            Ok(answer) => panic!("{shown}: expected success, got {} {}", answer.status, answer.text()),
            Err(lost) => panic!("{shown}: expected success, got no answer: {}", lost.reason),
        }
    }
}

fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl Answer {
    /// 2xx.
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// A header that must be there.
    ///
    /// # Panics
    /// When it is not.
    pub fn needs(&self, name: &str) -> &str {
        self.header(name).unwrap_or_else(|| panic!("{}: no header {name} in {:?}", self.shown, self.headers))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body read as a type of the API; `None` when it is none or the status is no success.
    pub fn parsed<T: DeserializeOwned>(&self) -> Option<T> {
        self.is_ok().then(|| serde_json::from_slice(&self.body).ok()).flatten()
    }

    /// The body as a type of the API or any JSON.
    ///
    /// # Panics
    /// When it is not.
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{}: the body is not what it should be ({error}): {}", self.shown, self.text())
        })
    }

    /// The error that it carries.
    ///
    /// # Panics
    /// When it carries none.
    pub fn error(&self) -> ErrorDetail {
        self.json::<ErrorBody>().error
    }

    /// `revision` of the answer to a write, or `Muster-Revision` of the answer to a read.
    ///
    /// # Panics
    /// When it has neither.
    pub fn revision(&self) -> u64 {
        let of_body = serde_json::from_slice::<Value>(&self.body).ok().and_then(|body| body["revision"].as_u64());
        of_body.unwrap_or_else(|| self.needs(header::REVISION).parse().expect("a revision is a number"))
    }
}

/// Sends bytes as they are on a new connection and returns all that comes back until the server closes or falls silent for
/// a second: for requests that no HTTP library would send.
///
/// # Panics
/// When there is no connection.
pub fn raw(to: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
    // The server may refuse and close before it has read everything.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read) = stream.read(&mut buffer) {
        if read == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}
