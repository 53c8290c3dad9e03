//! Writes resume when the fault is gone, through every node, without anybody's help.

use std::time::Duration;

use crate::torture::record::Record;

/// 30 s from the end of a fault to a write through every node. An election takes half a second and a restart another; what is left is for
/// a machine that does much else, and for nodes that get an empty disk filled first.
pub const RESUMES_WITHIN: Duration = Duration::from_secs(30);

/// What is wrong.
pub fn judge(record: &Record) -> Vec<String> {
    let mut wrong = Vec::new();
    for strike in &record.strikes {
        match strike.recovered.map(|at| Duration::from_micros(at.saturating_sub(strike.ended))) {
            Some(took) if took <= RESUMES_WITHIN => {}
            Some(took) => wrong.push(format!("{took:?} without writes after {} on {}", strike.fault, strike.on)),
            None => wrong.push(format!("no writes any more after {} on {}", strike.fault, strike.on)),
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::record::Strike;

    #[test]
    fn it_bites() {
        let told = |recovered| {
            let strike = Strike {
                fault: "kill".to_owned(),
                on: "n1".to_owned(),
                began: 0,
                ended: 1_000_000,
                recovered,
                evidence: String::new(),
            };
            judge(&Record { strikes: vec![strike], ..Record::default() }).len()
        };
        assert_eq!([told(Some(2_000_000)), told(Some(40_000_000)), told(None)], [0, 1, 1]);
    }
}
