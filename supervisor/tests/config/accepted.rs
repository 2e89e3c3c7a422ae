//! What is accepted, what it means, and that `config show` writes it out whole.

use std::path::{Path, PathBuf};

use mastiff::config::pair::{ArbiterConfig, Failback, GROUP_RECOVER_DEFAULT, WITNESS_PAIRS_MAX};
use mastiff::config::{
    ALERT_TIMEOUT_DEFAULT, ALERTS_MAX, CHECK_TIMEOUT_DEFAULT, CHECKS_MAX, CONDITIONS_MAX, Config,
    DeviceChoice, FILE_BYTES_MAX, GUARD_RESETS_DEFAULT, GUARD_WITHIN_DEFAULT, GuardConfig,
    INTERVAL_DEFAULT, RUNGS_MAX, SHUTDOWN_TIMEOUT_DEFAULT, WATCHDOG_TIMEOUT_DEFAULT,
    WatchdogConfig, not_run, show,
};
use mastiff_core::node::REMIND_DEFAULT;
use mastiff_core::spec::{Budget, Origin};
use mastiff_core::time::Span;
use mastiff_hwmon::watchdog::governor::Governor;

use super::check;

/// A bit of everything.
const WHOLE: &str = r#"
[node]
name = "db1"
interval = "2s"
remind-every = "90min"
state-dir = "/srv/mastiff"
run-dir = "/run/mastiff-2"
default-checks = false

[budgets]
restart = "5 in 1h 1s"

[[check]]
name = "root filesystem"
sensor = "filesystem"
target = "/"
warn-when = "used > 85%"
fail-when = ["used > 95%", "inodes-used > 95%", "read-only"]
fail-after = "30s 250ms"
recover-after = "1m"
timeout = "2s"
on-fail = ["run /usr/local/sbin/prune-logs --days '3 or more' \"\"", "restart a.service"]

[[service]]
unit = "postgresql.service"
fail-when = ["state != active", "memory > 48GiB", "restarts > 3 in 10m"]
warn-when = []
on-fail = "restart"

[[check]]
sensor = "tcp"
target = "[::1]:6379"
interval = "500ms"
options = { send = "PING\r\n", expect = "+\"PONG\"" }

[[check]]
sensor = "process"
target = "unit:nginx.service"
on-fail = ["restart"]

[[check]]
sensor = "load"

[[alert]]
run = "/usr/local/bin/tell 'a b' \"c\\\\d\" e\\ f ''"
timeout = "5s"
"#;

