//! One look at the machine: what each sensor says of what it finds, held against its default
//! conditions.
//!
//! This is for tools and tests. A daemon keeps its probes open, looks again and again, and believes
//! what lasts; a condition on growth (`errors > 10 in 1d`) never holds at one look, and one on a
//! rate is unknown.

use mastiff_core::condition::{Condition, History, Truth};
use mastiff_core::health::{Glance, Verdict};
use mastiff_core::reading::{Readings, Shown, Unit};
use mastiff_core::time::Mono;

use crate::SENSORS;
use crate::root::Root;
use crate::sensor::{Options, Probe, Sensor, SensorError, Source, Wanted};

/// What one sensor says of one target.
#[derive(Debug)]
pub struct Look {
    /// Who says it.
    pub sensor: &'static Sensor,
    /// Of what; empty for the machine.
    pub target: String,
    /// How it is. What could not be read is unknown: never healthy, and never failed.
    pub verdict: Verdict,
    /// Which conditions hold, with their values, or why nothing is known; empty if all is well.
    pub why: String,
    /// What was measured; `None` if nothing could be.
    pub readings: Option<Readings>,
}

/// Looks once at everything that the sensors find by themselves, in their order.
///
/// What a dying disk holds up waits as long as the kernel does ([`Source::MayHang`]): whoever minds
/// asks in a child process.
pub fn everything(root: &Root) -> impl Iterator<Item = Look> {
    let found = SENSORS
        .iter()
        .flat_map(|sensor| sensor.targets(root).into_iter().map(move |target| (*sensor, target)));
    found.map(|(sensor, target)| sensor.look(root, &target))
}

impl Sensor {
    /// What it finds to watch below `root`; nothing if it watches only what it is told to.
    pub fn targets(&self, root: &Root) -> Vec<String> {
        self.discover.map(|discover| discover(root)).unwrap_or_default()
    }

    /// Opens a target without options, to be read again and again.
    ///
    /// # Errors
    /// [`SensorError::Unsupported`] for a sensor that reads no files, else what opening says.
    pub fn open(&self, root: &Root, target: &str) -> Result<Box<dyn Probe>, SensorError> {
        match self.source {
            Source::Quick(open) | Source::MayHang(open) => open(root, target, &Options::default()),
            Source::Network(_) | Source::Program(_) | Source::Unit | Source::Heartbeat => {
                Err(SensorError::Unsupported(format!("{} reads no files", self.name)))
            }
        }
    }

    /// Takes one reading and holds it against the default conditions.
    pub fn look(&'static self, root: &Root, target: &str) -> Look {
        let mut readings = Readings::new(self.quantities);
        let read = self
            .open(root, target)
            .and_then(|mut probe| probe.read(Mono::BOOT, Wanted::ALL, &mut readings));
        let (verdict, why) = match &read {
            Ok(()) => self.judge(&readings),
            Err(error) => (Verdict::Unknown, error.to_string()),
        };
        let readings = read.ok().map(|()| readings);
        Look { sensor: self, target: target.to_owned(), verdict, why, readings }
    }

    fn judge(&self, readings: &Readings) -> (Verdict, String) {
        let mut why = String::new();
        let failing = self.any(self.fail_when, readings, &mut why);
        let warning = self.any(self.warn_when, readings, &mut why);
        let verdict = match Glance::from_truths(failing, warning) {
            Glance::Good => return (Verdict::Healthy, why),
            Glance::Bad => Verdict::Degraded,
            Glance::Failed => Verdict::Failed,
            Glance::Blind => Verdict::Unknown,
        };
        if why.is_empty() {
            why.push_str("values are missing");
        }
        if let Some(note) = &readings.note {
            why.push_str(&format!("; {note}"));
        }
        (verdict, why)
    }

    /// Whether one of them holds; those that do are told with their values.
    fn any(&self, conditions: &[&str], readings: &Readings, why: &mut String) -> Truth {
        let mut truth = Truth::False;
        for text in conditions {
            // Those of every sensor are tested to parse.
            let Ok(condition) = Condition::parse(text, self.quantities) else { continue };
            match condition.evaluate(readings, Mono::BOOT, &mut History::default()) {
                Truth::True => {
                    truth = Truth::True;
                    let unit = self.quantities.get(condition.quantity()).map(|it| it.unit);
                    let value = readings.at(condition.quantity());
                    let value = Shown(unit.unwrap_or(Unit::Count), value);
                    let comma = if why.is_empty() { "" } else { "; " };
                    why.push_str(&format!("{comma}{text} ({value})"));
                }
                Truth::Unknown if truth == Truth::False => truth = Truth::Unknown,
                Truth::Unknown | Truth::False => {}
            }
        }
        truth
    }
}
