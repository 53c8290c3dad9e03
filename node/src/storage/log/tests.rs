//! The log as a whole: against a model, cut at every byte, with every bit flipped, with failing syncs and a full disk.

use std::fs;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Instant;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// Small, so that a few entries roll it.
const SEGMENT: u64 = 8192;

/// No test waits longer for what must come.
const DEADLINE: Duration = Duration::from_secs(20);

fn options() -> LogOptions {
    LogOptions { segment_bytes: SEGMENT, reserve_bytes: 0 }
}

fn open(dir: &TempDir) -> Log {
    Log::open(dir.path(), &options()).unwrap()
}

fn record(term: u64, index: u64) -> Record {
    let payload = Bytes::from(format!("{term}/{index} ").repeat(1 + (index as usize * 7) % 20));
    Record { position: Position { term, index }, payload }
}

/// Asks, and waits for the answer.
fn wait(ask: impl FnOnce(Callback)) -> Result<(), LogError> {
    let (sender, answer) = mpsc::channel();
    ask(Box::new(move |result| sender.send(result).unwrap()));
    answer.recv_timeout(DEADLINE).expect("an answer")
}

fn append(log: &Log, records: Vec<Record>) -> Result<(), LogError> {
    wait(|done| log.append(records, done).unwrap())
}

fn all(log: &Log) -> Vec<Record> {
    log.read(0, u64::MAX, u64::MAX).unwrap()
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < DEADLINE, "never: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn what_was_answered_for_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let records: Vec<_> = (0..200).map(|index| record(1 + index / 50, index)).collect();
    {
        let log = open(&dir);
        append(&log, records[..150].to_vec()).unwrap();
        wait(|done| log.save_vote(Bytes::from_static(b"vote"), done)).unwrap();
        log.save_committed(Some(Position { term: 3, index: 120 }));
        append(&log, records[150..].to_vec()).unwrap();
        assert_eq!(all(&log), records);
        assert!(log.status().sync_p50 > Duration::ZERO);
    }
    let log = open(&dir);
    assert_eq!(all(&log), records);
    assert_eq!(log.vote().unwrap(), "vote");
    assert_eq!(log.committed(), Some(Position { term: 3, index: 120 }));
    assert_eq!(log.bounds(), Bounds { purged: None, last: Some(Position { term: 4, index: 199 }) });
}

#[test]
fn reads_are_bounded_but_never_empty() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir);
    let records: Vec<_> = (0..100).map(|index| record(1, index)).collect();
    append(&log, records.clone()).unwrap();
    assert_eq!(log.read(10, 90, 1).unwrap(), records[10..11]);
    assert_eq!(log.read(10, 90, u64::MAX).unwrap(), records[10..90]);
    let some = log.read(10, 90, 2000).unwrap();
    assert!((2..80).contains(&some.len()), "{}", some.len());
    assert_eq!(log.read(200, 300, 10).unwrap(), []);
}

#[test]
fn holes_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir);
    append(&log, vec![record(1, 5)]).unwrap();
    assert!(matches!(log.append(vec![record(1, 7)], Box::new(|_| ())), Err(LogError::Refused(_))));
    append(&log, vec![record(1, 6)]).unwrap();
}

#[test]
fn an_entry_longer_than_a_segment_gets_one_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let long = Record { position: Position { term: 1, index: 1 }, payload: vec![7; 5 * SEGMENT as usize].into() };
    let records = vec![record(1, 0), long, record(1, 2)];
    {
        let log = open(&dir);
        append(&log, records.clone()).unwrap();
        assert_eq!(all(&log), records);
    }
    let log = open(&dir);
    assert_eq!(all(&log), records);
    append(&log, (3..60).map(|index| record(1, index)).collect()).unwrap();
    wait(|done| log.purge(Position { term: 1, index: 59 }, done)).unwrap();
    let longest = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).max();
    assert!(longest.unwrap() <= 4 * 4096, "the long segment is gone");
}

