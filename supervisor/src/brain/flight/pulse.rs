//! How the machine is, in the few words of a pulse.

use mastiff_hwmon::kept::Kept;
use mastiff_hwmon::text::kibibytes;

/// The files, opened with the first pulse.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    files: Option<[Option<Kept>; 5]>,
}

const LOAD: &str = "/proc/loadavg";
const MEMORY: &str = "/proc/meminfo";
/// Documentation/accounting/psi.rst.
const PRESSURES: [&str; 3] = ["/proc/pressure/cpu", "/proc/pressure/memory", "/proc/pressure/io"];

impl Pulse {
    /// The load, the available memory and the pressure (some/full of the last ten seconds, in
    /// percent), each with `; ` after it; what cannot be read is left out.
    pub(super) fn machine(&mut self) -> String {
        let [cpu, memory, io] = PRESSURES;
        let open = |path: &str| Kept::open(path).ok();
        let files = self.files.get_or_insert_with(|| [LOAD, MEMORY, cpu, memory, io].map(open));
        let mut texts = files.each_mut().map(|file| file.as_mut().and_then(|it| it.text().ok()));
        let [load, available, pressures @ ..] = &mut texts;
        let mut words = String::new();
        if let Some(load) = load.and_then(|text| text.split(' ').next()) {
            words.push_str(&format!("load {load}; "));
        }
        if let Some(bytes) = available.and_then(|text| kibibytes(text, "MemAvailable")) {
            words.push_str(&format!("{} MiB available; ", bytes / 1024 / 1024));
        }
        for (name, text) in ["cpu", "memory", "io"].into_iter().zip(pressures) {
            if let Some(shares) = text.and_then(shares) {
                words.push_str(&format!("{name} pressure {shares}; "));
            }
        }
        words
    }
}

/// `1.25/0.50` of `some avg10=1.25 ...` and `full avg10=0.50 ...`; the second line is not there for
/// every resource.
fn shares(text: &str) -> Option<String> {
    let share = |line: &str| {
        let words = line.split_whitespace();
        words.filter_map(|word| word.strip_prefix("avg10=")).next().map(str::to_string)
    };
    let shares: Vec<String> = text.lines().filter_map(share).collect();
    (!shares.is_empty()).then(|| shares.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pulse_tells_load_and_memory_and_leaves_out_what_is_not_there() {
        let mut pulse = Pulse::default();
        let words = pulse.machine();
        assert!(words.starts_with("load ") && words.contains(" MiB available; "), "{words}");
        assert!(words.len() < 200, "{words}");
        let none = Pulse { files: Some([None, None, None, None, None]) }.machine();
        assert_eq!(none, "");
    }

    #[test]
    fn both_shares_of_a_pressure_are_told() {
        let text =
            "some avg10=1.25 avg60=0.80 avg300=0.1 total=7\nfull avg10=0.50 avg60=0 total=1\n";
        assert_eq!(shares(text).as_deref(), Some("1.25/0.50"));
        assert_eq!(shares("nonsense"), None);
    }
}
