//! Changing keys on all members: requests on sealed streams, so only who holds a key of the ring may ask.
//!
//! ```text
//!   asker --sealed stream, kind 2--> any member --the same, not passed on--> every other live member
//!         <--who did it, what each has now--      <--
//! ```
//!
//! A request on a stream that is not sealed is refused. The handshake makes it fresh: an old one cannot be repeated.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
    time::timeout,
};
use uuid::Uuid;

use super::{
    dial::{Dialler, OpenError},
    key_chain::KeyChain,
    options::Limits,
    stream::PeerStream,
};
use crate::world;
use crate::{
    keyring::{Change, Entry, EntryName, KEY_LEN, Key, KeyName, Keyring, MAX_KEYS},
    swim::wire::{ClusterHash, StreamKind},
};

/// How long one member may take: a sync of a slow disk fits in.
const MEMBER: Duration = Duration::from_secs(3);
/// Members asked at a time by the one that passes a request on.
const AT_ONCE: usize = 32;
/// Longest answer: 16,384 members with some keys each.
const MAX_ANSWER: usize = 4 << 20;
/// Longest reason of a member that did not do it; the rest is cut off.
const MAX_REASON: usize = 256;

const REQUEST: usize = 4 + KEY_LEN;
const LIST: u8 = 0;
const ADD: u8 = 1;
const USE: u8 = 2;
const REMOVE: u8 = 3;
const PLAIN: u8 = 0;
const KEY: u8 = 1;

/// What is asked of the members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyRequest {
    /// Which entries do you have?
    List,
    /// Change your ring.
    Change(Change),
}

/// What one member has, and whether it did what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyReport {
    /// Who.
    pub member: Uuid,
    /// The names in its ring, the first first; empty when it was not reached.
    pub ring: Vec<EntryName>,
    /// Why it did not do it; none when it did.
    pub failure: Option<String>,
}

/// Why no member did what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// There is no key to ask with.
    #[error("such a request must be sealed: no key is at hand")]
    NoKey,
    /// No key of ours opened a stream; what the last one met.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The stream broke. Whether the request was carried out is unknown.
    #[error("the answer did not arrive ({0}); list the keys to see what became of the request")]
    Lost(#[from] io::Error),
}

/// Asks the member at this address, and through it all that it sees alive. Tries the keys one by one, the first first.
///
/// # Errors
/// When not even the first member could be asked.
pub async fn ask(
    address: SocketAddr,
    cluster: &str,
    keys: &Keyring,
    request: &KeyRequest,
    at_most: Duration,
) -> Result<Vec<KeyReport>, AskError> {
    let limits = Limits::default();
    let dialler = Dialler {
        cluster: ClusterHash::of(cluster),
        me: world::uuid(),
        connect_timeout: limits.connect_timeout,
        handshake_timeout: limits.handshake_timeout,
        keys: Arc::new(KeyChain::new(keys.clone(), None)),
        counters: Arc::default(),
    };
    let mut failed = AskError::NoKey;
    for key in keys.keys() {
        match dialler.open_with(address, None, StreamKind::Keys, Some(key.clone())).await {
            Ok(stream) => {
                let asked = timeout(at_most, converse(stream, request, true)).await;
                return Ok(asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?);
            }
            // Another key may be the one that it has.
            Err(error @ (OpenError::Closed { .. } | OpenError::NotAMember { .. })) => failed = error.into(),
            Err(error) => return Err(error.into()),
        }
    }
    Err(failed)
}

async fn converse(mut stream: PeerStream, request: &KeyRequest, pass_on: bool) -> io::Result<Vec<KeyReport>> {
    stream.write_all(encode_request(request, pass_on).as_slice()).await?;
    let length = stream.read_u32_le().await? as usize;
    if length > MAX_ANSWER {
        return Err(malformed());
    }
    let mut bytes = Vec::new();
    (&mut stream).take(length as u64).read_to_end(&mut bytes).await?;
    decode_reports(&bytes).filter(|_| bytes.len() == length).ok_or_else(malformed)
}

/// What a member needs to serve requests.
#[derive(Debug, Clone)]
pub(super) struct KeyService {
    pub(super) dialler: Dialler,
    pub(super) view: tokio::sync::watch::Receiver<Arc<super::View>>,
}

