//! Lines of status as Linux 6.1 wrote them for a multipath disk over two virtio-scsi controllers
//! and for LVM 2.03.16, also after disks were taken away; some after the kernel's documents.

use mastiff_core::reading::Value;

use super::status::Target as Line;
use super::*;

/// `struct dm_target_spec` with its text for each line, as `retrieve_status` of
/// drivers/md/dm-ioctl.c lays them out.
fn specs(lines: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, status) in lines {
        let mut spec = vec![0; 40];
        spec[24..24 + kind.len()].copy_from_slice(kind.as_bytes());
        spec.extend_from_slice(status.as_bytes());
        spec.push(0);
        spec.resize(spec.len().next_multiple_of(8), 0);
        let next = u32::try_from(bytes.len() + spec.len()).unwrap();
        spec[20..24].copy_from_slice(&next.to_ne_bytes());
        bytes.extend(spec);
    }
    bytes
}

fn probe() -> DeviceMapper {
    let root = Root::recorded("/nowhere");
    DeviceMapper { root, target: "x".into(), control: None, paths_max: 0 }
}

fn told(probe: &mut DeviceMapper, lines: &[(&str, &str)]) -> Result<Readings, SensorError> {
    let targets = u32::try_from(lines.len()).unwrap();
    let answer = dm::Answer { is_suspended: false, targets, specs: specs(lines) };
    let mut out = Readings::new(QUANTITIES);
    probe.fill(&answer, &mut out)?;
    assert_eq!(out.undeclared(), None);
    Ok(out)
}

fn judged(out: &Readings) -> (Vec<&'static str>, Vec<&'static str>) {
    SENSOR.judged(out)
}

#[test]
fn each_state_has_a_verdict_that_fits_it() {
    type Case = (&'static str, &'static str, &'static [&'static str], &'static str);
    let cases: [Case; 34] = [
        ("multipath", "2 0 0 0 1 1 A 0 2 2 8:96 A 0 0 1 8:112 A 0 0 1 ", &[], "multipath"),
        (
            "multipath",
            "2 0 0 0 1 1 A 0 2 2 8:96 A 0 0 1 8:112 F 1 0 1",
            &["paths-lost > 0"],
            "multipath: 8:112 failed",
        ),
        (
            "multipath",
            "2 0 0 0 1 1 A 0 2 2 8:96 F 1 0 1 8:112 F 1 0 1",
            &["paths-lost > 0", "lost"],
            "multipath: 8:96, 8:112 failed",
        ),
        // Two groups, a handler, and no path at all.
        (
            "multipath",
            "2 0 0 1 alua 2 1 E 0 1 2 8:0 A 0 1 1 A 0 1 2 8:16 A 0 1 1",
            &[],
            "multipath",
        ),
        ("multipath", "2 1 0 0 0 1", &["lost"], "multipath"),
        ("raid", "raid1 2 AA 131072/131072 idle 0 0 -", &[], "raid1"),
        ("raid", "raid1 2 aa 65536/131072 resync 0 0 -", &[], "raid1"),
        ("raid", "raid1 2 Aa 65536/131072 recover 0 0 -", &["degraded > 0"], "raid1"),
        (
            "raid",
            "raid1 2 AD 131072/131072 idle 0 0 -",
            &["degraded > 0"],
            "raid1: rimage_1 failed",
        ),
        (
            "raid",
            "raid1 2 DD 131072/131072 idle 0 0 -",
            &["degraded > 0", "lost"],
            "raid1: rimage_0, rimage_1 failed",
        ),
        ("raid", "raid5_ls 3 A-A 4/4 idle 0 0 -", &["degraded > 0"], "raid5_ls: rimage_1 failed"),
        (
            "raid",
            "raid5_ls 3 AD- 4/4 idle 0 0 -",
            &["degraded > 0", "lost"],
            "raid5_ls: rimage_1, rimage_2 failed",
        ),
        (
            "raid",
            "raid6_zr 5 ADDAA 4/4 idle 0 0 -",
            &["degraded > 0"],
            "raid6_zr: rimage_1, rimage_2 failed",
        ),
        ("raid", "raid10 4 ADAA 4/4 idle 0 0 -", &["degraded > 0"], "raid10: rimage_1 failed"),
        (
            "raid",
            "raid10 4 DADA 4/4 idle 0 0 -",
            &["degraded > 0"],
            "raid10: rimage_0, rimage_2 failed; whether in different mirrors is not told",
        ),
        (
            "raid",
            "raid10_near 4 DDDA 4/4 idle 0 0 -",
            &["degraded > 0", "lost"],
            "raid10_near: rimage_0, rimage_1, rimage_2 failed",
        ),
        ("raid", "raid0 2 AD 4/4 idle 0 0 -", &["degraded > 0", "lost"], "raid0: rimage_1 failed"),
        // Before 1.5.0 of the target: no action.
        ("raid", "raid4 5 AAAAA 2/490221568", &[], "raid4"),
        (
            "thin-pool",
            "1 112/1024 0/1024 - rw discard_passdown queue_if_no_space - 256 ",
            &[],
            "thin-pool",
        ),
        (
            "thin-pool",
            "1 117/1024 1024/1024 - out_of_data_space discard_passdown error_if_no_space - 256",
            &["used > 85%", "state = out-of-space", "used > 95%"],
            "thin-pool",
        ),
        (
            "thin-pool",
            "1 900/1024 9/1024 - ro discard_passdown error_if_no_space needs_check 256",
            &["metadata-used > 85%", "state = read-only"],
            "thin-pool",
        ),
        (
            "thin-pool",
            "1 9/1024 9/1024 - rw discard_passdown error_if_no_space needs_check 256",
            &["state = needs-check"],
            "thin-pool",
        ),
        ("thin-pool", "Fail", &["state = failed"], "thin-pool"),
        ("snapshot", "16/16384 16", &[], "snapshot"),
        ("snapshot", "14000/16384 80", &["used > 85%"], "snapshot"),
        ("snapshot", "Invalid", &["state = invalid"], "snapshot"),
        ("snapshot-merge", "Merge failed", &["state = failed"], "snapshot-merge"),
        (
            "cache",
            "8 9/2048 128 256/256 0 0 0 0 0 0 0 2 metadata2 writethrough 2 migration_threshold 2048 smq 0 rw -",
            &[],
            "cache",
        ),
        ("cache", "Error", &["state = failed"], "cache"),
        ("writecache", "0 1000 900 0", &[], "writecache"),
        ("writecache", "-5 1000 900 0", &["state = failed"], "writecache"),
        ("vdo", "/dev/dm-3 normal - online online 90 100", &["used > 85%"], "vdo"),
        ("vdo", "/dev/dm-3 read-only - error online 9 100", &["state = read-only"], "vdo"),
        ("linear", "", &[], "linear"),
    ];
    for (kind, status, holding, note) in cases {
        let out = told(&mut probe(), &[(kind, status)]).expect(status);
        assert_eq!(judged(&out), (holding.to_vec(), vec![]), "{kind} {status}");
        assert_eq!(out.note.as_deref(), Some(note), "{status}");
    }
}