#[test]
fn purged_segments_are_recycled() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir);
    for round in 0..50 {
        append(&log, (0..20).map(|index| record(1, round * 20 + index)).collect()).unwrap();
        if round > 3 {
            wait(|done| log.purge(Position { term: 1, index: round * 20 - 40 }, done)).unwrap();
        }
    }
    let files = fs::read_dir(dir.path()).unwrap().count();
    assert!(files < 12, "{files} files");
    assert_eq!(log.index_keeping(u64::MAX), None);
    let keep = log.index_keeping(SEGMENT).unwrap();
    assert!((900..1000).contains(&keep), "{keep}");
    drop(log);
    let log = open(&dir);
    assert_eq!(log.bounds().purged, Some(Position { term: 1, index: 940 }));
    assert_eq!(all(&log), (941..1000).map(|index| record(1, index)).collect::<Vec<_>>());
}

#[test]
fn a_failed_sync_poisons_the_log_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir);
    append(&log, vec![record(1, 0)]).unwrap();
    log.shared.spares.faults.sync.store(true, Ordering::SeqCst);
    let failed = append(&log, vec![record(1, 1)]);
    assert!(matches!(&failed, Err(LogError::Poisoned(reason)) if reason.contains("injected")), "{failed:?}");
    log.shared.spares.faults.sync.store(false, Ordering::SeqCst);
    // The disk works again; the log does not trust it.
    assert!(matches!(log.append(vec![record(1, 2)], Box::new(|_| ())), Err(LogError::Poisoned(_))));
    assert!(matches!(wait(|done| log.save_vote(Bytes::new(), done)), Err(LogError::Poisoned(_))));
    assert!(matches!(wait(|done| log.purge(Position { term: 1, index: 0 }, done)), Err(LogError::Poisoned(_))));
    assert!(log.failure().unwrap().contains("injected"));
}

#[test]
fn a_full_disk_is_a_state_that_clears() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir);
    append(&log, vec![record(1, 0)]).unwrap();
    eventually("a spare is ready", || log.shared.spares.count() == 1);
    log.shared.spares.faults.space.store(true, Ordering::SeqCst);
    let (sender, answers) = mpsc::channel();
    for index in 1..200 {
        let sender = sender.clone();
        log.append(vec![record(1, index)], Box::new(move |result| sender.send(result).unwrap())).unwrap();
    }
    eventually("the disk is full", || log.is_full());
    assert!(log.failure().is_none());
    assert_eq!(all(&log).len(), 200, "what waits can be read");
    log.shared.spares.faults.space.store(false, Ordering::SeqCst);
    for _ in 1..200 {
        assert_eq!(answers.recv_timeout(DEADLINE), Ok(Ok(())));
    }
    eventually("there is room again", || !log.is_full());
}

#[test]
fn a_log_that_is_closed_while_the_disk_is_full_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir);
    append(&log, vec![record(1, 0)]).unwrap();
    eventually("a spare is ready", || log.shared.spares.count() == 1);
    log.shared.spares.faults.space.store(true, Ordering::SeqCst);
    let (sender, answers) = mpsc::channel();
    log.append((1..200).map(|index| record(1, index)).collect(), Box::new(move |result| sender.send(result).unwrap()))
        .unwrap();
    eventually("the disk is full", || log.is_full());
    drop(log);
    assert_eq!(answers.recv_timeout(DEADLINE), Ok(Err(LogError::Closed)));
    let log = open(&dir);
    assert_eq!(all(&log)[0], record(1, 0));
}

#[test]
fn a_newer_format_is_refused_with_one_line() {
    let dir = tempfile::tempdir().unwrap();
    append(&open(&dir), vec![record(1, 0)]).unwrap();
    let (path, mut bytes) = segment_of(&dir, 1);
    bytes[8] = 3;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..12]);
    hasher.update(&bytes[16..64]);
    bytes[12..16].copy_from_slice(&hasher.finalize().to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let refusal = Log::open(dir.path(), &options()).unwrap_err();
    assert!(matches!(refusal, OpenError::Newer(_)));
    assert!(
        refusal.to_string().contains("newer release (format 3)") && !refusal.to_string().contains('\n'),
        "{refusal}"
    );
}

