//! Single promises of a group, each with the story that would break it.

use super::*;
use crate::pair::arbiters::{fence, wire};
use crate::pair::message::NotReady::LinkDown;
use crate::pair::spec::Terms;
use crate::watchdog::Refusal as NoPet;

fn started() -> (Group, Vec<PairAction>) {
    let mut out = PairActions::new();
    let mut turn = Turn { now: now(T), out: &mut out };
    let arbiter = Arbiter::Witness(witness::Witness::default());
    (Group::start(ME, spec(), arbiter, 1, &mut turn), out)
}

/// A daemon that ends, and the one after it, `later` milliseconds on.
fn restarted(group: &Group, later: u64) -> (Group, Vec<PairAction>) {
    let mut out = PairActions::new();
    let mut turn = Turn { now: now(T + later), out: &mut out };
    // Nothing is known of the watchdog yet.
    let spec = GroupSpec { stops_within: None, ..group.spec.clone() };
    let arbiter = group.arbiter.clone();
    let mut group = Group::resume(ME, spec, arbiter, 1, group.kept(), &mut turn);
    group.next_beat = at(T + 60_000).boot;
    (group, out)
}

fn done(group: &mut Group, step: Step, attempt: u32, millis: u64) -> Vec<PairAction> {
    let step = StepId { group: KEY, step, attempt };
    turn(group, Some(&PairEvent::Done { step, ok: true }), millis)
}

fn hear(group: &mut Group, from: Sender, beat: Beat, millis: u64) -> Vec<PairAction> {
    let echo_age = Some(ms(20));
    let event = PairEvent::Heard { from, session: PEER.session, echo_age, beat };
    turn(group, Some(&event), millis)
}

const PEER_NODE: Sender = Sender::Node(PEER.member);

fn answer(epoch: Epoch, sent: u64, lease: Span, vote: Vote) -> Beat {
    Beat { answer: Some(Answer { epoch, sent: at(sent), lease, vote }), ..peer_beat() }
}

fn granted(sent: u64) -> Beat {
    answer(EPOCH, sent, ms(1000), Vote::Granted { peer_stopped: false })
}

fn released() -> Beat {
    Beat { released: Some(Release { owner: PEER, epoch: EPOCH }), ..peer_beat() }
}

#[test]
fn a_late_grant_never_revives_a_lease() {
    for state in [waiting(), taking(), active(), yielding()] {
        let mut group = with_witness(state);
        // In time, and with a lease to come, had the daemon not slept.
        let out = hear(&mut group, Sender::Witness, granted(T + 400), T + 495);
        assert_eq!(in_words(&group, &out), "dropping, guard closed, remove addresses, stop units");
    }
}

#[test]
fn a_lease_ends_by_whichever_clock_says_so_first() {
    for (boot, raw) in [(T + 495, T), (T, T + 495)] {
        let mut group = with_witness(active());
        let mut out = PairActions::new();
        let at = Clocks { boot: at(boot).boot, raw: at(raw).raw };
        group.tick(&mut Turn { now: Now { at, unix_secs: 0 }, out: &mut out });
        assert_eq!(state_name(&group), "dropping");
    }
}

#[test]
fn nothing_is_released_before_the_guard_is_closed_and_everything_is_gone() {
    use Step::{EndConnections, RemoveAddresses, StopUnits};
    for (has_units, address_after_units, ends_connections, steps) in [
        (false, false, false, &[RemoveAddresses][..]),
        (true, false, false, &[StopUnits, RemoveAddresses]),
        (true, true, false, &[RemoveAddresses, StopUnits]),
        (false, false, true, &[EndConnections, RemoveAddresses]),
        (true, false, true, &[StopUnits, EndConnections, RemoveAddresses]),
        (true, true, true, &[EndConnections, RemoveAddresses, StopUnits]),
    ] {
        let spec = GroupSpec { has_units, address_after_units, ends_connections, ..spec() };
        let mut group = group(spec, Arbiter::Witness(witness::Witness::default()), active());
        let order = PairEvent::Order { group: KEY, order: Order::LetGo };
        let mut closed = false;
        let mut out = turn(&mut group, Some(&order), T);
        for (attempt, step) in (21..).zip(steps) {
            assert_eq!(state_name(&group), "yielding");
            assert_eq!(group.released(), None);
            let words = in_words(&group, &out);
            closed |= words.contains("guard closed");
            let after = address_after_units && *step == StopUnits;
            assert_eq!(closed, *step == RemoveAddresses || after, "{words}");
            // It renews to the end; a closed guard stays closed.
            let out_of_grant = hear(&mut group, Sender::Witness, granted(T), T + 1);
            assert_eq!(in_words(&group, &out_of_grant).contains("guard to"), !closed);
            out = done(&mut group, *step, attempt, T + 2);
        }
        let words = in_words(&group, &out);
        assert_eq!(words, "idle, release 50 to peer, release 50 to witness");
    }
}

#[test]
fn connections_that_do_not_end_keep_nothing() {
    let spec = GroupSpec { ends_connections: true, has_units: false, ..spec() };
    let order = PairEvent::Order { group: KEY, order: Order::LetGo };
    for late in [false, true] {
        let mut group =
            group(spec.clone(), Arbiter::Witness(witness::Witness::default()), active());
        let out = turn(&mut group, Some(&order), T);
        assert!(in_words(&group, &out).contains("end connections"));
        let words = if late {
            hear(&mut group, Sender::Witness, granted(T + 400), T + 450);
            hear(&mut group, Sender::Witness, granted(T + 800), T + 850);
            turn(&mut group, None, T + 1000)
        } else {
            let step = StepId { group: KEY, step: Step::EndConnections, attempt: 21 };
            turn(&mut group, Some(&PairEvent::Done { step, ok: false }), T + 1)
        };
        let words = in_words(&group, &words);
        assert!(words.starts_with("yielding, guard closed, remove addresses"), "{late}: {words}");
    }
}

