//! What is done to the pair, and what comes of it.
//!
//! A daemon that starts without memory keeps silent for 10 s, so no fault may need one: the last
//! scene is the one from which a machine does not come back.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mastiff_core::time::{Mono, Span};
use mastiff_core::timing::{self, Guard, PROMISE_MAX, RoundTrip};
use serde::Serialize;

use super::super::failure::Failure;
use super::cast::{self, Cast};
use super::client::{Client, Measured, PROBE_EVERY, Side};
use crate::clock;
use crate::config;
use crate::control::GroupStatus;
use crate::guard::nftables::tick;

/// The first owner is there within the silence after a cold start and some more.
const FIRST_OWNER_WITHIN: Span = Span::from_secs(30);
/// What should come within tenths of a second is waited for at most so long.
const PATIENCE: Span = Span::from_secs(5);
/// How long it is watched afterwards: some leases.
const AFTERWARDS: Span = Span::from_millis(300);
/// How long the nodes do not hear each other: several times what would end a lease.
const PARTED_FOR: Span = Span::from_secs(1);
/// How long the owner is frozen.
const FROZEN_FOR: Span = Span::from_secs(1);
/// How often a node is asked how it stands while something is waited for.
const LOOK_EVERY: Span = Span::from_millis(25);

/// One scene, measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Scene {
    /// Its name, for programs.
    pub(super) name: &'static str,
    /// What was done, in words.
    pub(super) what: String,
    /// When, in milliseconds since the demo began.
    pub(super) at_ms: f64,
    /// Who had the address before.
    pub(super) from: Option<Side>,
    /// And afterwards.
    pub(super) to: Option<Side>,
    /// Echo requests that the client sent.
    pub(super) asked: usize,
    /// Those that were answered.
    pub(super) answered: usize,
    /// ARP questions that the client sent.
    pub(super) probes: usize,
    /// The longest time without an answer, in milliseconds.
    pub(super) outage_ms: Option<f64>,
    /// What was promised for that, in milliseconds.
    pub(super) promised_ms: Option<f64>,
    /// For how long both nodes answered for the address, in milliseconds.
    pub(super) two_owners_ms: f64,
    /// How late the client itself was at most, in milliseconds: what it did not ask, nobody could
    /// answer, and a machine that is so late keeps nothing.
    pub(super) late_ms: f64,
    /// Whether all that was promised came true.
    pub(super) kept: bool,
    /// What the daemons said of it: how many milliseconds later, which node, what.
    pub(super) said: Vec<Said>,
}

/// A role that changed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Said {
    /// How many milliseconds after the beginning of the scene.
    pub(super) after_ms: f64,
    /// The node.
    pub(super) node: Side,
    /// In words.
    pub(super) text: String,
}

/// The beginning of a scene.
struct Opening {
    at: Mono,
    unix_ms: f64,
    from: Option<Side>,
}

/// The play.
pub(super) struct Story<'a> {
    cast: Cast,
    client: Client,
    mastiff: PathBuf,
    began: Mono,
    /// What the guard is, in words.
    pub(super) guard: String,
    /// The owner's death to the address on the other node, at most.
    pub(super) promised: Span,
    tell: &'a mut dyn FnMut(&Told<'_>) -> Result<(), Failure>,
    scenes: Vec<Scene>,
}