/// The file that holds a generation.
fn segment_of(dir: &TempDir, generation: u64) -> (PathBuf, Vec<u8>) {
    fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .find(|(_, bytes)| u64_at(bytes, 16) == generation)
        .unwrap()
}

/// A log of `groups` groups of two entries in one segment, closed; the file, its bytes, and where each group ends.
fn small_log(dir: &TempDir, groups: u64) -> (PathBuf, Vec<u8>, Vec<usize>) {
    let log = open(dir);
    let mut ends = Vec::new();
    for group in 0..groups {
        append(&log, vec![record(1, 2 * group), record(1, 2 * group + 1)]).unwrap();
        ends.push(log.shared.lock().index.current().unwrap().end as usize);
    }
    drop(log);
    let (path, bytes) = segment_of(dir, 1);
    (path, bytes, ends)
}

/// Takes from the marks what was noted without a sync: a crash of the machine may.
fn forget_unsynced_marks(dir: &TempDir) {
    let path = dir.path().join("control");
    fs::remove_file(&path).unwrap();
    let mut control = Control::create(&path, Marks { first_generation: 1, ..Marks::default() }).unwrap();
    control.write_vote(b"vote").unwrap();
}

#[test]
fn cut_at_every_byte_it_opens_with_whole_entries_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes, ends) = small_log(&dir, 3);
    forget_unsynced_marks(&dir);
    let control = fs::read(dir.path().join("control")).unwrap();
    let last = *ends.last().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for cut in (START_OF_RECORDS..=last).rev() {
        // Zeros behind the cut, as where a write never arrived.
        let mut torn = bytes.clone();
        torn[cut..].fill(0);
        fs::write(&path, torn).unwrap();
        fs::write(dir.path().join("control"), &control).unwrap();
        let log = open(&dir);
        let found = all(&log);
        assert_eq!(found, (0..found.len() as u64).map(|index| record(1, index)).collect::<Vec<_>>());
        let whole = ends.iter().filter(|end| **end <= cut).count() * 2;
        assert!(found.len() >= whole && found.len() <= whole + 1, "cut at {cut}: {} entries", found.len());
        seen.insert(found.len());
        let next = record(2, found.len() as u64);
        append(&log, vec![next.clone()]).unwrap();
        drop(log);
        assert_eq!(all(&open(&dir)).last(), Some(&next), "cut at {cut}");
    }
    assert_eq!(seen.len(), 7, "every number of entries was seen");
}

const START_OF_RECORDS: usize = segment::START as usize;

#[test]
fn a_file_that_lost_its_end_is_refused_where_it_was_synced() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes, ends) = small_log(&dir, 3);
    let last = *ends.last().unwrap();
    for cut in (0..last).step_by(61) {
        fs::write(&path, &bytes[..cut]).unwrap();
        let refusal = Log::open(dir.path(), &options()).unwrap_err();
        assert!(matches!(refusal, OpenError::Damaged(_)), "cut at {cut}: {refusal}");
        assert!(!refusal.to_string().contains('\n'));
    }
    fs::write(&path, &bytes[..last]).unwrap();
    assert_eq!(all(&open(&dir)).len(), 6);
}

#[test]
fn every_flipped_bit_below_the_last_sync_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes, ends) = small_log(&dir, 2);
    let last = *ends.last().unwrap();
    let expected = all(&open(&dir));
    for at in (0..64).chain(START_OF_RECORDS..last) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&path, flipped).unwrap();
        match Log::open(dir.path(), &options()) {
            Err(OpenError::Damaged(line)) => {
                assert!(line.contains(".seg") || line.contains("missing"), "{line}");
                assert!(line.contains("put this data dir aside") && !line.contains('\n'), "{line}");
            }
            // A flipped bit of padding changes nothing.
            Ok(log) => assert_eq!(all(&log), expected, "byte {at}"),
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
}

