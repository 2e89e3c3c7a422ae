//! `mastiff demo` as a user runs it: real daemons, a real switch, real faults. It is the promise of
//! the README, so it is kept here, without root where the host allows that.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on may stop where it stands"
)]

use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use serde_json::Value;

/// Nobody's number in most distributions; any but root's will do.
const ORDINARY: u32 = 65_534;
/// The demo's exit code where namespaces are forbidden (EX_NOPERM).
const FORBIDDEN: i32 = 77;
/// A spectator that came this late, in milliseconds, was kept waiting by other work of the machine,
/// and so were the daemons: what is promised allows a tick.
const LATE_MS: f64 = 4.0;

/// Runs it as an ordinary user. As root where that user may not see the program: a build folder may
/// be anybody's.
fn demo() -> Output {
    let command = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mastiff"));
        command.args(["demo", "--json"]).current_dir("/");
        command
    };
    if nix::unistd::geteuid().is_root() {
        match command().uid(ORDINARY).gid(ORDINARY).output() {
            Ok(output) if output.status.code() != Some(FORBIDDEN) => return output,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            Err(error) => panic!("cannot start the demo: {error}"),
        }
    }
    command().output().unwrap()
}

#[test]
fn a_real_pair_is_never_two_owners_whatever_is_done_to_it() {
    let output = demo();
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(FORBIDDEN) {
        println!("skipped: no namespaces here: {said}");
        return;
    }
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}; {:?}: {said}", output.status));
    let scenes = report["scenes"].as_array().unwrap();
    let names: Vec<&str> = scenes.iter().map(|scene| scene["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["first-owner", "switchover", "partition", "freeze", "power-cut"]);
    for scene in scenes {
        assert_eq!(scene["two_owners_ms"], 0.0, "{scene:#}");
        // How fast it was, and whether anything moved that should not have, is the host's as well.
        let late = scene["late_ms"].as_f64().unwrap();
        if late <= LATE_MS {
            assert_eq!(scene["kept"], true, "{scene:#}");
        } else if scene["kept"] == false {
            println!("not judged, as the machine was {late} ms late: {scene:#}");
        }
    }
    let power_cut = scenes.last().unwrap();
    assert_ne!(power_cut["from"], power_cut["to"], "{power_cut:#}");
    assert!(report["takeover_promised_ms"].as_f64().unwrap() <= 300.0, "{report:#}");
    let kept = scenes.iter().all(|scene| scene["kept"] == true);
    assert_eq!((output.status.code(), &report["kept"]), (Some(i32::from(!kept)), &kept.into()));
}
