//! The handshake and the records, byte by byte.

use tokio::io::{DuplexStream, duplex};
use uuid::Uuid;

use super::*;
use crate::swim::wire::{Refusal, StreamKind};

const CLUSTER: ClusterHash = ClusterHash::from_bits(7);

fn key() -> Key {
    Key::new([1; 32])
}

fn preface() -> Preface {
    Preface::new(StreamKind::Application(20), CLUSTER, Uuid::from_u128(1), None)
}

fn yes() -> [u8; Answer::LEN] {
    preface().answer(CLUSTER, Uuid::from_u128(2)).encode()
}

/// The acceptor's side on these bytes.
async fn accept(mut there: DuplexStream, key: &Key, answer: [u8; Answer::LEN]) -> io::Result<(Channel, DuplexStream)> {
    let mut first = [0; FIRST];
    there.read_exact(&mut first).await?;
    if Heard::key_name(&first, CLUSTER)? != key.name() {
        return Err(HandshakeError::UnknownKey.into());
    }
    let (heard, bytes) = Heard::open(&first, key)?;
    assert_eq!(Preface::decode(&bytes).map_err(io::Error::other)?, preface());
    Ok((heard.answer(&mut there, &answer).await?, there))
}

async fn pair() -> ((Channel, DuplexStream), (Channel, DuplexStream)) {
    let (mut here, there) = duplex(1 << 20);
    let (dialler, acceptor) = (key(), key());
    let (preface, accepting) = (preface(), accept(there, &acceptor, yes()));
    let (dialled, accepted) = tokio::join!(dial(&mut here, &dialler, &preface), accepting);
    ((dialled.unwrap().1, here), accepted.unwrap())
}

/// Seals these, one record each.
fn records(channel: &mut Channel, all: &[&[u8]]) -> Vec<Vec<u8>> {
    let seal = |bytes: &&[u8]| {
        channel.sealer.seal(bytes).unwrap();
        std::mem::take(&mut channel.sealer.out)
    };
    all.iter().map(seal).collect()
}

/// Everything that comes out until the end.
async fn read(opener: &mut Opener, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let (mut bytes, mut out) = (bytes, Vec::new());
    loop {
        let mut chunk = [0; 7];
        let n = std::future::poll_fn(|context| {
            let mut buffer = ReadBuf::new(&mut chunk);
            let read = ready!(opener.poll_read(&mut bytes, context, &mut buffer));
            Poll::Ready(read.map(|()| buffer.filled().len()))
        });
        match n.await? {
            0 => return Ok(out),
            n => out.extend_from_slice(&chunk[..n]),
        }
    }
}

