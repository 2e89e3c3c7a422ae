//! The flight record by boots, and what can be said of one of them.

use crate::flight::file::Log;
use crate::flight::{Kind, Record};

/// The records of one boot, in the order in which they were noted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Boot {
    /// Its id.
    pub(in crate::cli) id: String,
    /// Its records; the kept copy of its last pulse is one of them.
    pub(in crate::cli) records: Vec<Record>,
}

impl Boot {
    /// The last sign of life: of whatever kind, by the clock that nobody sets.
    pub(in crate::cli) fn last(&self) -> Option<&Record> {
        self.records.iter().max_by_key(|record| record.at_ns)
    }

    /// When it began, in Unix milliseconds, as the first daemon knew it.
    pub(in crate::cli) fn began_ms(&self) -> Option<u64> {
        let first = self.records.iter().find(|record| record.kind != Kind::LastPulse)?;
        let up_ms = u64::try_from(first.at_ns / 1_000_000).ok()?;
        first.unix_ms.checked_sub(up_ms)
    }

    /// The newest record of a kind.
    pub(in crate::cli) fn newest(&self, kind: Kind) -> Option<&Record> {
        self.records.iter().rev().find(|record| record.kind == kind)
    }
}

/// All boots of a file, oldest first.
pub(in crate::cli) fn boots(log: Log) -> Vec<Boot> {
    let mut boots: Vec<Boot> = Vec::new();
    for (_, record) in log.records {
        match boots.iter_mut().find(|boot| boot.id == record.boot) {
            Some(boot) => boot.records.push(record),
            None => boots.push(Boot { id: record.boot.clone(), records: vec![record] }),
        }
    }
    boots
}
