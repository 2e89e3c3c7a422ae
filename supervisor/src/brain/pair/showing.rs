//! How the pair stands, as operators see it: `mastiff status`.

use mastiff_core::pair::event::Step;
use mastiff_core::pair::group::Waits;
use mastiff_core::pair::message::{Health, Role};
use mastiff_core::time::{Mono, Span};

use super::Brain;
use crate::config::PairConfig;
use crate::config::pair::{AddressConfig, ArbiterConfig, GroupConfig};
use crate::control::{AnswerStatus, GroupStatus, PairStatus, PathStatus, StopStatus, WaitStatus};
use crate::keeper::board::{GroupShown, PathShown};
use crate::keeper::vacancy::{Found, Holder};

/// How long a refused message explains why nothing is heard.
const REFUSAL_FRESH: Span = Span::from_secs(60);

/// A stop time of so much says that nothing bounds it.
const ENDLESS: Span = Span::from_secs(10_000_000);

impl Brain {
    /// How the pair stands; `None` without one.
    pub(in crate::brain) fn pair_status(&self, now: Mono) -> Option<PairStatus> {
        let config = self.config.pair.as_ref()?;
        let shown = self.keeper.board();
        let mut found = self.keeper.found().into_iter();
        let mut no_link = self.keeper.no_link().into_iter();
        let millis = |span: Span| span.as_secs_f64() * 1000.0;
        let group = |(group, shown_group): (&GroupConfig, &GroupShown)| {
            let lease = shown_group.lease_end.map(|end| millis(shown.at.lease_left(end)));
            let mut status = self.group_status(config, group, shown_group, lease, now);
            let no_link = no_link.next().flatten();
            status.not_ready = self.not_ready(group, shown_group, no_link.as_ref(), now);
            let found = found.next().unwrap_or_default();
            if !matches!(shown_group.role, Role::Active | Role::Yielding) {
                status.answers = answers(group, &found, &config.peer);
            }
            status
        };
        let ends = config.paths.iter().map(|path| (path.local.to_string(), path.peer.to_string()));
        let ends = ends.map(|(local, remote)| (config.peer.clone(), local, remote));
        let witness = match config.arbiter {
            ArbiterConfig::Witness(at) => {
                Some(("witness".to_string(), String::new(), at.to_string()))
            }
            ArbiterConfig::Wire(_) | ArbiterConfig::Fence => None,
        };
        let path = |((to, local, remote), shown): ((String, String, String), &PathShown)| {
            let quality = &shown.quality;
            let refusal = quality.refusal.filter(|(_, at)| now.since(*at) < REFUSAL_FRESH);
            PathStatus {
                to,
                local,
                remote,
                open: shown.open,
                heard_ms_ago: quality.heard_at.map(|at| millis(now.since(at))),
                loss_percent: quality.loss_permille.map(|loss| f64::from(loss) / 10.0),
                round_trip_ms: quality.round_trip.map(millis),
                refused: quality.refused,
                refusal: refusal.map(|(why, _)| why.to_string()),
            }
        };
        Some(PairStatus {
            name: config.name.clone(),
            peer: config.peer.clone(),
            arbiter: config.arbiter.name().to_string(),
            guard: self.desk.guard.clone(),
            not_realtime: shown.realtime.clone().err(),
            not_fenced: self.desk.fencing.failed.clone(),
            date_warnings: self.date_warnings(&config.peer),
            takeover_within_secs: config.takeover_within.as_secs_f64(),
            groups: config.groups.iter().zip(&shown.groups).map(group).collect(),
            paths: ends.chain(witness).zip(&shown.paths).map(path).collect(),
        })
    }

    fn group_status(
        &self,
        pair: &PairConfig,
        group: &GroupConfig,
        shown: &GroupShown,
        lease_left_ms: Option<f64>,
        now: Mono,
    ) -> GroupStatus {
        let secs = |span: Option<Span>| span.map(Span::as_secs_f64);
        GroupStatus {
            name: group.name.clone(),
            role: shown.role.to_string(),
            for_secs: now.since(shown.since).as_secs_f64(),
            cause: shown.cause.map(|cause| cause.to_string()),
            epoch: shown.epoch.0,
            lease_left_ms,
            not_ready: None,
            peer_role: shown.peer.map(|(role, _, _)| role.to_string()),
            peer_not_ready: shown.peer.and_then(|(_, _, why)| why).map(|why| why.to_string()),
            failing: self.node.sending_away(&group.name, now).into_iter().map(Into::into).collect(),
            peer_failing: shown.peer.is_some_and(|(_, health, _)| health == Health::Failing),
            waits: self.waits(pair, shown),
            stop: group.is_data.then(|| StopStatus {
                here_secs: secs(shown.stops_within),
                known_there_secs: secs(shown.stop_acknowledged),
                peer_secs: secs(shown.peer_stops_within),
                fenced: pair.fence.is_some(),
            }),
            addresses: group.addresses.iter().map(ToString::to_string).collect(),
            answers: Vec::new(),
            units: group.units.clone(),
            start_within_secs: group.start_within.as_secs_f64(),
            stop_within_secs: group.stop_within.as_secs_f64(),
            units_trouble: self.units_trouble(&group.name),
        }
    }

