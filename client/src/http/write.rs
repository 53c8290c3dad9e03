//! Writes to the log keyspace: put, delete, delete by prefix.
//!
//! Each is a value with options that is awaited: `client.put("k", "v").if_absent().await`. Each carries an idempotency
//! key of its own, the same on every retry, so that it is applied at most once however often it has to be sent.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};

use super::client::Client;
use super::error::Error;
use super::routes::Aim;
use super::target::Target;
use super::transport::{Answer, Request};
use crate::api::kv::{DeleteAnswer, PrefixDeleteAnswer, PutAnswer};
use crate::api::{Key, header};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static(header::IDEMPOTENCY_KEY);

/// A call on its way.
pub(super) type Call<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// What every write has.
#[derive(Debug, Clone)]
struct Write {
    client: Client,
    method: Method,
    /// The mistake of a wrong argument waits here until the call is awaited.
    target: Result<String, Error>,
    headers: HeaderMap,
    body: Bytes,
    timeout: Option<Duration>,
}

impl Write {
    fn of_key(client: &Client, method: Method, key: String, body: Bytes) -> Self {
        let target = Key::new(key).map(|key| format!("/kv/{}", key.to_path()));
        let target = target.map_err(|error| Error::Invalid(error.to_string()));
        Self { client: client.clone(), method, target, headers: HeaderMap::new(), body, timeout: None }
    }

    fn header(&mut self, name: HeaderName, value: String) {
        match HeaderValue::try_from(value) {
            Ok(value) => drop(self.headers.insert(name, value)),
            Err(_) => self.target = Err(Error::Invalid(format!("the {name} is not a valid header's text"))),
        }
    }

    async fn send(mut self) -> Result<Answer, Error> {
        if !self.headers.contains_key(IDEMPOTENCY_KEY) {
            self.header(IDEMPOTENCY_KEY, self.client.idempotency_key());
        }
        let request = Request {
            method: self.method,
            target: self.target?,
            headers: self.headers,
            body: self.body,
            writes: true,
            waits: true,
            repeatable: true,
            slow: false,
            patient: true,
        };
        self.client.call(&request, Aim::Leader, self.timeout).await
    }
}

/// Options that every write has.
macro_rules! write_options {
    ($type:ident) => {
        impl $type {
            /// How long it may take with all its attempts, instead of the client's own time-out.
            pub fn timeout(mut self, timeout: Duration) -> Self {
                self.write.timeout = Some(timeout);
                self
            }

            /// Uses this idempotency key (1 to 128 bytes of printable ASCII) instead of one made up here: the same key again,
            /// from another process too, within ten minutes, answers with the outcome of the first instead of writing again.
            pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
                let key = key.into();
                if key.is_empty() || key.len() > header::MAX_IDEMPOTENCY_KEY {
                    let most = header::MAX_IDEMPOTENCY_KEY;
                    self.write.target = Err(Error::Invalid(format!("an idempotency key has 1 to {most} bytes")));
                } else {
                    self.write.header(IDEMPOTENCY_KEY, key);
                }
                self
            }
        }
    };
}

/// Setting a key; await it. See [`Client::put`].
#[derive(Debug, Clone)]
#[must_use = "nothing is sent until it is awaited"]
pub struct Put {
    write: Write,
}

/// Removing a key; await it. See [`Client::delete`].
#[derive(Debug, Clone)]
#[must_use = "nothing is sent until it is awaited"]
pub struct Delete {
    write: Write,
}

/// Removing all keys with a prefix; await it. See [`Client::delete_prefix`].
#[derive(Debug, Clone)]
#[must_use = "nothing is sent until it is awaited"]
pub struct DeletePrefix {
    write: Write,
}

write_options!(Put);
write_options!(Delete);
write_options!(DeletePrefix);