fn good(text: &str) -> Config {
    check(text).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

#[test]
fn an_empty_file_is_valid_and_has_defaults() {
    for text in ["", "\n", "# nothing\n", "\u{feff}# with a byte order mark\n", "[node]\n"] {
        let config = good(text);
        assert!(config.checks.is_empty() && config.alerts.is_empty(), "{text:?}");
        assert_eq!(config.node.policy.interval, INTERVAL_DEFAULT);
        assert_eq!(config.node.policy.remind, REMIND_DEFAULT);
        assert_eq!(config.node.state_dir, PathBuf::from("/var/lib/mastiff"));
        assert_eq!(config.node.run_dir, PathBuf::from("/run/mastiff"));
        assert!(config.node.default_checks);
        assert_eq!(config.watchdog, None, "nothing is armed unasked");
        let guard = GuardConfig { resets: GUARD_RESETS_DEFAULT, within: GUARD_WITHIN_DEFAULT };
        assert_eq!(config.boot_loop_guard, guard);
    }
}

const WATCHDOG: &str = r#"
[watchdog]
device = "/dev/watchdog1"
timeout = "1min"
pretimeout = "59s"
pretimeout-governor = "panic"
shutdown-timeout = "30min"
root-dead-after = "2m"

[boot-loop-guard]
resets = 5
within = "2h"
"#;

#[test]
fn every_key_of_a_watchdog_means_what_it_says() {
    let config = good(WATCHDOG);
    let wanted = WatchdogConfig {
        device: DeviceChoice::Path("/dev/watchdog1".into()),
        timeout: Span::from_secs(60),
        pretimeout: Some(Span::from_secs(59)),
        governor: Some(Governor::Panic),
        shutdown_timeout: Span::from_secs(1800),
        root_dead_after: Some(Span::from_secs(120)),
    };
    assert_eq!(config.watchdog, Some(wanted));
    let guard = GuardConfig { resets: 5, within: Span::from_secs(7200) };
    assert_eq!(config.boot_loop_guard, guard);
}

#[test]
fn a_watchdog_section_alone_asks_for_the_best_device() {
    let wanted = WatchdogConfig {
        device: DeviceChoice::Auto,
        timeout: WATCHDOG_TIMEOUT_DEFAULT,
        pretimeout: None,
        governor: None,
        shutdown_timeout: SHUTDOWN_TIMEOUT_DEFAULT,
        root_dead_after: None,
    };
    assert_eq!(good("[watchdog]\n").watchdog, Some(wanted));
}

#[test]
fn a_watchdog_device_is_named_in_one_of_these_ways() {
    for (text, device) in [
        ("auto", DeviceChoice::Auto),
        ("pid1", DeviceChoice::Pid1),
        ("off", DeviceChoice::Off),
        ("/dev/watchdog", DeviceChoice::Path("/dev/watchdog".into())),
        ("/dev/watchdog0", DeviceChoice::Path("/dev/watchdog0".into())),
        ("/dev/watchdog31", DeviceChoice::Path("/dev/watchdog31".into())),
    ] {
        let config = good(&format!("[watchdog]\ndevice = \"{text}\"\n"));
        assert_eq!(config.watchdog.unwrap().device, device);
    }
}

#[test]
fn every_key_means_what_it_says() {
    let config = good(WHOLE);
    assert_eq!(config.node.name, "db1");
    assert_eq!(config.node.policy.interval, Span::from_secs(2));
    assert_eq!(config.node.policy.remind, Span::from_secs(5400));
    assert!(!config.node.default_checks);
    let names: Vec<&str> = config.checks.iter().map(|check| &*check.spec.name).collect();
    let expected = [
        "root filesystem",
        "postgresql.service",
        "tcp [::1]:6379",
        "process unit:nginx.service",
        "load",
    ];
    assert_eq!(names, expected, "checks and services stay in the order of the file");

    let root = &config.checks[0].spec;
    assert_eq!((&*root.sensor, &*root.target), ("filesystem", "/"));
    assert_eq!(root.warn_when.len(), 1);
    assert_eq!(root.fail_when[1].text(), "inodes-used > 95%");
    assert_eq!(root.fail_after, Span::from_millis(30_250));
    assert_eq!(root.recover_after, Span::from_secs(60));
    assert_eq!(root.timeout, Span::from_secs(2));
    assert_eq!(root.origin, Origin::Configured);
    let arguments: Vec<&str> = root.on_fail[0].arguments.iter().map(String::as_str).collect();
    assert_eq!(arguments, ["/usr/local/sbin/prune-logs", "--days", "3 or more", ""]);
    assert_eq!(root.on_fail[1].arguments, ["a.service"]);

    let service = &config.checks[1].spec;
    assert_eq!((&*service.sensor, &*service.target), ("unit", "postgresql.service"));
    assert_eq!(service.on_fail[0].arguments, ["postgresql.service"]);
    assert_eq!(service.on_fail[0].budget, Budget { times: 5, within: Span::from_secs(3601) });
    assert!(service.warn_when.is_empty(), "an empty list means: no conditions");

    let tcp = &config.checks[2];
    assert_eq!(tcp.options.get("send"), Some("PING\r\n"));
    assert_eq!(tcp.spec.options[0], ("expect".to_string(), "+\"PONG\"".to_string()));
    assert_eq!(tcp.spec.interval, Span::from_millis(500), "faster than the node, when asked for");
    assert_eq!(tcp.spec.timeout, CHECK_TIMEOUT_DEFAULT);
    assert_eq!(config.checks[3].spec.on_fail[0].arguments, ["nginx.service"]);

    let load = &config.checks[4];
    assert_eq!(load.spec.interval, load.sensor.interval);
    assert_eq!(load.spec.fail_after, load.sensor.fail_after);
    assert_eq!(load.spec.warn_when[0].text(), load.sensor.warn_when[0]);

    let alert = &config.alerts[0];
    assert_eq!(alert.run, ["/usr/local/bin/tell", "a b", "c\\d", "e f", ""]);
    assert_eq!(alert.timeout, Span::from_secs(5));
}

/// The sample of a pair that the tests of the library have, too.
const PAIR: &str = include_str!("../pair.toml");

#[test]
fn every_key_of_a_pair_means_what_it_says() {
    let pair = good(PAIR).pair.unwrap();
    assert_eq!((&*pair.name, &*pair.peer), ("db", "db2"));
    assert_eq!(pair.key_file, PathBuf::from("/etc/mastiff/db.key"));
    assert_eq!(pair.takeover_within, Span::from_millis(500));
    let witness = "192.0.2.50:4170".parse().unwrap();
    assert_eq!(pair.arbiter, ArbiterConfig::Witness(witness), "the key says which arbiter");
    assert_eq!(pair.fence.unwrap()[2], "username=the operator");
    assert_eq!(pair.paths[1].peer, "[2001:db8::12]:4170".parse().unwrap());

    let [db, web] = &pair.groups[..] else { panic!("{:?}", pair.groups) };
    let addresses: Vec<String> = db.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["192.0.2.100/24 dev eth0", "2001:db8::100/128 dev eth0.7"]);
    assert_eq!(db.units, ["postgresql.service", "pgbouncer.service"]);
    assert!(db.is_data && db.address_after_units && !db.resets_connections);
    assert_eq!(db.prefer.as_deref(), Some("db1"));
    assert_eq!(db.failback, Failback::After(Span::from_secs(600)));
    assert_eq!(db.recover_after, Span::from_secs(120));
    assert_eq!(db.on_role_change, [["/etc/mastiff/hooks/role", "--loud"]]);

    assert_eq!(web.addresses[0].to_string(), "192.0.2.101/32 dev eth0");
    assert!(!web.is_data && !web.address_after_units && web.units.is_empty());
    assert!(web.resets_connections);
    assert_eq!((web.failback, web.recover_after), (Failback::Never, GROUP_RECOVER_DEFAULT));
    assert_eq!(web.prefer, None);
}

