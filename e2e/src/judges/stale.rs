//! A read is as stale as it says, and no staler: whatever was acknowledged earlier than its age before it was asked for, it shows. The
//! same holds for the age that the reader allowed.

use super::order::acked;
use crate::torture::operation::{Freshness, Micros};
use crate::torture::record::Record;

/// What is wrong.
pub fn judge(record: &Record) -> Vec<String> {
    let acked = acked(record);
    // The highest revision acknowledged up to each acknowledgement.
    let highest: Vec<(Micros, u64)> = acked
        .iter()
        .scan(0, |highest, &(at, revision)| {
            *highest = revision.max(*highest);
            Some((at, *highest))
        })
        .collect();
    let before = |at: Micros| match highest.partition_point(|(acked, _)| *acked < at) {
        0 => 0,
        count => highest[count - 1].1,
    };
    let mut wrong = Vec::new();
    for read in &record.operations {
        let Some((applied, staleness)) = read.view() else { continue };
        let told = staleness.map(|ms| (ms * 1000, "says"));
        let allowed = match read.call.freshness() {
            Some(Freshness::Within(age)) => Some((age, "was to be")),
            Some(Freshness::Local | Freshness::Linearizable) | None => None,
        };
        for (age, why) in told.into_iter().chain(allowed) {
            let needed = before(read.began.saturating_sub(age));
            if applied < needed {
                wrong.push(format!(
                    "client {} read at {} what node {:?} {why} is at most {age} us old: revision {applied}, but {needed} had \
                     been acked by then",
                    read.client, read.began, read.node
                ));
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::story::Story;

    #[test]
    fn it_bites() {
        let read = |applied, staleness, freshness| {
            let story = Story::default().put("a", "1", 0..1_000, Some(1)).put("b", "2", 1_500..5_000, Some(2));
            judge(&story.get_at("a", None, applied, staleness, 10_000..11_000, freshness).record).len()
        };
        use Freshness::{Local, Within};
        assert_eq!((read(0, None, Local), read(2, Some(0), Local), read(1, Some(5), Local)), (0, 0, 0));
        assert_eq!(read(1, Some(4), Local), 1, "staler than it says");
        assert_eq!(read(0, Some(8), Local), 1, "staler than it says");
        assert_eq!((read(1, None, Within(5_000)), read(1, None, Within(4_000))), (0, 1), "staler than allowed");
    }
}