#[test]
fn what_is_dropped_is_released_when_both_parts_are_gone() {
    let mut group = with_witness(active());
    turn(&mut group, None, T + 500);
    done(&mut group, Step::StopUnits, 22, T + 600);
    assert_eq!((state_name(&group), group.released()), ("dropping", None));
    done(&mut group, Step::RemoveAddresses, 21, T + 700);
    assert!(group.released().is_none() && state_name(&group) == "asking", "it was fit: it asks");
}

#[test]
fn a_removal_that_fails_is_told_once_and_tried_until_it_works() {
    let mut group = with_witness(dropping());
    let mut stuck = 0;
    for round in 0..5 {
        let step = StepId { group: KEY, step: Step::StopUnits, attempt: 20 + round };
        let failed = PairEvent::Done { step, ok: false };
        let out = turn(&mut group, Some(&failed), T + u64::from(round) * 100);
        stuck += in_words(&group, &out).matches("stuck").count();
        let out = turn(&mut group, None, T + u64::from(round + 1) * 100);
        assert_eq!(in_words(&group, &out), "dropping, stop units");
    }
    assert_eq!(stuck, 1);
    done(&mut group, Step::StopUnits, 25, T + 600);
    assert_ne!(state_name(&group), "dropping");
}

#[test]
fn petting_ends_a_stop_time_after_the_lease_however_late_that_is_noticed() {
    // The lease ends at 500 ms, the stop time is 5 s.
    for noticed in [500, 4000, 60_000] {
        let mut group = with_witness(active());
        turn(&mut group, None, T + noticed);
        for (millis, forbidden) in [(5499, false), (5500, true)] {
            assert_eq!(group.forbids_pet(at(T + millis)), forbidden, "noticed at {noticed}");
        }
    }
}

#[test]
fn a_restart_does_not_prolong_the_stop_time() {
    let mut group = with_witness(active());
    turn(&mut group, None, T + 500);
    let (group, out) = restarted(&group, 4000);
    assert_eq!(in_words(&group, &out), "dropping, guard closed, remove addresses, stop units");
    assert!(!group.forbids_pet(at(T + 5499)));
    assert!(group.forbids_pet(at(T + 5500)));
}

#[test]
fn a_daemon_whose_lease_ended_meanwhile_pets_as_long_as_one_that_ran() {
    let network = GroupSpec { safety: Safety::Network, has_units: false, ..spec() };
    let arbiter = Arbiter::Witness(witness::Witness::default());
    let network = super::group(network, arbiter, active());
    // The lease ended at 500 ms, the stop time is 5 s.
    for (before, back) in [(&with_witness(active()), 600), (&network, 5400)] {
        let (group, _) = restarted(before, back);
        assert_eq!(state_name(&group), "dropping");
        assert!(!group.forbids_pet(at(T + 5499)), "back at {back}");
        assert!(group.forbids_pet(at(T + 5500)), "back at {back}");
    }
    assert!(restarted(&with_witness(active()), 6000).0.forbids_pet(at(T + 6000)));
}

#[test]
fn a_daemon_without_memory_pets_only_when_all_is_gone() {
    let mut group = started().0;
    assert!(group.forbids_pet(at(T + 600)));
    let stop = group.attempts;
    done(&mut group, Step::StopUnits, stop, T + 700);
    assert!(group.forbids_pet(at(T + 700)), "the addresses are still there");
    done(&mut group, Step::RemoveAddresses, stop - 1, T + 800);
    assert!(!group.forbids_pet(at(T + 800)));
}

/// A daemon that goes on with the lease of one that had `before` to stop, and has 5 s by its file.
fn with_former(before: Option<Span>) -> Group {
    let group = with_witness(active());
    let mut kept = group.kept();
    kept.stop_limit = before;
    let mut out = PairActions::new();
    let mut turn = Turn { now: now(T + 100), out: &mut out };
    let spec = GroupSpec { stops_within: None, ..group.spec };
    Group::resume(ME, spec, group.arbiter, 1, kept, &mut turn)
}

/// Whether it pets at the end of both times, once it has lost the lease at T + 500.
fn pets_until(mut group: Group, secs: u64) {
    turn(&mut group, None, T + 500);
    assert_eq!(state_name(&group), "dropping");
    let end = T + 500 + secs * 1000;
    assert!(secs == 0 || !group.forbids_pet(at(end - 1)), "{secs} s");
    assert!(group.forbids_pet(at(end)), "{secs} s");
}

/// I13: the peer waits as long as it was told, not as long as another file says.
#[test]
fn a_longer_stop_time_counts_once_the_peer_reckons_with_it() {
    let hear_known = |group: &mut Group, secs| {
        let peer_stops_within = Some(Span::from_secs(secs));
        hear(group, PEER_NODE, Beat { peer_stops_within, ..peer_beat() }, T + 200);
    };
    pets_until(with_former(Some(Span::from_secs(6))), 5);
    pets_until(with_former(Some(Span::from_secs(2))), 2);
    pets_until(with_former(None), 0);
    // The peer repeats what the daemon before has told: the longer one is not in that.
    let mut group = with_former(Some(Span::from_secs(2)));
    hear_known(&mut group, 30);
    pets_until(group, 2);
    // This daemon has told, and the peer has not heard it yet.
    let mut group = with_former(Some(Span::from_secs(2)));
    group.stops_within(None);
    hear_known(&mut group, 30);
    group.stops_within(Some(Span::from_secs(33)));
    hear_known(&mut group, 30);
    assert_eq!(group.kept().stop_limit, Some(Span::from_secs(2)), "the next daemon knows no more");
    pets_until(group.clone(), 2);
    hear_known(&mut group, 33);
    assert_eq!(group.kept().stop_limit, Some(Span::from_secs(5)));
    pets_until(group, 5);
}

