//! Listings, fetched page by page.

use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::try_unfold;

use super::client::Client;
use super::error::Error;
use super::read::{Entry, Freshness, ReadInfo, read_options};
use super::target::Target;
use super::transport::Request;
use crate::api::kv::{Item, Page};

/// A listing in byte order of the keys. Each page is one consistent cut; a later page may come from a later cut. Never
/// more than a page is held.
#[derive(Debug, Clone)]
#[must_use = "nothing is sent until a page is asked for"]
pub struct List {
    client: Client,
    prefix: String,
    keys_only: bool,
    freshness: Freshness,
    page_size: Option<usize>,
    timeout: Option<Duration>,
    next: Next,
    /// What is left of the last page.
    rest: VecDeque<Entry>,
}

#[derive(Debug, Clone)]
enum Next {
    First,
    After(String),
    Done,
}

read_options!(List);

impl Client {
    /// Lists the keys that start with `prefix`; all of them when it is empty.
    pub fn list(&self, prefix: impl Into<String>) -> List {
        List {
            client: self.clone(),
            prefix: prefix.into(),
            keys_only: false,
            freshness: Freshness::default(),
            page_size: None,
            timeout: None,
            next: Next::First,
            rest: VecDeque::new(),
        }
    }
}

impl List {
    /// Leaves the values out.
    pub fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }

    /// Starts behind this key.
    pub fn start_after(mut self, key: impl Into<String>) -> Self {
        self.next = Next::After(key.into());
        self
    }

    /// How many keys to ask for at once, 1 to 1,000; the server's 100 when not given.
    pub fn page_size(mut self, keys: usize) -> Self {
        self.page_size = Some(keys);
        self
    }

    /// The next page; `None` behind the last. After an error it may be asked for again.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Entry>>, Error> {
        if !self.rest.is_empty() {
            return Ok(Some(self.rest.drain(..).collect()));
        }
        let after = match &self.next {
            Next::First => None,
            Next::After(key) => Some(key),
            Next::Done => return Ok(None),
        };
        let target = Target::new("/kv")
            .query_if("prefix", Some(&self.prefix).filter(|prefix| !prefix.is_empty()))
            .query_if("start_after", after)
            .query_if("keys_only", self.keys_only.then_some(true))
            .query_if("limit", self.page_size);
        let target = self.freshness.query(target, &self.client);
        let request = Request { waits: true, ..Request::get(target.into_string()) };
        let answer = self.client.call(&request, self.freshness.aim(), self.timeout).await?;
        if !answer.status.is_success() {
            return Err(answer.into_error(false));
        }
        let page: Page = answer.json(false)?;
        self.client.saw(Some(page.revision));
        let read = ReadInfo { revision: page.revision, ..ReadInfo::of(&answer) };
        let entries = page.items.into_iter().map(|item| entry(item, read)).collect::<Result<Vec<_>, _>>();
        let entries = entries.map_err(|error| answer.garbled(false, format!("a value in its listing: {error}")))?;
        self.next = page.next.map_or(Next::Done, Next::After);
        Ok(Some(entries))
    }

    /// The next entry; `None` behind the last.
    #[allow(clippy::should_implement_trait, reason = "it is asynchronous")]
    pub async fn next(&mut self) -> Result<Option<Entry>, Error> {
        while self.rest.is_empty() {
            match self.next_page().await? {
                Some(page) => self.rest = page.into(),
                None => return Ok(None),
            }
        }
        Ok(self.rest.pop_front())
    }

    /// The same as a stream. It ends with the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Entry, Error>> + Send {
        try_unfold(self, async |mut list| Ok(list.next().await?.map(|entry| (entry, list))))
    }
}

fn entry(item: Item, read: ReadInfo) -> Result<Entry, base64::DecodeError> {
    let value = item.value.map(|text| STANDARD.decode(text)).transpose()?.unwrap_or_default();
    Ok(Entry {
        key: item.key,
        value: Bytes::from(value),
        content_type: None,
        create_revision: item.create_revision,
        modify_revision: item.modify_revision,
        read,
    })
}