impl KeyService {
    /// Serves one request.
    pub(super) async fn serve(self, mut stream: PeerStream) -> io::Result<()> {
        let mut bytes = zeroize::Zeroizing::new([0; REQUEST]);
        timeout(MEMBER, stream.read_exact(&mut *bytes)).await??;
        let (request, pass_on) = decode_request(&bytes).ok_or_else(malformed)?;
        let mut reports = vec![self.here(&request).await];
        if pass_on {
            reports.extend(self.elsewhere(&request).await);
        }
        let answer = encode_reports(&reports);
        stream.write_u32_le(u32::try_from(answer.len()).map_err(io::Error::other)?).await?;
        stream.write_all(&answer).await?;
        stream.shutdown().await
    }

    async fn here(&self, request: &KeyRequest) -> KeyReport {
        let keys = &self.dialler.keys;
        let failure = match request {
            KeyRequest::List => None,
            KeyRequest::Change(change) => match keys.change(change).await {
                Ok(ring) => {
                    let names: Vec<String> = ring.entries().iter().map(|entry| entry.name().to_string()).collect();
                    log::info!("the keys are now {}; the first seals", names.join(", "));
                    None
                }
                Err(error) => Some(error.to_string()),
            },
        };
        let ring = keys.ring().entries().iter().map(Entry::name).collect();
        KeyReport { member: self.dialler.me, ring, failure }
    }

    async fn elsewhere(&self, request: &KeyRequest) -> Vec<KeyReport> {
        let view = self.view.borrow().clone();
        let mut others = view.live().filter(|member| member.id != view.local).map(|member| (member.id, member.address));
        let mut asking = JoinSet::new();
        let mut reports = Vec::new();
        loop {
            while asking.len() < AT_ONCE
                && let Some((member, address)) = others.next()
            {
                let (this, request) = (self.clone(), request.clone());
                asking.spawn(async move {
                    let asked = timeout(MEMBER, this.pass_on(member, address, &request)).await;
                    asked
                        .unwrap_or_else(|_| Err("it did not answer in time".to_owned()))
                        .unwrap_or_else(|why| KeyReport { member, ring: Vec::new(), failure: Some(why) })
                });
            }
            match asking.join_next().await {
                Some(Ok(report)) => reports.push(report),
                Some(Err(_)) => {}
                None => break,
            }
        }
        reports.sort_by_key(|report| report.member);
        reports
    }

    async fn pass_on(&self, member: Uuid, address: SocketAddr, request: &KeyRequest) -> Result<KeyReport, String> {
        let mut failed = "no key is at hand".to_owned();
        // While keys change, the other may already have done what we have not, or the reverse.
        for key in self.dialler.keys.ring().keys() {
            let kind = StreamKind::Keys;
            match self.dialler.open_with(address, Some(member), kind, Some(key.clone())).await {
                Ok(stream) => {
                    let reports = converse(stream, request, false).await.map_err(|error| error.to_string())?;
                    return reports.into_iter().next().ok_or_else(|| malformed().to_string());
                }
                Err(error) => failed = error.to_string(),
            }
        }
        Err(failed)
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "malformed")
}

fn encode_request(request: &KeyRequest, pass_on: bool) -> zeroize::Zeroizing<[u8; REQUEST]> {
    let mut out = zeroize::Zeroizing::new([0; REQUEST]);
    out[1] = u8::from(pass_on);
    let mut name = |name: EntryName| match name {
        EntryName::Plain => PLAIN,
        EntryName::Key(name) => {
            out[4..4 + KeyName::LEN].copy_from_slice(&name.0);
            KEY
        }
    };
    (out[0], out[2]) = match request {
        KeyRequest::List => (LIST, PLAIN),
        KeyRequest::Change(Change::Add(Entry::Plain)) => (ADD, PLAIN),
        KeyRequest::Change(Change::Add(Entry::Key(key))) => {
            out[4..].copy_from_slice(key.secret());
            (ADD, KEY)
        }
        KeyRequest::Change(Change::Use(entry)) => (USE, name(*entry)),
        KeyRequest::Change(Change::Remove(entry)) => (REMOVE, name(*entry)),
    };
    out
}

fn decode_request(bytes: &[u8; REQUEST]) -> Option<(KeyRequest, bool)> {
    let [operation, pass_on @ 0..=1, tag @ 0..=1, 0, rest @ ..] = bytes else { return None };
    let mut name = [0; KeyName::LEN];
    name.copy_from_slice(&rest[..KeyName::LEN]);
    let plain = *tag == PLAIN;
    let name = if plain { EntryName::Plain } else { EntryName::Key(KeyName(name)) };
    let request = match *operation {
        LIST => KeyRequest::List,
        ADD if plain => KeyRequest::Change(Change::Add(Entry::Plain)),
        ADD => KeyRequest::Change(Change::Add(Entry::Key(Key::new(*rest)))),
        USE => KeyRequest::Change(Change::Use(name)),
        REMOVE => KeyRequest::Change(Change::Remove(name)),
        _ => return None,
    };
    Some((request, *pass_on == 1))
}

