//! Why a node could not take a group, as far as this one can say.

use mastiff_core::pair::message::{NotReady, Role};
use mastiff_core::time::Mono;

use super::Brain;
use crate::config::pair::GroupConfig;
use crate::keeper::board::GroupShown;
use crate::keeper::definition;

impl Brain {
    /// Why this node could not take a group; which check, unit or interface it is.
    pub(super) fn not_ready(
        &self,
        group: &GroupConfig,
        shown: &GroupShown,
        no_link: Option<&String>,
        now: Mono,
    ) -> Option<String> {
        let why = shown.not_ready?;
        let detail = match why {
            NotReady::CheckFailed => Some(self.node.speaking_against(&group.name, now).join(", ")),
            NotReady::Units => self.units_unready(&group.name),
            NotReady::LinkDown => no_link.cloned(),
            NotReady::DefinitionDiffers => shown.differs.map(|(ours, theirs)| {
                format!("{} (`mastiff config show` on both)", definition::difference(ours, theirs))
            }),
            NotReady::Paused => self.paused_by(now),
            NotReady::Rebooting => self.going_reason(now),
            NotReady::Starting
            | NotReady::NoReport
            | NotReady::ObserveOnly
            | NotReady::Recovering
            | NotReady::Yielded
            | NotReady::PeerStopUnknown
            | NotReady::NoWatchdog
            | NotReady::Other(_) => None,
        };
        let detail = detail.filter(|detail| !detail.is_empty());
        let text = detail.map_or(why.to_string(), |detail| format!("{why}: {detail}"));
        // It is documented, and surprises all the same.
        let is_idle = !matches!(shown.role, Role::Active | Role::Taking | Role::Yielding);
        Some(match why {
            NotReady::CheckFailed if is_idle => {
                format!("{text}; it takes nothing before that ends, not even from a dead owner")
            }
            _ => text,
        })
    }

    fn paused_by(&self, now: Mono) -> Option<String> {
        let pauses = self.node.pauses(now);
        let whole = pauses.into_iter().find(|pause| pause.check.is_none())?;
        Some(format!("{} ({})", whole.why, whole.who))
    }
}