#[test]
fn a_sweep_at_the_start_is_no_fault_until_it_lasts_too_long() {
    let mut group = started().0;
    for (millis, why) in [(0, NoPet::Sweep), (4999, NoPet::Sweep), (5000, NoPet::Lease)] {
        assert_eq!(group.pet_refusal(at(T + millis)), Some(why), "{millis}");
    }
    let stop = group.attempts;
    done(&mut group, Step::StopUnits, stop, T + 100);
    done(&mut group, Step::RemoveAddresses, stop - 1, T + 100);
    assert_eq!(group.pet_refusal(at(T + 5000)), None);
    // A lease that ended is another thing: its stop time has begun.
    let mut lost = with_witness(active());
    turn(&mut lost, None, T + 500);
    assert_eq!(lost.pet_refusal(at(T + 5499)), None);
    assert_eq!(lost.pet_refusal(at(T + 5500)), Some(NoPet::Lease));
}

#[test]
fn a_start_without_memory_sweeps_and_keeps_its_vote() {
    let (mut group, out) = started();
    assert_eq!(in_words(&group, &out), "dropping, guard closed, remove addresses, stop units");
    assert_eq!(group.released(), None);
    done(&mut group, Step::RemoveAddresses, 1, T + 10);
    done(&mut group, Step::StopUnits, 2, T + 20);
    assert_eq!(state_name(&group), "idle");
    let asked = Beat { ask: Some(ask(Epoch(51), false)), ..peer_beat() };
    let out = hear(&mut group, PEER_NODE, asked, T + 30);
    assert_eq!(in_words(&group, &out), "idle, refuse: silent, release 50 to witness");
}

#[test]
fn a_silent_candidate_asks_the_peer_first_and_the_arbiter_with_its_vote() {
    let (mut group, _) = started();
    group.fitness.report(Health::Healthy, None, at(T));
    group.next_beat = at(T + 60_000).boot;
    done(&mut group, Step::RemoveAddresses, 1, T + 10);
    // `turn` refuses a deadline that has passed: a real-time thread would turn without pause.
    let out = done(&mut group, Step::StopUnits, 2, T + 20);
    let words = in_words(&group, &out);
    assert!(words.ends_with("ask peer for 1") && state_name(&group) == "asking", "{words}");
    let yes = Vote::Granted { peer_stopped: true };
    let beat = Beat { highest: Epoch(1), ..answer(Epoch(1), T + 20, ms(1000), yes) };
    let out = hear(&mut group, PEER_NODE, beat, T + 30);
    assert_eq!(in_words(&group, &out), "asking, ask witness for 1");
    let beat = Beat { highest: Epoch(1), ..answer(Epoch(1), T + 30, ms(1000), yes) };
    let out = hear(&mut group, Sender::Witness, beat, T + 40);
    // Without its own vote the earlier of both grants counts.
    assert_eq!(in_words(&group, &out), "taking, guard to 1018, add addresses");
    // Its silence is over: with its own vote the later one does.
    group.voter = Voter::forgetful(at(0));
    turn(&mut group, None, T + 50);
    assert_eq!(group.lease().unwrap().end(), at(T + 1028));
}

#[test]
fn every_state_goes_on_after_a_restart() {
    for (state, later, words) in [
        (idle(), 100, "idle"),
        (asking(), 100, "idle, release 51 to peer, release 51 to witness"),
        (waiting(), 100, "waiting, guard to 500"),
        (taking(), 100, "taking, guard to 500, add addresses"),
        (active(), 100, "active, guard to 500"),
        (yielding(), 100, "yielding, stop units"),
        (dropping(), 100, "dropping, guard closed, remove addresses, stop units"),
        (waiting(), 500, "dropping, guard closed, remove addresses, stop units"),
        (taking(), 500, "dropping, guard closed, remove addresses, stop units"),
        (active(), 500, "dropping, guard closed, remove addresses, stop units"),
        (yielding(), 500, "dropping, guard closed, remove addresses, stop units"),
    ] {
        let before = with_witness(state);
        let (after, out) = restarted(&before, later);
        assert_eq!(in_words(&after, &out), words, "{} {later}", state_name(&before));
        assert_eq!(after.voter, before.voter);
        assert!(after.highest >= before.highest);
    }
}

#[test]
fn a_restarted_owner_does_not_move_before_the_brain_has_spoken() {
    let (mut group, _) = restarted(&with_witness(active()), 100);
    hear(&mut group, PEER_NODE, granted(T + 110), T + 120);
    assert_eq!(state_name(&group), "active");
}