#[test]
fn without_marks_a_flipped_bit_is_still_found_by_the_groups_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes, ends) = small_log(&dir, 3);
    forget_unsynced_marks(&dir);
    let expected = all(&open(&dir));
    let (mut refused, mut cut) = (0, 0);
    for bit in (START_OF_RECORDS * 8..ends[2] * 8).step_by(3) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, flipped).unwrap();
        forget_unsynced_marks(&dir);
        match Log::open(dir.path(), &options()) {
            Err(OpenError::Damaged(_)) => refused += 1,
            Err(other) => panic!("{other}"),
            Ok(log) => {
                let found = all(&log);
                // The last group may have been torn; nothing tells that it was not. Nothing before it is ever lost.
                assert!(found == expected || bit / 8 >= ends[1], "bit {bit}");
                assert_eq!(found, expected[..found.len()]);
                cut += usize::from(found.len() < expected.len());
            }
        }
    }
    assert!(refused > 100 && cut > 100, "{refused} refused, {cut} cut");
}

#[test]
fn a_write_torn_in_its_middle_is_cut_and_its_remains_never_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let (path, mut bytes, ends) = small_log(&dir, 2);
    forget_unsynced_marks(&dir);
    // The first entry of the last group is lost, the second arrived.
    bytes[ends[0] + 4] ^= 1;
    fs::write(&path, bytes).unwrap();
    let log = open(&dir);
    assert_eq!(all(&log), [record(1, 0), record(1, 1)]);
    // The same entry again, just as long: what stood behind it must not be taken for the next.
    append(&log, vec![record(1, 2)]).unwrap();
    drop(log);
    assert_eq!(all(&open(&dir)), [record(1, 0), record(1, 1), record(1, 2)]);
}

#[test]
fn a_committed_entry_that_is_gone_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let (path, mut bytes, ends) = small_log(&dir, 2);
    let control = dir.path().join("control");
    fs::remove_file(&control).unwrap();
    let committed = Some(Position { term: 1, index: 3 });
    Control::create(&control, Marks { first_generation: 1, committed, ..Marks::default() }).unwrap();
    bytes[ends[0]..].fill(0);
    fs::write(&path, bytes).unwrap();
    let refusal = Log::open(dir.path(), &options()).unwrap_err().to_string();
    assert!(refusal.contains("entry 3 was committed, but the log ends at entry 1"), "{refusal}");
}

#[test]
fn a_missing_segment_and_a_missing_control_file_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    append(&open(&dir), (0..100).map(|index| record(1, index)).collect()).unwrap();
    for generation in [1, 2] {
        let (path, bytes) = segment_of(&dir, generation);
        fs::remove_file(&path).unwrap();
        let refusal = Log::open(dir.path(), &options()).unwrap_err().to_string();
        assert!(refusal.contains(&format!("generation {generation} is missing")), "{refusal}");
        fs::write(&path, bytes).unwrap();
    }
    fs::remove_file(dir.path().join("control")).unwrap();
    let refusal = Log::open(dir.path(), &options()).unwrap_err().to_string();
    assert!(refusal.contains("control") && refusal.contains("missing"), "{refusal}");
}

#[test]
fn what_rots_of_the_vote_in_one_life_and_in_the_next_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    wait(|done| open(&dir).save_vote(Bytes::from_static(b"vote"), done)).unwrap();
    let path = dir.path().join("control");
    for slot in [0, 1, 0] {
        let mut bytes = fs::read(&path).unwrap();
        bytes[slot * 4096] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(open(&dir).vote().unwrap(), "vote", "slot {slot}");
    }
}

#[test]
fn a_start_writes_the_last_records_again_and_leaves_every_byte_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes, _) = small_log(&dir, 3);
    let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1);
    fs::File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
    let found = all(&open(&dir));
    assert_eq!(found, (0..6).map(|index| record(1, index)).collect::<Vec<_>>());
    assert!(fs::metadata(&path).unwrap().modified().unwrap() > long_ago, "nothing was written");
    assert!(fs::read(&path).unwrap() == bytes);
}

/// Records without a salt, as a caller may put them into a value: whole, of many a generation, one behind another.
fn forged(length: usize, synced: u32) -> Bytes {
    let mut forged = Vec::new();
    for generation in (1..=12).cycle() {
        let brand = record::Brand { generation, salt: 0 };
        let head = record::Head { kind: record::Kind::Entry, brand, index: 0, term: 1, previous: 0, synced };
        record::encode(&head, &[], &mut forged);
        if forged.len() > length {
            break;
        }
    }
    forged.truncate(length);
    forged.into()
}

