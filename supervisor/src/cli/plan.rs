//! What would happen to a group if its owner fell silent, and if it were handed over: who would
//! have it, how long that takes and by what it is bounded. For `rehearse` and `explain`.

use serde::Serialize;

use super::print::duration;
use super::status::pair::{ENDLESS_SECS, Owner};
use crate::control::{GroupStatus, PairStatus, StopStatus};

/// What would happen to one group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Plan {
    /// The group.
    pub(super) group: String,
    /// Who has it.
    from: String,
    /// Who would take it.
    to: String,
    /// Why that node could not.
    forbidden: Option<String>,
    /// The new owner has the lease, at the latest, in seconds after the old one fell silent.
    lease_within_secs: f64,
    /// And waits so long for units of the old one that must not run twice; `None`: no such units.
    waits: Option<Stops>,
    units: Vec<String>,
    start_within_secs: f64,
    stop_within_secs: f64,
}

/// The wait for units that must not run twice.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Stops {
    /// In seconds; `None`: nobody knows.
    secs: Option<f64>,
    /// A fence agent ends it sooner.
    fenced: bool,
}

impl Plan {
    /// Of a group that has an owner.
    pub(super) fn of(group: &GroupStatus, pair: &PairStatus, node: &str) -> Option<Self> {
        let (from, to, role, not_ready) = match Owner::of(group) {
            Owner::Here => (node, &*pair.peer, group.peer_role.as_deref(), &group.peer_not_ready),
            Owner::Peer => (&*pair.peer, node, Some(&*group.role), &group.not_ready),
            Owner::Changing | Owner::Nobody => return None,
        };
        let forbidden = match (role, not_ready) {
            (Some("standby"), None) => None,
            (None, _) => Some("it is silent".to_string()),
            (Some(role), None) => Some(role.to_string()),
            (Some(_), Some(why)) => Some(why.clone()),
        };
        let stops = |stop: &StopStatus| Stops {
            // What the one that would take it knows of the other one.
            secs: if from == node { stop.known_there_secs } else { stop.peer_secs },
            fenced: stop.fenced,
        };
        Some(Self {
            group: group.name.clone(),
            from: from.to_string(),
            to: to.to_string(),
            forbidden,
            lease_within_secs: pair.takeover_within_secs,
            waits: group.stop.as_ref().map(stops),
            units: group.units.clone(),
            start_within_secs: group.start_within_secs,
            stop_within_secs: group.stop_within_secs,
        })
    }

    /// In sentences.
    pub(super) fn lines(&self) -> Vec<String> {
        let Self { from, to, .. } = self;
        if let Some(why) = &self.forbidden {
            let text = format!("If {from} falls silent nobody takes it: {to} could not ({why}).");
            return vec![text, format!("`mastiff switchover` is refused for the same reason.")];
        }
        let lease = duration(self.lease_within_secs);
        let units = self.units.join(", ");
        let starts = match self.units.is_empty() {
            true => String::new(),
            false => format!(
                " {to} then starts {units}; what has not started within {} is undone and given \
                 back.",
                duration(self.start_within_secs)
            ),
        };
        let dies = match &self.waits {
            None => format!("If {from} falls silent {to} has it within {lease}.{starts}"),
            Some(stops) => {
                let wait = wait(stops, from);
                format!("If {from} falls silent {to} has the lease within {lease}, {wait}.{starts}")
            }
        };
        let stops = match self.units.is_empty() {
            true => "takes milliseconds".to_string(),
            false => format!(
                "first stops {units} on {from} (killed at three quarters of {})",
                duration(self.stop_within_secs)
            ),
        };
        vec![dies, format!("`mastiff switchover` on {from} {stops}, and waits for nothing else.")]
    }
}

fn wait(stops: &Stops, from: &str) -> String {
    let known = stops.secs.filter(|secs| *secs < ENDLESS_SECS).map(duration);
    match (known, stops.fenced) {
        (Some(stop), true) => format!(
            "and waits until the fence agent has confirmed that {from} is off, or {stop} for its \
             units (D), or {from} says that it has stopped them"
        ),
        (Some(stop), false) => format!(
            "and waits {stop} for its units (D), unless {from} says sooner that it has stopped \
             them or an operator vouches for it (`mastiff failover --peer-is-off`)"
        ),
        (None, true) => format!("and waits until the fence agent has confirmed that {from} is off"),
        (None, false) => format!(
            "and waits until {from} says that it has stopped its units, or an operator vouches \
             for it (`mastiff failover --peer-is-off`): its stop time is not known"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::status::pair::tests::pair;

    fn lines(change: impl Fn(&mut GroupStatus)) -> String {
        let mut pair = pair();
        change(&mut pair.groups[0]);
        Plan::of(&pair.groups[0], &pair, "db1").unwrap().lines().join("\n")
    }

    #[test]
    fn a_group_with_an_address_only_is_back_at_once() {
        let text = lines(|_| ());
        assert!(text.starts_with("If db1 falls silent db2 has it within 1s.\n"), "{text}");
        assert!(text.ends_with(
            "`mastiff switchover` on db1 takes milliseconds, and waits for nothing else."
        ));
    }

    #[test]
    fn units_have_their_deadlines_and_those_that_must_not_run_twice_are_waited_for() {
        let data = |group: &mut GroupStatus| {
            group.units = vec!["a.service".into(), "b.service".into()];
            group.stop = Some(StopStatus {
                here_secs: Some(27.0),
                known_there_secs: Some(27.0),
                peer_secs: Some(31.0),
                fenced: false,
            });
        };
        let text = lines(data);
        for part in [
            "db2 has the lease within 1s, and waits 27s for its units (D), unless db1 says",
            "db2 then starts a.service, b.service; what has not started within 1m",
            "first stops a.service, b.service on db1 (killed at three quarters of 30s)",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let from_there = lines(|group| {
            data(group);
            (group.role, group.peer_role) = ("standby".into(), Some("active".into()));
        });
        assert!(
            from_there.contains("If db2 falls silent db1 has the lease within 1s, and waits 31s")
        );
        let stop = |change: fn(&mut StopStatus)| {
            lines(|group| {
                data(group);
                change(group.stop.as_mut().unwrap());
            })
        };
        assert!(stop(|stop| stop.known_there_secs = None).contains("its stop time is not known"));
        assert!(
            stop(|stop| stop.fenced = true).contains("agent has confirmed that db1 is off, or 27s")
        );
        let only = stop(|stop| (stop.fenced, stop.known_there_secs) = (true, None));
        assert!(
            only.contains("waits until the fence agent has confirmed that db1 is off."),
            "{only}"
        );
    }

    #[test]
    fn what_forbids_a_takeover_is_all_that_is_said() {
        for (change, why) in [
            ((|group| group.peer_role = None) as fn(&mut GroupStatus), "it is silent"),
            (|group| group.peer_not_ready = Some("a check is failed".into()), "a check is failed"),
            (|group| group.peer_role = Some("fault".into()), "fault"),
        ] {
            let text = lines(change);
            let first = format!("If db1 falls silent nobody takes it: db2 could not ({why}).\n");
            assert!(text.starts_with(&first), "{text}");
        }
        let mut pair = pair();
        pair.groups[0].role = "taking".into();
        assert_eq!(Plan::of(&pair.groups[0], &pair, "db1"), None);
    }
}
