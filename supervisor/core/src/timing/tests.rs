use alloc::format;
use alloc::string::{String, ToString};

use super::*;

const NFTABLES: Guard = Guard::Nftables { tick: Span::from_millis(4) }; // HZ = 250
const GUARDS: [Guard; 3] = [Guard::Bpf, NFTABLES, Guard::Lifetime];
const FENCE: Arbiter = Arbiter::Fence { deadline: Span::from_secs(20) };
const ARBITERS: [Arbiter; 3] = [Arbiter::Witness, Arbiter::Wire, FENCE];
const WATCHDOG: WatchdogFacts = WatchdogFacts {
    permit: Span::from_secs(3),
    pet: Span::from_secs(2),
    read_back: Span::from_secs(30),
    proven: None,
};

fn facts(wish_millis: u64, guard: Guard) -> Facts {
    Facts {
        takeover_within: Span::from_millis(wish_millis),
        guard,
        arbiter: Arbiter::Witness,
        round_trip: RoundTrip::Assumed,
        address: NETLINK_ASSUMED,
        announce: NETLINK_ASSUMED,
        safety: Safety::Network,
    }
}

/// Wishes from too short to too long, denser where it is close.
fn wishes(arbiter: Arbiter) -> impl Iterator<Item = u64> {
    let counted_anyway = if arbiter == FENCE { 20_000 } else { 0 };
    let wishes = (1..200).chain((200..2000).step_by(50)).chain((2000..13_000).step_by(250));
    wishes.map(move |wish| wish + counted_anyway)
}

/// All that is derived for each arbiter, guard and wish that can be had.
fn every(mut test: impl FnMut(&Facts, &Timing, &Sums)) {
    for guard in GUARDS {
        for arbiter in ARBITERS {
            for wish in wishes(arbiter) {
                let facts = Facts { arbiter, ..facts(wish, guard) };
                if let Ok((timing, sums)) = derive(&facts) {
                    test(&facts, &timing, &sums);
                }
            }
        }
    }
}

fn refusal(facts: &Facts) -> Refusal {
    let refusals = derive(facts).unwrap_err();
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    refusals[0]
}

/// Lease, heartbeat, slack, promise and sum in milliseconds, or why not.
fn row(facts: &Facts) -> String {
    let millis = |span: Span| format!("{:.1}", span.as_secs_f64() * 1e3);
    match derive(facts) {
        Ok((t, _)) => {
            [t.lease, t.heartbeat, t.slack, t.promise, t.takeover_at_most].map(millis).join(" ")
        }
        Err(refusals) => refusals[0].to_string(),
    }
}

#[test]
fn the_timers_of_a_witness_pair() {
    for (wish, guard, expected) in [
        (30, Guard::Bpf, "15.0 2.5 2.5 17.5 30.0"),
        (100, Guard::Bpf, "67.8 11.3 7.8 75.6 100.0"),
        (1000, Guard::Bpf, "734.5 122.4 74.5 809.0 1000.0"),
        (10_000, Guard::Bpf, "7827.5 1304.6 783.7 8611.2 10000.0"),
        (11_602, Guard::Bpf, "9090.0 1515.0 910.0 10000.0 11602.0"),
        (
            11_603,
            Guard::Bpf,
            "11603ms is too long: no voter promises for more than 10s; at most 11602ms",
        ),
        (
            29,
            Guard::Bpf,
            "29ms is too short: a lease would be no longer than a stall that a healthy kernel may \
             have; at least 30ms",
        ),
        (
            99,
            NFTABLES,
            "99ms is too short: with the nftables guard it takes 25 ticks and 30ms, and a tick is \
             4000us here; at least 100ms",
        ),
        (100, NFTABLES, "27.5 2.8 41.6 69.1 100.0"),
        (1000, NFTABLES, "624.0 62.4 229.9 853.9 1000.0"),
        (10_000, NFTABLES, "6906.0 690.6 2303.0 9209.0 10000.0"),
        (
            1000,
            Guard::Lifetime,
            "1s is too short: without BPF and nftables the address itself ends it, in whole \
             seconds and up to 2s late; at least 4220ms",
        ),
        (4220, Guard::Lifetime, "1000.0 100.0 3000.0 4000.0 4220.0"),
        (10_000, Guard::Lifetime, "3517.2 351.7 6000.0 9517.2 10000.0"),
    ] {
        assert_eq!(row(&facts(wish, guard)), expected, "{wish} {guard:?}");
    }
}

