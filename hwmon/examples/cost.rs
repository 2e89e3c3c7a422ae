//! Prints what each sensor that reads files costs on this machine, or on a recorded tree:
//! microseconds for one reading of what its default conditions name and of everything, and time in
//! each second at its own interval. What the prober reads costs a message to it besides.
//!
//! `cargo run --release -p mastiff-hwmon --example cost [TREE]`

use std::time::Instant;

use mastiff_core::condition::Condition;
use mastiff_core::reading::Readings;
use mastiff_core::time::{Mono, Span};
use mastiff_hwmon::SENSORS;
use mastiff_hwmon::root::Root;
use mastiff_hwmon::sensor::{Options, Probe, Sensor, Source, Wanted};

/// Readings of each sensor; enough for a mean that repeats within a few percent.
const READINGS: u32 = 2000;

fn main() {
    let root = std::env::args_os().nth(1).map_or_else(Root::machine, Root::recorded);
    let mut sum = 0.0;
    println!(
        "{:<12} {:<20} {:>12} {:>12} {:>14}",
        "sensor", "target", "defaults us", "all us", "us each second"
    );
    for sensor in SENSORS {
        let (Source::Quick(open) | Source::MayHang(open)) = sensor.source else { continue };
        for target in sensor.discover.map(|discover| discover(&root)).unwrap_or_default() {
            match open(&root, &target, &Options::default()) {
                Ok(mut probe) => {
                    let defaults = microseconds(sensor, probe.as_mut(), wanted(sensor));
                    let all = microseconds(sensor, probe.as_mut(), Wanted::ALL);
                    let each_second = all / sensor.interval.as_secs_f64();
                    sum += each_second;
                    println!(
                        "{:<12} {target:<20} {defaults:>12.1} {all:>12.1} {each_second:>14.2}",
                        sensor.name
                    );
                }
                Err(error) => println!("{:<12} {target:<20} {error}", sensor.name),
            }
        }
    }
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
    let started = Instant::now();
    for _ in 0..READINGS {
        now = now.after(Span::from_secs(1));
        out.clear();
        if let Err(error) = probe.read(now, wanted, &mut out) {
            println!("{}: {error}", sensor.name);
            break;
        }
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(READINGS)
}
