//! Reads of one key, and how fresh a read is to be.

use std::future::IntoFuture;
use std::time::Duration;

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use uuid::Uuid;

use super::client::Client;
use super::error::Error;
use super::routes::Aim;
use super::target::Target;
use super::transport::{Answer, Request};
use super::write::Call;
use crate::api::quantity::Span;
use crate::api::{Key, header};

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
    /// The revision that last wrote it: what [`Put::if_revision`](super::Put::if_revision) compares.
    pub modify_revision: u64,
    /// Where it was read, and how fresh it is.
    pub read: ReadInfo,
}

/// Where something was read, and how fresh it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadInfo {
    /// The node that answered.
    pub node: Option<Uuid>,
    /// The revision that it had applied.
    pub revision: u64,
    /// By how much it may be behind; `None`: there is no proof.
    pub staleness: Option<Duration>,
}

impl ReadInfo {
    pub(super) fn of(answer: &Answer) -> Self {
        Self {
            node: answer.id(header::NODE),
            revision: answer.number(header::REVISION).unwrap_or_default(),
            staleness: answer.number(header::STALENESS_MS).map(Duration::from_millis),
        }
    }
}

/// How fresh a read is to be.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Freshness {
    pub(super) linearizable: bool,
    pub(super) max_staleness: Option<Duration>,
    pub(super) min_revision: Option<u64>,
}

impl Freshness {
    /// Adds the parameters; `seen` is what the client has seen already and wants to see again.
    pub(super) fn query(self, target: Target, client: &Client) -> Target {
        let session = client.shared.settings.read_your_writes && !self.linearizable;
        let seen = if session { client.revision() } else { 0 };
        let least = self.min_revision.unwrap_or(0).max(seen);
        target
            .query_if("consistency", self.linearizable.then_some("linearizable"))
            .query_if("max_staleness", self.max_staleness.map(Span))
            .query_if("min_revision", (least > 0).then_some(least))
    }

    /// Linearizable reads go to the leader, which saves it being asked.
    pub(super) fn aim(self) -> Aim {
        if self.linearizable { Aim::Leader } else { Aim::Any }
    }
}

/// Options that every read has.
macro_rules! read_options {
    ($type:ident) => {
        impl $type {
            /// Confirmed by a majority, each page of a listing by itself: as if there were only one copy.
            pub fn linearizable(mut self) -> Self {
                self.freshness.linearizable = true;
                self
            }

            /// Proved to be at most this old. What a node cannot prove it has confirmed by the majority.
            pub fn max_staleness(mut self, age: Duration) -> Self {
                self.freshness.max_staleness = Some(age);
                self
            }

            /// How long it may take with all its attempts, each page of a listing by itself, instead of the client's own time-out.
            pub fn timeout(mut self, timeout: Duration) -> Self {
                self.timeout = Some(timeout);
                self
            }
        }
    };
}

pub(super) use read_options;

read_options!(Get);

/// Reading a key; await it. `None`: the key is absent. See [`Client::get`].
#[derive(Debug, Clone)]
#[must_use = "nothing is sent until it is awaited"]
pub struct Get {
    client: Client,
    key: Result<Key, Error>,
    freshness: Freshness,
    timeout: Option<Duration>,
}

impl Client {
    /// Reads a key. Any node answers from its own copy, which holds at least whatever this client has written or seen.
    pub fn get(&self, key: impl Into<String>) -> Get {
        let key = Key::new(key).map_err(|error| Error::Invalid(error.to_string()));
        Get { client: self.clone(), key, freshness: Freshness::default(), timeout: None }
    }
}

impl Get {
    /// From a node that has applied this revision; it waits for it.
    pub fn min_revision(mut self, revision: u64) -> Self {
        self.freshness.min_revision = Some(revision);
        self
    }

    async fn send(self) -> Result<Option<Entry>, Error> {
        let key = self.key?;
        let target = self.freshness.query(Target::new(format!("/kv/{}", key.to_path())), &self.client);
        let request = Request { waits: true, ..Request::get(target.into_string()) };
        let answer = self.client.call(&request, self.freshness.aim(), self.timeout).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let (Some(modified), Some(created)) = (answer.etag(), answer.number(header::CREATE_REVISION)) else {
            return Err(answer.garbled(false, "a value without its revisions".to_owned()));
        };
        Ok(Some(Entry {
            key: key.into(),
            content_type: answer.text(CONTENT_TYPE.as_str()).map(str::to_owned),
            create_revision: created,
            modify_revision: modified,
            read: ReadInfo::of(&answer),
            value: answer.body,
        }))
    }
}

impl IntoFuture for Get {
    type Output = Result<Option<Entry>, Error>;
    type IntoFuture = Call<Option<Entry>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(session: bool) -> Client {
        let client = Client::builder().endpoint("127.0.0.1:1").read_your_writes(session).build().unwrap();
        client.saw(Some(7));
        client.saw(Some(5));
        client
    }

    fn target(client: &Client, freshness: Freshness) -> String {
        freshness.query(Target::new("/"), client).into_string()
    }

    #[test]
    fn a_local_read_asks_for_what_was_seen_before() {
        let local = Freshness::default();
        assert_eq!(target(&client(true), local), "/?min_revision=7");
        assert_eq!(target(&client(true).clone(), Freshness { min_revision: Some(9), ..local }), "/?min_revision=9");
        assert_eq!(target(&client(false), local), "/");
    }

    #[test]
    fn a_linearizable_read_needs_no_revision() {
        let freshness = Freshness { linearizable: true, ..Freshness::default() };
        assert_eq!(target(&client(true), freshness), "/?consistency=linearizable");
        assert_eq!(freshness.aim(), Aim::Leader);
    }
}
