//! tcp, http and ping against real sockets on loopback: good answers, and every bad manner of a
//! peer.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;

use mastiff_core::reading::{Readings, Value};
use mastiff_core::sorted::Map;
use mastiff_core::time::Mono;
use mastiff_hwmon::sensor::{Options, Sensor, Source};
use mastiff_hwmon::sensors::{http, ping, tcp};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};

fn now() -> Mono {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("a clock");
    Mono::from_nanos(time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}

fn options(pairs: &[(&str, &str)]) -> Options {
    Options(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Map<_, _>>())
}

/// Asks and waits as the runner does: on the socket, until the deadline.
fn question(sensor: &Sensor, to: SocketAddr, target: &str, pairs: &[(&str, &str)]) -> Readings {
    let Source::Network(network) = sensor.source else { panic!("not a network sensor") };
    for (key, value) in pairs {
        let option = sensor.options.iter().find(|option| option.name == *key).expect("declared");
        (option.check)(value).expect("a valid option");
    }
    let mut talk = (network.ask)(to, target, &options(pairs), now()).expect("a question");
    let mut out = Readings::new(sensor.quantities);
    loop {
        let left = talk.deadline().since(now()).as_millis() + 1;
        let flags = if talk.wants_write() { PollFlags::POLLOUT } else { PollFlags::POLLIN };
        let timeout = PollTimeout::try_from(left).expect("a short deadline");
        poll(&mut [PollFd::new(talk.fd(), flags)], timeout).expect("poll");
        if talk.proceed(now(), &mut out).expect("a reading") {
            assert_eq!(out.undeclared(), None);
            return out;
        }
    }
}

/// Serves one connection in a thread of the test.
fn serve(run: impl FnOnce(TcpStream) + Send + 'static) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = listener.local_addr().expect("its address");
    (at, std::thread::spawn(move || run(listener.accept().expect("a visitor").0)))
}

/// Reads until the peer closes: a peer that stays silent must not close before it is asked to.
fn until_closed(mut peer: TcpStream) {
    let mut sink = Vec::new();
    // The visitor may reset instead of closing; both mean that it left.
    drop(peer.read_to_end(&mut sink));
}

fn word(out: &Readings, name: &str) -> String {
    match out.get(name) {
        Some(Value::Word(word)) => word.to_string(),
        other => panic!("{name} is {other:?}"),
    }
}

fn flag(out: &Readings, name: &str) -> Option<bool> {
    match out.get(name) {
        Some(Value::Flag(flag)) => Some(*flag),
        _ => None,
    }
}

fn positive(out: &Readings, name: &str) -> bool {
    matches!(out.get(name), Some(Value::Number(number)) if *number >= 0.0)
}

/// A port where nobody listens.
fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address")
}

#[test]
fn tcp_connects() {
    let (at, server) = serve(until_closed);
    let out = question(&tcp::SENSOR, at, "", &[]);
    assert_eq!(flag(&out, "answers"), Some(true));
    assert!(positive(&out, "connect-time"));
    assert_eq!(out.get("error"), Some(&Value::Absent));
    assert_eq!(out.get("answer-time"), Some(&Value::Absent));
    server.join().expect("the server");
}

#[test]
fn tcp_takes_a_refusal_for_an_answer() {
    let out = question(&tcp::SENSOR, closed_port(), "", &[]);
    assert_eq!(flag(&out, "answers"), Some(false));
    assert_eq!(word(&out, "error"), "refused");
    assert_eq!(out.get("connect-time"), None, "a time that never was is missing, not zero");
}

#[test]
fn tcp_sends_and_expects() {
    let (at, server) = serve(|mut peer| {
        let mut line = [0; 6];
        peer.read_exact(&mut line).expect("a request");
        assert_eq!(&line, b"PING\r\n");
        // In two parts, and the text across the border.
        peer.write_all(b"+PO").expect("first part");
        peer.flush().expect("flush");
        peer.write_all(b"NG\r\n").expect("second part");
        until_closed(peer);
    });
    let out = question(&tcp::SENSOR, at, "", &[("send", "PING\r\n"), ("expect", "PONG")]);
    assert_eq!(flag(&out, "answers"), Some(true));
    assert!(positive(&out, "answer-time"));
    server.join().expect("the server");
}

