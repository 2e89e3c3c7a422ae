//! The nftables guard against a real kernel: what passes, what does not, and when it ends.

mod inet;
mod lab;
mod others;

use std::cell::Cell;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use mastiff_core::pair::clock::Clocks;
use mastiff_core::time::{Mono, Span};
use mastiff_core::timing;
use nix::poll::{PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Form, Shared, best, build, tick, timeout};
use crate::clock;
use crate::guard::nftables::{NftablesGate, NftablesWall};
use crate::guard::{Gate, Slot, Wall};
use lab::{
    FIRST, Frames, Lab, OWN, SECOND, both, devices, families, form, frames_of, guarded,
    in_namespaces, ip, is_inside, run, start, within,
};

const GROUP: Slot = Slot(0);
const OTHER: Slot = Slot(1);
const MILLISECOND: i64 = 1_000_000;

/// Opens a group as the keeper and the hands do together.
fn open(gate: &mut NftablesGate, wall: &mut NftablesWall, slot: Slot, until: Clocks) {
    gate.open(slot, until, clock::clocks());
    assert_eq!(gate.lapsed(), Some(slot));
    wall.create(slot, until).unwrap();
    gate.open(slot, until, clock::clocks());
    assert_eq!(gate.lapsed(), None);
}

/// Refreshes as a keeper would, until something is over.
fn keep(gate: &mut NftablesGate, mut over: impl FnMut() -> bool) {
    while !over() {
        let next = gate.refresh(clock::clocks());
        let wait = next.since(clock::now()).as_millis().clamp(1, 20);
        poll(&mut [], PollTimeout::from(u8::try_from(wait).unwrap())).unwrap();
    }
}

/// Nothing more has come for so many milliseconds.
fn quiet(since: i64, millis: i64) -> impl Fn(&[i64]) -> bool + Send + 'static {
    move |answers| {
        let last = answers.last().copied().unwrap_or_default().max(since);
        clock::unix_nanos() - last > millis * MILLISECOND
    }
}

/// How long the one living element was given, and lives on, as nft prints it.
fn element() -> String {
    let listed = run(&format!("nft list set {} mastiff-test lease", families(form())[0]));
    listed.split("elements = { ").nth(1).unwrap_or("none").split(" }").next().unwrap().to_string()
}

#[test]
fn the_time_out_is_that_of_the_timers() {
    let form = timing::Guard::Nftables { tick: tick() };
    for lease in [1, 20, 100, 624, 6906].map(Span::from_millis) {
        assert_eq!(Some(timeout(form.heartbeat(lease))), form.timeout(lease));
    }
}

#[test]
fn the_other_half_never_sees_a_lease_that_nobody_gave() {
    let shared = Shared::new(1);
    let far = within(1000);
    shared.set(GROUP, far);
    shared.set(Slot(7), far);
    assert_eq!(shared.until(GROUP), far);
    assert!(!shared.is_closed(GROUP) && shared.is_closed(Slot(7)));
    shared.set(GROUP, Clocks { boot: Mono::BOOT, ..far });
    assert!(shared.is_closed(GROUP), "half closed");
}

#[test]
fn it_can_be_had_here() {
    in_namespaces("it_can_be_had_here", || {
        assert_eq!(best(false), Ok(Form::Netdev));
        assert_eq!(best(true), Ok(Form::Inet));
        assert_eq!(run("nft list ruleset"), "", "a probe leaves nothing");
        let (_, mut wall) = both(100);
        run("ip link add near type veth peer name far");
        let down = wall.stand(&devices()).unwrap_err();
        assert!(down.contains("ENETDOWN") || down.contains("ENETUNREACH"), "lo is down: {down}");
        run("ip link set lo up");
        wall.stand(&devices()).unwrap();
    });
}