#[test]
fn what_makes_no_sense_is_an_error() {
    for (kind, status) in [
        ("multipath", ""),
        ("multipath", "2 0 0 0 1 1 A 0 2 2 8:96 A 0 0 1 8:112"),
        ("multipath", "2 0 0 0 1 1 A 0 1 2 8:96 X 0 0 1"),
        ("multipath", "18446744073709551615 0"),
        ("multipath", "0 0 1 1 A 0 18446744073709551615 0 8:96 A 0"),
        ("raid", "raid1 2 AAA 1/1 idle 0 0 -"),
        ("raid", "raid1 2 A? 1/1 idle 0 0 -"),
        ("raid", "raid1 0  1/1 idle"),
        ("raid", "raid1 2 AA 2/1 idle"),
        ("thin-pool", "1 112/1024"),
        ("thin-pool", "1 112/1024 0/1024 - strange a b -"),
        ("snapshot", "Unknown"),
        ("cache", ""),
        ("cache", "8 9/2048"),
        ("writecache", ""),
        ("vdo", "/dev/dm-3 normal"),
    ] {
        let error = told(&mut probe(), &[(kind, status)]).expect_err(status).to_string();
        assert!(error.contains("the status of x"), "{kind} {status}: {error}");
    }
}

#[test]
fn a_path_that_was_removed_is_missed() {
    let mut probe = probe();
    let both = "2 0 0 0 1 1 A 0 2 2 8:96 A 0 0 1 8:112 A 0 0 1";
    let one = "2 0 0 0 1 1 A 0 1 2 8:96 A 0 0 1";
    assert!(!probe.is_worth_keeping());
    for (line, lost) in [(both, 0.0), (one, 1.0), (both, 0.0)] {
        let out = told(&mut probe, &[("multipath", line)]).unwrap();
        assert_eq!(out.get("paths-lost"), Some(&Value::Number(lost)), "{line}");
        assert!(probe.is_worth_keeping(), "even if a reading was slow");
    }
}

#[test]
fn a_volume_with_a_part_missing_has_failed() {
    let lines = [("linear", ""), ("error", ""), ("linear", "")];
    assert_eq!(judged(&told(&mut probe(), &lines).unwrap()).0, ["state = failed"]);
    let out = told(&mut probe(), &[]).unwrap();
    assert_eq!(out.note.as_deref(), Some("it has no table of targets"));
    assert_eq!(judged(&out), (vec![], vec![]));
}

#[test]
fn answers_that_are_cut_off_or_run_in_circles_end() {
    let lines = [("linear", ""), ("raid", "raid1 2 AA 1/1 idle 0 0 -")];
    let whole = specs(&lines);
    let expected: Vec<Line<'_>> =
        lines.map(|(kind, status)| Line { kind, status }).into_iter().collect();
    assert_eq!(status::targets(2, &whole), expected);
    for length in 0..whole.len() {
        assert!(status::targets(u32::MAX, &whole[..length]).len() <= 2);
    }
    for at in 0..whole.len() {
        for byte in [0, 1, 0x28, 0x7f, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] = byte;
            for target in status::targets(u32::MAX, &damaged) {
                status::understand(&target);
            }
        }
    }
}