fn encode_reports(reports: &[KeyReport]) -> Vec<u8> {
    let mut out = Vec::new();
    for report in reports {
        out.extend_from_slice(report.member.as_bytes());
        out.push(u8::try_from(report.ring.len()).unwrap_or(u8::MAX));
        for entry in report.ring.iter().take(usize::from(u8::MAX)) {
            match entry {
                EntryName::Plain => out.extend_from_slice(&[PLAIN; 1 + KeyName::LEN]),
                EntryName::Key(name) => {
                    out.push(KEY);
                    out.extend_from_slice(&name.0);
                }
            }
        }
        let mut reason = report.failure.as_deref().unwrap_or_default();
        while reason.len() > MAX_REASON {
            reason = &reason[..reason.floor_char_boundary(MAX_REASON)];
        }
        out.extend_from_slice(&(reason.len() as u16).to_le_bytes());
        out.extend_from_slice(reason.as_bytes());
    }
    out
}

fn decode_reports(mut bytes: &[u8]) -> Option<Vec<KeyReport>> {
    let mut reports = Vec::new();
    while !bytes.is_empty() {
        let (member, rest) = bytes.split_first_chunk::<16>()?;
        let (count, mut rest) = rest.split_first()?;
        let mut ring = Vec::new();
        if usize::from(*count) > MAX_KEYS {
            return None;
        }
        for _ in 0..*count {
            let ([tag, name @ ..], behind) = rest.split_first_chunk::<{ 1 + KeyName::LEN }>()?;
            ring.push(if *tag == PLAIN { EntryName::Plain } else { EntryName::Key(KeyName(*name)) });
            rest = behind;
        }
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (reason, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        let failure = (!reason.is_empty()).then(|| String::from_utf8_lossy(reason).into_owned());
        reports.push(KeyReport { member: Uuid::from_bytes(*member), ring, failure });
        bytes = rest;
    }
    Some(reports)
}

/// What the fuzzers hold requests about keys and their answers to: what is understood is understood the same when it is written anew.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz(data: &[u8]) {
    if let Some((request, pass_on)) = data.first_chunk().and_then(decode_request) {
        let again = decode_request(&encode_request(&request, pass_on));
        assert_eq!(again, Some((request, pass_on)), "written anew, it is another");
    }
    if let Some(reports) = decode_reports(data) {
        let again = decode_reports(&encode_reports(&reports)).unwrap_or_default();
        assert_eq!(again.len(), reports.len());
        for (again, report) in again.iter().zip(&reports) {
            assert_eq!((again.member, &again.ring), (report.member, &report.ring));
            let (again, said) = (again.failure.as_deref(), report.failure.as_deref());
            assert!(again == said || said.is_some_and(|said| said.starts_with(again.unwrap_or_default())));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_and_reports_survive_the_wire() {
        let key = Key::new([3; KEY_LEN]);
        let name = EntryName::Key(key.name());
        let changes = [
            Change::Add(Entry::Plain),
            Change::Add(Entry::Key(key)),
            Change::Use(name),
            Change::Use(EntryName::Plain),
            Change::Remove(name),
        ];
        for request in changes.map(KeyRequest::Change).into_iter().chain([KeyRequest::List]) {
            for pass_on in [true, false] {
                assert_eq!(decode_request(&encode_request(&request, pass_on)), Some((request.clone(), pass_on)));
            }
        }
        let report = |failure: Option<&str>| KeyReport {
            member: Uuid::from_u128(7),
            ring: vec![name, EntryName::Plain],
            failure: failure.map(str::to_owned),
        };
        let reports = [report(None), report(Some("disk full"))];
        assert_eq!(decode_reports(&encode_reports(&reports)).unwrap(), reports);
        let long = decode_reports(&encode_reports(&[report(Some(&"ü".repeat(500)))])).unwrap();
        assert_eq!(long[0].failure.as_ref().map(String::len), Some(MAX_REASON));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_no_harm(request in any::<[u8; REQUEST - 4]>(), head: [u8; 4], reports: Vec<u8>) {
            let mut bytes = [0; REQUEST];
            bytes[..4].copy_from_slice(&head);
            bytes[4..].copy_from_slice(&request);
            let _ = decode_request(&bytes);
            let _ = decode_reports(&reports);
        }
    }
}
