//! Reading the state.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use fjall::Readable;
use muster_client::api::kv::MAX_PAGE_BYTES;

use super::StateError;
use super::cache::Cache;
use super::deletion::Deletion;
use super::generation::Generation;
use super::rows::{self, APPLIED, Applied, CONFIGURATION, KEY};
use crate::kv::{Page, PageQuery, Versioned};

/// One row as it is.
pub(super) fn row(generation: &Generation, row: &[u8]) -> Result<Option<Bytes>, StateError> {
    let value = generation.rows()?.get(row).map_err(|error| generation.error(&error))?;
    Ok(value.map(|value| Bytes::copy_from_slice(&value)))
}

/// A key's value. The generation is taken only after the cache was asked: a row of one that is replaced meanwhile does not come in.
pub(super) fn get(
    cache: &Cache,
    deletion: &Deletion,
    generation: impl Fn() -> Arc<Generation>,
    key: &str,
) -> Result<Option<Versioned>, StateError> {
    let hidden = deletion.hidden();
    if hidden.covers(key) {
        return Ok(None);
    }
    let found = match cache.get(key) {
        Ok(row) => Some(row),
        Err(ticket) => {
            let found = row(&generation(), &rows::row(KEY, key))?;
            if let Some(row) = &found {
                cache.fill(ticket, key, row.clone());
            }
            found
        }
    };
    found.map(|row| rows::parse_row(&row).ok_or_else(|| unreadable(&generation(), key))).transpose()
}

/// How far the log was applied.
pub(super) fn applied(generation: &Generation) -> Result<Applied, StateError> {
    match row(generation, APPLIED)? {
        Some(value) => rows::parse_applied(&value).ok_or_else(|| unreadable(generation, "applied")),
        None => Ok(Applied::default()),
    }
}

/// The replicated configuration.
pub(super) fn configuration(generation: &Generation) -> Result<BTreeMap<String, String>, StateError> {
    let mut configuration = BTreeMap::new();
    for guard in generation.rows()?.prefix([CONFIGURATION]) {
        let (name, value) = guard.into_inner().map_err(|error| generation.error(&error))?;
        let text =
            |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| unreadable(generation, "config"));
        configuration.insert(text(name.get(1..).unwrap_or_default())?, text(&value)?);
    }
    Ok(configuration)
}

/// A key's value and the revision at which it is so, from one consistent cut.
pub(super) fn get_at(
    generation: &Generation,
    deletion: &Deletion,
    key: &str,
) -> Result<(Option<Versioned>, u64), StateError> {
    let (snapshot, hidden) = cut(generation, deletion)?;
    let revision = revision_of(&snapshot, generation)?;
    if hidden.is_some_and(|hidden| key.starts_with(hidden.as_str())) {
        return Ok((None, revision));
    }
    let found = snapshot.get(generation.rows()?, rows::row(KEY, key)).map_err(|error| generation.error(&error))?;
    let parse =
        |row: fjall::Slice| rows::parse_row(&Bytes::copy_from_slice(&row)).ok_or_else(|| unreadable(generation, key));
    Ok((found.map(parse).transpose()?, revision))
}

/// What is there at one moment, and the prefix of which nothing is.
fn cut(generation: &Generation, deletion: &Deletion) -> Result<(fjall::Snapshot, Option<String>), StateError> {
    let hidden = deletion.hidden();
    Ok((generation.database()?.snapshot(), hidden.prefix()))
}

fn revision_of(snapshot: &fjall::Snapshot, generation: &Generation) -> Result<u64, StateError> {
    let applied = snapshot.get(generation.rows()?, APPLIED).map_err(|error| generation.error(&error))?;
    let parse = |value: fjall::Slice| rows::parse_applied(&value).ok_or_else(|| unreadable(generation, "applied"));
    Ok(applied.map(parse).transpose()?.unwrap_or_default().revision)
}

/// A page of keys and its revision, from one consistent cut.
pub(super) fn page(generation: &Generation, deletion: &Deletion, query: &PageQuery) -> Result<(Page, u64), StateError> {
    let engine = |error: fjall::Error| generation.error(&error);
    let (snapshot, hidden) = cut(generation, deletion)?;
    let state = generation.rows()?;
    let revision = revision_of(&snapshot, generation)?;
    let prefix = rows::row(KEY, &query.prefix);
    let from = match &query.start_after {
        Some(after) if *after >= query.prefix => Bound::Excluded(rows::row(KEY, after)),
        Some(_) | None => Bound::Included(prefix.clone()),
    };
    let mut page = Page::default();
    let mut bytes = 0;
    for guard in snapshot.range(state, (from, Bound::Unbounded)) {
        let (row, value) = guard.into_inner().map_err(engine)?;
        if !row.starts_with(&prefix) {
            break;
        }
        let key = std::str::from_utf8(&row[1..]).map_err(|_| unreadable(generation, "a key"))?;
        if hidden.as_ref().is_some_and(|hidden| key.starts_with(hidden.as_str())) {
            continue;
        }
        let versioned = rows::parse_value(&value, query.keys_only).ok_or_else(|| unreadable(generation, key))?;
        bytes += key.len() + versioned.value.len();
        if page.items.len() == query.limit || (bytes > MAX_PAGE_BYTES && !page.items.is_empty()) {
            page.more = true;
            break;
        }
        page.items.push((key.to_owned(), versioned));
    }
    Ok((page, revision))
}

fn unreadable(generation: &Generation, what: &str) -> StateError {
    StateError(format!("{}: the row of {what:?} cannot be read; {}", generation.dir.display(), super::REPLACE))
}
