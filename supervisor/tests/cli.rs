//! The built `mastiff` against a peer that serves a real Unix socket with recorded answers: what it
//! prints, how wide, and how it exits, also when the other end is absent, slow, huge or mad.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on may stop where it stands"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use mastiff::control::Request;
use serde_json::{Value, json};

/// What the peer does with one connection, after it has read the request.
type Serve = fn(&Value, UnixStream);

/// A daemon's socket, in a folder of its own, served by a thread until the test ends.
struct Peer {
    folder: PathBuf,
    requests: Receiver<Value>,
}

impl Peer {
    fn new(serve: Serve) -> Self {
        let folder = folder();
        let listener = UnixListener::bind(folder.join("control.sock")).unwrap();
        let (sender, requests) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).unwrap();
                let Ok(request) = serde_json::from_str(&line) else { continue };
                serve(&request, stream);
                if sender.send(request).is_err() {
                    return;
                }
            }
        });
        Self { folder, requests }
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("control.sock")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        mastiff(&self.socket(), arguments).output().unwrap()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

fn folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("mastiff-cli-{}-{number}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn mastiff(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mastiff"));
    command.arg("--socket").arg(socket).args(arguments).stdin(Stdio::null());
    command.env_remove("NO_COLOR").env_remove("COLUMNS");
    command
}

fn answer(mut stream: UnixStream, value: &Value) {
    // The client may have left already, which is its right.
    let _left = stream.write_all(format!("{value}\n").as_bytes());
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn check(name: &str, verdict: &str) -> Value {
    let reason = if verdict == "healthy" { "" } else { "used > 95% (96.1%)" };
    json!({
        "name": name, "sensor": "filesystem", "target": format!("/{name}"), "discovered": true,
        "verdict": verdict, "for_secs": 7500.0, "reason": reason, "note": null,
        "reading_age_secs": 2.0,
        "values": [
            {"name": "used", "unit": "ratio", "number": 0.961, "shown": "96.1%"},
            {"name": "free", "unit": "bytes", "number": 1024.0, "shown": "1.0 KiB"},
        ],
        "conditions": [
            {"text": "used > 95%", "leads_to": "failed", "holds": true, "value": "96.1%"},
            {"text": "used > 85%", "leads_to": "degraded", "holds": true, "value": "96.1%"},
        ],
        "fail_after_secs": 30.0, "recover_after_secs": 60.0, "interval_secs": 10.0,
        "tendency": null, "flapping": false, "paused": null, "ladder": null,
        "a_field_of_tomorrow": {"x": 1},
    })
}

fn status_of(checks: &[Value]) -> Value {
    json!({"status": {
        "node": "db1", "version": "0.1.0", "pid": 412, "up_secs": 266_400.0,
        "config": "/etc/mastiff/mastiff.toml", "verdict": "failed",
        "summary": "1 of 3 checks failed: root", "ready": true, "checks": checks, "pauses": [],
        "lateness": {"keeper_max_ms": 0.2, "keeper_worst_ms": 1.0, "keeper_age_ms": 300.0},
        "counters": [["events", 12], ["a-counter-of-tomorrow", 1]], "a_field_of_tomorrow": true,
    }})
}

fn three() -> Value {
    status_of(&[check("load", "healthy"), check("time", "unknown"), check("root", "failed")])
}

fn serve_three(_request: &Value, stream: UnixStream) {
    answer(stream, &three());
}

fn event(seq: u64) -> Value {
    json!({"seq": seq, "at_unix_ms": 1_700_000_000_000_u64, "kind": "verdict", "severity": "error",
           "check": "web", "text": format!("web is failed, number {seq}")})
}

fn never(_request: &Value, mut stream: UnixStream) {
    // Waits for the client to leave.
    let _read = stream.read(&mut [0]);
}

#[test]
fn status_shows_the_worst_first_and_asks_in_the_socket_s_language() {
    let peer = Peer::new(serve_three);
    let output = peer.run(&["status"]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(shown.starts_with("db1 is failed for 2h 5m\n1 of 3 checks failed: root\n"), "{shown}");
    assert!(
        shown.find("root   failed").unwrap() < shown.find("load   healthy").unwrap(),
        "{shown}"
    );
    assert!(!shown.contains('\x1b'), "no colour in a pipe: {shown}");
    let request: Request = serde_json::from_value(peer.requests.recv().unwrap()).unwrap();
    assert_eq!(request, Request::Status {});
}

#[test]
fn colour_comes_only_when_asked_for_in_a_pipe() {
    let peer = Peer::new(serve_three);
    assert!(text(&peer.run(&["--color", "always", "status"]).stdout).contains("\x1b[1;31mfailed"));
    assert!(!text(&peer.run(&["--color", "never", "status"]).stdout).contains('\x1b'));
}

#[test]
fn a_pipe_gets_whole_lines_however_long() {
    let peer = Peer::new(|_, stream| {
        let mut long = check("root", "failed");
        long["reason"] = json!("word ".repeat(100));
        answer(stream, &status_of(&[long]));
    });
    for verb in [&["status"][..], &["check"]] {
        let shown = text(&peer.run(verb).stdout);
        assert!(shown.lines().any(|line| line.len() > 400), "{shown}");
    }
}

#[test]
fn json_is_json_in_every_verb() {
    let peer = Peer::new(|request, stream| match request["do"].as_str() {
        Some("status") => answer(stream, &three()),
        Some("explain") => answer(stream, &json!({"check": check("root", "failed")})),
        Some("events") => answer(stream, &json!({"events": [event(1)]})),
        _ => answer(stream, &json!({"done": "as you wish"})),
    });
    for (arguments, pointer, value) in [
        (&["status", "--json"][..], "/node", json!("db1")),
        (&["check", "--json"], "/0/name", json!("root")),
        (&["check", "root", "--json"], "/0/verdict", json!("failed")),
        (&["explain", "root", "--json"], "/target", json!("/root")),
        (&["events", "--json"], "/seq", json!(1)),
        (&["pause", "--for", "5m", "--why", "x", "--json"], "/done", json!("as you wish")),
        (&["resume", "--json"], "/done", json!("as you wish")),
        (&["resume", "--boot-loop-guard", "--json"], "/done", json!("as you wish")),
        (&["reload", "--json"], "/done", json!("as you wish")),
        (&["reload", "--confirm", "60s", "--json"], "/done", json!("as you wish")),
        (&["reload", "--confirmed", "--json"], "/done", json!("as you wish")),
        (&["switchover", "--json"], "/done", json!("as you wish")),
        (&["failover", "--peer-is-off", "--yes", "--json"], "/done", json!("as you wish")),
        (&["doctor", "--json"], "/0/severity", json!("")),
    ] {
        let output = peer.run(arguments);
        let parsed: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{}", text(&output.stdout)));
        let found = parsed.pointer(pointer).unwrap_or_else(|| panic!("{arguments:?}: {parsed}"));
        assert!(value == json!("") || *found == value, "{arguments:?}: {parsed}");
    }
}

#[test]
fn check_exits_as_a_nagios_plugin_does() {
    let peer = Peer::new(serve_three);
    for (arguments, code) in [
        (&["check", "load"][..], 0),
        (&["check", "root"], 2),
        (&["check", "time"], 3),
        (&["check", "load", "time"], 3),
        (&["check"], 2),
        (&["check", "--nagios"], 2),
        (&["check", "--json"], 2),
    ] {
        let output = peer.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stdout));
    }
    let degraded = Peer::new(|_, stream| answer(stream, &status_of(&[check("a", "degraded")])));
    assert_eq!(degraded.run(&["check"]).status.code(), Some(1));
}

