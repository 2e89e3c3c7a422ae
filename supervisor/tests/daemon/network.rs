//! Questions over the network, to listeners of the test.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use mastiff_core::health::Verdict;

use super::daemon::Daemon;
use super::fuse::in_namespaces;

/// Answers everybody with `answer` after the first bytes, or at once if it asks for none.
fn listener(answer: &'static str, reads_first: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Ends with the test process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            if reads_first {
                drop(stream.read(&mut [0; 4096]));
            }
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    port
}

fn check(name: &str, sensor: &str, target: &str, more: &str) -> String {
    format!(
        "[[check]]\nname = \"{name}\"\nsensor = \"{sensor}\"\ntarget = \"{target}\"\ninterval = \"200ms\"\ntimeout = \"3s\"\nfail-after = \"0s\"\nrecover-after = \"0s\"\n{more}"
    )
}

#[test]
fn tcp_and_http_say_what_answers_and_what_does_not() {
    let good = listener("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n", true);
    let bad = listener("HTTP/1.1 503 Sorry\r\nContent-Length: 0\r\n\r\n", true);
    let garbage = listener("\x00\x01 no protocol at all\n", true);
    let banner = listener("220 hello\r\n", false);
    // Nobody listens here any more.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // Connects (the kernel does that), and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    let http = |port: u16| format!("http://127.0.0.1:{port}/health");
    let tcp = |port: u16| format!("127.0.0.1:{port}");
    let config = [
        check("good", "http", &http(good), "options = { contains = \"ok\" }\n"),
        check("by name", "http", &format!("http://localhost:{good}/"), ""),
        check("bad", "http", &http(bad), ""),
        check("garbage", "http", &http(garbage), ""),
        check("refused", "http", &http(closed), ""),
        check("open", "tcp", &tcp(banner), ""),
        check("open by name", "tcp", &format!("localhost:{banner}"), ""),
        check("banner", "tcp", &tcp(banner), "options = { expect = \"220\" }\n"),
        check("closed", "tcp", &tcp(closed), ""),
        check(
            "silent",
            "tcp",
            &tcp(silent_port),
            "options = { expect = \"220\" }\ntimeout = \"500ms\"\n",
        )
        .replace("timeout = \"3s\"\n", ""),
        check("nobody", "tcp", "no-such-host.invalid:1", ""),
    ];
    let daemon = Daemon::start(&config.concat());
    for name in ["good", "by name", "open", "open by name", "banner"] {
        daemon.await_verdict(name, Verdict::Healthy);
    }
    for name in ["bad", "garbage", "refused", "closed", "silent"] {
        let view = daemon.await_check(name, "is not healthy", |view| {
            view.verdict == Verdict::Failed || view.verdict == Verdict::Degraded
        });
        assert!(!view.reason.is_empty(), "{view:?}");
    }
    let view = daemon.await_check("nobody", "is not healthy", |view| {
        view.verdict != Verdict::Healthy && !view.reason.is_empty()
    });
    assert!(view.reason.contains("resolve"), "{view:?}");
}

#[test]
fn ping_hears_itself() {
    in_namespaces("network::ping_hears_itself", || {
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
        assert!(up.success());
        let daemon = Daemon::start(
            &check("ping", "ping", "127.0.0.1", "").replace("fail-after = \"0s\"\n", ""),
        );
        let view = daemon.await_verdict("ping", Verdict::Healthy);
        let time = view.values.iter().find(|value| value.name == "round-trip").unwrap();
        assert!(time.number.is_some_and(|secs| secs < 1.0), "{view:?}");
    });
}