#[test]
fn closed_drops_everything_of_the_address_and_nothing_else() {
    in_namespaces("closed_drops_everything_of_the_address_and_nothing_else", || {
        let lab = Lab::new();
        for address in FIRST.iter().chain(&SECOND).chain(&OWN) {
            assert!(lab.answers(address), "{address} without a guard");
        }
        let (mut gate, mut wall) = both(700);
        wall.stand(&devices()).unwrap();
        assert_eq!(wall.stands(), Ok(true));
        for address in FIRST.iter().chain(&SECOND) {
            assert!(lab.is_silent(address), "{address} is closed");
        }
        let frames = Frames::new();
        let passes = |address: &str| {
            let all = frames_of(ip(address)).into_iter();
            all.filter(|(_, frame)| frames.pass(frame)).map(|(what, _)| what).collect::<Vec<_>>()
        };
        // As its client, and as a candidate that probes, this node speaks with who has it.
        let towards: [&[&str]; 2] = match form() {
            Form::Netdev => {
                [&["ARP target", "IPv4 destination"], &["IPv6 destination", "solicited"]]
            }
            // What a packet socket sends is not seen.
            Form::Inet => [
                &["ARP sender", "ARP target", "IPv4 destination", "IPv4 source"],
                &["IPv6 destination", "IPv6 source", "advertised", "solicited"],
            ],
        };
        assert_eq!(passes(FIRST[0]), towards[0]);
        assert_eq!(passes(FIRST[1]), towards[1]);
        for address in OWN {
            assert!(lab.answers(address), "{address} is nobody's");
            assert_eq!(passes(address).len(), 4, "{address}");
        }
        open(&mut gate, &mut wall, GROUP, within(60_000));
        for address in FIRST {
            assert!(lab.answers(address), "{address} is open");
            assert_eq!(passes(address).len(), 4, "{address}");
        }
        assert!(lab.is_silent(SECOND[0]), "of a closed group");
        assert_eq!(passes(SECOND[0]), towards[0]);
        gate.close(GROUP);
        for (address, towards) in FIRST.iter().zip(towards) {
            assert!(lab.is_silent(address), "{address} is closed again");
            assert_eq!(passes(address), towards);
        }
        wall.remove();
        assert!(lab.answers(FIRST[0]), "nothing is guarded any more");
        assert_eq!(run("nft list ruleset"), "");
    });
}

#[test]
fn who_dies_after_creation_leaves_it_open_for_a_few_ticks() {
    in_namespaces("who_dies_after_creation_leaves_it_open_for_a_few_ticks", || {
        let _lab = Lab::new();
        let (mut gate, mut wall) = both(10_000);
        wall.stand(&devices()).unwrap();
        gate.open(GROUP, within(600_000), clock::clocks());
        // Refreshes are not heard, as if this process were frozen from here on.
        wall.knocker = super::knock::Knocker::new(form(), &[0; super::knock::COOKIE], 1).unwrap();
        assert!(wall.create(GROUP, within(600_000)).is_err());
        let given = 3 * tick().as_nanos() / 1_000_000;
        let element = element();
        assert!(element == "none" || element.contains(&format!("timeout {given}ms")), "{element}");
    });
}

#[test]
fn an_operator_can_read_it_and_save_it() {
    in_namespaces("an_operator_can_read_it_and_save_it", || {
        let _lab = Lab::new();
        let (_, mut wall) = both(100);
        wall.stand(&devices()).unwrap();
        let listed = run("nft list ruleset");
        for words in ["guard of mastiffd", "ip saddr vmap @v4", "10.9.0.101 : jump group-1"] {
            assert!(listed.contains(words), "{words}: {listed}");
        }
        // Old nft has no word for the target of a solicitation.
        let lines = listed.lines().filter(|line| !line.contains("@th,64,128 vmap"));
        let loaded = lines.collect::<Vec<_>>().join("\n");
        let mut nft = Command::new("nft").args(["-c", "-f", "-"]).stdin(Stdio::piped()).spawn();
        let nft = nft.as_mut().unwrap();
        nft.stdin.take().unwrap().write_all(loaded.as_bytes()).unwrap();
        assert!(nft.wait().unwrap().success(), "what is saved can be loaded: {listed}");
    });
}