#[test]
fn an_owner_moves_for_bad_or_unknown_health_only_to_a_ready_peer_and_not_too_often() {
    let failed = PairEvent::Health { group: KEY, health: Health::Failed, not_ready: None };
    let after = |prepare: fn(&mut Group)| {
        let mut group = with_witness(active());
        prepare(&mut group);
        turn(&mut group, Some(&failed), T);
        state_name(&group)
    };
    assert_eq!(after(|_| {}), "yielding");
    assert_eq!(after(|group| group.fitness.paused = true), "active");
    assert_eq!(after(|group| (0..3).for_each(|_| group.fitness.moved(at(T)))), "active");
    assert_eq!(after(|group| group.peer = Peer::new(None)), "active", "silent");
    let newly_ready = |group: &mut Group| {
        group.peer = Peer::new(None);
        [14_900, 50].into_iter().for_each(|ago| group.peer.hear(&peer_beat(), true, at(T - ago)));
    };
    assert_eq!(after(newly_ready), "active", "both may have had it, and its own ended first");
    let unwell = |group: &mut Group, beat| group.peer.hear(&beat, true, at(T - 10));
    for (beat, why) in [
        (Beat { not_ready: Some(LinkDown), ..peer_beat() }, "not ready"),
        (Beat { definition: 78, ..peer_beat() }, "another definition"),
    ] {
        let mut group = with_witness(active());
        unwell(&mut group, beat);
        turn(&mut group, Some(&failed), T);
        assert_eq!(state_name(&group), "active", "{why}");
    }
    // The brain has stalled.
    let mut group = with_witness(State::Active { lease: lease(T + 20_000) });
    hear(&mut group, PEER_NODE, peer_beat(), T + 9_999);
    assert_eq!(state_name(&group), "active");
    turn(&mut group, None, T + 10_000);
    assert_eq!(state_name(&group), "yielding");
}

#[test]
fn an_owner_without_link_moves_when_the_peer_has_had_its_own_for_a_while() {
    let lost = PairEvent::Health { group: KEY, health: Health::Healthy, not_ready: Some(LinkDown) };
    let owner = || {
        let mut group = with_witness(State::Active { lease: lease(T + 20_000) });
        hear(&mut group, PEER_NODE, peer_beat(), T - 5000);
        hear(&mut group, PEER_NODE, peer_beat(), T);
        turn(&mut group, Some(&lost), T);
        group
    };
    let mut group = owner();
    hear(&mut group, PEER_NODE, peer_beat(), T + 1499);
    assert_eq!(state_name(&group), "active");
    hear(&mut group, PEER_NODE, peer_beat(), T + 1500);
    assert_eq!(state_name(&group), "yielding");
    // The switch of both comes back, for the peer first.
    let mut group = owner();
    let cut = Beat { not_ready: Some(LinkDown), ..peer_beat() };
    for (beat, after, state) in [
        (&cut, 1000, "active"),
        (&cut, 2000, "active"),
        (&peer_beat(), 2500, "active"),
        (&peer_beat(), 3999, "active"),
        (&peer_beat(), 4000, "yielding"),
    ] {
        hear(&mut group, PEER_NODE, *beat, T + after);
        assert_eq!(state_name(&group), state, "{after}");
    }
    let mut group = owner();
    let back = PairEvent::Health { group: KEY, health: Health::Healthy, not_ready: None };
    turn(&mut group, Some(&back), T + 1400);
    hear(&mut group, PEER_NODE, peer_beat(), T + 3000);
    assert_eq!(state_name(&group), "active");
}

#[test]
fn a_node_that_only_observes_asks_for_nothing_and_keeps_what_it_has() {
    let health = |not_ready| PairEvent::Health { group: KEY, health: Health::Healthy, not_ready };
    let observes = health(Some(NotReady::ObserveOnly));
    let mut owner = with_witness(State::Active { lease: lease(T + 20_000) });
    turn(&mut owner, Some(&observes), T);
    for after in [1000, 2000, 5000] {
        hear(&mut owner, PEER_NODE, peer_beat(), T + after);
        assert_eq!(state_name(&owner), "active", "a ready peer is no reason to hand over");
    }
    let mut candidate = with_witness(asking());
    turn(&mut candidate, Some(&observes), T);
    assert_eq!(state_name(&candidate), "idle");
    // Nobody has it, and a node that may take it asks.
    let asks = |event: &PairEvent| {
        let mut group = with_witness(idle());
        turn(&mut group, Some(event), T);
        turn(&mut group, None, T + 5000);
        state_name(&group) == "asking"
    };
    assert!(asks(&health(None)) && !asks(&observes));
    // It votes like any other.
    let mut voter = with_witness(idle());
    turn(&mut voter, Some(&observes), T);
    let asked = Beat { ask: Some(ask(Epoch(60), false)), ..peer_beat() };
    let out = hear(&mut voter, PEER_NODE, asked, T + 10);
    assert!(in_words(&voter, &out).contains("grant"), "{}", in_words(&voter, &out));
}

#[test]
fn a_failed_promotion_is_undone_and_says_at_once_that_it_cannot() {
    let mut group = with_witness(taking());
    let step = StepId { group: KEY, step: Step::AddAddresses, attempt: 20 };
    turn(&mut group, Some(&PairEvent::Done { step, ok: false }), T);
    done(&mut group, Step::StopUnits, 21, T + 1);
    done(&mut group, Step::RemoveAddresses, 22, T + 2);
    assert_eq!((state_name(&group), group.role()), ("idle", Role::Fault));
    assert_eq!(group.not_ready(at(T + 3)), Some(NotReady::Recovering));
    // The node that handed over to it hears that, and does not wait.
    let yielded_until = Some(at(T + 9000).boot);
    let mut releaser =
        with_witness(State::Idle { fit_since: None, yielded_until, quiet_until: None });
    hear(&mut releaser, PEER_NODE, Beat { not_ready: Some(NotReady::Yielded), ..peer_beat() }, T);
    assert_eq!(state_name(&releaser), "idle");
    let cannot = Beat { not_ready: group.not_ready(at(T + 3)), role: Role::Fault, ..peer_beat() };
    hear(&mut releaser, PEER_NODE, cannot, T + 3);
    assert_eq!(state_name(&releaser), "asking");
}