#[test]
fn tcp_silence_until_the_deadline_is_no_answer() {
    let (at, server) = serve(until_closed);
    let out = question(&tcp::SENSOR, at, "", &[("expect", "x"), ("timeout", "50ms")]);
    assert_eq!(flag(&out, "answers"), Some(false));
    assert_eq!(word(&out, "error"), "timeout");
    assert!(positive(&out, "connect-time"));
    assert_eq!(out.get("answer-time"), None);
    server.join().expect("the server");
}

#[test]
fn tcp_wrong_answers_are_told_apart() {
    let answers: [(&[u8], &str); 3] =
        [(b"", "closed"), (b"no", "mismatch"), (&[b'x'; 40_000], "mismatch")];
    for (bytes, error) in answers {
        // The visitor may leave before it has read everything.
        let (at, server) = serve(move |mut peer| drop(peer.write_all(bytes)));
        let out = question(&tcp::SENSOR, at, "", &[("expect", "PONG")]);
        assert_eq!((flag(&out, "answers"), word(&out, "error").as_str()), (Some(false), error));
        server.join().expect("the server");
    }
}

fn get(at: SocketAddr, pairs: &[(&str, &str)]) -> Readings {
    question(&http::SENSOR, at, &format!("http://{at}/health"), pairs)
}

/// Answers one request with these bytes and closes.
fn page(bytes: impl Into<Vec<u8>>) -> (SocketAddr, JoinHandle<()>) {
    let bytes = bytes.into();
    serve(move |mut peer| {
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && peer.read(&mut byte).expect("a request") == 1 {
            request.push(byte[0]);
        }
        let request = String::from_utf8(request).expect("text");
        assert!(request.starts_with("GET /health HTTP/1.1\r\nHost: 127.0.0.1:"), "{request}");
        assert!(request.contains("\r\nConnection: close\r\n"), "{request}");
        // The visitor may have seen enough before the end.
        drop(peer.write_all(&bytes));
    })
}

#[test]
fn http_status_and_body() {
    let (at, server) = page("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nit is up");
    let out = get(at, &[("contains", "is"), ("timeout", "10s")]);
    assert_eq!(out.get("status"), Some(&Value::Number(200.0)));
    for name in ["answers", "status-ok", "body-matches"] {
        assert_eq!(flag(&out, name), Some(true), "{name}");
    }
    assert!(positive(&out, "connect-time") && positive(&out, "response-time"));
    assert_eq!(out.get("error"), Some(&Value::Absent));
    server.join().expect("the server");

    let (at, server) = page("HTTP/1.0 503 Busy\r\n\r\nsorry");
    let out = get(at, &[]);
    assert_eq!((flag(&out, "answers"), flag(&out, "status-ok")), (Some(true), Some(false)));
    assert_eq!(out.get("body-matches"), Some(&Value::Absent));
    server.join().expect("the server");

    let (at, server) = page("HTTP/1.1 503 Busy\r\n\r\nsorry");
    let out = get(at, &[("status", "503"), ("contains", "up")]);
    assert_eq!((flag(&out, "status-ok"), flag(&out, "body-matches")), (Some(true), Some(false)));
    server.join().expect("the server");
}

#[test]
fn http_garbage_is_no_answer() {
    let endless = b"HTTP/1.1 200 OK\r\n"
        .iter()
        .copied()
        .chain(b"x: y\r\n".iter().copied().cycle().take(500_000));
    let no_newline = b"HTTP/1.1 200 ".iter().copied().chain(std::iter::repeat_n(b'x', 500_000));
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![0, 255, 254, 10, 13, 10, 13], "malformed"),
        (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), "malformed"),
        (b"HTTP/1.1 OK\r\n\r\n".to_vec(), "malformed"),
        (endless.collect(), "malformed"),
        (no_newline.collect(), "malformed"),
        (b"HTTP/1.1 100 Continue\r\n\r\n".repeat(1000), "malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Le".to_vec(), "closed"),
        (Vec::new(), "closed"),
    ];
    for (bytes, error) in cases {
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(20)]).into_owned();
        let (at, server) = page(bytes);
        let out = get(at, &[]);
        assert_eq!(flag(&out, "answers"), Some(false), "{start:?}");
        assert_eq!(word(&out, "error"), error, "{start:?}");
        assert_eq!(out.get("status"), None, "{start:?}");
        assert_eq!(out.get("status-ok"), None, "{start:?}");
        server.join().expect("the server");
    }
}

