use super::*;
use crate::config::load_text;

/// With the default of `takeover-within`.
fn pair() -> String {
    let within = "takeover-within = \"500ms\"\n";
    let sample = include_str!("../../../../tests/pair.toml");
    assert!(sample.contains(within));
    sample.replace(within, "")
}

const WITNESS_BPF: &str = "\
Pair db: db1 and db2; arbiter: the witness 192.0.2.50:4170.
Guard: BPF (as asked for).
Round trip to the slower voter: 20.0 ms (assumed: 2 % of takeover-within, 1 to 20 ms;
--round-trip computes with yours).

From the death of the owner to the address on the other node:

      20.0 ms  the owner's last word reaches the voters              pair.paths
     734.5 ms  its lease                                             pair.takeover-within
      74.5 ms  guard slack: what the kernel may end late             pair.takeover-within
       1.6 ms  clocks, 0.1 % wrong each                              pair.takeover-within
      20.0 ms  ask and grant                                         pair.paths
     142.4 ms  a voter that was still bound is asked again           pair.takeover-within
       5.0 ms  loops that run late
       1.0 ms  guard and address
       1.0 ms  announcement
    1000.0 ms  takeover at most (takeover-within = 1s)

It may take up to 11.0 s in all while a voter keeps silent, as it does for 10s after a start
without its memory; 73.5 ms longer while time synchronisation slows a clock as fast as it can;
and up to a heartbeat longer for each message that is lost on the way. The other node must be up
and ready, with the same file and the same guard.

Timers: a heartbeat every 122.4 ms, a lease of 734.5 ms, a promise of 809.0 ms. The owner closes
the guard 5.0 ms before the lease ends. For a planned restart it asks for a lease of 9.1 s;
until the promise of 10.0 s that goes with it has run out, a takeover takes as much longer.

Group db: 192.0.2.100/24 dev eth0, 2001:db8::100/128 dev eth0.7, postgresql.service,
    pgbouncer.service
  Moves to a node that has been better for 1m 5s while one of these is failed: default checks of
  hardware.
  Address and units come 31.0 s after the death of the owner at most. Unless that one released
  them, the new owner has the lease and waits before it takes them:

       30.0 s  the fence agent confirms that the owner is off        pair.fence
       30.0 s  at most

  The fence agent is given up after 30s; then no units start until it, or an operator, confirms
  that the other node is off.

Group web: 192.0.2.101/32 dev eth0
  Moves to a node that has been better for 1m 5s while one of these is failed: default checks of
  hardware.

Never two owners: a node needs the vote of the peer or of the witness.
This rests on:
  - on each machine one of two clocks is right within 0.1 %: the one that counts suspend, or the
    one that nobody corrects
  - the clock runs while the world does; a hypervisor that stops it (suspend, snapshot,
    migration) adds at most the rest of the lease
  - the key is known to nobody else
  - nobody with root's rights detaches the guard's program
  - a power-off that the fence agent confirms is one
";

fn explained(config: &str, guard: Wanted, round_trip: Option<Span>) -> String {
    let path = Path::new("f.toml");
    let config = load_text(config, path).unwrap();
    let computed =
        config.pair.as_ref().map(|pair| compute(&config, pair, &With { guard, round_trip }));
    let out = Out { color: false, width: Some(COLUMNS_MAX) };
    let text = text(out, path, &config, computed.as_ref());
    assert!(text.lines().all(|line| line.chars().count() <= COLUMNS_MAX), "{text}");
    assert!(text.lines().all(|line| line.trim_end() == line), "{text:?}");
    text
}

#[test]
fn a_pair_with_a_witness_is_explained_from_sum_to_assumption() {
    let text = explained(&pair(), Wanted::Bpf, None);
    assert_eq!(text, WITNESS_BPF);
}

#[test]
fn each_guard_and_arbiter_has_its_own_sum_and_statement() {
    let wire = pair().replace("witness = \"192.0.2.50:4170\"", "arbiter = \"wire\"");
    let fence = pair().replace("witness = \"192.0.2.50:4170\"", "takeover-within = \"31s\"");
    for (config, guard, parts) in [
        (
            &pair(),
            Wanted::Nftables,
            &["Guard: nftables, with a tick of ", "set once, the guard lasts ", "flushes the"][..],
        ),
        (
            &wire,
            Wanted::Bpf,
            &[
                "arbiter: wire, with the gateway of the default route.",
                "probes for the address that nobody answers",
                "Two owners are possible: of a split LAN each side can have one;",
            ],
        ),
        (
            &fence,
            Wanted::Bpf,
            &[
                "arbiter: the fence agent.",
                "30000.0 ms the fence agent confirms",
                "Address and units come after 31.0 s at most: the fence agent has confirmed by",
                "Never two owners: who takes over has seen the other one switched off.",
            ],
        ),
        (
            &pair(),
            Wanted::Lifetime,
            &[
                "No promise: takeover-within = 1s is too short: without BPF and nftables",
                "at least 4220ms.",
                "bring it back for one more",
            ],
        ),
    ] {
        // Where a line breaks depends on the tick of this kernel.
        let text = explained(config, guard, None).split_whitespace().collect::<Vec<_>>().join(" ");
        for part in parts {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}

#[test]
fn a_round_trip_that_was_measured_takes_the_place_of_the_assumed_one() {
    let text = explained(&pair(), Wanted::Bpf, Some(Span::from_millis(3)));
    assert!(text.contains("Round trip to the slower voter: 3.0 ms (as given).\n"), "{text}");
    let far = explained(&pair(), Wanted::Bpf, Some(Span::from_millis(400)));
    assert!(far.contains("with a round trip of 400ms (measured)"), "{far}");
}

#[test]
fn a_node_without_a_pair_and_a_witness_say_so() {
    let alone = explained("[node]\nname = \"web1\"\n", Wanted::Auto, None);
    assert!(alone.starts_with("web1 has no pair: it holds no floating address"), "{alone}");
    let witness =
        "[node]\nname = \"w\"\n[witness]\n[[witness.pair]]\nname = \"db\"\nkey-file = \"/k\"\n";
    let text = explained(witness, Wanted::Auto, None);
    assert!(text.starts_with("w is a witness on 0.0.0.0:4170, of 1 pair: it votes"), "{text}");
}

#[test]
fn units_under_network_safety_are_said_to_run_twice_for_a_moment() {
    let text = explained(&pair().replace("\"data\"", "\"network\""), Wanted::Bpf, None);
    assert!(text.contains("for a moment they may run on both"), "{text}");
    assert!(!text.contains("a power-off that"), "{text}");
}

#[test]
fn the_checks_that_hand_a_group_over_are_named() {
    let text = format!(
        "{}[[check]]\nname = \"gateway\"\nsensor = \"ping\"\ntarget = \"192.0.2.1\"\n\
         on-fail = \"switchover\"\n[[service]]\nunit = \"postgresql.service\"\n\
         on-fail = [\"restart\", \"switchover\"]\n[[check]]\nsensor = \"load\"\n",
        pair()
    );
    let config = load_text(&text, Path::new("mastiff.toml")).unwrap();
    let with = With { guard: Wanted::Lifetime, round_trip: None };
    let computed = compute(&config, config.pair.as_ref().unwrap(), &with);
    let checks: Vec<_> = computed.groups.iter().map(|group| group.checks.clone()).collect();
    assert_eq!(checks, [vec!["gateway", "postgresql.service"], vec!["gateway"]]);
    let mut shown = String::new();
    group_text(&mut shown, Out { color: false, width: None }, &computed.groups[1]);
    assert!(shown.contains("do not help: gateway."), "{shown}");
}