#[test]
fn it_ends_by_itself_and_a_late_refresh_revives_nothing() {
    in_namespaces("it_ends_by_itself_and_a_late_refresh_revives_nothing", || {
        let lab = Lab::new();
        lab.know_neighbours();
        let (mut gate, mut wall) = both(33);
        wall.stand(&devices()).unwrap();
        let until = within(60_000);
        wall.shared.set(GROUP, until);
        wall.create(GROUP, until).unwrap();
        let opened = clock::unix_nanos();
        let answers = lab.ask_until(FIRST[0], quiet(opened, 300));
        let last = answers.last().map_or(0, |last| *last - opened);
        // The kernel's clocks agree to a tick.
        assert!(last < 100 * MILLISECOND, "{last}");
        // The lease goes on, but the element has lapsed: no frame may bring it back.
        for _ in 0..5 {
            gate.open(GROUP, until, clock::clocks());
            assert!(lab.is_silent(FIRST[0]));
        }
        assert_eq!(gate.lapsed(), Some(GROUP));
        assert_eq!(gate.lapsed(), None, "told once");
        // Who should have opened it may have failed, and the lease goes on.
        gate.knocker.clock = || clock::clocks().after(Span::from_secs(2));
        gate.open(GROUP, until, clock::clocks());
        assert_eq!(gate.lapsed(), Some(GROUP), "and a second later again");
        gate.knocker.clock = clock::clocks;
        wall.create(GROUP, until).unwrap();
        assert!(gate.refresh(clock::clocks()) < until.boot);
        assert_eq!(gate.lapsed(), None);
    });
}

#[test]
fn refreshed_it_stays_open_while_others_load_their_rules() {
    in_namespaces("refreshed_it_stays_open_while_others_load_their_rules", || {
        let lab = Lab::new();
        lab.know_neighbours();
        let (mut gate, mut wall) = both(400);
        wall.stand(&devices()).unwrap();
        open(&mut gate, &mut wall, GROUP, within(600_000));
        // What a firewall does with its rules. More at once do not go through a socket here.
        let rule = "add rule inet big every ip saddr 198.51.100.7 tcp dport 80 accept\n";
        let text = format!(
            "add table inet big\ndelete table inet big\nadd table inet big\nadd chain inet big every\n{}",
            rule.repeat(250)
        );
        let path = std::env::temp_dir().join(format!("mastiff-{}.nft", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let command = format!("nft -f {}", path.display());
        let loader = std::thread::spawn(move || (0..80).for_each(|_| drop(run(&command))));
        keep(&mut gate, || loader.is_finished());
        loader.join().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(gate.lapsed(), None);
        assert!(lab.answers(FIRST[0]));
        assert_eq!(wall.stands(), Ok(true));
    });
}

#[test]
fn it_never_lasts_beyond_the_lease() {
    in_namespaces("it_never_lasts_beyond_the_lease", || {
        let lab = Lab::new();
        lab.know_neighbours();
        let (mut gate, mut wall) = both(33);
        wall.stand(&devices()).unwrap();
        let (until, ends) = (within(600), clock::unix_nanos() + 600 * MILLISECOND);
        open(&mut gate, &mut wall, GROUP, until);
        let after = ends + 200 * MILLISECOND;
        let asked = std::thread::spawn(move || {
            lab.ask_until(FIRST[0], move |_| clock::unix_nanos() > after)
        });
        keep(&mut gate, || asked.is_finished());
        let answers = asked.join().unwrap();
        assert!(*answers.last().unwrap() < ends, "answers after the end of the lease");
        assert_eq!(gate.lapsed(), None, "the lease is over, there is nothing to mend");
        // A new lease after it: it must be created, with the addresses off.
        open(&mut gate, &mut wall, GROUP, within(60_000));
        // What is shorter than the element's time-out ends it.
        gate.open(GROUP, within(50), clock::clocks());
        assert_eq!(element(), "none");
    });
}

#[test]
fn held_it_lasts_for_the_rest_of_a_long_lease_and_no_longer() {
    in_namespaces("held_it_lasts_for_the_rest_of_a_long_lease_and_no_longer", || {
        let lab = Lab::new();
        lab.know_neighbours();
        let (mut gate, mut wall) = both(33);
        wall.stand(&devices()).unwrap();
        open(&mut gate, &mut wall, GROUP, within(60_000));
        let (until, ends) = (within(1500), clock::unix_nanos() + 1500 * MILLISECOND);
        gate.close(GROUP);
        open(&mut gate, &mut wall, GROUP, until);
        gate.hold(GROUP, until, clock::clocks());
        assert_eq!(gate.refresh(clock::clocks()), Mono::FAR);
        drop((gate, wall)); // the process ends
        let after = ends + 200 * MILLISECOND;
        let answers = lab.ask_until(FIRST[0], move |_| clock::unix_nanos() > after);
        let early = ends - *answers.last().unwrap();
        assert!(early > 0, "too long: {early}");
        assert!(early < 500 * MILLISECOND, "too short: {early}");
    });
}

/// The daemon that other tests freeze and kill: says when it is open.
#[test]
#[ignore = "a part of the test below it"]
fn daemon() {
    if !is_inside() {
        return eprintln!("nothing to do: this is for the test that starts it in namespaces");
    }
    let (mut gate, mut wall) = both(90);
    wall.stand(&devices()).unwrap();
    open(&mut gate, &mut wall, GROUP, within(900));
    println!("open");
    loop {
        poll(&mut [], PollTimeout::from(90u8)).unwrap();
        gate.open(GROUP, within(900), clock::clocks());
    }
}

/// Such a process, killed with the test.
struct Daemon(Child);

impl Daemon {
    /// Waits until it is open.
    fn start() -> Self {
        let mut daemon = Self(start("daemon"));
        let mut lines = BufReader::new(daemon.0.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().ends_with("open")));
        daemon
    }

    fn kill(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), signal).unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.0.kill().ok(); // it may have ended
        self.0.wait().ok();
    }
}

