//! The manual agrees with the program: mastiff-sensors(7) is written from the sensors'
//! declarations, and the other pages name every key, effect and verb.
//!
//! `MASTIFF_RECORD=1 cargo test --test manual` writes mastiff-sensors.7 anew.

#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::path::PathBuf;

use mastiff::config::SECTIONS;
use mastiff::effects::EFFECTS;
use mastiff_core::reading::{Quantity, Unit};
use mastiff_hwmon::SENSORS;
use mastiff_hwmon::sensor::{Sensor, Source};

fn page(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../packaging/man").join(name)
}

/// Text for roff(7): a line must not begin with a control character, and a minus that is typed is
/// no hyphen.
fn roff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-").replace('`', "");
    if escaped.starts_with(['.', '\'']) { format!("\\&{escaped}") } else { escaped }
}

fn sensors_page() -> String {
    let mut page = String::from(
        ".\\\" Written by the test `manual` from the sensors' declarations; do not edit.\n\
         .TH MASTIFF\\-SENSORS 7 \"\" \"mastiff\" \"mastiff\"\n\
         .SH NAME\n\
         mastiff\\-sensors \\- what mastiff can measure, and the conditions it has by default\n\
         .SH DESCRIPTION\n\
         A check in\n.BR mastiff.toml (5)\n\
         names a sensor, and a target where the sensor has one.\n\
         Each sensor below has quantities; conditions compare them.\n\
         A value that is missing makes a condition on it unknown; one that is \"none\" (this machine has no such thing)\n\
         makes it false. Without conditions of its own a check has those that are listed as defaults.\n",
    );
    for sensor in SENSORS {
        sensor_section(&mut page, sensor);
    }
    page.push_str(".SH SEE ALSO\n.BR mastiff (1),\n.BR mastiff.toml (5),\n.BR mastiffd (8)\n");
    page
}

fn sensor_section(page: &mut String, sensor: &Sensor) {
    writeln!(page, ".SH {}", roff(sensor.name).to_uppercase()).unwrap();
    writeln!(page, "{}", roff(sensor.summary)).unwrap();
    writeln!(page, ".PP\nTarget: {}.", roff(sensor.target.wanted())).unwrap();
    let reader = match sensor.source {
        Source::Quick(_) => "read at once by the daemon",
        Source::MayHang(_) => "read by the prober, which is replaced when it hangs",
        Source::Network(_) => "asked over the network, without waiting",
        Source::Program(_) => "a program, run with a deadline",
        Source::Unit => "asked of PID 1 when something happens; counters read at the interval",
        Source::Heartbeat => "heard on the heartbeat socket of the daemon",
    };
    writeln!(page, ".br\nReading: every {}, {reader}.", sensor.interval).unwrap();
    let by_default = if sensor.discover.is_some() { "yes" } else { "only where configured" };
    writeln!(page, ".br\nWatched by default: {by_default}.").unwrap();
    if sensor.hardware {
        writeln!(page, ".br\nHardware: groups leave a node where it fails (prefer\\-peer).")
            .unwrap();
    }
    for quantity in sensor.quantities {
        let (unit, meaning) = (unit_words(quantity), roff(quantity.meaning));
        writeln!(page, ".TP\n.BR {} \" ({unit})\"\n{meaning}.", roff(quantity.name)).unwrap();
    }
    for (when, conditions) in [("warn\\-when", sensor.warn_when), ("fail\\-when", sensor.fail_when)]
    {
        let list: Vec<String> =
            conditions.iter().map(|condition| format!("\"{}\"", roff(condition))).collect();
        let list = if list.is_empty() { "none".to_string() } else { list.join(", ") };
        writeln!(page, ".PP\nDefault\n.BR {when} :\n{list}").unwrap();
    }
    writeln!(page, ".br\nDefault\n.BR fail\\-after :\n{}, ", sensor.fail_after).unwrap();
    writeln!(page, ".BR recover\\-after :\n{}", sensor.recover_after).unwrap();
    for option in sensor.options {
        let (name, meaning, example) =
            (roff(option.name), roff(option.meaning), roff(option.example));
        writeln!(page, ".TP\nOption \\fB{name}\\fR\n{meaning}. Example: \"{example}\"").unwrap();
    }
}

fn unit_words(quantity: &Quantity) -> String {
    match quantity.unit {
        Unit::Word(words) if !words.is_empty() => roff(&words.join(" | ")),
        unit => roff(unit.name()),
    }
}

#[test]
fn the_page_of_the_sensors_is_what_they_declare() {
    let (path, wanted) = (page("mastiff-sensors.7"), sensors_page());
    if std::env::var_os("MASTIFF_RECORD").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let is = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        is == wanted,
        "{} is out of date: MASTIFF_RECORD=1 cargo test --test manual",
        path.display()
    );
}

#[test]
fn the_page_of_the_configuration_names_every_key_and_every_effect() {
    let text = std::fs::read_to_string(page("mastiff.toml.5")).unwrap().replace("\\-", "-");
    for section in SECTIONS {
        assert!(text.contains(&section.header()), "mastiff.toml(5) lacks {}", section.header());
        for key in section.keys {
            assert!(
                text.contains(&format!(".B {key}\n")),
                "mastiff.toml(5) lacks {key} of {}",
                section.header()
            );
        }
    }
    for effect in EFFECTS {
        assert!(
            text.contains(&format!(".B {}\n", effect.spec.name)),
            "mastiff.toml(5) lacks {}",
            effect.spec.name
        );
    }
}

#[test]
fn pages_have_no_line_that_a_formatter_would_swallow() {
    for name in ["mastiff.1", "mastiff.toml.5", "mastiff-sensors.7", "mastiffd.8"] {
        let text = std::fs::read_to_string(page(name)).unwrap();
        assert!(text.contains(".SH NAME\n"), "{name}");
        for (number, line) in text.lines().enumerate() {
            let request =
                line.strip_prefix('.').map(|rest| rest.split(' ').next().unwrap_or_default());
            let known = [
                "TH", "SH", "SS", "PP", "TP", "B", "BR", "I", "IR", "br", "nf", "fi", "\\\"", "RS",
                "RB", "RE", "IP",
            ];
            assert!(
                request.is_none_or(|request| known.contains(&request)),
                "{name}:{}: {line}",
                number + 1
            );
            assert!(!line.starts_with('\''), "{name}:{}: {line}", number + 1);
        }
    }
}
