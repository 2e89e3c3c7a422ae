//! The health of disks that only `smartctl` of smartmontools can reach: those behind a RAID
//! controller (`megaraid,3`, `cciss,0`, `areca,1/2` ...) or a USB bridge.
//!
//! It runs as a child with a deadline and writes one assignment a line (`--json=g`), so that what
//! is cut off or damaged costs that line alone. The quantities are those of `disk-health`.

use mastiff_core::reading::Readings;

use crate::sensor::{
    End, Finished, Options, Program, Sensor, SensorError, SensorOption, Source, Target,
};
use crate::sensors::command::shown;
use crate::sensors::disk_health::{self, HOT_ROTATING, HOT_SOLID, WEAR, warned};
use crate::text;

/// One disk, as smartctl tells (smartctl(8)).
pub const SENSOR: Sensor = Sensor {
    name: "smartctl",
    summary: "Health of a disk behind a RAID controller or a USB bridge, by smartctl of smartmontools 7 and later. Never wakes an ATA disk in standby.",
    target: Target::Device,
    options: &[SensorOption {
        name: "type",
        meaning: "how smartctl reaches the disk, its option -d: \"megaraid,3\", \"cciss,0\", \"sat\" ...; found out by smartctl by default",
        example: "megaraid,3",
        check: check_type,
    }],
    source: Source::Program(Program { arguments, judge }),
    discover: None,
    ..disk_health::SENSOR
};

/// The program, where every distribution has it.
const PROGRAM: &str = "/usr/sbin/smartctl";

/// What smartctl is told to exit with where the disk sleeps: with the bit 0 (a wrong command line)
/// no other bit ever comes.
const ASLEEP: i32 = 3;

/// What a child exits with where there is no such program.
const NO_PROGRAM: i32 = 127;

/// Bits of the exit code (smartctl(8), "EXIT STATUS"): the disk could not be opened; an answer is
/// lacking or damaged; the disk is failing.
const NOT_OPENED: i32 = 1 << 1;
const IN_PART: i32 = 1 << 2;
const FAILING: i32 = 1 << 3;

/// Attributes of one disk at most (ATA8-ACS, table 63).
const ATTRIBUTES_MAX: usize = 30;

fn check_type(value: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ",/+-_:".contains(c);
    let good = (1..=64).contains(&value.len()) && value.chars().all(plain);
    if good && !value.starts_with('-') {
        Ok(())
    } else {
        Err("write what smartctl takes for -d, as in \"megaraid,3\" (smartctl --scan)".into())
    }
}

fn arguments(target: &str, options: &Options) -> Result<Vec<String>, SensorError> {
    let node = if target.starts_with('/') { target.to_owned() } else { format!("/dev/{target}") };
    let fixed = ["--json=g", "--nocheck=standby,3", "--info", "--health", "--attributes"];
    let mut arguments: Vec<String> = vec![PROGRAM.into()];
    arguments.extend(fixed.map(str::to_owned));
    // Of SCSI disks these are the counters of errors.
    arguments.push("--log=error".into());
    if let Some(kind) = options.get("type") {
        arguments.push(format!("--device={kind}"));
    }
    arguments.push(node);
    Ok(arguments)
}

fn judge(finished: &Finished, _options: &Options, out: &mut Readings) -> Result<(), SensorError> {
    let said = Said(&finished.output);
    let code = match finished.end {
        End::Exit(ASLEEP) => {
            out.flag("asleep", true);
            out.note = Some("asleep, so it was not asked".into());
            return Ok(());
        }
        End::Exit(NO_PROGRAM) => {
            return Err(SensorError::Unsupported(format!(
                "cannot run {PROGRAM}: install the package smartmontools"
            )));
        }
        End::Exit(code) => code,
        End::Signal(signal) => return failed(&format!("killed by signal {signal}"), &said),
        End::TooLong => return failed(&format!("no answer within {}", finished.took), &said),
    };
    if code & (1 | NOT_OPENED) != 0 {
        return failed(&format!("exit code {code}"), &said);
    }
    let Some(passed) = said.text("smart_status.passed") else {
        return failed("it tells nothing of the health of this disk", &said);
    };
    out.flag("failing", passed != "true" || code & FAILING != 0);
    out.flag("asleep", false);
    said.fill(out);
    if code & IN_PART == 0 {
        // It has told all there is.
        for quantity in out.quantities() {
            if out.get(quantity.name).is_none() {
                out.absent(quantity.name);
            }
        }
    }
    let words = ["model_name", "scsi_model_name", "serial_number"];
    let words: Vec<String> = words.iter().filter_map(|name| said.text(name)).map(shown).collect();
    out.note = (!words.is_empty()).then(|| words.join(" ").into());
    Ok(())
}

