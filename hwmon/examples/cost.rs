//! Prints what each sensor that reads files costs on this machine, or on a recorded tree:
//! microseconds of processor time for one reading of what its default conditions name and of
//! everything, and time in each second at its own interval. What the prober reads costs a message
//! to it besides.
//!
//! `cargo run --release -p mastiff-hwmon --example cost [TREE [SENSOR ...]]`

use mastiff_core::condition::Condition;
use mastiff_core::reading::Readings;
use mastiff_core::time::{Mono, Span};
use mastiff_hwmon::SENSORS;
use mastiff_hwmon::root::Root;
use mastiff_hwmon::sensor::{Options, Probe, Sensor, Source, Wanted};
use nix::time::{ClockId, clock_gettime};

/// Readings of each sensor; enough for a mean that repeats within a few percent.
const READINGS: u32 = 2000;

fn main() {
    let root = std::env::args_os().nth(1).map_or_else(Root::machine, Root::recorded);
    let named: Vec<String> = std::env::args().skip(2).collect();
    let is_named = |sensor: &&Sensor| named.is_empty() || named.iter().any(|it| it == sensor.name);
    let (mut sum, mut round) = (0.0, 0.0);
    println!(
        "{:<12} {:<20} {:>12} {:>12} {:>14}",
        "sensor", "target", "defaults us", "all us", "us each second"
    );
    for sensor in SENSORS.iter().copied().filter(is_named) {
        let (Source::Quick(open) | Source::MayHang(open)) = sensor.source else { continue };
        for target in sensor.discover.map(|discover| discover(&root)).unwrap_or_default() {
            match open(&root, &target, &Options::default()) {
                Ok(mut probe) => {
                    let defaults = microseconds(sensor, probe.as_mut(), wanted(sensor));
                    let all = microseconds(sensor, probe.as_mut(), Wanted::ALL);
                    let each_second = all / sensor.interval.as_secs_f64();
                    sum += each_second;
                    round += all;
                    println!(
                        "{:<12} {target:<20} {defaults:>12.1} {all:>12.1} {each_second:>14.2}",
                        sensor.name
                    );
                }
                Err(error) => println!("{:<12} {target:<20} {error}", sensor.name),
            }
        }
    }
    println!("all of everything, once: {round:.1} us");
    println!("all of everything, each at its interval: {sum:.1} us in each second");
}

/// The quantities that the default conditions name.
fn wanted(sensor: &Sensor) -> Wanted {
    let conditions = sensor.warn_when.iter().chain(sensor.fail_when);
    conditions
        .filter_map(|text| Condition::parse(text, sensor.quantities).ok())
        .fold(Wanted::NONE, |wanted, condition| wanted.with(condition.quantity()))
}

fn microseconds(sensor: &Sensor, probe: &mut dyn Probe, wanted: Wanted) -> f64 {
    let mut out = Readings::new(sensor.quantities);
    let mut now = Mono::BOOT;
    let started = processor_time();
    for _ in 0..READINGS {
        now = now.after(Span::from_secs(1));
        out.clear();
        if let Err(error) = probe.read(now, wanted, &mut out) {
            println!("{}: {error}", sensor.name);
            break;
        }
    }
    (processor_time() - started) / f64::from(READINGS)
}

/// Microseconds that this process has had a processor: other work on the machine does not count.
fn processor_time() -> f64 {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)
        .map_or(f64::NAN, |time| time.tv_sec() as f64 * 1e6 + time.tv_nsec() as f64 / 1e3)
}
