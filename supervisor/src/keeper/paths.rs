//! How good a path is: loss and round trip, for people. Nothing is decided by it.

use mastiff_core::pair::clock::Clocks;
use mastiff_core::pair::link::Dropped;
use mastiff_core::pair::message::Beat;
use mastiff_core::time::{Mono, Span};
use mastiff_core::wire;

/// What is counted together.
const WINDOW: Span = Span::from_secs(10);

/// Questions that say something about a path.
const ASKED_MIN: u32 = 10;

/// One direction and back, of one path.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quality {
    /// When something was last heard on it.
    pub heard_at: Option<Mono>,
    /// In the window before this one: answers that did not come, in thousandths of the questions.
    pub loss_permille: Option<u16>,
    /// From a question to the arrival of its answer, the shortest of this window and the one
    /// before: some answers wait for the end of a rest.
    pub round_trip: Option<Span>,
    /// What came from the other end and was no message for this node: how much, and why the newest.
    pub refused: u64,
    /// See [`Quality::refused`].
    pub refusal: Option<(wire::Error, Mono)>,
    began: Mono,
    asked: u32,
    answered: u32,
    /// The shortest round trip of this window.
    shortest: Option<Span>,
}

impl Quality {
    /// A message was taken from it first.
    pub fn heard(&mut self, beat: &Beat, now: Clocks) {
        self.heard_at = Some(now.boot);
        if let Some(answer) = &beat.answer {
            self.answered = self.answered.saturating_add(1);
            let trip = Some(now.longest_since(answer.sent));
            self.shortest = trip.min(self.shortest.or(trip));
            self.round_trip = trip.min(self.round_trip.or(trip));
        }
    }

    /// A message was dropped; a copy of what came on another path shows that this one works.
    pub fn dropped(&mut self, why: Dropped, beat: &Beat, now: Clocks) {
        if why == Dropped::Copy {
            self.heard(beat, now);
        }
    }

    /// Something was refused.
    pub const fn refuse(&mut self, why: wire::Error, now: Mono) {
        self.refused = self.refused.saturating_add(1);
        self.refusal = Some((why, now));
    }

    /// A message was sent on it; `asks`: an answer will tell whether it arrived.
    pub const fn sent(&mut self, asks: bool) {
        if asks {
            self.asked = self.asked.saturating_add(1);
        }
    }

    /// Ends a window that is over.
    pub fn tick(&mut self, now: Mono) {
        if now.since(self.began) < WINDOW {
            return;
        }
        self.round_trip = self.shortest.take();
        // Of a few the answers may still be on their way, or nobody was there to give them.
        if self.asked < ASKED_MIN {
            self.loss_permille = None;
            (self.asked, self.answered, self.began) = (0, 0, now);
            return;
        }
        let lost = self.asked.saturating_sub(self.answered).saturating_mul(1000);
        self.loss_permille = lost.checked_div(self.asked).and_then(|loss| u16::try_from(loss).ok());
        (self.asked, self.answered, self.began) = (0, 0, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mastiff_core::pair::message::{Answer, Epoch, GroupKey, Role, Standing, Vote};

    fn at(millis: u64) -> Clocks {
        Clocks::ZERO.after(Span::from_millis(millis))
    }

    fn answer(sent: Clocks) -> Beat {
        let vote = Vote::Granted { peer_stopped: false };
        let answer = Answer { epoch: Epoch(1), sent, lease: Span::from_secs(1), vote };
        Beat {
            group: GroupKey(1),
            definition: 1,
            role: Role::Standby,
            standing: Standing::default(),
            not_ready: None,
            highest: Epoch::NONE,
            stops_within: None,
            peer_stops_within: None,
            released: None,
            carried: None,
            ask: None,
            answer: Some(answer),
        }
    }

    #[test]
    fn loss_is_what_was_asked_and_not_answered() {
        let mut quality = Quality::default();
        quality.tick(at(20_000).boot);
        assert_eq!(quality.loss_permille, None, "nothing asked");
        for beat in 0..16 {
            quality.sent(true);
            let sent = at(20_000 + beat);
            let copy = answer(sent);
            match beat % 4 {
                0 => {}
                1 => quality.dropped(Dropped::Copy, &copy, at(20_003 + beat)),
                2 => quality.dropped(Dropped::Repeated, &copy, at(20_003 + beat)),
                _ => quality.heard(&copy, at(20_003 + beat)),
            }
        }
        quality.tick(at(29_999).boot);
        assert_eq!(quality.loss_permille, None, "the window is not over");
        quality.tick(at(30_000).boot);
        assert_eq!(quality.loss_permille, Some(500));
        assert_eq!(quality.round_trip, Some(Span::from_millis(3)));
        quality.heard(&answer(at(30_000)), at(30_005));
        assert_eq!(quality.round_trip, Some(Span::from_millis(3)), "that of the window before");
        quality.heard(&answer(at(30_100)), at(30_102));
        assert_eq!(quality.round_trip, Some(Span::from_millis(2)));
        quality.heard(&answer(at(30_200)), at(30_209));
        quality.tick(at(40_000).boot);
        assert_eq!(quality.round_trip, Some(Span::from_millis(2)));
        quality.tick(at(50_000).boot);
        assert_eq!(quality.round_trip, None, "nothing was answered");
        assert_eq!(quality.heard_at, Some(at(30_209).boot));
    }
}