fn failed(reason: &str, said: &Said<'_>) -> Result<(), SensorError> {
    let first = said.0.lines().next().unwrap_or_default();
    let said = said.text("smartctl.messages[0].string").unwrap_or(first);
    // Where there is no message the first line is no news.
    let said = if said.starts_with("json") { String::new() } else { shown(said) };
    let separator = if said.is_empty() { "" } else { ": " };
    Err(SensorError::Unsupported(format!("smartctl: {reason}{separator}{said}")))
}

/// What it wrote: lines such as `json.temperature.current = 35;`.
struct Said<'a>(&'a str);

impl<'a> Said<'a> {
    /// The value of a name, without the quotes of a text.
    fn text(&self, name: &str) -> Option<&'a str> {
        let value = text::lines(self.0).find_map(|line| {
            line.strip_prefix("json.")?.strip_prefix(name)?.strip_prefix(" = ")?.strip_suffix(';')
        })?;
        let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        Some(quoted.unwrap_or(value))
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.text(name).and_then(text::whole)
    }

    fn fill(&self, out: &mut Readings) {
        let rotation = self.number("rotation_rate");
        let is_rotating = rotation.is_some_and(|rate| rate > 0);
        self.nvme(out);
        self.attributes(is_rotating, out);
        self.scsi(out);
        if let Some(hours) = self.number("power_on_time.hours") {
            out.count("power-on", hours.saturating_mul(3600));
        }
        // Zero: nobody has measured.
        if let Some(degrees) = self.number("temperature.current").filter(|now| *now > 0) {
            out.count("temperature", degrees);
            let limit = if is_rotating { HOT_ROTATING } else { HOT_SOLID };
            if out.get("hot").is_none() {
                out.flag("hot", degrees > limit.into());
            }
        }
    }

    fn nvme(&self, out: &mut Readings) {
        let log = |name| self.number(&["nvme_smart_health_information_log.", name].concat());
        let byte = |name| log(name).and_then(|value| u8::try_from(value).ok());
        if let Some(warning) = byte("critical_warning") {
            // For smartctl each bit of it, as that for heat, makes a disk failing
            // (nvmeprint.cpp, `print_critical_warning`).
            warned(warning, byte("percentage_used").unwrap_or(0), out);
        }
        for (name, own) in [("spare", "available_spare"), ("wear", "percentage_used")] {
            if let Some(share) = log(own) {
                out.ratio(name, share.min(100), 100);
            }
        }
        for (name, own) in
            [("media-errors", "media_errors"), ("unsafe-shutdowns", "unsafe_shutdowns")]
        {
            if let Some(count) = log(own) {
                out.count(name, count);
            }
        }
    }

    /// The table of attributes of an ATA disk; see there for what the numbers are.
    fn attributes(&self, is_rotating: bool, out: &mut Readings) {
        let mut worn = None;
        for at in 0..ATTRIBUTES_MAX {
            let row = |name| self.number(&format!("ata_smart_attributes.table[{at}].{name}"));
            let Some(id) = row("id") else { break };
            let counter = match id {
                5 => Some(("reallocated", 0xffff)),
                187 => Some(("media-errors", 0xffff_ffff)),
                197 => Some(("pending", 0xffff_ffff)),
                198 => Some(("uncorrectable", 0xffff_ffff)),
                199 => Some(("link-errors", 0xffff_ffff)),
                _ => None,
            };
            if let Some(((name, mask), raw)) = counter.zip(row("raw.value")) {
                out.count(name, raw & mask);
            }
            let rank = WEAR.iter().position(|wear| u64::from(*wear) == id);
            if let Some((rank, left)) = rank.zip(row("value").filter(|left| *left > 0))
                && !is_rotating
                && worn.is_none_or(|(best, _)| rank < best)
            {
                worn = Some((rank, left));
            }
        }
        if let Some((_, left)) = worn {
            out.ratio("wear", 100_u64.saturating_sub(left), 100);
        }
    }

    fn scsi(&self, out: &mut Readings) {
        if let Some(defects) = self.number("scsi_grown_defect_list") {
            out.count("reallocated", defects);
        }
        let kinds = ["read", "write", "verify"].iter().filter_map(|kind| {
            let name = format!("scsi_error_counter_log.{kind}.total_uncorrected_errors");
            self.number(&name)
        });
        if let Some(sum) = kinds.reduce(u64::saturating_add) {
            out.count("media-errors", sum);
        }
        // By the names of 7.3 and 7.4.
        let used = self.number("scsi_percentage_used_endurance_indicator");
        if let Some(used) = used.or_else(|| self.number("endurance_used.current_percent"))
            && out.get("wear").is_none()
        {
            out.ratio("wear", used.min(100), 100);
        }
    }
}