#[tokio::test]
async fn both_sides_hold_the_key_or_nothing_is_said() {
    let ((mut here, _), (mut there, _)) = pair().await;
    let sent = records(&mut here, &[b"one", b"two", b""]).concat();
    assert_eq!(read(&mut there.opener, &sent).await.unwrap(), b"onetwo");
    let sent = records(&mut there, &[b"back", b""]).concat();
    assert_eq!(read(&mut here.opener, &sent).await.unwrap(), b"back");

    let (mut here, there) = duplex(1024);
    let (other, preface, mine) = (Key::new([2; 32]), preface(), key());
    let (dialled, accepted) = tokio::join!(dial(&mut here, &other, &preface), accept(there, &mine, yes()));
    assert_eq!(dialled.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(accepted.unwrap_err().to_string(), HandshakeError::UnknownKey.to_string());
}

#[tokio::test]
async fn a_refusal_is_sealed_and_needs_no_proof() {
    let (mut here, there) = duplex(1024);
    let no = Answer::refuse(Refusal::Busy, Uuid::from_u128(2)).encode();
    let (key, preface) = (key(), preface());
    let (dialled, accepted) = tokio::join!(dial(&mut here, &key, &preface), accept(there, &key, no));
    assert_eq!(Answer::decode(&dialled.unwrap().0).unwrap().verdict, Err(Refusal::Busy));
    assert!(accepted.is_ok());
}

#[tokio::test]
async fn a_handshake_that_was_heard_before_opens_nothing() {
    let (mut here, mut there) = duplex(1 << 16);
    let (key, preface) = (key(), preface());
    let mut first = [0; FIRST];
    {
        let dialling = dial(&mut here, &key, &preface);
        tokio::select! { _ = dialling => panic!("nobody answers"), read = there.read_exact(&mut first) => read.unwrap() };
    }
    // Somebody who listened sends it again. The acceptor answers, and waits for a proof that cannot be given.
    let (mut thief, there) = duplex(1 << 16);
    thief.write_all(&first).await.unwrap();
    thief.write_all(&[16, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]).await.unwrap();
    let error = accept(there, &key, yes()).await.unwrap_err();
    assert_eq!(error.to_string(), HandshakeError::BadSeal.to_string());
    // With one bit turned it is not even answered.
    for at in 0..FIRST {
        let mut bent = first;
        bent[at] ^= 4;
        let heard = Heard::key_name(&bent, CLUSTER).map(|name| name == key.name() && Heard::open(&bent, &key).is_ok());
        assert!(!matches!(heard, Ok(true)), "byte {at}");
    }
}

#[tokio::test]
async fn what_is_changed_cut_repeated_swapped_left_out_or_sent_back_does_not_open() {
    let broken = |bytes: Vec<u8>, back: bool| async move {
        let ((mut here, _), (mut there, _)) = pair().await;
        // Same keys for each case would need the same randomness, so each case is made on a pair of its own.
        let sent = records(&mut here, &[b"one", b"two", b""]);
        let bytes: Vec<u8> = bytes.iter().flat_map(|at| sent[usize::from(*at)].clone()).collect();
        read(if back { &mut here.opener } else { &mut there.opener }, &bytes).await
    };
    assert_eq!(broken(vec![0, 1, 2], false).await.unwrap(), b"onetwo");
    for wrong in [vec![1, 0, 2], vec![0, 0, 1, 2], vec![0, 2], vec![1, 2], vec![2]] {
        let error = broken(wrong.clone(), false).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{wrong:?}");
    }
    assert_eq!(broken(vec![0, 1], false).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "cut");
    assert_eq!(broken(vec![0, 1, 2], true).await.unwrap_err().kind(), io::ErrorKind::InvalidData, "sent back");
    for at in 0..19 + 2 {
        let ((mut here, _), (mut there, _)) = pair().await;
        let mut sent = records(&mut here, &[b"one", b""]).concat();
        sent[at] ^= 1;
        assert!(read(&mut there.opener, &sent).await.is_err(), "byte {at}");
    }
}

#[tokio::test]
async fn long_writes_are_cut_into_records_and_come_out_whole() {
    let ((mut here, mut near), (mut there, mut far)) = pair().await;
    let all: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    let mut rest = all.as_slice();
    let writing = async {
        while !rest.is_empty() {
            let (a, b) = rest.split_at(rest.len() / 3);
            let slices = [IoSlice::new(a), IoSlice::new(&[]), IoSlice::new(b)];
            let n = std::future::poll_fn(|context| here.sealer.poll_write(&mut near, context, &slices)).await?;
            rest = &rest[n..];
        }
        std::future::poll_fn(|context| here.sealer.poll_shutdown(&mut near, context)).await
    };
    let reading = async {
        let mut out = Vec::new();
        loop {
            let mut chunk = [0; 10_000];
            let n = std::future::poll_fn(|context| {
                let mut buffer = ReadBuf::new(&mut chunk);
                let read = ready!(there.opener.poll_read(&mut far, context, &mut buffer));
                Poll::Ready(read.map(|()| buffer.filled().len()))
            });
            match n.await? {
                0 => return io::Result::Ok(out),
                n => out.extend_from_slice(&chunk[..n]),
            }
        }
    };
    let (written, read) = tokio::join!(writing, reading);
    written.unwrap();
    assert!(read.unwrap() == all);
}

#[tokio::test]
async fn a_write_that_is_given_up_half_way_is_heard_once_or_ends_the_stream() {
    // The pipe takes 1,000 bytes at a time, so a write is half-way when it is first asked.
    let given_up = || async {
        let ((mut here, _), (there, _)) = pair().await;
        let (mut near, far) = duplex(1_000);
        let first = std::future::poll_fn(|context| {
            Poll::Ready(here.sealer.poll_write(&mut near, context, &[IoSlice::new(&[1; 3_000])]).is_pending())
        });
        assert!(first.await, "it waits for the reader");
        (here.sealer, near, there.opener, far)
    };
    let write = async |sealer: &mut Sealer, near: &mut DuplexStream, bytes: &[u8]| {
        std::future::poll_fn(|context| sealer.poll_write(near, context, &[IoSlice::new(bytes)])).await
    };

    // The same again, with more behind it, and in smaller pieces: once.
    let (mut sealer, mut near, mut opener, mut far) = given_up().await;
    let mut heard = vec![0; 3_001];
    let writing = async {
        assert_eq!(write(&mut sealer, &mut near, &[1; 1_000]).await.unwrap(), 1_000);
        let rest = [[1_u8; 2_000].as_slice(), &[2]].concat();
        assert_eq!(write(&mut sealer, &mut near, &rest).await.unwrap(), 2_000);
        assert_eq!(write(&mut sealer, &mut near, &[2]).await.unwrap(), 1);
    };
    let reading = async {
        let mut from = 0;
        while from < heard.len() {
            from += std::future::poll_fn(|context| {
                let mut buffer = ReadBuf::new(&mut heard[from..]);
                let read = ready!(opener.poll_read(&mut far, context, &mut buffer));
                Poll::Ready(read.map(|()| buffer.filled().len()))
            })
            .await
            .unwrap();
        }
    };
    tokio::join!(writing, reading);
    assert_eq!(heard, [[1_u8; 3_000].as_slice(), &[2]].concat());

    // Something else: nothing of it counts as written, though the old record goes out.
    let (mut sealer, mut near, _opener, mut far) = given_up().await;
    let drained = async {
        let mut record = [0; LENGTH + 3_000 + TAG];
        far.read_exact(&mut record).await.unwrap();
    };
    let (written, ()) = tokio::join!(write(&mut sealer, &mut near, &[2; 3_000]), drained);
    assert_eq!(written.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert!(write(&mut sealer, &mut near, &[3]).await.is_err(), "and so it stays");
}

fn summed() -> (Channel, Arc<Counters>) {
    let counters = Arc::new(Counters::default());
    (Channel::summed(SUMS_SINCE, &counters).unwrap(), counters)
}

#[tokio::test]
async fn a_stream_without_keys_carries_what_was_written_and_ends_where_it_was_closed() {
    let (mut here, _) = summed();
    let sent = records(&mut here, &[b"one", b"two"]).concat();
    let (mut there, counters) = summed();
    assert_eq!(read(&mut there.opener, &sent).await.unwrap(), b"onetwo");
    for len in [1, 5, sent.len() - 1] {
        let end = read(&mut summed().0.opener, &sent[..len]).await;
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "within a record");
    }
    assert_eq!(counters.read(Default::default()).streams_damaged, 0);
    assert!(Channel::summed(SUMS_SINCE - 1, &counters).is_none(), "with members that know no sums");
}

#[tokio::test]
async fn whichever_bit_flips_on_a_stream_without_keys_nothing_else_comes_out_than_went_in() {
    let (mut here, _) = summed();
    // 64 KiB behind it, so that a length that has grown has something to reach for.
    let sent = records(&mut here, &[b"first", b"second", &[7; 65_000]]).concat();
    let told = [&b"firstsecond"[..], &[7; 65_000]].concat();
    // Those of the first two.
    for bit in 0..23 * 8 {
        let mut flipped = sent.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let (mut there, counters) = summed();
        let mut out = Vec::new();
        let mut bytes = &flipped[..];
        let end = loop {
            let mut chunk = vec![0; 4096];
            let n = std::future::poll_fn(|context| {
                let mut buffer = ReadBuf::new(&mut chunk);
                let read = ready!(there.opener.poll_read(&mut bytes, context, &mut buffer));
                Poll::Ready(read.map(|()| buffer.filled().len()))
            });
            match n.await {
                Ok(0) => break None,
                Ok(n) => out.extend_from_slice(&chunk[..n]),
                Err(error) => break Some(error.kind()),
            }
        };
        assert!(told.starts_with(&out), "bit {bit}");
        assert_eq!(end, Some(io::ErrorKind::InvalidData), "bit {bit}");
        assert_eq!(counters.read(Default::default()).streams_damaged, 1, "bit {bit}");
    }
}

#[tokio::test]
async fn records_that_are_left_out_or_come_twice_end_a_stream_without_keys() {
    let (mut here, _) = summed();
    let sent = records(&mut here, &[b"one", b"two"]);
    for wrong in [vec![&sent[1]], vec![&sent[0], &sent[0]]] {
        let bytes: Vec<u8> = wrong.into_iter().flatten().copied().collect();
        let end = read(&mut summed().0.opener, &bytes).await;
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