#[test]
fn units_start_after_the_stop_time_or_the_peers_own_word() {
    let mut group = with_witness(waiting());
    let State::Taking { lease, .. } = &mut group.state else { unreachable!() };
    lease.granted.third = Some(at(T + 60_000));
    turn(&mut group, None, T + 19_999);
    assert_eq!(state_name(&group), "waiting");
    let mut told = group.clone();
    let out = turn(&mut group, None, T + 20_000);
    assert_eq!(in_words(&group, &out), "taking, add addresses");
    // Its word counts if it was said after it had heard us.
    let old = PairEvent::Heard {
        from: PEER_NODE,
        session: PEER.session,
        echo_age: Some(ms(1001)),
        beat: released(),
    };
    turn(&mut told, Some(&old), T + 19_000);
    assert_eq!(state_name(&told), "waiting");
    hear(&mut told, PEER_NODE, released(), T + 19_000);
    assert_eq!(state_name(&told), "taking");
}

#[test]
fn a_node_that_cannot_reckon_with_stop_times_does_not_ask() {
    let not_ready = |stops, peer_stops, safety| {
        let spec =
            GroupSpec { stops_within: stops, peer_stops_within: peer_stops, safety, ..spec() };
        let arbiter = Arbiter::Witness(witness::Witness::default());
        let mut group = group(spec, arbiter, idle());
        group.peer = Peer::new(peer_stops);
        group.not_ready(at(T))
    };
    let (known, data) = (Some(Span::from_secs(30)), Safety::Data { fenced: false });
    assert_eq!(not_ready(None, known, data), Some(NotReady::NoWatchdog));
    assert_eq!(not_ready(known, None, data), Some(NotReady::PeerStopUnknown));
    assert_eq!(not_ready(known, known, data), None);
    assert_eq!(not_ready(None, None, Safety::Data { fenced: true }), None);
    assert_eq!(not_ready(None, None, Safety::Network), None);
}

#[test]
fn an_owner_without_its_watchdog_lets_exclusive_units_go_even_if_nobody_can_take_them() {
    let gone = PairEvent::StopsWithin(None);
    let mut alone = with_witness(active());
    let mut lonely = peer_beat();
    lonely.not_ready = Some(NotReady::Starting);
    alone.peer.hear(&lonely, true, at(T - 50));
    assert!(in_words(&alone, &turn(&mut alone.clone(), Some(&gone), T)).contains("stop units"));
    // A daemon that is restarted goes on by the time of the one before, until it knows its own.
    let (mut again, actions) = restarted(&alone, 100);
    assert_eq!((state_name(&again), actions.is_empty()), ("active", false));
    turn(&mut again, None, T + 110);
    assert_eq!(state_name(&again), "active");
    let mut fenced = group(
        GroupSpec { safety: Safety::Data { fenced: true }, ..spec() },
        Arbiter::Witness(witness::Witness::default()),
        active(),
    );
    assert_eq!(fenced.beat(at(T)).stops_within, Some(Span::from_secs(30)));
    turn(&mut fenced, Some(&gone), T);
    assert_eq!(state_name(&fenced), "active", "the agent does not need it");
    let told = fenced.beat(at(T)).stops_within;
    assert!(told > Some(Span::from_secs(86_400 * 365)), "nobody waits for a watchdog: {told:?}");
    // Nothing is said at a start, when nobody has looked yet.
    let (first, _) = started();
    let spec = GroupSpec { stops_within: None, ..fenced.spec.clone() };
    assert_eq!(Group { spec, ..first }.beat(at(T)).stops_within, None);
}

#[test]
fn of_stop_times_the_longest_counts_but_for_one_that_nothing_bounds() {
    let mut peer = Peer::new(None);
    let mut hear = |secs| {
        let span = if secs == 0 { crate::wire::SPAN_MAX } else { Span::from_secs(secs) };
        peer.hear(&Beat { stops_within: Some(span), ..peer_beat() }, true, at(T));
        peer.stops_within().map(|span| span.as_millis() / 1000)
    };
    assert_eq!([hear(30), hear(60), hear(30)], [Some(30), Some(60), Some(60)]);
    assert!(hear(0) > Some(86_400));
    assert_eq!(hear(40), Some(40), "it has a watchdog again");
}

#[test]
fn numbers_are_above_all_that_others_or_the_own_voter_know() {
    // The owner's wall clock was ahead; it died before it said its number itself.
    let mut group = with_witness(idle());
    group.voter.vote(PEER, &ask(Epoch(7000), false), true, at(T - 5000));
    turn(&mut group, None, T);
    let State::Asking(candidacy) = &group.state else { panic!("{}", state_name(&group)) };
    assert_eq!(candidacy.epoch, Epoch(7001));
    // Heard while it asks.
    let out = hear(&mut group, PEER_NODE, Beat { highest: Epoch(8000), ..peer_beat() }, T + 10);
    assert_eq!(in_words(&group, &out), "asking, ask peer for 8001, ask witness for 8001");
    // Its own number comes back from a voter: no reason to raise it.
    let out = hear(&mut group, PEER_NODE, Beat { highest: Epoch(8001), ..peer_beat() }, T + 20);
    assert_eq!(in_words(&group, &out), "asking");
    // And above the date.
    let mut group = with_witness(idle());
    let mut out = PairActions::new();
    group.tick(&mut Turn { now: Now { at: at(T), unix_secs: 9000 }, out: &mut out });
    assert!(in_words(&group, &out).contains("ask witness for 9001"));
}