#[test]
fn a_value_full_of_forged_records_in_a_recycled_segment_stops_no_start() {
    let dir = tempfile::tempdir().unwrap();
    let long = |index| Record { position: Position { term: 1, index }, payload: forged(3500, 5000) };
    // Longer than what a long one leaves of its segment.
    let short = Record { position: Position { term: 1, index: 6 }, payload: vec![1; 600].into() };
    let (at, generation) = {
        let log = open(&dir);
        for index in 0..6 {
            append(&log, vec![long(index)]).unwrap();
        }
        // No fresh one comes in between: the recycled one is the next.
        eventually("a spare is ready", || log.shared.spares.count() == 1);
        wait(|done| log.purge(Position { term: 1, index: 4 }, done)).unwrap();
        append(&log, vec![short.clone()]).unwrap();
        let state = log.shared.lock();
        let current = state.index.current().unwrap();
        (current.end as usize, current.brand.generation)
    };
    let (_, bytes) = segment_of(&dir, generation);
    let unsalted = record::Brand { generation, salt: 0 };
    let good = (at..bytes.len()).step_by(8).filter_map(|stray| record::parse(&bytes[stray..], unsalted));
    assert!(at < 5000 && good.count() > 2, "forged records of the very generation stand behind the end");
    for _ in 0..2 {
        assert_eq!(all(&open(&dir)), [long(5), short.clone()]);
    }
}

/// A log as releases up to 2.3 wrote it: one segment, with groups of one entry each. Its path, its bytes, and where each record ends.
fn old_log(dir: &TempDir, records: &[Record]) -> (PathBuf, Vec<u8>, Vec<usize>) {
    drop(Control::create(&dir.path().join("control"), Marks { first_generation: 1, ..Marks::default() }).unwrap());
    let mut bytes = [b"MUSTRLOG".as_slice(), &1_u16.to_le_bytes(), &[0; 6], &1_u64.to_le_bytes()].concat();
    bytes.extend(SEGMENT.to_le_bytes());
    bytes.resize(64, 0);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..12]);
    hasher.update(&bytes[16..]);
    let mut chain = hasher.finalize();
    bytes[12..16].copy_from_slice(&chain.to_le_bytes());
    bytes.resize(4096, 0);
    let mut ends = Vec::new();
    for Record { position, payload } in records {
        let synced = bytes.len() as u32;
        let mut record = (payload.len() as u32).to_le_bytes().to_vec();
        record.extend([1, position.index, position.term].map(u64::to_le_bytes).concat());
        record.extend([chain, synced].map(u32::to_le_bytes).concat());
        record.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        record.extend(payload);
        chain = crc32fast::hash(&record);
        bytes.extend(chain.to_le_bytes());
        bytes.extend(record);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        ends.push(bytes.len());
    }
    bytes.resize(SEGMENT as usize, 0);
    let path = dir.path().join("0000000001.seg");
    fs::write(&path, &bytes).unwrap();
    (path, bytes, ends)
}

#[test]
fn a_segment_of_an_older_release_is_read_and_continued_as_that_would() {
    let dir = tempfile::tempdir().unwrap();
    let records: Vec<_> = (0..100).map(|index| record(1, index)).collect();
    old_log(&dir, &records[..3]);
    let log = open(&dir);
    assert_eq!(all(&log), records[..3]);
    for record in &records[3..6] {
        append(&log, vec![record.clone()]).unwrap();
    }
    drop(log);
    let old = tempfile::tempdir().unwrap();
    assert!(segment_of(&dir, 1).1 == old_log(&old, &records[..6]).1, "byte for byte");
    let log = open(&dir);
    append(&log, records[6..].to_vec()).unwrap();
    assert_eq!(all(&log), records);
    drop(log);
    assert_eq!([1, 2].map(|generation| segment_of(&dir, generation).1[8]), [1, 2], "the next is of this version");
    assert_eq!(all(&open(&dir)), records);
}