impl Client {
    /// Sets a key. Any bytes will do for a value. When it returns `Ok`, a majority has it on disk.
    pub fn put(&self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Put {
        Put { write: Write::of_key(self, Method::PUT, key.into(), Bytes::from(value.into())) }
    }

    /// Removes a key. It is no error if there is none: see [`DeleteAnswer::existed`].
    pub fn delete(&self, key: impl Into<String>) -> Delete {
        Delete { write: Write::of_key(self, Method::DELETE, key.into(), Bytes::new()) }
    }

    /// Removes every key that starts with `prefix`, at once. An empty prefix stands for all keys and is refused unless
    /// [`DeletePrefix::everything`] says that it is meant.
    pub fn delete_prefix(&self, prefix: impl Into<String>) -> DeletePrefix {
        let target = match prefix.into() {
            empty if empty.is_empty() => Err(Error::Invalid("an empty prefix stands for every key".to_owned())),
            prefix => Ok(Target::new("/kv").query("prefix", prefix).into_string()),
        };
        let (client, headers, body) = (self.clone(), HeaderMap::new(), Bytes::new());
        DeletePrefix { write: Write { client, method: Method::DELETE, target, headers, body, timeout: None } }
    }
}

impl Put {
    /// Writes only if the key was last written by this revision.
    pub fn if_revision(mut self, revision: u64) -> Self {
        self.write.header(IF_MATCH, format!("\"{revision}\""));
        self
    }

    /// Writes only if the key is absent.
    pub fn if_absent(mut self) -> Self {
        self.write.header(IF_NONE_MATCH, "*".to_owned());
        self
    }

    /// Writes only if the key is there.
    pub fn if_exists(mut self) -> Self {
        self.write.header(IF_MATCH, "*".to_owned());
        self
    }

    /// What the value is, such as `application/json`: readers get it as the content type.
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.write.header(CONTENT_TYPE, content_type.into());
        self
    }
}

impl Delete {
    /// Removes only if the key was last written by this revision.
    pub fn if_revision(mut self, revision: u64) -> Self {
        self.write.header(IF_MATCH, format!("\"{revision}\""));
        self
    }

    /// Removes only if the key is there: else the condition fails instead of nothing happening.
    pub fn if_exists(mut self) -> Self {
        self.write.header(IF_MATCH, "*".to_owned());
        self
    }
}

impl DeletePrefix {
    /// Removes every key there is.
    pub fn everything(mut self) -> Self {
        self.write.target = Ok(Target::new("/kv").query("prefix", "").query("all", true).into_string());
        self
    }
}

/// Sends it, reads the answer, and remembers the revision for later reads.
macro_rules! awaited {
    ($type:ident => $answer:ident) => {
        impl IntoFuture for $type {
            type Output = Result<$answer, Error>;
            type IntoFuture = Call<$answer>;

            fn into_future(self) -> Self::IntoFuture {
                Box::pin(async {
                    let client = self.write.client.clone();
                    let answer: $answer = self.write.send().await?.json(true)?;
                    client.saw(Some(answer.revision));
                    Ok(answer)
                })
            }
        }
    };
}

awaited!(Put => PutAnswer);
awaited!(Delete => DeleteAnswer);
awaited!(DeletePrefix => PrefixDeleteAnswer);

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        Client::builder().endpoint("127.0.0.1:1").build().unwrap()
    }

    #[test]
    fn wrong_arguments_fail_before_anything_is_sent() {
        let wrong = |write: Write| matches!(write.target, Err(Error::Invalid(_)));
        assert!(wrong(client().put("", "v").write));
        assert!(wrong(client().put("k", "v").content_type("a\nb").write));
        assert!(wrong(client().put("k", "v").idempotency_key("").write));
        assert!(wrong(client().put("k", "v").idempotency_key("x".repeat(129)).write));
        assert!(wrong(client().delete_prefix("").write));
        assert_eq!(client().delete_prefix("").everything().write.target.unwrap(), "/kv?prefix=&all=true");
    }

    #[test]
    fn every_write_has_a_key_of_its_own() {
        let client = client();
        let (one, two) = (client.idempotency_key(), client.clone().idempotency_key());
        assert_ne!(one, two);
        assert!(one.len() <= header::MAX_IDEMPOTENCY_KEY);
    }
}
