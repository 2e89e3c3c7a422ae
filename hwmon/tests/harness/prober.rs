//! One sensor at a time, opened and read as the prober does, with files of the test's own.

use std::fs;
use std::path::PathBuf;

use mastiff_core::reading::{Readings, Value};
use mastiff_core::time::Mono;
use mastiff_hwmon::root::Root;
use mastiff_hwmon::sensor::{Options, Probe, Sensor, SensorError, Source, Wanted};

/// A folder of its own for each test, removed at the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// `name` tells the folders of one test binary apart.
    pub(crate) fn new(name: &str) -> Self {
        let (binary, process) = (env!("CARGO_CRATE_NAME"), std::process::id());
        let path = std::env::temp_dir().join(format!("mastiff-{binary}-{name}-{process}"));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    /// The folder as a recorded tree.
    pub(crate) fn root(&self) -> Root {
        Root::recorded(&self.0)
    }

    /// A path in the folder, as a target.
    pub(crate) fn target(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a plain name").to_owned()
    }

    /// Writes a file, and makes the folders above it.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, content).expect("a file");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("the folder of the test");
    }
}

/// Opens a sensor that may hang.
pub(crate) fn open(
    sensor: &Sensor,
    root: &Root,
    target: &str,
    options: &Options,
) -> Box<dyn Probe> {
    let Source::MayHang(open) = sensor.source else { panic!("the prober reads it") };
    open(root, target, options).expect("a probe")
}

/// Reads a probe of `sensor`, which must keep to its declaration.
pub(crate) fn read(
    sensor: &Sensor,
    probe: &mut dyn Probe,
    now: Mono,
    wanted: Wanted,
) -> Result<Readings, SensorError> {
    let mut out = Readings::new(sensor.quantities);
    probe.read(now, wanted, &mut out)?;
    assert_eq!(out.undeclared(), None);
    Ok(out)
}

/// The value of a quantity that must be a number.
pub(crate) fn number(out: &Readings, name: &str) -> f64 {
    match out.get(name) {
        Some(Value::Number(number)) => *number,
        other => panic!("{name} is {other:?}"),
    }
}