#[test]
fn http_silence_and_half_answers_end_at_the_deadline() {
    for (bytes, answers) in
        [("", false), ("HTTP/1.1 200 OK\r\nA: b", false), ("HTTP/1.1 200 OK\r\n\r\nbo", true)]
    {
        let (at, server) = serve(move |mut peer| {
            peer.write_all(bytes.as_bytes()).expect("half an answer");
            until_closed(peer);
        });
        let out = get(at, &[("timeout", "500ms"), ("contains", "body")]);
        assert_eq!(flag(&out, "answers"), Some(answers), "{bytes:?}");
        assert_eq!(word(&out, "error"), "timeout", "{bytes:?}");
        assert_eq!(out.get("body-matches"), None, "half a body proves nothing");
        server.join().expect("the server");
    }
    let out = get(closed_port(), &[]);
    assert_eq!((flag(&out, "answers"), word(&out, "error").as_str()), (Some(false), "refused"));
}

#[test]
fn http_looks_at_no_more_than_its_limit() {
    let mut bytes = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    bytes.resize(300 * 1024, b'x');
    bytes.extend(b"needle");
    let (at, server) = page(bytes);
    let out = get(at, &[("contains", "needle")]);
    assert_eq!(flag(&out, "body-matches"), Some(false));
    server.join().expect("the server");
}

/// `None` where this user may not ping at all, which the sensor must say.
fn echo(host: &str, pairs: &[(&str, &str)]) -> Option<Readings> {
    let to = SocketAddr::new(host.parse::<IpAddr>().expect("an address"), 0);
    let Source::Network(network) = ping::SENSOR.source else { panic!("not a network sensor") };
    match (network.ask)(to, host, &options(pairs), now()) {
        Ok(_) => Some(question(&ping::SENSOR, to, host, pairs)),
        Err(error) => {
            assert!(error.to_string().contains("CAP_NET_RAW"), "{error}");
            let own = std::fs::metadata("/proc/self").expect("this process");
            assert_ne!(std::os::unix::fs::MetadataExt::uid(&own), 0, "root may ping");
            None
        }
    }
}

#[test]
fn ping_reaches_this_machine() {
    let with_ipv6 = TcpListener::bind("[::1]:0").is_ok();
    for host in if with_ipv6 { vec!["127.0.0.1", "::1"] } else { vec!["127.0.0.1"] } {
        for count in ["1", "5"] {
            let Some(out) = echo(host, &[("count", count)]) else { return };
            assert_eq!(flag(&out, "answers"), Some(true), "{host}");
            assert_eq!(out.get("loss"), Some(&Value::Number(0.0)), "{host}");
            assert!(positive(&out, "round-trip"), "{host}");
        }
    }
}

#[test]
fn pings_at_the_same_time_do_not_answer_for_each_other() {
    let threads: Vec<_> =
        (0..8).map(|_| std::thread::spawn(|| echo("127.0.0.1", &[("count", "5")]))).collect();
    for thread in threads {
        if let Some(out) = thread.join().expect("a ping") {
            assert_eq!(out.get("loss"), Some(&Value::Number(0.0)));
        }
    }
}

#[test]
fn network_targets_name_host_and_port() {
    for (sensor, target, host, port) in [
        (&tcp::SENSOR, "db1:5432", "db1", 5432),
        (&tcp::SENSOR, "[::1]:22", "::1", 22),
        (&http::SENSOR, "http://[::1]:81/x", "::1", 81),
        (&http::SENSOR, "http://db1/x", "db1", 80),
        (&ping::SENSOR, "db1", "db1", 0),
        (&ping::SENSOR, "::1", "::1", 0),
    ] {
        let Source::Network(network) = sensor.source else { panic!("not a network sensor") };
        let peer = (network.peer)(target).expect("a peer");
        assert_eq!((peer.host.as_str(), peer.port), (host, port), "{target}");
    }
}
