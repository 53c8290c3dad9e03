//! Reading and writing the log keyspace.
//!
//! Each call is a value with options that is awaited: `client.put("k", "v").if_absent().await`.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use reqwest::{Method, StatusCode};

use super::client::Client;
use super::error::Error;
use super::transport::{Answer, Request};
use crate::api::key::KeyError;
use crate::api::kv::{DeleteAnswer, Item, Page, PutAnswer};
use crate::api::quantity::Span;
use crate::api::{Key, header};

type Call<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// A key's value and its revisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The bytes as they were put; empty in a listing of keys only.
    pub value: Bytes,
    /// The content type as it was put; listings do not tell it.
    pub content_type: Option<String>,
    /// The revision that created the key.
    pub create_revision: u64,
    /// The revision that last wrote it: what [`Put::if_revision`] compares.
    pub modify_revision: u64,
}

/// A write of a key; await it.
#[derive(Debug, Clone)]
#[must_use = "nothing is sent until it is awaited"]
pub struct Put {
    client: Client,
    key: Result<Key, KeyError>,
    value: Bytes,
    headers: HeaderMap,
    timeout: Option<Duration>,
}

/// A read of a key; await it. `None`: the key is absent.
#[derive(Debug, Clone)]
#[must_use = "nothing is sent until it is awaited"]
pub struct Get {
    client: Client,
    key: Result<Key, KeyError>,
    linearizable: bool,
    max_staleness: Option<Duration>,
    timeout: Option<Duration>,
}

/// A removal of a key; await it.
#[derive(Debug, Clone)]
#[must_use = "nothing is sent until it is awaited"]
pub struct Delete {
    client: Client,
    key: Result<Key, KeyError>,
    headers: HeaderMap,
    timeout: Option<Duration>,
}

/// A listing in byte order of the keys, fetched page by page.
#[derive(Debug, Clone)]
pub struct List {
    client: Client,
    prefix: String,
    keys_only: bool,
    linearizable: bool,
    page_size: Option<usize>,
    next: Next,
}

#[derive(Debug, Clone)]
enum Next {
    First,
    After(String),
    Done,
}

impl Client {
    /// Sets a key. Any bytes will do for a value.
    pub fn put(&self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Put {
        Put {
            client: self.clone(),
            key: Key::new(key),
            value: Bytes::from(value.into()),
            headers: HeaderMap::new(),
            timeout: None,
        }
    }

    /// Reads a key, from any node unless asked otherwise.
    pub fn get(&self, key: impl Into<String>) -> Get {
        Get { client: self.clone(), key: Key::new(key), linearizable: false, max_staleness: None, timeout: None }
    }

    /// Removes a key.
    pub fn delete(&self, key: impl Into<String>) -> Delete {
        Delete { client: self.clone(), key: Key::new(key), headers: HeaderMap::new(), timeout: None }
    }

    /// Lists the keys that start with `prefix`; all of them when it is empty.
    pub fn list(&self, prefix: impl Into<String>) -> List {
        List {
            client: self.clone(),
            prefix: prefix.into(),
            keys_only: false,
            linearizable: false,
            page_size: None,
            next: Next::First,
        }
    }
}

impl Put {
    /// Writes only if the key was last written by this revision.
    pub fn if_revision(mut self, revision: u64) -> Self {
        self.headers.insert(IF_MATCH, tag(revision));
        self
    }

    /// Writes only if the key is absent.
    pub fn if_absent(mut self) -> Self {
        self.headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        self
    }

    /// Writes only if the key is there.
    pub fn if_exists(mut self) -> Self {
        self.headers.insert(IF_MATCH, HeaderValue::from_static("*"));
        self
    }

    /// How long it may take with all its attempts.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    async fn send(self) -> Result<PutAnswer, Error> {
        let key = valid(self.key)?;
        let request = Request {
            method: Method::PUT,
            target: format!("/kv/{}", key.to_path()),
            headers: self.headers,
            body: self.value,
            writes: true,
        };
        done(self.client.call(&request, self.timeout).await?, true)?.json(true)
    }
}

impl Get {
    /// Confirmed by a majority: as if there were only one copy.
    pub fn linearizable(mut self) -> Self {
        self.linearizable = true;
        self
    }

    /// Proved to be at most this old.
    pub fn max_staleness(mut self, age: Duration) -> Self {
        self.max_staleness = Some(age);
        self
    }