/// What the audience is told while it plays.
pub(super) enum Told<'a> {
    /// The daemons run and know what they promise.
    Begins { guard: &'a str, promised: Span },
    /// So long until anybody may have the address.
    Waits(Span),
    /// A scene is over.
    Scene(&'a Scene),
}

impl<'a> Story<'a> {
    /// Builds the stage, and starts all daemons.
    ///
    /// # Errors
    /// What could not be made.
    pub(super) fn new(
        (mastiff, mastiffd): (&Path, &Path),
        place: &Path,
        tell: &'a mut dyn FnMut(&Told<'_>) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        cast::urgent();
        let began = clock::now();
        let (cast, client) = Cast::new(mastiffd, place)?;
        let (guard, promised, scenes) = (String::new(), Span::ZERO, Vec::new());
        Ok(Self { cast, client, mastiff: mastiff.into(), began, guard, promised, tell, scenes })
    }

    /// All scenes.
    ///
    /// # Errors
    /// When the story cannot go on.
    pub(super) fn play(mut self) -> Result<Vec<Scene>, Failure> {
        self.read_promise()?;
        (self.tell)(&Told::Begins { guard: &self.guard, promised: self.promised })?;
        let first = self.first_owner()?;
        self.switchover(first)?;
        self.parted(first.other())?;
        self.frozen(first.other())?;
        self.power_cut(first)?;
        Ok(self.scenes)
    }

    /// What this machine's guard allows to promise, once a daemon has loaded it.
    fn read_promise(&mut self) -> Result<(), Failure> {
        let mut shown = None;
        self.wait(PATIENCE, |story| {
            shown = story.cast.status(Side::A).and_then(|status| status.pair);
            shown.is_some()
        })?;
        let pair =
            shown.ok_or_else(|| Failure::Bug("mastiffd tells nothing of its pair".into()))?;
        let form = match pair.guard.get(..3) {
            Some("BPF") => Guard::Bpf,
            Some("nft") => Guard::Nftables { tick: tick() },
            _ => Guard::Lifetime,
        };
        let config = config::load(&self.cast.config(Side::A));
        let config = config.map_err(|faults| Failure::Bug(format!("the demo's file: {faults}")))?;
        let own = config.pair.as_ref().and_then(|pair| Some((pair, pair.groups.first()?)));
        let facts = own.map(|(pair, group)| pair.facts(group, form, RoundTrip::Assumed, None));
        let sums = facts.and_then(|facts| timing::derive(&facts).ok());
        let (_, sums) = sums.ok_or_else(|| {
            Failure::Unavailable(format!(
                "no promise can be had here with the guard {}",
                pair.guard
            ))
        })?;
        (self.guard, self.promised) = (pair.guard, sums.takeover.total);
        Ok(())
    }

    /// Nobody has the address until the votes of those who forgot are free.
    fn first_owner(&mut self) -> Result<Side, Failure> {
        let silent_until = self.began.after(PROMISE_MAX);
        let mut told = Span::ZERO;
        let opening = self.open();
        let came = self.wait(FIRST_OWNER_WITHIN, |story| {
            let left = silent_until.since(clock::now());
            let whole = Span::from_secs(left.as_millis().div_ceil(1000));
            if whole != told && (story.tell)(&Told::Waits(whole)).is_ok() {
                told = whole;
            }
            story.client.log().owner(story.began).is_some()
        })?;
        let owner = self.client.log().owner(self.began).filter(|_| came);
        let (owner, at) = owner
            .ok_or_else(|| Failure::Bug(format!("nobody took the address; {}", self.standing())))?;
        let waited = at.since(self.began);
        self.wait_ready(owner)?;
        // A candidate that gave way is quiet for up to a promise.
        self.wait(AFTERWARDS, |_| false)?;
        let what = format!("first owner, all were silent for {PROMISE_MAX}");
        let mut scene = self.close("first-owner", what, &opening);
        (scene.at_ms, scene.outage_ms) = (millis(waited), None);
        scene.kept = scene.is_single();
        self.done(scene)?;
        Ok(owner)
    }

    /// An operator hands the group over.
    fn switchover(&mut self, owner: Side) -> Result<(), Failure> {
        let opening = self.open();
        let mut command = Command::new(&self.mastiff);
        command.args(["switchover", "--socket"]).arg(self.cast.socket(owner));
        let order = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let started = order.spawn();
        let mut order = started.map_err(|error| {
            Failure::Unavailable(format!("cannot start {}: {error}", self.mastiff.display()))
        })?;
        self.wait_owner(owner.other(), opening.at)?;
        let refused = order.wait().map_or(true, |status| !status.success());
        let mut scene = self.close("switchover", "`mastiff switchover`".into(), &opening);
        // It costs less than a death; how much less, nobody promises.
        self.promise(&mut scene, owner);
        scene.kept &= !refused;
        self.done(scene)?;
        self.wait_ready(owner.other())
    }

    /// The nodes do not hear each other, and both hear the witness.
    fn parted(&mut self, owner: Side) -> Result<(), Failure> {
        let opening = self.open();
        self.cast.part(true)?;
        self.wait(PARTED_FOR, |_| false)?;
        let mut scene = self.close("partition", "a and b parted for 1 s".into(), &opening);
        scene.kept = scene.is_single()
            && scene.to == Some(owner)
            && !self.client.log().has_answered(owner.other(), opening.at);
        self.cast.part(false)?;
        self.done(scene)?;
        self.wait_ready(owner)
    }

    /// The owner's daemon is stopped, and goes on later.
    fn frozen(&mut self, owner: Side) -> Result<(), Failure> {
        let opening = self.open();
        self.cast.freeze(owner, true)?;
        self.wait_owner(owner.other(), opening.at)?;
        let rest = FROZEN_FOR.minus(clock::now().since(opening.at));
        self.wait(rest, |_| false)?;
        let woken = clock::now();
        self.cast.freeze(owner, false)?;
        self.wait(AFTERWARDS, |_| false)?;
        let what = format!("mastiffd of {} frozen for 1 s (SIGSTOP)", owner.name());
        let mut scene = self.close("freeze", what, &opening);
        self.promise(&mut scene, owner);
        scene.kept &= !self.client.log().has_answered(owner, woken);
        self.done(scene)?;
        self.wait_ready(owner.other())
    }

    /// The owner's machine is gone, in the middle of everything.
    fn power_cut(&mut self, owner: Side) -> Result<(), Failure> {
        let opening = self.open();
        let cut = self.cast.cut_power(owner)?;
        self.wait_owner(owner.other(), opening.at)?;
        self.wait(AFTERWARDS, |_| false)?;
        cut.finish()?;
        let what = format!("power cut of {} (SIGKILL, no cable)", owner.name());
        let mut scene = self.close("power-cut", what, &opening);
        self.promise(&mut scene, owner);
        self.done(scene)
    }

    /// Judges a move.
    fn promise(&self, scene: &mut Scene, owner: Side) {
        let promised = millis(self.promised);
        scene.promised_ms = Some(promised);
        let in_time = scene.outage_ms.is_some_and(|outage| outage <= promised);
        scene.kept = in_time && scene.is_single() && scene.to == Some(owner.other());
    }

    fn open(&mut self) -> Opening {
        let at = clock::now();
        self.client.resume();
        let from = self.client.log().owner(Mono::BOOT).map(|(side, _)| side);
        Opening { at, unix_ms: unix_ms(), from }
    }

    fn close(&mut self, name: &'static str, what: String, opening: &Opening) -> Scene {
        let Measured { asked, answered, outage, probes, both } =
            self.client.log().measure(opening.at);
        let mut said = Vec::new();
        for node in [Side::A, Side::B] {
            said.extend(self.cast.events(node).into_iter().filter_map(|event| {
                #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit")]
                let after_ms = event.at_unix_ms as f64 - opening.unix_ms;
                let text = in_short(&event.text);
                (after_ms >= -1.0).then_some(Said { after_ms: after_ms.max(0.0), node, text })
            }));
        }
        said.sort_by(|one, other| one.after_ms.total_cmp(&other.after_ms));
        let owner = self.client.log().owner(opening.at).map(|(side, _)| side);
        let both = u64::try_from(both).unwrap_or(u64::MAX);
        Scene {
            name,
            what,
            at_ms: millis(opening.at.since(self.began)),
            from: opening.from,
            to: owner,
            asked,
            answered,
            probes,
            outage_ms: Some(millis(outage)),
            promised_ms: None,
            two_owners_ms: millis(PROBE_EVERY.times(both)),
            late_ms: millis(self.client.late()),
            kept: false,
            said,
        }
    }

    fn done(&mut self, scene: Scene) -> Result<(), Failure> {
        (self.tell)(&Told::Scene(&scene))?;
        self.scenes.push(scene);
        Ok(())
    }

    /// Waits until a node answers what is asked from then on, but not for ever: that is for the
    /// scene to judge.
    fn wait_owner(&mut self, side: Side, since: Mono) -> Result<(), Failure> {
        let has = |story: &mut Self| {
            story.client.log().owner(since).is_some_and(|(owner, _)| owner == side)
        };
        self.wait(PATIENCE, has).map(drop)
    }

    /// Waits until the other node could take over from the owner.
    fn wait_ready(&mut self, owner: Side) -> Result<(), Failure> {
        let mut look_at = clock::now();
        let ready = |group: &GroupStatus| {
            let peer = group.peer_role.as_deref() == Some("standby");
            group.role == "active" && peer && group.peer_not_ready.is_none()
        };
        let is_ready = self.wait(FIRST_OWNER_WITHIN, |story| {
            if clock::now() < look_at {
                return false;
            }
            look_at = clock::now().after(LOOK_EVERY);
            let pair = story.cast.status(owner).and_then(|status| status.pair);
            pair.is_some_and(|pair| pair.groups.iter().all(ready))
        })?;
        match is_ready {
            true => Ok(()),
            false => Err(Failure::Bug(format!("the pair does not settle; {}", self.standing()))),
        }
    }

    /// Both nodes in short, for errors.
    fn standing(&self) -> String {
        let of = |side: Side| {
            let pair = self.cast.status(side).and_then(|status| status.pair);
            let group = pair.and_then(|pair| pair.groups.into_iter().next());
            let words = group.map_or("silent".to_string(), |group| {
                let why = group.not_ready.or(group.cause).unwrap_or_default();
                format!("{} ({why})", group.role)
            });
            format!("{} is {words}", side.name())
        };
        format!("{}, {}", of(Side::A), of(Side::B))
    }

    /// Lets the client ask on until something is so, or the time is over; whether it is so.
    fn wait(
        &mut self,
        limit: Span,
        mut is_so: impl FnMut(&mut Self) -> bool,
    ) -> Result<bool, Failure> {
        let end = clock::now().after(limit);
        let mut look_at = clock::now();
        while !is_so(self) {
            if clock::now() >= end || self.client.is_full() {
                return Ok(false);
            }
            if clock::now() >= look_at {
                look_at = clock::now().after(LOOK_EVERY);
                self.cast.all_run()?;
            }
            self.client.turn()?;
        }
        Ok(true)
    }
}

impl Scene {
    fn is_single(&self) -> bool {
        self.two_owners_ms == 0.0
    }
}

/// Without the group, of which there is one, and without epochs, which say nothing to a spectator.
fn in_short(text: &str) -> String {
    let text = text.split_once(": ").map_or(text, |(_, text)| text);
    match text.split_once(" (epoch ").and_then(|(head, rest)| Some((head, rest.split_once(')')?))) {
        Some((head, (_, rest))) => format!("{head}{rest}"),
        None => text.to_string(),
    }
}

fn millis(span: Span) -> f64 {
    span.as_secs_f64() * 1000.0
}

fn unix_ms() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit")]
    let millis = (clock::unix_nanos() / 1_000_000) as f64;
    millis
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_daemon_says_of_a_role_is_shortened() {
        for (text, short) in [
            (
                "group \"web\": standby -> taking (epoch 17): the owner is silent",
                "standby -> taking: the owner is silent",
            ),
            ("group \"web\": waiting -> standby: start", "waiting -> standby: start"),
            ("something else", "something else"),
        ] {
            assert_eq!(in_short(text), short);
        }
    }
}