#[test]
fn a_segment_of_an_older_release_is_cut_and_refused_as_before() {
    let records: Vec<_> = (0..3).map(|index| record(1, index)).collect();
    for damaged in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let (path, mut bytes, ends) = old_log(&dir, &records);
        bytes[ends[damaged] - 9] ^= 1;
        fs::write(&path, bytes).unwrap();
        match Log::open(dir.path(), &options()) {
            Ok(log) => assert!(damaged == 2 && all(&log) == records[..2], "the last one may have been torn"),
            Err(refusal) => {
                assert!(damaged < 2 && refusal.to_string().contains("good newer ones"), "{damaged}: {refusal}");
            }
        }
    }
}

#[test]
fn a_segment_of_an_older_release_is_not_refused_for_records_that_nobody_would_have_written() {
    let records = [record(1, 0)];
    // Synced up to somewhere behind themselves: none. Up to here: such as a writer's, and nothing tells them apart.
    for (synced, refused) in [(u32::MAX, false), (SEGMENT as u32, false), (0, false), (5000, true)] {
        let dir = tempfile::tempdir().unwrap();
        let (path, mut bytes, ends) = old_log(&dir, &records);
        let forged = forged(SEGMENT as usize - ends[0] - 8, synced);
        bytes[ends[0] + 8..].copy_from_slice(&forged);
        fs::write(&path, bytes).unwrap();
        assert_eq!(Log::open(dir.path(), &options()).is_err(), refused, "synced up to {synced}");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append(u8),
    AppendUnawaited(u8),
    Cut(u8),
    Purge(u8),
    PurgeBeyond(u8),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u8..40).prop_map(Step::Append),
        3 => (1u8..10).prop_map(Step::AppendUnawaited),
        2 => (0u8..50).prop_map(Step::Cut),
        2 => (0u8..60).prop_map(Step::Purge),
        1 => (0u8..9).prop_map(Step::PurgeBeyond),
        2 => Just(Step::Reopen),
    ]
}

/// The log as one would write it down on paper.
#[derive(Default)]
struct Model {
    purged: Option<Position>,
    records: Vec<Record>,
    term: u64,
}

impl Model {
    fn next(&self) -> u64 {
        self.last().map_or(0, |last| last.index + 1)
    }

    fn last(&self) -> Option<Position> {
        self.records.last().map(|record| record.position).or(self.purged)
    }

    fn add(&mut self, count: u8) -> Vec<Record> {
        let next = self.next();
        let new: Vec<_> = (next..next + u64::from(count)).map(|index| record(self.term, index)).collect();
        self.records.extend(new.iter().cloned());
        new
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_done_the_log_says_what_the_model_says(steps in prop::collection::vec(step(), 1..30)) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(&dir);
        let mut model = Model { term: 1, ..Model::default() };
        for step in steps {
            match step {
                Step::Append(count) => append(&log, model.add(count)).unwrap(),
                Step::AppendUnawaited(count) => log.append(model.add(count), Box::new(|_| ())).unwrap(),
                Step::Cut(count) => {
                    let keep = model.records.len().saturating_sub(usize::from(count));
                    model.records.truncate(keep);
                    model.term += 1;
                    wait(|done| log.truncate_after(model.last().map(|last| last.index), done)).unwrap();
                }
                Step::Purge(count) => {
                    let gone = model.records.len().min(usize::from(count));
                    if let Some(last) = model.records.drain(..gone).next_back() {
                        model.purged = Some(last.position);
                        wait(|done| log.purge(last.position, done)).unwrap();
                    }
                }
                Step::PurgeBeyond(by) => {
                    let purged = Position { term: model.term, index: model.next() + u64::from(by) };
                    model.records.clear();
                    model.purged = Some(purged);
                    wait(|done| log.purge(purged, done)).unwrap();
                }
                Step::Reopen => {
                    drop(log);
                    log = open(&dir);
                }
            }
            prop_assert_eq!(log.bounds(), Bounds { purged: model.purged, last: model.last() });
            prop_assert_eq!(all(&log), model.records.clone());
        }
    }
}
