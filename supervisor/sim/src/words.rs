//! Reports in words, for timelines.

use mastiff_core::pair::event::{PairReport, Passage};

/// One line.
pub(crate) fn of(report: &PairReport) -> String {
    match report {
        PairReport::Role { group, from, to, cause, epoch } => {
            let epoch = if epoch.0 == 0 { String::new() } else { format!(", epoch {}", epoch.0) };
            format!("group {}: {from:?} -> {to:?}: {cause}{epoch}", group.0)
        }
        PairReport::Epoch { group, epoch } => format!("group {}: epoch {}", group.0, epoch.0),
        PairReport::Refused { group, order, why } => {
            format!("group {}: {order:?} refused: {why:?}", group.0)
        }
        PairReport::RestartReady { group } => format!("group {}: ready for a restart", group.0),
        PairReport::WayDown(Passage::Free) => "goes down".into(),
        PairReport::WayDown(Passage::Waits(away)) if away.announced => {
            "waits: the other node is rebooting".into()
        }
        PairReport::WayDown(Passage::Waits(_)) => "waits: the other node is silent".into(),
        PairReport::CannotRemove { group, step } => format!("group {}: {step:?} fails", group.0),
    }
}