#[test]
fn a_frozen_or_killed_daemon_is_shut_out_within_its_lease() {
    in_namespaces("a_frozen_or_killed_daemon_is_shut_out_within_its_lease", || {
        let lab = Lab::new();
        lab.know_neighbours();
        for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
            let daemon = Daemon::start();
            assert!(lab.answers(FIRST[0]), "it is open for longer than one lease");
            daemon.kill(signal);
            let stopped = clock::unix_nanos();
            let answers = lab.ask_until(FIRST[0], quiet(stopped, 1500));
            let last = answers.last().map_or(0, |last| *last - stopped);
            // A signal takes its way.
            assert!(last < 920 * MILLISECOND, "{signal}: {last}");
            if signal == Signal::SIGSTOP {
                // It goes on and refreshes at once: too late.
                daemon.kill(Signal::SIGCONT);
                let thawed = clock::unix_nanos();
                assert_eq!(lab.ask_until(FIRST[0], quiet(thawed, 1000)), Vec::<i64>::new());
            }
        }
    });
}

thread_local! {
    static READINGS: Cell<u32> = const { Cell::new(0) };
}

/// The clocks of a process that is frozen for an hour before their second reading.
fn frozen_before_the_second() -> Clocks {
    let before = READINGS.replace(READINGS.get() + 1);
    let hour = if before == 0 { Span::ZERO } else { Span::from_secs(3600) };
    clock::clocks().after(hour)
}

fn freeze(clock: &mut fn() -> Clocks) {
    READINGS.set(0);
    *clock = frozen_before_the_second;
}

#[test]
fn who_freezes_on_the_way_closes_first() {
    in_namespaces("who_freezes_on_the_way_closes_first", || {
        let lab = Lab::new();
        lab.know_neighbours();
        let (mut gate, mut wall) = both(10_000);
        wall.stand(&devices()).unwrap();
        let until = within(600_000);
        // Between the clock and the frame, or right after it: the element lives for 30 s more.
        open(&mut gate, &mut wall, GROUP, until);
        assert!(lab.answers(FIRST[0]));
        freeze(&mut gate.knocker.clock);
        let refreshed = gate.knocker.refresh(GROUP, (0, Span::from_secs(30)), until, tick());
        assert_eq!(refreshed, super::knock::Refreshed::Dead);
        assert!(lab.is_silent(FIRST[0]), "deleted at once");
        // Between the clock and the transaction that creates it.
        gate.knocker.clock = clock::clocks;
        gate.open(GROUP, until, clock::clocks());
        freeze(&mut wall.knocker.clock);
        assert!(wall.create(GROUP, until).unwrap_err().contains("its lease is over"));
        gate.open(GROUP, until, clock::clocks());
        assert_eq!(element(), "none");
        // Before everything.
        wall.knocker.clock = clock::clocks;
        assert!(wall.create(GROUP, within(1000)).unwrap_err().contains("its lease is over"));
        assert_eq!(element(), "none");
        wall.create(GROUP, until).unwrap();
        // Closed by the keeper while the hands are about to create it.
        gate.close(GROUP);
        assert!(wall.create(GROUP, until).unwrap_err().contains("its lease is over"));
        assert!(lab.is_silent(FIRST[0]));
    });
}