#[cfg(test)]
mod tests {
    use mastiff_core::reading::Value;
    use mastiff_core::time::Span;

    use super::*;

    const ATA: &str = r#"json = {};
json.smartctl.exit_status = 0;
json.model_name = "ST4000NM0035-1V4107";
json.serial_number = "ZC11A1B2";
json.rotation_rate = 7200;
json.smart_status = {};
json.smart_status.passed = true;
json.ata_smart_attributes.table[0].id = 5;
json.ata_smart_attributes.table[0].value = 100;
json.ata_smart_attributes.table[0].raw.value = 8;
json.ata_smart_attributes.table[1].id = 197;
json.ata_smart_attributes.table[1].raw.value = 2;
json.power_on_time.hours = 100;
json.temperature.current = 38;
json.ata_smart_error_log.summary.count = 1"#;

    const SCSI: &str = r#"json = {};
json.scsi_model_name = "SEAGATE ST1200MM0129";
json.rotation_rate = 10500;
json.smart_status.passed = false;
json.temperature.current = 61;
json.power_on_time.hours = 7;
json.scsi_grown_defect_list = 12;
json.scsi_error_counter_log.read.total_uncorrected_errors = 3;
json.scsi_error_counter_log.write.total_uncorrected_errors = 1;
"#;

    const NVME: &str = r#"json = {};
json.model_name = "SAMSUNG MZQL21T9";
json.smart_status.passed = false;
json.nvme_smart_health_information_log.critical_warning = 8;
json.nvme_smart_health_information_log.available_spare = 90;
json.nvme_smart_health_information_log.percentage_used = 101;
json.nvme_smart_health_information_log.media_errors = 5;
json.temperature.current = 75;
"#;

    /// Recorded from smartctl 7.3 without a controller.
    const UNOPENED: &str = r#"json = {};
json.smartctl.exit_status = 2;
json.smartctl.messages[0].string = "Smartctl open device: /dev/sdf [megaraid_disk_03] failed: cannot open /dev/megaraid_sas_ioctl_node or /dev/megadev0";
json.smartctl.messages[0].severity = "error";
"#;

    fn judged(end: End, output: &str) -> Result<Readings, String> {
        let finished = Finished { end, output: output.to_owned(), took: Span::from_secs(1) };
        let mut out = Readings::new(SENSOR.quantities);
        judge(&finished, &Options::default(), &mut out).map_err(|error| error.to_string())?;
        assert_eq!(out.undeclared(), None);
        Ok(out)
    }

