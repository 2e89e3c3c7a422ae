//! Prints the health of this machine, or of a recorded tree: a line for each thing that is watched,
//! the worst last, then what cannot be seen and why. Exits as a Nagios plugin does.
//!
//! `cargo run -p mastiff-hwmon --example health [TREE]`

use std::process::ExitCode;

use mastiff_hwmon::health::Verdict;
use mastiff_hwmon::inventory;
use mastiff_hwmon::look::{self, Look};
use mastiff_hwmon::root::Root;

fn main() -> ExitCode {
    let root = std::env::args_os().nth(1).map_or_else(Root::machine, Root::recorded);
    ExitCode::from(print(&root).nagios())
}

/// Prints everything that is to be said of a machine, and returns how it is.
pub fn print(root: &Root) -> Verdict {
    let mut looks: Vec<Look> = look::everything(root).collect();
    looks.sort_by_key(|look| look.verdict);
    for Look { sensor, target, verdict, why, .. } in &looks {
        println!("{verdict:<9} {:<12} {target:<20} {why}", sensor.name);
    }
    for unseen in inventory::read(root).unseen {
        println!("unseen    {}: {}; {}", unseen.what, unseen.why, unseen.to_do);
    }
    looks.last().map_or(Verdict::Unknown, |worst| worst.verdict)
}