#[test]
fn the_sum_of_the_parts_is_the_promise_and_never_above_the_wish() {
    let mut derived = 0;
    every(|facts, timing, sums| {
        derived += 1;
        let sum = sums.takeover.lines.iter().fold(Span::ZERO, |sum, line| sum.plus(line.span));
        assert_eq!(sum, sums.takeover.total);
        assert_eq!(sum, timing.takeover_at_most);
        assert!(sum <= facts.takeover_within, "{facts:?}");
        // One microsecond of lease more would be too much.
        let longer = Sums::takeover(facts, timing.lease.plus(Span::from_micros(1)));
        assert!(longer.total > facts.takeover_within, "{facts:?}");
        assert_eq!(sums.takeover_voter_silent, sum.plus(PROMISE_MAX));
        assert_eq!(&Sums::new(facts, timing.lease), sums);
    });
    assert!(derived > 500, "{derived}");
}

#[test]
fn every_derived_timer_keeps_its_rule() {
    every(|facts, timing, _| {
        let guard = facts.guard;
        assert_eq!(timing.promise, timing.lease.plus(timing.slack));
        assert!(timing.promise <= PROMISE_MAX && timing.restart_promise <= PROMISE_MAX);
        // The slack of the long lease is in its promise, too.
        let unattended = timing.restart_lease.plus(match guard {
            Guard::Bpf => Span::from_millis(1).plus(part_of(timing.restart_lease, 100_000)),
            Guard::Nftables { tick } => timing
                .restart_lease
                .plus(part_of(timing.restart_lease, 100_000))
                .plus(tick.times(6)),
            Guard::Lifetime => whole_secs(timing.restart_lease).plus(Span::from_secs(2)),
        });
        assert_eq!(timing.restart_promise, unattended);
        // A lost heartbeat does not cost the lease, nor the time in which it may be refreshed.
        let beats = timing.heartbeat.times(3).plus(facts.round_trip());
        assert!(timing.lease >= beats, "{facts:?}");
        assert!(timing.margin < timing.heartbeat);
        match guard.timeout(timing.lease) {
            None => assert_eq!(guard, Guard::Bpf),
            Some(timeout) if guard == Guard::Lifetime => assert!(timeout >= timing.lease),
            Some(timeout) => {
                assert!(timeout.plus(beats) <= timing.lease, "{facts:?}");
                // It may end two ticks early, and the next beat may be a tick late.
                assert!(timeout.minus(Span::from_millis(8)) >= Span::from_millis(4));
                assert!(timing.slack >= timeout.plus(Span::from_millis(24)));
            }
        }
    });
}

#[test]
fn a_longer_wish_never_shortens_a_timer() {
    for guard in GUARDS {
        for arbiter in ARBITERS {
            let derived: alloc::vec::Vec<Timing> = wishes(arbiter)
                .filter_map(|wish| derive(&Facts { arbiter, ..facts(wish, guard) }).ok())
                .map(|(timing, _)| timing)
                .collect();
            assert!(derived.len() > 20, "{guard:?} {arbiter:?}");
            for pair in derived.windows(2) {
                let (shorter, longer) = (pair[0], pair[1]);
                assert!(shorter.takeover_at_most <= longer.takeover_at_most, "{longer:?}");
                assert!(shorter.lease <= longer.lease, "{longer:?}");
                assert!(shorter.heartbeat <= longer.heartbeat, "{longer:?}");
                assert!(shorter.promise <= longer.promise, "{longer:?}");
            }
        }
    }
}