/// The clocks of a process that is frozen after each reading, for longer than a frame may take.
fn frozen_after_each() -> Clocks {
    let clocks = clock::clocks();
    poll(&mut [], PollTimeout::from(50u8)).unwrap();
    clocks
}

#[test]
fn a_refresh_that_comes_late_is_not_heard() {
    in_namespaces("a_refresh_that_comes_late_is_not_heard", || {
        let lab = Lab::new();
        lab.know_neighbours();
        let (mut gate, mut wall) = both(300);
        wall.stand(&devices()).unwrap();
        let until = within(60_000);
        gate.open(GROUP, until, clock::clocks());
        wall.create(GROUP, until).unwrap();
        let opened = clock::unix_nanos();
        gate.knocker.clock = frozen_after_each;
        let refreshed = gate.knocker.refresh(GROUP, (0, Span::from_millis(900)), until, tick());
        assert_eq!(refreshed, super::knock::Refreshed::Dead);
        assert!(lab.answers(FIRST[0]), "nobody deleted it");
        let answers = lab.ask_until(FIRST[0], quiet(opened, 1200));
        let last = answers.last().map_or(0, |last| *last - opened);
        assert!(last < 905 * MILLISECOND, "{last}");
        // One that is in time is heard among them, and that of another sender does not help.
        wall.create(GROUP, until).unwrap();
        gate.knocker.clock = clock::clocks;
        let refreshed = gate.knocker.refresh(GROUP, (0, Span::from_millis(900)), until, tick());
        assert!(matches!(refreshed, super::knock::Refreshed::Lives(_)), "{refreshed:?}");
        poll(&mut [], PollTimeout::from(50u8)).unwrap();
        assert_eq!(wall.knocker.knock(super::knock::ASK, GROUP), super::knock::Knock::Taken);
        assert_eq!(gate.knocker.knock(0, GROUP), super::knock::Knock::Ignored);
        assert_eq!(gate.knocker.knock(0, GROUP), super::knock::Knock::Taken);
    });
}

#[test]
fn a_flush_is_seen_and_mended_and_nothing_else_is_news() {
    in_namespaces("a_flush_is_seen_and_mended_and_nothing_else_is_news", || {
        let lab = Lab::new();
        lab.know_neighbours();
        let (mut gate, mut wall) = both(10_000);
        wall.stand(&devices()).unwrap();
        open(&mut gate, &mut wall, GROUP, within(600_000));
        run("nft add table inet firewall");
        assert_eq!(wall.stands(), Ok(true), "the transactions of others");
        let family = families(form())[0];
        for meddling in [
            "nft flush ruleset",
            "nft flush chain FAMILY mastiff-test guard-out",
            "nft flush chain FAMILY mastiff-test group-1",
            "nft delete element FAMILY mastiff-test v4 { 10.9.0.101 }",
            "nft add rule FAMILY mastiff-test guard-in accept",
            "nft delete element FAMILY mastiff-test v4 { 10.9.0.101 } ; \
             add element FAMILY mastiff-test v4 { 10.9.0.99 : jump group-1 }",
        ] {
            let meddling = &meddling.replace("FAMILY", family);
            run(meddling);
            assert_eq!(wall.stands(), Ok(false), "{meddling}");
            wall.stand(&devices()).unwrap();
            assert_eq!(wall.stands(), Ok(true), "{meddling}");
            assert!(lab.answers(FIRST[0]), "open before {meddling}");
            assert!(lab.is_silent(SECOND[0]), "closed before {meddling}");
        }
        gate.open(GROUP, within(600_000), clock::clocks());
        assert_eq!(gate.lapsed(), None);
        assert!(!gate.is_gone());
        // Nobody takes its frames: that is no lapse, and is said once.
        run("nft flush ruleset");
        for is_news in [true, false] {
            gate.open(GROUP, within(600_000), clock::clocks());
            assert_eq!((gate.lapsed(), gate.is_gone()), (None, is_news));
        }
        wall.stand(&devices()).unwrap();
        gate.open(GROUP, within(600_000), clock::clocks());
        run("nft flush ruleset");
        gate.open(GROUP, within(600_000), clock::clocks());
        assert!(gate.is_gone(), "again");
        wall.stand(&devices()).unwrap();
        gate.open(GROUP, within(600_000), clock::clocks());
        gate.close(GROUP);
        assert!(lab.is_silent(FIRST[0]));
    });
}

