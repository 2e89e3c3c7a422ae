//! The page of recorded machines, as a person would see it.

use std::path::{Path, PathBuf};

use mastiff_core::event::Event;
use mastiff_core::node::Node;
use mastiff_core::reading::Readings;
use mastiff_core::time::{Mono, Span};
use mastiff_hwmon::SENSORS;
use mastiff_hwmon::sensor::{Options, Source as Reader, Wanted};

use super::*;
use crate::config::{self, CheckConfig};

const TERMINAL: Out = Out { color: false, width: Some(80) };

fn tree(name: &str) -> Root {
    let trees = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../hwmon/tests/trees");
    Root::recorded(trees.join(name))
}

/// Every check of the hardware on a recorded tree, with one reading; and each measuring point.
fn checks(root: &Root, points: &[Target]) -> Vec<CheckView> {
    let config = config::load_or_default(Path::new("/nonexistent/mastiff.toml"), false).unwrap();
    let found = SENSORS.iter().filter(|sensor| is_hardware(sensor.name)).flat_map(|sensor| {
        let targets = sensor.discover.map(|discover| discover(root)).unwrap_or_default();
        targets.into_iter().map(|target| (*sensor, target))
    });
    let wanted = found.chain(points.iter().cloned());
    let mut checks: Vec<CheckConfig> = config::for_each(wanted, &config.node, &[]);
    for check in &mut checks {
        check.spec.fail_after = Span::ZERO;
    }
    let now = Mono::BOOT.after(Span::from_secs(100));
    let mut node = Node::new(config.node.policy);
    let specs = checks.iter().map(|check| check.spec.clone()).collect();
    let ids = node.configure(config.node.policy, specs, now, &mut Vec::new());
    node.tick(now, &mut Vec::new());
    for (id, check) in ids.into_iter().zip(&checks) {
        let result = read(root, check, now);
        node.handle(Event::Reading { check: id, result }, now, &mut Vec::new());
    }
    node.views(now)
}

fn read(root: &Root, check: &CheckConfig, now: Mono) -> Result<Readings, Box<str>> {
    let (Reader::Quick(open) | Reader::MayHang(open)) = check.sensor.source else {
        return Err("it is not in files".into());
    };
    let mut out = Readings::new(check.sensor.quantities);
    open(root, &check.spec.target, &Options::default())
        .and_then(|mut probe| probe.read(now, Wanted::ALL, &mut out))
        .map_err(|error| error.to_string())?;
    Ok(out)
}

fn page(name: &str, all: bool) -> Page {
    let root = tree(name);
    let points = if all { points(&root) } else { Vec::new() };
    Page::new(&root, Source::Here, checks(&root, &points), all)
}