    /// What a group waits for, and what helps.
    fn waits(&self, pair: &PairConfig, shown: &GroupShown) -> Option<WaitStatus> {
        let peer = &pair.peer;
        let peer_role = shown.peer.map(|(role, _, _)| role);
        let is_had_there = matches!(peer_role, Some(Role::Active | Role::Taking | Role::Yielding));
        let third = match pair.arbiter {
            ArbiterConfig::Witness(_) => "the witness",
            ArbiterConfig::Wire(_) => "the gateway",
            ArbiterConfig::Fence => "the fence agent",
        };
        let (why, left, help) = match shown.waits? {
            // That is how a standby lives.
            Waits::OwnVote { silent: false, .. } if is_had_there => return None,
            Waits::OwnVote { left, silent: false } => {
                let why = format!("its vote is promised to {peer}, which may still have the group");
                (why, Some(left), None)
            }
            Waits::OwnVote { left, silent: true } => {
                let why = "its vote keeps silent after a start without memory: a takeover waits \
                           for that";
                (why.to_string(), Some(left), None)
            }
            Waits::Votes { .. } if shown.not_ready.is_some() => return None,
            Waits::Votes { peer: has_peer, third: has_third } => {
                let said = |has| if has { "has given its own" } else { "has not" };
                let why = format!(
                    "it asks for two votes of three: {peer} {}, {third} {}",
                    said(has_peer),
                    said(has_third)
                );
                (why, None, self.vote_help(pair, shown))
            }
            Waits::OwnerBefore { left } => {
                let left = left.filter(|left| *left < ENDLESS);
                let why = match left {
                    Some(_) => format!("units of {peer} may still run there"),
                    None => format!("units of {peer} may still run there, and nothing bounds that"),
                };
                (why, left, Some(self.owner_help(pair, shown)))
            }
            Waits::Step { step: Step::Fence, .. } => return None,
            Waits::Step { step, left } => (format!("it has to {step}"), Some(left), None),
            Waits::Leftovers { units, addresses, left } => {
                let what = match (units, addresses) {
                    (true, true) => "units and addresses have",
                    (true, false) => "units have",
                    (false, _) => "addresses have",
                };
                let why = format!("{what} to go, without a lease");
                let help = self.is_watched().then(|| {
                    "after that the watchdog is not petted until they have gone".to_string()
                });
                (why, Some(left), help)
            }
        };
        Some(WaitStatus { why, left_secs: left.map(Span::as_secs_f64), help })
    }

    fn vote_help(&self, pair: &PairConfig, shown: &GroupShown) -> Option<String> {
        if pair.fence.is_some()
            && let Some(agent) = self.desk.fencing.words()
        {
            return Some(agent);
        }
        shown.peer.is_none().then(|| vouching(&pair.peer))
    }

    /// What ends the wait for units of the owner before.
    fn owner_help(&self, pair: &PairConfig, shown: &GroupShown) -> String {
        let peer = &pair.peer;
        let mut help = format!("it ends when {peer} says that it has stopped them");
        if pair.fence.is_some() {
            let agent = self.desk.fencing.words();
            help.push_str(", or when the fence agent confirms that it is off");
            help.push_str(&agent.map(|words| format!(" ({words})")).unwrap_or_default());
        }
        if shown.peer.is_none() {
            help.push_str("; ");
            help.push_str(&vouching(peer));
        }
        help
    }
}

/// Who answers for the addresses of a group that is not here.
fn answers(group: &GroupConfig, found: &[Found], peer: &str) -> Vec<AnswerStatus> {
    let one = |(config, found): (&AddressConfig, &Found)| {
        let (state, text) = match found {
            Found::Good(Holder::Peer) => ("good", format!("{peer} alone answers for it")),
            Found::Good(_) => ("good", "nobody answers for it".to_string()),
            Found::Unknown(why) => ("unknown", format!("not known who answers for it: {why}")),
            Found::InUse(mac) => {
                ("in-use", format!("{mac} answers for it: another machine has it, too"))
            }
            Found::Unanswered => {
                let text = format!("nobody answers for it on this network, though {peer} has it");
                ("unanswered", text)
            }
        };
        AnswerStatus { address: config.ip.to_string(), state: state.to_string(), text }
    };
    group.addresses.iter().zip(found).map(one).collect()
}

fn vouching(peer: &str) -> String {
    format!("`mastiff failover --peer-is-off` ends it now, if you have seen that {peer} is off")
}