#[test]
fn a_restart_is_announced_when_the_whole_lease_is_long() {
    let long = |sent| answer(EPOCH, sent, ms(8000), Vote::Granted { peer_stopped: false });
    let order = PairEvent::Order { group: KEY, order: Order::PrepareRestart };
    let mut group = with_witness(active());
    turn(&mut group, Some(&order), T);
    assert_eq!(group.renewal(at(T)).unwrap().lease, ms(8000));
    let out = hear(&mut group, Sender::Witness, long(T), T + 1);
    assert_eq!(in_words(&group, &out), "active, guard to 7984, restart now");
    assert_eq!(group.renewal(at(T)).unwrap().lease, ms(1000), "once is enough");
    // Without the own vote both others must have granted it.
    let mut lease = lease(T + 500);
    lease.own_vote = false;
    lease.granted.peer = lease.granted.third;
    let mut group = with_witness(State::Active { lease });
    group.voter = Voter::forgetful(at(T));
    turn(&mut group, Some(&order), T);
    let out = hear(&mut group, Sender::Witness, long(T), T + 1);
    assert_eq!(in_words(&group, &out), "active, guard to 500");
    let out = hear(&mut group, PEER_NODE, long(T), T + 2);
    assert_eq!(in_words(&group, &out), "active, guard to 7984, restart now");
}

#[test]
fn other_terms_move_nothing_and_are_told_with_the_next_beat() {
    let terms = Terms {
        definition: 4321,
        preferred: true,
        failback: Failback::After(ms(5000)),
        recover_after: ms(9000),
    };
    for state in [idle(), asking(), waiting(), taking(), active(), yielding(), dropping()] {
        let mut group = with_witness(state);
        let before = (group.state.clone(), group.voter.clone(), group.role());
        group.agree(terms);
        assert_eq!(before, (group.state.clone(), group.voter.clone(), group.role()));
        let beat = group.beat(at(T));
        assert_eq!((beat.definition, beat.standing.preferred), (4321, true));
    }
    // The owner stays; a standby that has heard the other definition is not ready for it.
    let mut owner = with_witness(active());
    owner.agree(terms);
    let out = hear(&mut owner, PEER_NODE, peer_beat(), T + 1);
    assert_eq!(in_words(&owner, &out), "active");
    let mut standby = with_witness(idle());
    hear(&mut standby, PEER_NODE, peer_beat(), T + 1);
    assert_eq!(standby.not_ready(at(T + 1)), None);
    standby.agree(terms);
    assert_eq!(standby.not_ready(at(T + 1)), Some(NotReady::DefinitionDiffers));
}

#[test]
fn a_peer_is_well_from_when_its_hardware_was_well_again() {
    let mut peer = Peer::new(None);
    let mut better_for = |health, secs| {
        let beat = Beat { standing: Standing { health, preferred: true }, ..peer_beat() };
        let now = Clocks::ZERO.after(Span::from_secs(secs));
        peer.hear(&beat, true, now);
        let than = |bad| peer.better_for(bad, now).as_secs_f64();
        (than(Health::Failing), than(Health::Failed), peer.ready_for(now).as_secs_f64())
    };
    assert_eq!(better_for(Health::Failing, 100), (0.0, 0.0, 0.0));
    assert_eq!(better_for(Health::Failing, 700), (0.0, 600.0, 600.0));
    // Failback and moves away from failing hardware count from here.
    assert_eq!(better_for(Health::Healthy, 800), (0.0, 0.0, 700.0));
    assert_eq!(better_for(Health::Degraded, 900), (100.0, 100.0, 800.0));
}

#[test]
fn a_fit_peer_is_left_three_heartbeats_to_ask_first() {
    let mut group = with_witness(idle());
    let preferred = Standing { health: Health::Healthy, preferred: true };
    let fitter = Beat { standing: preferred, ..peer_beat() };
    for (millis, state) in [(0, "idle"), (299, "idle"), (300, "asking")] {
        hear(&mut group, PEER_NODE, fitter, T + millis);
        assert_eq!(state_name(&group), state, "{millis}");
    }
}

/// A candidate for long, whom nobody answers, beside a peer not heard for long.
fn lonely(arbiter: Arbiter) -> Group {
    let mut group = group(spec(), arbiter, asking());
    group.peer = Peer::new(Some(Span::from_secs(30)));
    group
}