#[test]
fn what_is_suggested_is_accepted_and_no_more_than_needed() {
    let millisecond = Span::from_millis(1);
    let round_trips = [
        RoundTrip::Assumed,
        RoundTrip::Measured(Span::ZERO),
        RoundTrip::Measured(Span::from_millis(80)),
    ];
    let mut suggestions = 0;
    for guard in GUARDS {
        for arbiter in ARBITERS {
            for round_trip in round_trips {
                for wish in [0, 1, 60_000, 9_000_000_000] {
                    let facts = Facts { arbiter, round_trip, ..facts(wish, guard) };
                    let (accepted, refused) = match refusal(&facts) {
                        Refusal::TooShort { least: Some(least), .. } => {
                            (least, least.minus(millisecond))
                        }
                        Refusal::TooLong { most, .. } => (most, most.plus(millisecond)),
                        other => panic!("{other:?}"),
                    };
                    let with = |takeover_within| derive(&Facts { takeover_within, ..facts });
                    assert!(with(accepted).is_ok(), "{facts:?}: {accepted}");
                    assert!(with(refused).is_err(), "{facts:?}: {refused}");
                    suggestions += 1;
                }
            }
        }
    }
    assert_eq!(suggestions, 3 * 3 * 3 * 4);
}

#[test]
fn a_refusal_says_what_stands_against_the_wish() {
    let far = |round_trip| Facts {
        round_trip: RoundTrip::Measured(Span::from_millis(round_trip)),
        ..facts(1000, Guard::Bpf)
    };
    assert_eq!(
        refusal(&far(300)).to_string(),
        "1s is too short: with a round trip of 300ms (measured) no lease is left that outlives a \
         lost heartbeat; at least 1670ms"
    );
    assert_eq!(
        refusal(&far(60_000)).to_string(),
        "1s is too short: with a round trip of 1m (measured) no lease is left that outlives a \
         lost heartbeat; the voters are too far away for any"
    );
    assert_eq!(
        refusal(&Facts { arbiter: FENCE, ..facts(1000, Guard::Bpf) }).to_string(),
        "1s is too short: with a round trip of 20ms (assumed) and a fence agent that may take 20s \
         no lease is left that outlives a lost heartbeat; at least 20071ms"
    );
}

#[test]
fn units_that_must_not_run_twice_need_something_that_stops_them() {
    let data = |watchdog, fence| Facts {
        safety: Safety::Data { stop: Span::from_secs(90), watchdog, fence },
        ..facts(1000, Guard::Bpf)
    };
    let wait = |facts: &Facts| derive(facts).unwrap().1.stop.unwrap().total;
    assert_eq!(refusal(&data(None, None)), Refusal::NothingStops);
    // Told together with everything else.
    let both = Facts { takeover_within: Span::ZERO, ..data(None, None) };
    assert_eq!(derive(&both).unwrap_err().len(), 2);
    assert_eq!(wait(&data(Some(WATCHDOG), None)), Span::from_secs(90 + 3 + 2 + 30 + 1));
    let proven = |secs| WatchdogFacts { proven: Some(Span::from_secs(secs)), ..WATCHDOG };
    assert_eq!(wait(&data(Some(proven(60)), None)), Span::from_secs(90 + 3 + 2 + 60 + 1));
    assert_eq!(wait(&data(Some(proven(20)), None)), wait(&data(Some(WATCHDOG), None)));
    let agent = Some(Span::from_secs(20));
    assert_eq!(wait(&data(None, agent)), Span::from_secs(20));
    // The agent may fail.
    assert_eq!(wait(&data(Some(WATCHDOG), agent)), wait(&data(Some(WATCHDOG), None)));
    let fenced = Facts { arbiter: FENCE, takeover_within: Span::from_secs(21), ..data(None, None) };
    assert_eq!(wait(&fenced), Span::ZERO);
    let (timing, sums) = derive(&data(Some(WATCHDOG), None)).unwrap();
    assert_eq!(sums.units_start, Some(timing.takeover_at_most.plus(Span::from_secs(126))));
}

#[test]
fn a_tick_that_no_kernel_has_makes_no_slack_shorter() {
    let none = Guard::Nftables { tick: Span::ZERO };
    assert!(none.slack(Span::ZERO) >= Span::from_millis(10));
    assert!(derive(&facts(30, none)).is_ok());
}

#[test]
fn only_the_wire_allows_two_owners() {
    for guard in GUARDS {
        for arbiter in ARBITERS {
            for safety in [
                Safety::Network,
                Safety::Data { stop: Span::ZERO, watchdog: Some(WATCHDOG), fence: None },
            ] {
                let claim = Claim::new(arbiter, guard, safety);
                assert_eq!(claim.two_owners_possible, arbiter == Arbiter::Wire);
                assert!(claim.assumes.len() >= 4);
            }
        }
    }
}