    /// How long it may take with all its attempts.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    async fn send(self) -> Result<Option<Entry>, Error> {
        let key = valid(self.key)?;
        let mut query = Query::default();
        if self.linearizable {
            query.push("consistency", "linearizable");
        }
        if let Some(age) = self.max_staleness {
            query.push("max_staleness", &Span(age).to_string());
        }
        let answer = self.client.call(&read(format!("/kv/{}{}", key.to_path(), query.text())), self.timeout).await?;
        if answer.status == StatusCode::NOT_FOUND && answer.is_from_node() {
            return Ok(None);
        }
        let answer = done(answer, false)?;
        let (Some(modified), Some(created)) = (answer.etag(), answer.number(header::CREATE_REVISION)) else {
            return Err(answer.garbled(false, "a value without its revisions".to_owned()));
        };
        Ok(Some(Entry {
            key: key.into(),
            content_type: answer.text(CONTENT_TYPE.as_str()).map(str::to_owned),
            create_revision: created,
            modify_revision: modified,
            value: answer.body,
        }))
    }
}

impl Delete {
    /// Removes only if the key was last written by this revision.
    pub fn if_revision(mut self, revision: u64) -> Self {
        self.headers.insert(IF_MATCH, tag(revision));
        self
    }

    /// How long it may take with all its attempts.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    async fn send(self) -> Result<DeleteAnswer, Error> {
        let key = valid(self.key)?;
        let request = Request {
            method: Method::DELETE,
            target: format!("/kv/{}", key.to_path()),
            headers: self.headers,
            body: Bytes::new(),
            writes: true,
        };
        done(self.client.call(&request, self.timeout).await?, true)?.json(true)
    }
}

impl List {
    /// Leaves the values out.
    pub fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }

    /// Every page confirmed by a majority.
    pub fn linearizable(mut self) -> Self {
        self.linearizable = true;
        self
    }

    /// How many keys to ask for at once, 1 to 1,000.
    pub fn page_size(mut self, keys: usize) -> Self {
        self.page_size = Some(keys);
        self
    }

    /// The next page; `None` behind the last. Each page is a consistent cut of its own.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Entry>>, Error> {
        let mut query = Query::default();
        match &self.next {
            Next::First => {}
            Next::After(key) => query.push("start_after", key),
            Next::Done => return Ok(None),
        }
        if !self.prefix.is_empty() {
            query.push("prefix", &self.prefix);
        }
        if self.keys_only {
            query.push("keys_only", "true");
        }
        if self.linearizable {
            query.push("consistency", "linearizable");
        }
        if let Some(keys) = self.page_size {
            query.push("limit", &keys.to_string());
        }
        let answer = done(self.client.call(&read(format!("/kv{}", query.text())), None).await?, false)?;
        let page: Page = answer.json(false)?;
        let entries = page.items.into_iter().map(entry).collect::<Result<Vec<_>, _>>();
        let entries = entries.map_err(|error| answer.garbled(false, format!("a value in its listing: {error}")))?;
        self.next = page.next.map_or(Next::Done, Next::After);
        Ok(Some(entries))
    }
}

impl IntoFuture for Put {
    type Output = Result<PutAnswer, Error>;
    type IntoFuture = Call<PutAnswer>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl IntoFuture for Get {
    type Output = Result<Option<Entry>, Error>;
    type IntoFuture = Call<Option<Entry>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl IntoFuture for Delete {
    type Output = Result<DeleteAnswer, Error>;
    type IntoFuture = Call<DeleteAnswer>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

fn valid(key: Result<Key, KeyError>) -> Result<Key, Error> {
    key.map_err(|error| Error::Invalid(error.to_string()))
}

fn tag(revision: u64) -> HeaderValue {
    // Digits and quotes are always a valid header.
    HeaderValue::from_str(&format!("\"{revision}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

fn read(target: String) -> Request {
    Request { method: Method::GET, target, headers: HeaderMap::new(), body: Bytes::new(), writes: false }
}

fn done(answer: Answer, writes: bool) -> Result<Answer, Error> {
    if answer.status.is_success() { Ok(answer) } else { Err(answer.into_error(writes)) }
}

fn entry(item: Item) -> Result<Entry, base64::DecodeError> {
    let value = item.value.map(|text| STANDARD.decode(text)).transpose()?.unwrap_or_default();
    Ok(Entry {
        key: item.key,
        value: Bytes::from(value),
        content_type: None,
        create_revision: item.create_revision,
        modify_revision: item.modify_revision,
    })
}

/// A query string in the making.
#[derive(Debug, Default)]
struct Query(String);

impl Query {
    fn push(&mut self, name: &str, value: &str) {
        let value = percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
        let separator = if self.0.is_empty() { '?' } else { '&' };
        self.0.push_str(&format!("{separator}{name}={value}"));
    }

    fn text(&self) -> &str {
        &self.0
    }
}