#[test]
fn an_operators_word_stands_in_for_a_silent_peer_but_not_against_a_voter() {
    let off = Order::Failover { peer_is_off: true };
    let order = PairEvent::Order { group: KEY, order: off };
    let witness = || Arbiter::Witness(witness::Witness::default());
    // Nobody says otherwise for a lease: it is believed, also about the units.
    let mut group = lonely(witness());
    turn(&mut group, Some(&order), T);
    turn(&mut group, None, T + 949);
    assert_eq!(state_name(&group), "asking");
    turn(&mut group, None, T + 950);
    assert_eq!(state_name(&group), "taking");
    // It renews itself until a voter speaks.
    let before = group.lease().unwrap().end();
    group.next_beat = at(T + 1000).boot;
    turn(&mut group, None, T + 1000);
    assert!(group.lease().unwrap().end() > before);
    // The witness says that the owner lives.
    for why in [Refusal::Held, Refusal::Promised] {
        let mut group = lonely(witness());
        turn(&mut group, Some(&order), T);
        let busy = Vote::Busy { left: ms(100), why };
        hear(&mut group, Sender::Witness, answer(Epoch(51), T, ms(1000), busy), T + 10);
        turn(&mut group, None, T + 5000);
        assert_eq!(state_name(&group), "asking", "{why:?}");
    }
    // The witness does not know yet: it is waited for.
    let mut group = lonely(witness());
    turn(&mut group, Some(&order), T);
    let busy = Vote::Busy { left: ms(3000), why: Refusal::Silent };
    hear(&mut group, Sender::Witness, answer(Epoch(51), T, ms(1000), busy), T + 10);
    group.fitness.report(Health::Healthy, None, at(T + 3000));
    turn(&mut group, None, T + 4000);
    assert_eq!(state_name(&group), "asking");
    turn(&mut group, None, T + 4010);
    assert_eq!(state_name(&group), "taking");
    // The witness grants: the operator's word spares the stop time.
    let mut group = lonely(witness());
    turn(&mut group, Some(&order), T);
    let yes = Vote::Granted { peer_stopped: false };
    hear(&mut group, Sender::Witness, answer(Epoch(51), T, ms(1000), yes), T + 10);
    assert_eq!(state_name(&group), "taking");
    // The peer talks: it is not off.
    let mut group = lonely(witness());
    turn(&mut group, Some(&order), T);
    hear(&mut group, PEER_NODE, peer_beat(), T + 10);
    turn(&mut group, None, T + 2000);
    assert_eq!(state_name(&group), "asking");
}

#[test]
fn an_owner_goes_on_under_a_higher_number_only_where_its_own_is_refused() {
    // The peer asked for 60 while it was alone, and got nothing.
    let asks_after = |why| {
        let mut group = group(spec(), Arbiter::Witness(witness::Witness::default()), active());
        let busy = Vote::Busy { left: ms(100), why };
        let beat = Beat { highest: Epoch(60), ..answer(EPOCH, T, ms(1000), busy) };
        hear(&mut group, PEER_NODE, beat, T + 10);
        group.lease().unwrap().asks
    };
    for why in [Refusal::Silent, Refusal::Unheard] {
        assert_eq!(asks_after(why), EPOCH, "{why:?}");
    }
    for why in [Refusal::Promised, Refusal::Epoch] {
        assert!(asks_after(why) > Epoch(60), "{why:?}");
    }
}

#[test]
fn a_candidate_with_a_fence_takes_when_the_peer_is_confirmed_off() {
    let mut group = lonely(Arbiter::Fence(fence::Fence::default()));
    group.peer.hear(&peer_beat(), true, at(T - 5000));
    let out = turn(&mut group, None, T + 50);
    assert_eq!(in_words(&group, &out), "asking, ask peer for 51, shoot");
    let out = turn(&mut group, None, T + 150);
    assert_eq!(in_words(&group, &out), "asking, ask peer for 51");
    // A shot takes longer than a lease, so its vote is too old to be one: it is asked for again.
    done(&mut group, Step::Fence, 21, T + 5000);
    group.fitness.report(Health::Healthy, None, at(T + 5000));
    let out = turn(&mut group, None, T + 5100);
    let words = in_words(&group, &out);
    assert!(["taking", "active"].contains(&state_name(&group)), "{words}");
}

#[test]
fn a_fence_agent_beside_a_witness_ends_the_wait_for_units_that_may_still_run() {
    let fenced = GroupSpec { safety: Safety::Data { fenced: true }, ..spec() };
    let witness = Arbiter::Witness(witness::Witness::default());
    let new = || {
        let mut group = super::group(fenced.clone(), witness.clone(), super::waiting());
        group.peer = Peer::new(None);
        group
    };
    // Never heard, so never shot; heard a while ago, so silent.
    let mut stranger = new();
    assert!(!in_words(&stranger, &turn(&mut stranger.clone(), None, T + 50)).contains("shoot"));
    turn(&mut stranger, None, T + 50);
    let mut group = new();
    group.peer.hear(&peer_beat(), true, at(T - 5000));
    let out = turn(&mut group, None, T + 50);
    assert!(in_words(&group, &out).contains("shoot"));
    let shot = group.attempts;
    let mut failed = group.clone();
    done(&mut group, Step::Fence, shot, T + 100);
    turn(&mut group, None, T + 101);
    assert_eq!(state_name(&group), "taking");
    // One that lives is left alone as long as it may still stop, and shot when it says it cannot.
    let mut stuck = new();
    let mut word =
        Beat { role: Role::Yielding, not_ready: Some(NotReady::Starting), ..peer_beat() };
    stuck.peer.hear(&word, true, at(T + 40));
    assert!(!in_words(&stuck, &turn(&mut stuck.clone(), None, T + 50)).contains("shoot"));
    word.role = Role::Fault;
    stuck.peer.hear(&word, true, at(T + 40));
    assert!(in_words(&stuck, &turn(&mut stuck.clone(), None, T + 50)).contains("shoot"));
    word.not_ready = Some(NotReady::Rebooting);
    stuck.peer.hear(&word, true, at(T + 40));
    assert!(in_words(&stuck, &turn(&mut stuck.clone(), None, T + 50)).contains("shoot"));
    word.not_ready = Some(NotReady::Recovering);
    stuck.peer.hear(&word, true, at(T + 40));
    assert!(!in_words(&stuck, &turn(&mut stuck.clone(), None, T + 50)).contains("shoot"));
    // Not confirmed: no units, and again later.
    let event = PairEvent::Done {
        step: StepId { group: KEY, step: Step::Fence, attempt: shot },
        ok: false,
    };
    let out = turn(&mut failed, Some(&event), T + 100);
    assert_eq!(state_name(&failed), "waiting");
    assert!(!in_words(&failed, &out).contains("shoot"));
}

