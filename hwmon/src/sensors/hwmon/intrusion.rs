//! Switches that tell a chip when the chassis is opened.

use std::path::Path;

use mastiff_core::reading::Readings;

use crate::kept::Kept;

/// Switches of one chip at most; no driver has more than two.
const SWITCHES_MAX: usize = 4;

/// One switch: `intrusionN_alarm`, which stays 1 until somebody writes a 0
/// (Documentation/hwmon/sysfs-interface.rst).
pub(super) struct Switch {
    number: usize,
    alarm: Kept,
    /// It was seen closed. Most boards have no switch at their chip, and then it is on for ever.
    was_off: bool,
}

/// Opens the switches of a chip; those that were known `before` keep what is known of them.
pub(super) fn all(directory: &Path, before: &[Switch]) -> Vec<Switch> {
    let open = |number| {
        let alarm = Kept::open_short(directory.join(format!("intrusion{number}_alarm"))).ok()?;
        let was_off = before.iter().any(|old| old.number == number && old.was_off);
        Some(Switch { number, alarm, was_off })
    };
    (0..SWITCHES_MAX).filter_map(open).collect()
}

/// Says whether the chassis was opened since the daemon looks: not known where a switch cannot be
/// read, and absent where none was ever seen closed.
pub(super) fn tell(switches: &mut [Switch], note: &mut String, out: &mut Readings) {
    let (mut was_off, mut opened, mut failed) = (false, false, false);
    for switch in switches {
        let Ok(Some(alarm)) = switch.alarm.number() else {
            failed = true;
            continue;
        };
        switch.was_off |= alarm == 0;
        was_off |= switch.was_off;
        opened |= switch.was_off && alarm > 0;
    }
    if opened {
        note.push_str(if note.is_empty() { "" } else { ", " });
        note.push_str("chassis opened");
    }
    match (opened, failed) {
        (true, _) => out.flag("intrusion", true),
        (false, true) => {}
        (false, false) if was_off => out.flag("intrusion", false),
        (false, false) => out.absent("intrusion"),
    }
}
