//! What strangers send, damaged at random: answers of systemctl and of programs, datagrams, HTTP.
//! Nothing panics, nothing grows beyond its limit, and no reading has an undeclared name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "harness/random.rs"]
mod random;

use std::io::{Read, Write};
use std::net::TcpListener;

use mastiff_core::reading::Readings;
use mastiff_core::time::{Mono, Span};
use mastiff_hwmon::sensor::{End, Finished, Options, Sensor, Source};
use mastiff_hwmon::sensors::{command, failed_units, heartbeat, http, smartctl, unit};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use random::Random;

const SEED: u64 = 0x6d61_7374_6966_6602;

/// Mutations of each text.
const ROUNDS: u64 = 2000;

/// Mutations that go through a socket, which takes longer.
const HTTP_ROUNDS: u64 = 200;

/// Gives `text`, each time damaged in one to four places.
fn each_mutation(rounds: u64, text: &[u8], mut see: impl FnMut(&[u8])) {
    let mut random = Random(SEED);
    for _ in 0..rounds {
        let mut bytes = text.to_vec();
        for _ in 0..=random.below(3) {
            random.mutate(&mut bytes);
        }
        see(&bytes);
    }
}

#[test]
fn answers_of_systemctl() {
    let text = b"MainPID=812\nResult=success\nNRestarts=2\nControlGroup=/system.slice/a.service\nId=a.service\n\
        Names=a.service b.service\nLoadState=loaded\nActiveState=active\nSubState=running\n\n\
        MainPID=0\nResult=oom-kill\nId=c.service\nLoadState=loaded\nActiveState=failed\nSubState=failed\n";
    each_mutation(ROUNDS, text, |bytes| {
        for state in unit::parse_show(&String::from_utf8_lossy(bytes)) {
            let mut out = Readings::new(unit::SENSOR.quantities);
            state.fill(&mut out);
            assert_eq!(out.undeclared(), None);
            assert!(state.state.len() <= unit::WORD_BYTES_MAX);
            assert!(state.id.len() <= unit::VALUE_BYTES_MAX);
        }
    });
}

#[test]
fn heartbeats() {
    let text = b"READY=1\nWATCHDOG=1\nSTATUS=serving 12 clients\nX_MASTIFF_NAME=db\nSTOPPING=1\n";
    let mut beats = heartbeat::Beats::default();
    each_mutation(ROUNDS, text, |bytes| {
        beats.take(heartbeat::parse_datagram(bytes), Mono::BOOT);
        let mut out = Readings::new(heartbeat::SENSOR.quantities);
        beats.fill(Mono::BOOT, &mut out);
        assert_eq!(out.undeclared(), None);
        let shown = out.note.map_or(0, |note| note.chars().count());
        assert!(shown <= heartbeat::STATUS_CHARS_MAX);
    });
}

fn judge(sensor: &Sensor, output: &[u8]) {
    let Source::Program(program) = sensor.source else { panic!("no program") };
    for end in [End::Exit(0), End::Exit(i32::MIN), End::Signal(9), End::TooLong] {
        let output = String::from_utf8_lossy(output).into_owned();
        let finished = Finished { end, output, took: Span::from_secs(1) };
        let mut out = Readings::new(sensor.quantities);
        let judged = (program.judge)(&finished, &Options::default(), &mut out);
        assert_eq!(out.undeclared(), None);
        let note = out.note.map(String::from).or(judged.err().map(|error| error.to_string()));
        let note = note.unwrap_or_default();
        assert!(note.chars().count() < 4 * command::LINE_CHARS_MAX, "{note}");
        assert!(!note.replace('\n', "").contains(char::is_control), "{note:?}");
    }
}

#[test]
fn output_of_programs() {
    let plugin = b"DISK WARNING - / 90% \x1b[31m| '/'=90%;85;95;0;100 '/var'=2GB\nmore lines\n";
    let units =
        b"web.service loaded failed failed A web server\ndb.service not-found failed failed db\n";
    let disk = b"json.smart_status.passed = true;\njson.model_name = \"A\";\n\
        json.ata_smart_attributes.table[0].id = 5;\n\
        json.ata_smart_attributes.table[0].raw.value = 7;\njson.temperature.current = 30;\n";
    for text in [&plugin[..], units, disk] {
        each_mutation(ROUNDS, text, |bytes| {
            judge(&command::SENSOR, bytes);
            judge(&failed_units::SENSOR, bytes);
            judge(&smartctl::SENSOR, bytes);
        });
    }
}

#[test]
fn web_servers() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = listener.local_addr().expect("its address");
    let Source::Network(network) = http::SENSOR.source else { panic!("no network sensor") };
    let options = Options([("contains".to_owned(), "up".to_owned())].into_iter().collect());
    let text = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 9\r\nA: b\r\n\r\nall is up";
    each_mutation(HTTP_ROUNDS, text, |bytes| {
        let target = format!("http://{at}/");
        let mut talk = (network.ask)(at, &target, &options, Mono::BOOT).expect("a question");
        let (mut server, _) = listener.accept().expect("a visitor");
        let mut out = Readings::new(http::SENSOR.quantities);
        assert!(!talk.proceed(Mono::BOOT, &mut out).expect("no fault"), "it waits for the answer");
        let mut request = [0; 64];
        assert!(server.read(&mut request).expect("a request") > 0);
        server.write_all(bytes).expect("an answer");
        server.shutdown(std::net::Shutdown::Write).expect("its end");
        loop {
            let mut waits = [PollFd::new(talk.fd(), PollFlags::POLLIN)];
            poll(&mut waits, PollTimeout::NONE).expect("poll");
            if talk.proceed(Mono::BOOT, &mut out).expect("no fault") {
                break;
            }
        }
        assert_eq!(out.undeclared(), None);
        assert!(out.get("answers").is_some() && out.get("error").is_some());
    });
}