#[test]
fn a_group_that_is_handed_over_has_the_time_that_its_units_have() {
    let check = |name: &str, group: &str| {
        format!(
            "[[check]]\nsensor = \"load\"\nname = \"{name}\"\n{group}on-fail = \"switchover\"\n"
        )
    };
    let own = |group: &str| check(group, &format!("group = \"{group}\"\n"));
    let text = PAIR.replace("safety = \"data\"", "stop-within = \"10min\"");
    let checks = [check("node", ""), own("db"), own("web")].concat();
    let config = good(&format!("{text}{checks}"));
    let deadlines = config.checks.iter().map(|check| check.spec.on_fail[0].deadline.as_millis());
    // Of all groups the slowest; without units, what addresses and the way take.
    assert_eq!(deadlines.collect::<Vec<_>>(), [640_000, 640_000, 40_000]);
    let slow = good(&format!("{PAIR}{}", own("db")));
    assert_eq!(slow.checks[0].spec.on_fail[0].deadline, Span::from_secs(130), "the default");
}

#[test]
fn the_arbiter_follows_from_the_keys_that_are_there() {
    let with = |keys: &str| {
        let text = PAIR.replace("witness = \"192.0.2.50:4170\"\n", keys);
        good(&text.replace("\"500ms\"", "\"31s\"")).pair.unwrap().arbiter
    };
    assert_eq!(with(""), ArbiterConfig::Fence);
    for gateway in ["192.0.2.1", "2001:db8::1"] {
        let key = format!("gateway = \"{gateway}\"");
        let wire = PAIR.replace("witness = \"192.0.2.50:4170\"", &key);
        let wire = wire.replace("fence = ", "arbiter = \"wire\"\nfence = ");
        let wanted = ArbiterConfig::Wire(Some(gateway.parse().unwrap()));
        assert_eq!(good(&wire).pair.unwrap().arbiter, wanted);
    }
    let nothing = PAIR.replace("witness = ", "#").replace("fence = ", "#");
    let nothing = nothing.replace("safety = ", "#");
    assert_eq!(good(&nothing).pair.unwrap().arbiter, ArbiterConfig::Wire(None));
}