    #[test]
    fn disks_of_each_kind_are_understood() {
        let (yes, no) = (Some(Value::Flag(true)), Some(Value::Flag(false)));
        let number = |number| Some(Value::Number(number));
        let absent = Some(Value::Absent);
        type Expected<'a> = &'a [(&'a str, &'a Option<Value>)];
        let cases: [(i32, &str, Expected<'_>); 5] = [
            (
                // An old error in its log.
                0x40,
                ATA,
                &[
                    ("failing", &no),
                    ("reallocated", &number(8.0)),
                    ("pending", &number(2.0)),
                    ("power-on", &number(360_000.0)),
                    ("temperature", &number(38.0)),
                    ("hot", &no),
                    ("wear", &absent),
                    ("asleep", &no),
                ],
            ),
            // Something was not to be had: unknown rather than none.
            (0x04, ATA, &[("failing", &no), ("reallocated", &number(8.0)), ("wear", &None)]),
            (0x08, ATA, &[("failing", &yes)]),
            (
                0x08,
                SCSI,
                &[
                    ("failing", &yes),
                    ("hot", &yes),
                    ("reallocated", &number(12.0)),
                    ("media-errors", &number(4.0)),
                    ("pending", &absent),
                ],
            ),
            (
                0x08,
                NVME,
                &[
                    ("failing", &no),
                    ("read-only", &yes),
                    ("spare", &number(0.9)),
                    ("wear", &number(1.0)),
                    ("media-errors", &number(5.0)),
                    // By its own limit, not by ours.
                    ("hot", &no),
                ],
            ),
        ];
        for (code, output, expected) in cases {
            let out = judged(End::Exit(code), output).expect("a reading");
            for (name, value) in expected {
                assert_eq!(out.get(name), value.as_ref(), "{code} {name}");
            }
        }
        let note = judged(End::Exit(0), ATA).expect("a reading").note;
        assert_eq!(note.as_deref(), Some("ST4000NM0035-1V4107 ZC11A1B2"));
    }

    #[test]
    fn a_warning_of_an_nvme_disk_is_no_failure_unless_it_is_that() {
        for (warning, used, holding) in [
            (0x00, 3, &[][..]),
            (0x01, 3, &["spare-low"]),
            (0x02, 3, &["hot"]),
            (0x04, 3, &["failing"]),
            (0x04, 101, &[]),
            (0x08, 3, &["read-only"]),
            (0x10, 3, &["unprotected"]),
            (0x20, 3, &[]),
        ] {
            let passed = warning == 0;
            let output = format!(
                "json.smart_status.passed = {passed};\n\
                 json.nvme_smart_health_information_log.critical_warning = {warning};\n\
                 json.nvme_smart_health_information_log.percentage_used = {used};\n"
            );
            let code = if passed { 0 } else { FAILING };
            let out = judged(End::Exit(code), &output).expect("a reading");
            let mut flags = vec!["failing", "read-only", "spare-low", "unprotected", "hot"];
            flags.retain(|name| out.get(name) == Some(&Value::Flag(true)));
            flags.sort_unstable();
            assert_eq!(flags, holding, "{warning:02x}h, {used}% used");
        }
    }

    #[test]
    fn one_that_sleeps_is_left_alone() {
        let out = judged(End::Exit(3), "json = {};\n").expect("a reading");
        assert_eq!(out.get("asleep"), Some(&Value::Flag(true)));
        assert_eq!(out.get("failing"), None);
    }

    #[test]
    fn what_it_cannot_say_is_an_error_in_its_words() {
        for (end, output, told) in [
            (End::Exit(127), "cannot run /usr/sbin/smartctl: ...", "the package smartmontools"),
            (End::Exit(2), UNOPENED, "[megaraid_disk_03] failed: cannot open"),
            (End::Exit(1), "json = {};\n", "smartctl: exit code 1"),
            (End::Exit(0), "json = {};\n", "nothing of the health of this disk"),
            (End::Exit(0), "", "nothing of the health of this disk"),
            // Cut off within the word.
            (End::Exit(0), "json.smart_status.passed = true", "nothing of the health"),
            (End::Signal(9), ATA, "killed by signal 9"),
            (End::TooLong, "", "no answer within 1s"),
        ] {
            let error = judged(end, output).expect_err(told);
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn the_type_is_one_word_of_the_command() {
        for good in ["megaraid,3", "cciss,0", "areca,1/2", "sat+megaraid,3", "jmb39x-q,0"] {
            assert_eq!(check_type(good), Ok(()));
        }
        for bad in ["", "-V", "megaraid 3", "a;b", "\u{1b}", &"x".repeat(65)] {
            assert!(check_type(bad).is_err(), "{bad:?}");
        }
        let options = [("type".to_owned(), "megaraid,3".to_owned())].into_iter().collect();
        let command = arguments("sda", &Options(options)).expect("a command");
        assert_eq!(command.first().map(String::as_str), Some(PROGRAM));
        assert_eq!(command[command.len() - 2..], ["--device=megaraid,3", "/dev/sda"]);
        let command = arguments("/dev/bus/0", &Options::default()).expect("a command");
        assert_eq!(command.last().map(String::as_str), Some("/dev/bus/0"));
    }
}
