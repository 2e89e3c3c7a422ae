//! Every quick sensor on the machine that runs the tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod harness;

use std::process::{Child, Command, Stdio};

use harness::{at, open_all, read};
use mastiff_core::reading::{Readings, Value};
use mastiff_hwmon::root::Root;
use mastiff_hwmon::sensor::{Options, Source, Wake, Wanted};
use mastiff_hwmon::sensors;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

#[test]
fn every_quick_sensor_reads_this_machine() {
    let root = Root::machine();
    let mut read_some = false;
    for mut opened in open_all(&root) {
        if !matches!(opened.sensor.source, Source::Quick(_)) {
            continue;
        }
        // A sandbox may refuse /dev/kmsg or adjtimex, and no machine has every example target.
        let discovered =
            opened.sensor.discover.is_some_and(|discover| discover(&root).contains(&opened.target));
        let first = read(&mut opened, at(1));
        let second = read(&mut opened, at(2));
        if discovered && let Ok(_) = &opened.probe {
            let name = opened.sensor.name;
            assert!(first.is_some() && second.is_some(), "{name} {:?}", opened.target);
            let known = second.is_some_and(|reading| reading.slots().iter().any(Option::is_some));
            assert!(known, "{name} {:?}", opened.target);
            read_some = true;
        }
    }
    assert!(read_some);
}

#[test]
fn memory_agrees_with_the_kernel() {
    let sensor = sensors::find("memory").unwrap();
    let Source::Quick(open) = sensor.source else { panic!("memory is quick") };
    let mut out = Readings::new(sensor.quantities);
    let mut probe = open(&Root::machine(), "", &Options::default()).unwrap();
    probe.read(at(1), Wanted::ALL, &mut out).unwrap();
    let mut system = sysinfo::System::new().unwrap();
    system.refresh_memory();
    assert_eq!(out.get("total"), Some(&Value::Number(system.total_memory() as f64)));
}

/// Programs that keep every processor busy and some waiting.
struct Load(Vec<Child>);

impl Load {
    fn start() -> Self {
        let cpus = std::thread::available_parallelism().unwrap().get();
        let spin = || {
            Command::new("/bin/sh")
                .args(["-c", "while :; do :; done"])
                .stdin(Stdio::null())
                .spawn()
                .unwrap()
        };
        Self((0..cpus * 3).map(|_| spin()).collect())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

#[test]
#[ignore = "needs PSI, the right to set triggers, and all processors for some seconds"]
fn a_stall_wakes_the_reader_and_is_counted_once() {
    let sensor = sensors::find("pressure").unwrap();
    let Source::Quick(open) = sensor.source else { panic!("pressure is quick") };
    let mut probe = open(&Root::machine(), "", &Options::default()).unwrap();
    let mut out = Readings::new(sensor.quantities);
    probe.read(at(1), Wanted::ALL, &mut out).unwrap();
    assert_eq!(out.get("cpu-stalls"), Some(&Value::Number(0.0)));
    let load = Load::start();
    let woken = {
        let wakes = probe.wakes();
        assert_eq!(wakes.len(), 3);
        let mut polled: Vec<PollFd> = wakes
            .iter()
            .map(|wake| match wake {
                Wake::Priority(fd) => PollFd::new(*fd, PollFlags::POLLPRI),
                Wake::Readable(_) => panic!("a trigger has no data"),
            })
            .collect();
        let ready = poll(&mut polled, PollTimeout::from(30_000_u16)).unwrap();
        assert!(ready > 0, "no trigger fired within 30 s of full load");
        polled
            .iter()
            .position(|fd| fd.revents().is_some_and(|got| got.contains(PollFlags::POLLPRI)))
            .unwrap()
    };
    drop(load);
    probe.woken(woken);
    probe.read(at(2), Wanted::ALL, &mut out).unwrap();
    assert_eq!(woken, 0, "the processor is what lacked");
    assert_eq!(out.get("cpu-stalls"), Some(&Value::Number(1.0)));
}