#[test]
fn a_whole_pair_on_one_machine_is_a_test_and_may_have_its_witness_there() {
    let local = PAIR.replace("10.0.0.1:4170", "127.0.0.1:1").replace("10.0.0.2:", "127.0.0.1:");
    assert!(good(&local.replace("192.0.2.50", "127.0.0.1")).pair.is_some());
}

#[test]
fn a_pair_is_shown_such_that_it_parses_to_the_same_again() {
    let wire = PAIR.replace("witness = ", "arbiter = \"wire\" #");
    let witness = "[witness]\n[[witness.pair]]\nname = \"db\"\nkey-file = \"/k\"\n";
    for text in [PAIR, &wire, witness] {
        let config = good(text);
        assert_eq!(good(&show(&config)), config, "{}", show(&config));
    }
    assert!(show(&good(PAIR)).contains("arbiter = \"witness\" # default\n"));
    assert!(show(&good(&wire)).contains("arbiter = \"wire\"\n"), "a fence agent is there");
}

#[test]
fn what_the_daemon_does_not_run_is_named() {
    let origin = Path::new("f.toml");
    let told = |text: &str| not_run(&good(text), origin).map(|fault| fault.to_string());
    assert_eq!(told(""), None);
    let pair = "[node]\nname = \"a\"\n[pair]\nname = \"db\"\npeer = \"b\"\nkey-file = \"/k\"\n\
                witness = \"192.0.2.50:1\"\npaths = [{ local = \"10.0.0.1:1\", peer = \"10.0.0.2:1\" }]\n\
                [[group]]\nname = \"db\"\naddresses = [\"192.0.2.100 dev eth0\"]\n";
    assert_eq!(told(pair), None);
    let witness = "[witness]\n[[witness.pair]]\nname = \"db\"\nkey-file = \"/k\"\n";
    assert_eq!(told(witness), None);
    assert_eq!(told("[watchdog]\n"), None);
    let check = "[[check]]\nsensor = \"load\"\n";
    let with_checks = told(&format!("{check}{witness}")).unwrap();
    assert!(
        with_checks.starts_with("f.toml: witness: a witness does nothing else"),
        "{with_checks}"
    );
}

#[test]
fn no_check_is_read_faster_than_its_node_unless_asked_for() {
    let config = good("[node]\ninterval = \"1min\"\n[[check]]\nsensor = \"load\"\n");
    assert_eq!(config.checks[0].spec.interval, Span::from_secs(60));
}

#[test]
fn a_program_is_told_for_thirty_seconds() {
    let config = good("[[alert]]\nrun = \"/bin/true\"\n");
    assert_eq!(config.alerts[0].timeout, ALERT_TIMEOUT_DEFAULT);
}