/// The page with a heading that is the same everywhere, its words with one blank between them.
fn text(page: &Page) -> String {
    let text = page.render(TERMINAL);
    for line in text.lines() {
        // A path is never broken.
        let fits = line.chars().count() <= 80 || line.trim().starts_with('/');
        assert!(fits, "{line}");
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_page_has_all_hardware_and_what_stands_on_it() {
    for name in ALSO_SHOWN {
        let sensor = sensors::find(name).expect(name);
        assert!(!sensor.hardware, "{name} is on the page without being named");
    }
    let shown = SENSORS.iter().filter(|sensor| is_hardware(sensor.name));
    let mut shown: Vec<&str> = shown.map(|sensor| sensor.name).collect();
    shown.sort_unstable();
    assert_eq!(
        shown,
        [
            "block",
            "btrfs",
            "device-mapper",
            "disk-health",
            "ecc",
            "hwmon",
            "ipmi",
            "kernel-log",
            "link",
            "raid",
            "smartctl",
            "thermal",
            "write-test",
            "zfs",
        ]
    );
    assert!(is_hardware("of-a-later-version"));
}

#[test]
fn a_healthy_machine_has_its_parts_and_what_they_measure() {
    let text = text(&page("healthy", false));
    for part in [
        "memory healthy 23.5 GiB, ECC, modules: 4 x 16.0 GiB corrected 0, uncorrected 0 CPU_Src",
        "sda healthy 447 GiB disk, Samsung SSD 883 S48CNE0M123456 health not asked",
        "vda healthy 256 GiB virtio disk",
        "nvme0 unknown NVMe SSD, SAMSUNG MZVL2512HCJQ-00B00 S675NX0T123456",
        "md0 healthy raid1 of sda1, sdb1, sdc1 state clean, action idle, spares 1",
        "eth0 healthy connected",
        "all chips healthy 5 chips, 9 temperatures, 3 fans, 5 electric values \
         highest temperature 45.0C (coretemp-isa-0000)",
        "heat healthy temperature 47.5C",
        "health (SMART) of sda: an ATA disk is asked only if a check names it",
        "sensor = \"disk-health\" and target = \"sda\"",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert!(!text.contains("Core 0"), "{text}");
}

#[test]
fn disks_that_are_not_asked_are_told_with_what_would_ask_them() {
    let root = tree("healthy");
    let mut inventory = inventory::read(&root);
    let sda = inventory.disks.iter_mut().find(|disk| disk.name == "sda").unwrap();
    sda.speaks_ata = false;
    for (transport, why, to_do) in [
        ("SAS", "a SAS disk is asked only if", "\"disk-health\" and target = \"sda\""),
        ("USB", "an NVMe, ATA or SAS disk", "sensor = \"smartctl\""),
    ] {
        let sda = inventory.disks.iter_mut().find(|disk| disk.name == "sda").unwrap();
        sda.transport = Some(transport);
        let unseen = blind::all(&root, &inventory, &[]);
        let of_sda = unseen.iter().find(|unseen| unseen.what == "health of sda").expect(transport);
        assert!(of_sda.why.contains(why), "{of_sda:?}");
        assert!(of_sda.to_do.contains(to_do), "{of_sda:?}");
    }
}

#[test]
fn all_shows_each_point_and_each_module() {
    let text = text(&page("healthy", true));
    for part in [
        "CPU_SrcID#0_MC#0_Chan#0_DIMM#0: 16.0 GiB",
        "coretemp-isa-0000 healthy temperature 45.0C, to-critical 55.0C Core 0: 43.0C",
        "fan1: 1200 rpm fan2: 0 rpm",
        "vin: 230 V",
        "AUXTIN3: unknown",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert!(!text.contains("drivetemp"), "a disk may sleep: {text}");
}

#[test]
fn a_failing_machine_names_what_fails() {
    let page = page("failing", false);
    assert_eq!(page.verdict, Verdict::Failed);
    let text = text(&page);
    for part in [
        "ecc: uncorrected > 0 (2); CPU_SrcID#0_MC#0_Chan#0_DIMM#0: 2 uncorrected, 40 corrected",
        "sda failed 3.6 TiB disk, ST4000NM0035-1V4 ZC11A1B2 block: online = false (no)",
        "sdb1 has failed, sde1 is being rebuilt",
        "md127 container of imsm arrays",
        "eth0 no carrier",
        "eth1 switched off",
        "pmbus-i2c-7-58 failed temperature 30.0C",
        "vout1 10.5 V",
        "dm-1 failed",
        "health of nvme1: reached over a network",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

#[test]
fn what_no_kernel_writes_drives_no_terminal() {
    for name in ["hostile", "truncated", "absent"] {
        for all in [false, true] {
            let page = page(name, all);
            assert!(!page.render(TERMINAL).contains(|c: char| c.is_control() && c != '\n'));
            assert_ne!(page.verdict, Verdict::Healthy, "{name}");
        }
    }
}

#[test]
fn a_daemon_knows_since_when() {
    let root = tree("failing");
    let source = Source::Daemon { node: "db1".into(), up_secs: 7500.0 };
    let page = Page::new(&root, source, checks(&root, &[]), false);
    let text = text(&page);
    assert!(text.starts_with("db1 is failed: "), "{text}");
    assert!(text.contains("raid: lost (yes), for 0s"), "{text}");
    assert!(!text.contains("Read once"), "{text}");
}

#[test]
fn programs_get_the_same_by_part() {
    let page = page("failing", false);
    let document = serde_json::to_value(page.document()).unwrap();
    assert_eq!(document["verdict"], "failed");
    assert_eq!(document["inventory"]["arrays"][0]["level"], "raid5");
    let disks = document["sections"].as_array().unwrap();
    let disks = disks.iter().find(|section| section["title"] == "Disks").unwrap();
    assert_eq!(disks["parts"][0]["checks"], serde_json::json!(["block sda"]));
    assert!(document["unseen"].as_array().is_some_and(|unseen| !unseen.is_empty()));
}