#[test]
fn one_name_is_one_plugin_line_with_performance_data() {
    let peer = Peer::new(serve_three);
    assert_eq!(
        text(&peer.run(&["check", "root"]).stdout),
        "CRITICAL - root: used > 95% (96.1%) | 'used'=96.1%;85;95;0;100 'free'=1024B;;;0;\n"
    );
    let all = text(&peer.run(&["check", "--perfdata"]).stdout);
    let first = all.lines().next().unwrap();
    let (words, data) = first.split_once(" | ").unwrap();
    assert_eq!(words, "CRITICAL - 1 failed, 1 unknown, 1 healthy");
    for item in data.split("' ").skip(1).chain(data.split(" '").skip(1)) {
        assert!(item.contains("'=") && item.matches(';').count() >= 4, "{item} in {data}");
    }
    assert_eq!(all.lines().count(), 3, "{all}");
}

#[test]
fn a_plugin_line_is_unknown_when_nothing_can_be_asked() {
    let peer = Peer::new(serve_three);
    let output = peer.run(&["check", "rot"]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(
        text(&output.stdout),
        "UNKNOWN - no check is called \"rot\"; did you mean \"root\"?\n"
    );
    let mad = Peer::new(|_, mut stream| stream.write_all(b"hello\n").unwrap());
    let output = mad.run(&["check", "root"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stdout).starts_with("UNKNOWN - cannot understand"));
}

#[test]
fn explain_tells_all_and_corrects_a_misspelt_name() {
    let peer = Peer::new(|request, stream| match request["do"].as_str() {
        Some("explain") if request["check"] == "root" => {
            answer(stream, &json!({"check": check("root", "failed")}));
        }
        Some("explain") => answer(stream, &json!({"error": "no such check"})),
        _ => answer(stream, &three()),
    });
    let shown = text(&peer.run(&["explain", "root"]).stdout);
    assert!(shown.starts_with("root is failed, for 2h 5m.\nWhy: used > 95% (96.1%)\n"), "{shown}");
    let output = peer.run(&["explain", "rot"]);
    assert_eq!(output.status.code(), Some(64));
    let complaint = text(&output.stderr);
    assert_eq!(complaint, "mastiff: no check is called \"rot\"; did you mean \"root\"?\n");
}

#[test]
fn following_ends_with_a_clear_message_when_the_daemon_goes() {
    let peer = Peer::new(|request, mut stream| {
        assert_eq!(*request, json!({"do": "events", "last": 20, "follow": true}));
        let (first, second) = (json!({"events": [event(1)]}), json!({"event": event(2)}));
        // Two lines in one piece, the third in two, then the end.
        write!(stream, "{first}\n{second}\n{{\"event\":").unwrap();
        writeln!(stream, "{}}}", event(3)).unwrap();
    });
    let output = peer.run(&["events", "-f"]);
    let shown = text(&output.stdout);
    assert_eq!(shown.lines().count(), 3, "{shown}");
    assert!(shown.contains("  error    web is failed, number 3\n"), "{shown}");
    assert_eq!(output.status.code(), Some(69));
    assert!(text(&output.stderr).starts_with("mastiff: mastiffd has gone"), "{:?}", output.stderr);
}

#[test]
fn following_ends_quietly_when_the_reader_leaves() {
    let peer = Peer::new(|_, mut stream| {
        writeln!(stream, "{}", json!({"events": [event(1)]})).unwrap();
        // No further event comes: the client must notice by itself that nobody reads any more.
        let _left = stream.read(&mut [0]);
    });
    let mut child = mastiff(&peer.socket(), &["events", "-f"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn orders_are_sent_whole_and_refusals_have_their_codes() {
    let peer = Peer::new(|request, stream| match request["do"].as_str() {
        Some("pause") => answer(stream, &json!({"done": "web is paused for 30m"})),
        _ => answer(stream, &json!({"error": "line 3: no"})),
    });
    let output = peer.run(&["pause", "web", "--for", "30m", "--why", "new release"]);
    assert_eq!(text(&output.stdout), "web is paused for 30m\n");
    assert_eq!(
        peer.requests.recv().unwrap(),
        json!({"do": "pause", "check": "web", "for_secs": 1800.0, "why": "new release"})
    );
    // Only root may give orders, so to others any refusal is one for lack of permission.
    let refused = |code| if nix::unistd::geteuid().is_root() { code } else { 77 };
    assert_eq!(peer.run(&["resume", "web"]).status.code(), Some(refused(64)));
    let reload = peer.run(&["reload"]);
    assert_eq!(reload.status.code(), Some(refused(78)));
    assert!(text(&reload.stderr).contains("line 3: no"));
    peer.requests.recv().unwrap();
    assert_eq!(peer.requests.recv().unwrap(), json!({"do": "reload"}));
    peer.run(&["reload", "--confirm", "2min"]);
    assert_eq!(peer.requests.recv().unwrap(), json!({"do": "reload", "confirm_secs": 120.0}));
    peer.run(&["reload", "--confirmed"]);
    assert_eq!(peer.requests.recv().unwrap(), json!({"do": "confirm-reload"}));
}

fn pair() -> Value {
    json!({
        "name": "db", "peer": "db2", "arbiter": "witness", "guard": "BPF (tcx)",
        "not_realtime": null, "a_field_of_tomorrow": 1,
        "groups": [{
            "name": "web", "role": "active", "for_secs": 7500.0, "cause": "everything is in place",
            "epoch": 7, "lease_left_ms": 412.0, "not_ready": null, "peer_role": "standby",
            "peer_not_ready": null, "addresses": ["192.0.2.100/32 dev eth0"],
            "failing": [], "peer_failing": false, "waits": null, "stop": null, "answers": [], "units": [], "start_within_secs": 60.0,
            "stop_within_secs": 30.0, "units_trouble": null,
        }],
        "paths": [{
            "to": "witness", "local": "", "remote": "192.0.2.50:4170", "open": true,
            "heard_ms_ago": 60_000.0, "loss_percent": 100.0, "round_trip_ms": null,
        }],
    })
}

fn serve_pair(request: &Value, stream: UnixStream) {
    match request["do"].as_str() {
        Some("status") => {
            let mut status = status_of(&[check("root", "healthy")]);
            status["status"]["pair"] = pair();
            answer(stream, &status);
        }
        Some("failover") => answer(stream, &json!({"error": "the other node still talks"})),
        _ => answer(stream, &json!({"done": "\"web\" was handed over"})),
    }
}

#[test]
fn status_shows_the_pair_before_the_checks() {
    let peer = Peer::new(serve_pair);
    let shown = text(&peer.run(&["status"]).stdout);
    let at = |part: &str| shown.find(part).unwrap_or_else(|| panic!("{part} in\n{shown}"));
    assert!(at("Group web is active here for 2h 5m\n") < at("\nCHECK"), "{shown}");
    assert!(at("silent 1m") < at("warning: the witness is silent: until it is back"), "{shown}");
    let json: Value = serde_json::from_slice(&peer.run(&["status", "--json"]).stdout).unwrap();
    assert_eq!(json["pair"]["groups"], pair()["groups"], "as the daemon told it");
}

#[test]
fn a_group_moves_by_an_order_and_dangerous_ones_are_confirmed() {
    let peer = Peer::new(serve_pair);
    let output = peer.run(&["switchover", "web"]);
    assert_eq!(text(&output.stdout), "\"web\" was handed over\n", "{}", text(&output.stderr));
    assert_eq!(peer.requests.recv().unwrap(), json!({"do": "switchover", "group": "web"}));
    // Only root may give orders, so to others any refusal is one for lack of permission.
    let refused = if nix::unistd::geteuid().is_root() { 1 } else { 77 };
    let output = peer.run(&["failover"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(refused), String::new()));
    assert!(text(&output.stderr).contains("the other node still talks"));
    let request = peer.requests.recv().unwrap();
    assert_eq!(request, json!({"do": "failover", "group": null, "peer_is_off": false}));
    let output = peer.run(&["failover", "--peer-is-off"]);
    assert_eq!(output.status.code(), Some(64), "nobody is there to confirm it");
    assert!(text(&output.stderr).contains("You vouch that"), "{}", text(&output.stderr));
    peer.run(&["failover", "web", "--peer-is-off", "--yes"]);
    let request = peer.requests.recv().unwrap();
    assert_eq!(request, json!({"do": "failover", "group": "web", "peer_is_off": true}));
}

#[test]
fn a_rehearsal_says_what_is_missing_and_hands_nothing_over_then() {
    let peer = Peer::new(serve_pair);
    let config = peer.folder.join("none.toml");
    std::fs::write(&config, "").unwrap();
    let rehearse = |more: &[&str]| {
        let named = ["rehearse", "--config", config.to_str().unwrap()];
        peer.run(&[&named[..], more].concat())
    };
    let output = rehearse(&[]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{shown}{}", text(&output.stderr));
    assert!(shown.contains("bad   the witness is silent"), "{shown}");
    assert!(shown.ends_with("\nA takeover would not work now.\n"), "{shown}");
    let json = rehearse(&["--switchover", "--yes", "--json"]);
    let report: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&report["works"], &report["handover"]), (&json!(false), &Value::Null));
    let asked: Vec<Value> = peer.requests.try_iter().map(|asked| asked["do"].clone()).collect();
    assert!(asked.iter().all(|asked| asked == "status"), "{asked:?}");
    assert_eq!(rehearse(&["--yes"]).status.code(), Some(64), "--yes to what?");
}

#[test]
fn a_witness_is_told_from_a_daemon_that_does_not_run() {
    let folder = folder();
    let file = folder.join("witness.toml");
    let witness = format!(
        "[node]\nrun-dir = \"{}\"\n[witness]\nlisten = \"127.0.0.1:4170\"\n\
         [[witness.pair]]\nname = \"db\"\nkey-file = \"/etc/mastiff/db.key\"\n",
        folder.display()
    );
    std::fs::write(&file, witness).unwrap();
    let run = |word: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mastiff"));
        command.arg("--config").arg(&file).arg(word).output().unwrap()
    };
    let output = run("status");
    assert_eq!(output.status.code(), Some(69));
    let complaint = text(&output.stderr);
    assert!(complaint.contains("is a witness's") && complaint.contains("USR1"), "{complaint}");
    let advice = text(&run("doctor").stdout);
    assert!(advice.contains("note     the configuration is that of a witness"), "{advice}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn no_socket_is_said_with_what_to_do_and_lsb_codes_tell_the_cases_apart() {
    let folder = folder();
    let socket = folder.join("control.sock");
    let run = |arguments: &[&str]| mastiff(&socket, arguments).output().unwrap();
    let output = run(&["status"]);
    assert_eq!(output.status.code(), Some(69));
    let complaint = text(&output.stderr);
    assert!(complaint.starts_with("mastiff: mastiffd is not running (no "), "{complaint}");
    assert!(complaint.contains("systemctl start mastiff"), "{complaint}");
    let quiet = run(&["status", "-q"]);
    assert_eq!((quiet.status.code(), quiet.stdout.len(), quiet.stderr.len()), (Some(3), 0, 0));
    // A socket that nobody serves any more, as after SIGKILL.
    drop(UnixListener::bind(&socket).unwrap());
    assert_eq!(run(&["status", "-q"]).status.code(), Some(3));
    std::fs::remove_file(&socket).unwrap();
    std::fs::write(&socket, "no socket").unwrap();
    assert_eq!(run(&["status"]).status.code(), Some(69));
    std::fs::remove_dir_all(&folder).unwrap();

    assert_eq!(Peer::new(serve_three).run(&["status", "-q"]).status.code(), Some(0));
    let stuck = Peer::new(never);
    assert_eq!(stuck.run(&["status", "-q", "--timeout", "50ms"]).status.code(), Some(4));
}

#[test]
fn a_daemon_that_never_answers_is_given_up() {
    let peer = Peer::new(never);
    for arguments in
        [&["status"][..], &["check"], &["explain", "x"], &["events", "-f"], &["reload"]]
    {
        let output = peer.run(&[arguments, &["--timeout", "50ms"]].concat());
        assert_eq!(output.status.code(), Some(69), "{arguments:?}");
        assert!(text(&output.stderr).contains("does not answer"), "{}", text(&output.stderr));
    }
}

#[test]
fn a_daemon_that_does_not_accept_is_given_up() {
    let folder = folder();
    let socket = folder.join("control.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    // The standard library listens with a backlog of 128 or more: fill it without blocking.
    let mut waiting = Vec::new();
    loop {
        let stream = nix::sys::socket::socket(
            nix::sys::socket::AddressFamily::Unix,
            nix::sys::socket::SockType::Stream,
            nix::sys::socket::SockFlag::SOCK_NONBLOCK,
            None,
        )
        .unwrap();
        let address = nix::sys::socket::UnixAddr::new(&socket).unwrap();
        let raw = std::os::fd::AsRawFd::as_raw_fd(&stream);
        if nix::sys::socket::connect(raw, &address).is_err() || waiting.len() > 10_000 {
            break;
        }
        waiting.push(stream);
    }
    let output = mastiff(&socket, &["status", "--timeout", "50ms"]).output().unwrap();
    assert_eq!(output.status.code(), Some(69), "{}", text(&output.stderr));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn mad_answers_are_refused_with_their_begin() {
    for (serve, code, part) in [
        (
            (|_, mut s| s.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap()) as Serve,
            70,
            "HTTP/1.1",
        ),
        (|_, mut s| s.write_all(b"\xff\xfe\x00\n").unwrap(), 70, "cannot understand"),
        (|_, mut s| s.write_all(b"{\"status\":{}}\n").unwrap(), 70, "missing field"),
        (|_, mut s| s.write_all(b"{\"status\":").unwrap(), 69, "without an answer"),
        (|_, _| {}, 69, "without an answer"),
        (|_, s| answer(s, &json!({"done": "what?"})), 70, "was not asked"),
        (|_, s| answer(s, &json!({"error": "too many clients"})), 69, "too many clients"),
        (|_, s| answer(s, &json!({"an-answer-of-tomorrow": 1})), 70, "another version"),
        (
            |_, mut s| s.write_all(&[b'['; 100_000]).and_then(|()| s.write_all(b"\n")).unwrap(),
            70,
            "[[[",
        ),
    ] {
        let peer = Peer::new(serve);
        let output = peer.run(&["status"]);
        let complaint = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{part}: {complaint}");
        assert!(
            complaint.starts_with("mastiff: ") && complaint.contains(part),
            "{part}: {complaint}"
        );
        assert!(complaint.len() < 600, "a long answer is not quoted whole: {complaint}");
        assert!(!complaint.contains('\0'), "{complaint:?}");
    }
}

#[test]
fn an_answer_that_does_not_wait_for_the_request_is_read() {
    let folder = folder();
    let socket = folder.join("control.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let full = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"{\"error\":\"too many clients\"}\n").unwrap();
    });
    let output = mastiff(&socket, &["status"]).output().unwrap();
    full.join().unwrap();
    assert_eq!(text(&output.stderr), "mastiff: mastiffd refuses: too many clients\n");
    assert_eq!(output.status.code(), Some(69));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_large_answer_is_taken_and_an_endless_one_is_not() {
    let large = Peer::new(|_, stream| {
        let many: Vec<Value> = (0..4000).map(|n| check(&format!("check {n}"), "healthy")).collect();
        answer(stream, &status_of(&many));
    });
    let output = large.run(&["check", "--json"]);
    let parsed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(parsed.as_array().map(Vec::len), Some(4000));
    let endless = Peer::new(|_, mut stream| while stream.write_all(&[b'x'; 65536]).is_ok() {});
    let output = endless.run(&["status", "--timeout", "1min"]);
    assert_eq!(output.status.code(), Some(70), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("more than 16 MiB"));
}

#[test]
fn a_daemon_s_text_cannot_drive_the_terminal() {
    let peer = Peer::new(|request, stream| {
        let mut evil = check("root\u{1b}[2J", "failed");
        evil["reason"] = json!("\u{1b}]0;title\u{7}x\nforged line");
        evil["note"] = json!("\u{9b}31m");
        if request["do"] == "explain" {
            answer(stream, &json!({"check": evil}));
        } else {
            answer(stream, &status_of(&[evil]));
        }
    });
    for arguments in [&["status"][..], &["check"], &["check", "filesystem"], &["explain", "x"]] {
        let shown = text(&peer.run(arguments).stdout);
        assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{9b}']), "{arguments:?}: {shown:?}");
        assert!(!shown.lines().any(|line| line.starts_with("forged")), "{arguments:?}: {shown}");
    }
}

#[test]
fn the_machine_s_page_has_the_verdicts_of_the_daemon() {
    let peer = Peer::new(|_request, stream| {
        let mut log = check("kernel-log", "failed");
        log["sensor"] = json!("kernel-log");
        log["target"] = json!("");
        answer(stream, &status_of(&[log, check("root", "failed")]));
    });
    let output = peer.run(&["hardware"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    assert!(shown.starts_with("db1 is failed: 1 failed\n"), "no file systems here:\n{shown}");
    assert!(shown.contains("kernel-log: used > 95% (96.1%), for 2h 5m"), "{shown}");
}

#[test]
fn the_machine_s_page_needs_no_daemon() {
    let output =
        mastiff(Path::new("/nonexistent/control.sock"), &["hardware", "--all", "--json"]).output();
    let output = output.unwrap();
    assert!(output.status.code().is_some_and(|code| code <= 3), "{}", text(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["source"], "here");
    assert!(document["inventory"]["processors"]["threads"].as_u64() > Some(0), "{document}");
}

#[test]
fn wrong_usage_exits_64_and_help_0() {
    let socket = Path::new("/nonexistent/control.sock");
    for arguments in [
        &[][..],
        &["stauts"],
        &["status", "--no-such"],
        &["explain"],
        &["pause", "--for", "30m"],
        &["pause", "--for", "30", "--why", "x"],
        &["pause", "--for", "8d", "--why", "x"],
        &["pause", "--for", "1h", "--why", " "],
        &["status", "--timeout", "0s"],
        &["status", "--color", "pink"],
        &["events", "-n", "-3"],
    ] {
        let output = mastiff(socket, arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {}", text(&output.stderr));
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    let verbs = [
        "status",
        "check",
        "hardware",
        "explain",
        "events",
        "pause",
        "resume",
        "reload",
        "switchover",
        "failover",
        "rehearse",
        "config",
        "simulate",
        "doctor",
        "key",
        "demo",
    ];
    let calls = verbs.iter().map(|verb| vec![*verb, "--help"]);
    for arguments in calls.chain([vec!["--help"], vec!["--version"]]) {
        let output = mastiff(socket, &arguments).output().unwrap();
        let shown = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{arguments:?}:\n{shown}");
    }
}

#[test]
fn a_fault_is_simulated_with_the_names_and_timers_of_the_configuration() {
    let folder = folder();
    let config = folder.join("pair.toml");
    let pair = "[node]\nname = \"alpha\"\n\n[pair]\nname = \"p\"\npeer = \"beta\"\nkey-file = \"/k\"\n\
        takeover-within = \"2s\"\nwitness = \"192.0.2.50:4170\"\n\
        paths = [{ local = \"192.0.2.1:4170\", peer = \"192.0.2.2:4170\" }]\n\n\
        [[group]]\nname = \"web\"\naddresses = [\"192.0.2.100/32 dev eth0\"]\n";
    std::fs::write(&config, pair).unwrap();
    let simulate = |arguments: &[&str]| {
        let mut all = vec!["--config", config.to_str().unwrap(), "simulate", "--guard", "bpf"];
        all.extend(arguments);
        let output = mastiff(Path::new("/nowhere"), &all).output().unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, shown, _) = simulate(&["power cut of alpha"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("beta has the group after"), "{shown}");
    assert!(shown.contains("Promised: at most 2000.0 ms."), "{shown}");
    let (code, shown, _) = simulate(&["path 1 cut", "--takeover-within", "30ms"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("alpha keeps the group, without a gap."), "{shown}");
    let (code, shown, _) = simulate(&["freeze of active", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((code, &json["broken"]), (Some(0), &serde_json::Value::Null), "{shown}");
    assert!(json["taken_after_ms"].as_f64().unwrap() <= json["promised_ms"].as_f64().unwrap());
    let (code, _, said) = simulate(&["power cut of alfa"]);
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("did you mean"), "{said}");
    let (code, _, said) = simulate(&["power cut of alpha", "--takeover-within", "5ms"]);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("30ms"), "{said}");
    let (code, shown, _) = simulate(&[]);
    assert_eq!(code, Some(0));
    assert!(shown.contains("switchover"), "{shown}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_reason_too_long_for_the_socket_is_refused_here() {
    let peer = Peer::new(serve_three);
    let why = "x".repeat(20_000);
    let output = peer.run(&["pause", "--for", "1h", "--why", &why]);
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("shorten the text"));
}

#[test]
fn config_check_reports_every_fault_and_exits_78_or_0() {
    let folder = folder();
    let file = folder.join("mastiff.toml");
    let run = |arguments: &[&str]| {
        let socket = folder.join("control.sock");
        mastiff(&socket, arguments).arg(&file).output().unwrap()
    };
    std::fs::write(&file, "x = 1\n[node]\ninterval = \"fast\"\n").unwrap();
    let output = run(&["config", "check"]);
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(text(&output.stderr).lines().count(), 2, "{}", text(&output.stderr));
    let report: Value =
        serde_json::from_slice(&run(&["config", "check", "--json"]).stdout).unwrap();
    assert_eq!((&report["valid"], &report["faults"][1]["line"]), (&json!(false), &json!(3)));
    assert_eq!(run(&["config", "show"]).status.code(), Some(78));
    // A file with faults does not keep anybody from asking which daemon runs.
    assert_eq!(run(&["status", "--config"]).status.code(), Some(69));

    std::fs::write(&file, "[node]\nname = \"db1\"\n").unwrap();
    let good = run(&["config", "check"]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stderr));
    assert!(text(&good.stdout).ends_with("mastiff.toml: good, 0 checks and 0 alerts\n"));
    assert!(text(&run(&["config", "show"]).stdout).contains("name = \"db1\"\n"));
    std::fs::remove_file(&file).unwrap();
    assert_eq!(run(&["config", "check"]).status.code(), Some(78), "a named file must exist");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn config_explain_computes_what_config_check_accepts() {
    let folder = folder();
    let file = folder.join("mastiff.toml");
    let run = |arguments: &[&str]| {
        mastiff(&folder.join("control.sock"), arguments).arg(&file).output().unwrap()
    };
    let pair = "[node]\nname = \"db1\"\n[pair]\nname = \"db\"\npeer = \"db2\"\nkey-file = \"/k\"\n\
                takeover-within = \"500ms\"\nwitness = \"192.0.2.50:4170\"\n\
                paths = [{ local = \"10.0.0.1:1\", peer = \"10.0.0.2:1\" }]\n\
                [[group]]\nname = \"db\"\naddresses = \"192.0.2.100 dev eth0\"\n";
    std::fs::write(&file, pair).unwrap();
    let good = run(&["config", "check"]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stderr));
    assert!(text(&good.stdout).ends_with(": good, 0 checks and 0 alerts, a pair with 1 group\n"));
    assert_eq!(text(&good.stderr), "");
    std::fs::write(&file, format!("{pair}units = \"nginx.service\"\n")).unwrap();
    assert_eq!(run(&["config", "check"]).status.code(), Some(0));
    std::fs::write(&file, pair).unwrap();

    let shown = run(&["config", "explain", "--guard", "bpf"]);
    assert_eq!(shown.status.code(), Some(0), "{}", text(&shown.stderr));
    let shown = text(&shown.stdout);
    assert!(shown.starts_with("Pair db: db1 and db2; arbiter: the witness "), "{shown}");
    assert!(shown.contains("takeover at most (takeover-within = 500ms)\n"), "{shown}");

    let output = run(&["config", "explain", "--json", "--guard", "bpf", "--round-trip", "2ms"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let group = &report["pair"]["groups"][0];
    assert_eq!(group["two_owners"]["two_owners_possible"], json!(false));
    let promise = &group["promise"];
    let lines = promise["takeover"].as_array().unwrap();
    let sum: f64 = lines.iter().map(|line| line["secs"].as_f64().unwrap()).sum();
    let total = promise["takeover_at_most_secs"].as_f64().unwrap();
    assert!((sum - total).abs() < 1e-9 && total <= 0.5, "{promise}");
    assert_eq!(lines[0]["part"], json!("detection"));

    let refused = run(&["config", "explain", "--guard", "lifetime"]);
    assert_eq!(refused.status.code(), Some(78), "{}", text(&refused.stdout));
    assert!(text(&refused.stdout).contains("No promise: "), "{}", text(&refused.stdout));
    assert_eq!(run(&["config", "explain", "--round-trip", "1h"]).status.code(), Some(64));
    std::fs::write(&file, "x = 1\n").unwrap();
    for arguments in [&["config", "explain"][..], &["config", "explain", "--json"]] {
        assert_eq!(run(arguments).status.code(), Some(78), "{arguments:?}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_socket_is_that_of_the_configuration() {
    let peer = Peer::new(serve_three);
    let file = peer.folder.join("mastiff.toml");
    std::fs::write(&file, format!("[node]\nrun-dir = {:?}\n", peer.folder)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mastiff"))
        .args(["status", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn a_key_is_written_once_and_is_one_that_the_daemon_takes() {
    let folder = folder();
    let path = folder.join("db.key");
    let new = |arguments: &[&str]| {
        let socket = folder.join("none.sock");
        mastiff(&socket, &[&["key", "new"], arguments].concat()).output().unwrap()
    };
    let name = path.display().to_string();
    let written = new(&[&name]);
    assert_eq!(written.status.code(), Some(0), "{}", text(&written.stderr));
    assert!(text(&written.stdout).replace('\n', " ").contains("copy it to the other machines"));
    mastiff::key::KeyFile::read(&path).unwrap();
    let key = std::fs::read_to_string(&path).unwrap();
    let digits = key.trim_end();
    assert!(digits.len() == 64 && digits.chars().all(|c| c.is_ascii_hexdigit()));
    assert!(!text(&written.stdout).contains(digits), "nobody sees it");
    let again = new(&[&name]);
    assert_eq!(again.status.code(), Some(64));
    assert!(text(&again.stderr).contains("is not overwritten"), "{}", text(&again.stderr));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), key);
    let second = folder.join("web.key").display().to_string();
    let done: Value = serde_json::from_slice(&new(&["--json", &second]).stdout).unwrap();
    assert!(done.to_string().contains("web.key"), "{done}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_generator_keeps_exclusive_units_from_being_started() {
    let folder = folder();
    let file = folder.join("mastiff.toml");
    let pair = "[watchdog]\n[node]\nname = \"db1\"\n[pair]\nname = \"db\"\npeer = \"db2\"\nkey-file = \"/k\"\n\
                witness = \"192.0.2.50:4170\"\n\
                paths = [{ local = \"10.0.0.1:1\", peer = \"10.0.0.2:1\" }]\n\
                [[group]]\nname = \"db\"\nunits = \"postgresql.service\"\nsafety = \"data\"\n";
    std::fs::write(&file, pair).unwrap();
    let run = |file: &Path| {
        // As systemd calls it: three folders.
        let folders = ["normal", "early", "late"].map(|name| folder.join(name));
        let mut command = mastiff(&folder.join("control.sock"), &["generator"]);
        command.args(folders).arg("--config").arg(file).output().unwrap()
    };
    let done = run(&file);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    let drop_in = folder.join("normal/postgresql.service.d/50-mastiff.conf");
    let written = std::fs::read_to_string(drop_in).unwrap();
    assert!(written.ends_with("AssertPathExists=/run/mastiff/groups/db.active\n"), "{written}");
    std::fs::write(&file, "[pair\n").unwrap();
    let done = run(&file);
    assert!(matches!(done.status.code(), Some(0 | 78)), "78, but for a last good file here");
    std::fs::remove_dir_all(&folder).unwrap();
}