#[test]
fn a_warning_below_a_default_failure_is_no_fault() {
    // Nobody wrote the other list, so nobody mixed the two up.
    good("[[check]]\nsensor = \"filesystem\"\ntarget = \"/\"\nwarn-when = \"used > 99%\"\n");
    good("[[check]]\nsensor = \"filesystem\"\ntarget = \"/\"\nwarn-when = []\nfail-when = []\n");
}

#[test]
fn one_thing_may_be_checked_twice_under_two_names() {
    good("[[check]]\nsensor = \"load\"\n\n[[check]]\nsensor = \"load\"\nname = \"load again\"\n");
}

#[test]
fn what_is_shown_parses_to_the_same_again() {
    for text in ["", WHOLE, WATCHDOG, "[watchdog]\n"] {
        let config = good(text);
        let shown = show(&config);
        assert_eq!(good(&shown), config, "{shown}");
        assert_eq!(show(&good(&shown)), shown, "the rendering is canonical");
    }
}

#[test]
fn what_is_shown_says_what_is_a_default() {
    let shown = show(&good(WHOLE));
    for line in [
        "interval = \"2s\"",
        "remind-every = \"1h 30min\"",
        "restart = \"5 in 1h 1s\"",
        "run = \"3 in 10min\" # default",
        "name = \"load\" # default",
        "fail-after = \"30s 250ms\"",
        "timeout = \"10s\" # default",
        "on-fail = [] # default",
        "options = { expect = \"+\\\"PONG\\\"\", send = \"PING\\u000D\\u000A\" }",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
    let nothing = show(&good(""));
    assert!(nothing.contains("state-dir = \"/var/lib/mastiff\" # default"));
    assert!(
        nothing.contains("[boot-loop-guard]\nresets = 3 # default\nwithin = \"1h\" # default\n")
    );
    assert!(!nothing.contains("[watchdog]"), "{nothing}");
}

#[test]
fn files_at_their_limits_are_accepted() {
    let check = |index: usize| format!("[[check]]\nname = \"c{index}\"\nsensor = \"load\"\n");
    let text: String = (0..CHECKS_MAX).map(check).collect();
    assert_eq!(good(&text).checks.len(), CHECKS_MAX);
    let faults = super::check(&(text + &check(CHECKS_MAX) + &check(CHECKS_MAX + 1))).unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].message.contains("there are 2002 checks; at most 2000"), "{}", faults[0]);
    assert_eq!(faults[0].line, 3 * CHECKS_MAX + 1);

    // As many pairs as a witness serves, with names and files of a usual length.
    let pair = |index: usize| {
        let name = format!("customer-{index:05}");
        format!("[[witness.pair]]\nname = \"{name}\"\nkey-file = \"/etc/mastiff/{name}.key\"\n")
    };
    let text = "[witness]\n".to_string() + &(0..WITNESS_PAIRS_MAX).map(pair).collect::<String>();
    assert!(u64::try_from(text.len()).unwrap() <= FILE_BYTES_MAX);
    assert_eq!(good(&text).witness.unwrap().pairs.len(), WITNESS_PAIRS_MAX);
    let faults = super::check(&(text + &pair(WITNESS_PAIRS_MAX))).unwrap_err();
    assert!(faults[0].message.contains("10001 pairs; at most 10000"), "{}", faults[0]);

    let alerts = "[[alert]]\nrun = \"/bin/true\"\n".repeat(ALERTS_MAX);
    assert_eq!(good(&alerts).alerts.len(), ALERTS_MAX);

    let conditions: Vec<String> =
        (0..CONDITIONS_MAX).map(|n| format!("\"load-1 > {n}\"")).collect();
    let rungs = vec!["\"run /bin/true\""; RUNGS_MAX];
    let text = format!(
        "[[check]]\nsensor = \"load\"\nfail-when = [{}]\non-fail = [{}]\n",
        conditions.join(", "),
        rungs.join(", ")
    );
    assert_eq!(good(&text).checks[0].spec.fail_when.len(), CONDITIONS_MAX);
}