#[test]
fn a_candidate_on_the_wire_takes_after_unanswered_probes_and_withdraws_after_an_answer() {
    let gateway = |group: &mut Group, millis| {
        let event = PairEvent::GatewayAnswered { sent: at(T + millis) };
        turn(group, Some(&event), T + millis + 1)
    };
    let mut group = lonely(Arbiter::Wire(wire::Wire::default()));
    let mut answered = group.clone();
    for millis in [50, 250, 450, 650, 850] {
        let out = turn(&mut group, None, T + millis);
        assert!(in_words(&group, &out).ends_with("probe, ask gateway"), "{millis}");
        gateway(&mut group, millis);
        assert_eq!(state_name(&group), "asking");
    }
    turn(&mut group, None, T + 1050);
    let out = gateway(&mut group, 1050);
    assert_eq!(in_words(&group, &out), "waiting, guard to 2048");
    for event in [PairEvent::AddressAnswered { group: KEY }, PairEvent::ProbeSeen { group: KEY }] {
        turn(&mut answered, None, T + 50);
        let mut first = answered.clone();
        first.me.member = Member::First;
        turn(&mut answered, Some(&event), T + 60);
        let mut out = PairActions::new();
        first.address_taken(
            matches!(event, PairEvent::ProbeSeen { .. }),
            &mut Turn { now: now(T + 60), out: &mut out },
        );
        // Somebody has it: both yield. Somebody wants it as well: the lower name yields.
        let stays = matches!(event, PairEvent::ProbeSeen { .. });
        assert_eq!(state_name(&answered) == "asking", stays);
        assert_eq!(state_name(&first), "idle");
        answered = lonely(Arbiter::Wire(wire::Wire::default()));
    }
}

#[test]
fn a_candidate_on_the_wire_is_woken_for_each_probe_whatever_its_heartbeat() {
    let mut group = lonely(Arbiter::Wire(wire::Wire::default()));
    group.spec.timing.heartbeat = ms(167);
    let (mut millis, mut probes) = (T + 50, 0);
    while state_name(&group) == "asking" {
        let out = turn(&mut group, None, millis);
        probes += in_words(&group, &out).matches("probe").count();
        turn(&mut group, Some(&PairEvent::GatewayAnswered { sent: at(millis) }), millis);
        millis = group.next_deadline(at(millis)).since(Mono::BOOT).as_millis();
    }
    assert_eq!((probes, group.lease().unwrap().end()), (5, at(T + 1050 + 998)));
}

#[test]
fn a_node_grants_no_number_that_it_has_had_itself() {
    let mut group = with_witness(asking());
    let yes = Vote::Granted { peer_stopped: false };
    let beat = Beat { highest: Epoch(51), ..answer(Epoch(51), T - 50, ms(1000), yes) };
    hear(&mut group, Sender::Witness, beat, T);
    let order = PairEvent::Order { group: KEY, order: Order::LetGo };
    turn(&mut group, Some(&order), T + 10);
    assert_eq!(state_name(&group), "idle");
    for (epoch, words) in [
        (51, "idle, refuse: epoch, release 51 to witness"),
        (52, "idle, grant, release 51 to peer, release 51 to witness"),
    ] {
        let asked = Beat { ask: Some(ask(Epoch(epoch), false)), ..peer_beat() };
        let out = hear(&mut group, PEER_NODE, asked, T + 20);
        assert_eq!(in_words(&group, &out), words);
    }
}

#[test]
fn who_watches_is_told_what_a_group_waits_for() {
    let waits = |group: &Group, millis| group.waits(at(T + millis));
    let left = Some(ms(20_000));
    assert_eq!(waits(&with_witness(waiting()), 0), Some(Waits::OwnerBefore { left }));
    let endless = State::Taking {
        lease: lease(T + 500),
        stage: Stage::Wait(Clocks::FAR),
        cause: Cause::OwnerSilent,
    };
    assert_eq!(waits(&with_witness(endless), 0), Some(Waits::OwnerBefore { left: None }));
    let step = |step| Some(Waits::Step { step, left: ms(300) });
    assert_eq!(waits(&with_witness(taking()), 100), step(Step::AddAddresses));
    assert_eq!(waits(&with_witness(yielding()), 100), step(Step::StopUnits));
    let leftovers = Some(Waits::Leftovers { units: true, addresses: false, left: ms(3000) });
    assert_eq!(waits(&with_witness(dropping()), 2000), leftovers);
    let votes = Some(Waits::Votes { peer: false, third: false });
    assert_eq!(waits(&with_witness(asking()), 0), votes);
    assert_eq!(waits(&standby(), 0), Some(Waits::OwnVote { left: ms(1000), silent: false }));
    assert_eq!(waits(&standby(), 1000), None);
    assert_eq!(waits(&with_witness(active()), 0), None);
    let mut forgetful = with_witness(idle());
    forgetful.voter = Voter::forgetful(at(T));
    assert_eq!(waits(&forgetful, 4000), Some(Waits::OwnVote { left: ms(6000), silent: true }));
}
