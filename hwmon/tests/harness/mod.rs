//! Opens every sensor and checks what holds for every reading, good or bad.

use mastiff_core::reading::{Readings, Unit, Value};
use mastiff_core::time::{Mono, Span};
use mastiff_hwmon::SENSORS;
use mastiff_hwmon::root::Root;
use mastiff_hwmon::sensor::{Options, Probe, Sensor, SensorError, Source, Target, Wanted};

/// Longest note that a table of `mastiff status` should have to shorten.
const NOTE_BYTES_MAX: usize = 1024;

/// A moment so many seconds after boot.
pub(crate) fn at(seconds: u64) -> Mono {
    Mono::BOOT.after(Span::from_secs(seconds))
}

/// An open probe, or why it could not be opened, with what it belongs to.
pub(crate) struct Opened {
    pub(crate) sensor: &'static Sensor,
    pub(crate) target: String,
    pub(crate) probe: Result<Box<dyn Probe>, SensorError>,
}

/// Opens every sensor that reads files, on what it discovers and on a target of its kind.
pub(crate) fn open_all(root: &Root) -> Vec<Opened> {
    open_some(root, |_| true)
}

/// The same for the sensors that `wanted` takes by name.
pub(crate) fn open_some(root: &Root, wanted: impl Fn(&str) -> bool) -> Vec<Opened> {
    let mut opened = Vec::new();
    for sensor in SENSORS.iter().filter(|sensor| wanted(sensor.name)) {
        let (Source::Quick(open) | Source::MayHang(open)) = sensor.source else { continue };
        let mut targets = sensor.discover.map(|discover| discover(root)).unwrap_or_default();
        targets.extend(examples(sensor.target).iter().map(|target| (*target).to_owned()));
        targets.sort();
        targets.dedup();
        for target in targets {
            sensor.target.check(&target).unwrap();
            let probe = open(root, &target, &Options::default());
            opened.push(Opened { sensor, target, probe });
        }
    }
    opened
}

fn examples(target: Target) -> &'static [&'static str] {
    match target {
        Target::Machine => &[""],
        Target::MountPoint => &["/", "/nowhere"],
        Target::Interface => &["eth0", "eth1", "nowhere0"],
        Target::Device => &["sda", "vda", "md0", "nowhere", "/dev/disk/by-id/nowhere"],
        Target::Unit => &["nginx.service"],
        Target::Path => &["/proc/stat", "/nowhere"],
        Target::HostPort => &["192.0.2.1:80"],
        Target::Host => &["192.0.2.1"],
        Target::Url => &["http://192.0.2.1/"],
        Target::Process => &["unit:nginx.service", "pid-file:/run/x.pid", "name:sshd"],
        Target::Program => &["/bin/true"],
        Target::Name => &["app"],
    }
}

/// Reads a probe and checks what holds for every reading, good or bad.
pub(crate) fn read(opened: &mut Opened, now: Mono) -> Option<Readings> {
    let mut out = Readings::new(opened.sensor.quantities);
    let name = format!("{} {:?}", opened.sensor.name, opened.target);
    match opened.probe.as_mut() {
        Ok(probe) => match probe.read(now, Wanted::ALL, &mut out) {
            Ok(()) => {
                check(&name, &out);
                Some(out)
            }
            Err(error) => {
                assert!(!error.to_string().is_empty(), "{name}");
                None
            }
        },
        Err(error) => {
            assert!(!error.to_string().is_empty(), "{name}");
            None
        }
    }
}

fn check(name: &str, out: &Readings) {
    assert_eq!(out.undeclared(), None, "{name}");
    assert!(out.note.as_ref().is_none_or(|note| note.len() <= NOTE_BYTES_MAX), "{name}");
    for (quantity, value) in out.iter() {
        let good = match (value, quantity.unit) {
            (None | Some(Value::Absent), _) => true,
            (Some(Value::Number(share)), Unit::Ratio) => (0.0..=1.0).contains(share),
            // Offsets and temperatures can be negative.
            (Some(Value::Number(number)), Unit::Seconds | Unit::Celsius) => number.is_finite(),
            (
                Some(Value::Number(number)),
                Unit::Bytes | Unit::BytesPerSecond | Unit::Count | Unit::Total | Unit::PerSecond,
            ) => number.is_finite() && *number >= 0.0,
            (Some(Value::Flag(_)), Unit::Flag) => true,
            (Some(Value::Word(word)), Unit::Word(words)) => {
                words.is_empty() || words.contains(&word.as_ref())
            }
            (Some(Value::Number(_) | Value::Flag(_) | Value::Word(_)), _) => false,
        };
        assert!(good, "{name}: {} = {value:?}", quantity.name);
    }
}