#[test]
fn the_next_daemon_keeps_what_lives_only_for_the_same_addresses() {
    in_namespaces("the_next_daemon_keeps_what_lives_only_for_the_same_addresses", || {
        let lab = Lab::new();
        lab.know_neighbours();
        let (mut gate, mut wall) = both(10_000);
        wall.stand(&devices()).unwrap();
        open(&mut gate, &mut wall, GROUP, within(600_000));
        drop((gate, wall));
        assert!(lab.answers(FIRST[0]), "left standing");
        assert!(lab.is_silent(SECOND[0]), "left standing");
        let (mut gate, mut wall) = both(20_000);
        wall.stand(&devices()).unwrap();
        gate.open(GROUP, within(600_000), clock::clocks());
        assert_eq!(gate.lapsed(), None, "it goes on");
        assert!(lab.answers(FIRST[0]));
        assert!(lab.is_silent(SECOND[0]));
        // The same place in the configuration, and other addresses.
        let mut swapped = guarded();
        for guarded in &mut swapped {
            guarded.slot = Slot(1 - guarded.slot.0);
        }
        let (mut gate, mut wall) = build(form(), "test", &swapped, Span::from_secs(10)).unwrap();
        wall.stand(&devices()).unwrap();
        for address in FIRST.iter().chain(&SECOND) {
            assert!(lab.is_silent(address), "{address}");
        }
        gate.open(GROUP, within(600_000), clock::clocks());
        assert_eq!(gate.lapsed(), Some(GROUP));
    });
}

#[test]
fn an_interface_that_comes_back_is_guarded_again() {
    in_namespaces("an_interface_that_comes_back_is_guarded_again", || {
        let lab = Lab::new();
        let (mut gate, mut wall) = both(10_000);
        wall.stand(&devices()).unwrap();
        open(&mut gate, &mut wall, GROUP, within(600_000));
        lab.replace_wire();
        wall.stand(&devices()).unwrap();
        assert_eq!(wall.stands(), Ok(true));
        assert!(lab.answers(FIRST[0]), "open as before");
        assert!(lab.is_silent(SECOND[0]), "closed as before");
        gate.close(GROUP);
        assert!(lab.is_silent(FIRST[0]));
    });
}

#[test]
fn two_daemons_do_not_know_each_other() {
    in_namespaces("two_daemons_do_not_know_each_other", || {
        let lab = Lab::new();
        let (firsts, seconds): (Vec<_>, Vec<_>) =
            guarded().into_iter().partition(|guarded| guarded.slot == GROUP);
        let seconds = seconds.into_iter().map(|mut guarded| {
            guarded.slot = GROUP;
            guarded
        });
        let beat = Span::from_secs(10);
        let (mut gate, mut wall) = build(form(), "one", &firsts, beat).unwrap();
        let (mut other_gate, mut other) =
            build(form(), "two", &seconds.collect::<Vec<_>>(), beat).unwrap();
        wall.stand(&devices()).unwrap();
        other.stand(&devices()).unwrap();
        open(&mut gate, &mut wall, GROUP, within(600_000));
        assert!(lab.answers(FIRST[0]));
        assert!(lab.is_silent(SECOND[0]));
        open(&mut other_gate, &mut other, GROUP, within(600_000));
        gate.close(GROUP);
        assert!(lab.is_silent(FIRST[0]));
        assert!(lab.answers(SECOND[0]));
        assert_eq!(wall.stands(), Ok(true));
        wall.remove();
        assert!(lab.answers(SECOND[0]));
        gate.close(OTHER); // which it does not have
    });
}
