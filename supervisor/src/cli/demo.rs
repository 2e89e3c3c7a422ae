//! `mastiff demo`: a pair and a witness on this machine, and what becomes of their address.
//!
//! | file | idea |
//! |---|---|
//! | `stage` | namespaces of its own, without root, of which nothing is left |
//! | `wires` | cables and a switch |
//! | `cast` | the machines, and the real daemons on them |
//! | `client` | who answers for the address, asked a thousand times a second |
//! | `story` | what is done to them, and what was measured |

use std::path::{Path, PathBuf};

use mastiff_core::time::Span;
use mastiff_core::timing::PROMISE_MAX;
use serde::Serialize;

use super::Context;
use super::failure::Failure;
use super::print::{self, Out, Tone};
#[cfg(test)]
use story::Said;
use story::{Scene, Story, Told};

mod cast;
mod client;
mod stage;
mod story;
mod wires;

/// Columns of what was done.
const WHAT: usize = 38;
/// Columns of who has the address.
const WHO: usize = 8;
/// Columns of a time, as in `231.0 ms`, or its heading.
const TIME: usize = 10;
/// Columns before what the daemons say of a scene.
const ASIDE: usize = 10;
/// A client that is later than this cannot tell an outage from its own absence: two ticks of the
/// slowest kernel.
const LATE_MS: f64 = 20.0;
/// To the begin of the line, and nothing in it (ECMA-48).
const CLEAR: &str = "\r\x1b[K";

const PICTURE: &str = "  \
   a ───────┐           a, b     run mastiffd; one of them has 192.0.2.100
  b ───────┤ switch    witness  the third vote, mastiffd as well
  witness ─┤           client   asks 192.0.2.100 every millisecond (ICMP echo),
  client ──┘                    and all who has it, every 5 ms (ARP)
";

/// Watch a real pair lose its machines, here and now, without root
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Two nodes, a witness and a client are made of namespaces, with real daemons and
a real address. The address is handed over, the nodes are parted, its owner is
frozen, and in the end loses its power; a client asks for it all the time. It
takes 15 s, most of which is the silence of daemons that remember nothing.
Nothing outside of the namespaces is touched, and nothing is left behind.

Exit code: 0 if every promise was kept, else 1; 77 if this user may not make
namespaces (`sudo mastiff demo` may).")]
pub(super) struct Arguments {}

/// What is measured, for programs.
#[derive(Serialize)]
struct Report<'a> {
    guard: &'a str,
    takeover_promised_ms: f64,
    scenes: &'a [Scene],
    two_owners_ms: f64,
    kept: bool,
}

pub(super) fn run(context: &Context) -> Result<u8, Failure> {
    let (mastiff, mastiffd) = programs()?;
    let (json, out) = (context.json, context.out);
    stage::play(&[&mastiff, &mastiffd], |place| {
        let mut header = (String::new(), Span::ZERO);
        let mut tell = |told: &Told<'_>| {
            if let Told::Begins { guard, promised } = told {
                header = ((*guard).to_string(), *promised);
            }
            if json { Ok(()) } else { print::print(&text(told, out)) }
        };
        let scenes = Story::new((&mastiff, &mastiffd), place, &mut tell)?.play()?;
        let kept = scenes.iter().all(|scene| scene.kept);
        if json {
            print::print_json(&Report {
                guard: &header.0,
                takeover_promised_ms: header.1.as_secs_f64() * 1000.0,
                scenes: &scenes,
                two_owners_ms: scenes.iter().map(|scene| scene.two_owners_ms).sum(),
                kept,
            })?;
        } else {
            print::print(&verdict(&scenes, header.1, out))?;
        }
        Ok(u8::from(!kept))
    })
}

/// This program and the daemon beside it.
fn programs() -> Result<(PathBuf, PathBuf), Failure> {
    let own = std::env::current_exe()
        .map_err(|error| Failure::Unavailable(format!("cannot find this program: {error}")))?;
    let daemon = own.with_file_name("mastiffd");
    if daemon.is_file() {
        return Ok((own, daemon));
    }
    let installed = Path::new("/usr/sbin/mastiffd");
    if installed.is_file() {
        return Ok((own, installed.into()));
    }
    Err(Failure::Unavailable(format!(
        "there is no {}: the demo runs real daemons; build them with `cargo build --release \
         --locked`",
        daemon.display()
    )))
}

/// What is told, as text.
fn text(told: &Told<'_>, out: Out) -> String {
    match told {
        Told::Begins { guard, promised } => beginning(guard, *promised, out),
        Told::Waits(left) => wait(*left, out),
        Told::Scene(scene) => scene_text(scene, out),
    }
}

fn beginning(guard: &str, promised: Span, out: Out) -> String {
    // Where it stands is of no interest here.
    let guard = guard.split_once(" (table").map_or(guard, |(form, _)| form);
    let title = "A pair, its witness and a client, in namespaces of their own";
    let head = row("time", "what happens", "who", "outage", "two owners");
    format!(
        "{}\n\n{PICTURE}\nPromised: never two owners; back within {:.0} ms \
         (guard: {guard}).\n\n{}\n",
        out.paint(Tone::Strong, title),
        promised.as_secs_f64() * 1000.0,
        out.paint(Tone::Dim, &head),
    )
}

/// The silence after a cold start; on a terminal it is counted down.
fn wait(left: Span, out: Out) -> String {
    let why = format!("nobody yet: who starts without memory keeps silent for {PROMISE_MAX}");
    match out.width {
        Some(_) if left == Span::ZERO => CLEAR.to_string(),
        Some(_) => format!("{CLEAR}{:>6}  {}", format!("-{left}"), out.paint(Tone::Dim, &why)),
        None => String::new(),
    }
}

fn row(at: &str, what: &str, who: &str, outage: &str, two: &str) -> String {
    format!("{at:>6}  {what:<WHAT$}  {who:<WHO$}{outage:>TIME$}  {two:>TIME$}")
}

fn scene_text(scene: &Scene, out: Out) -> String {
    let who = match (scene.from, scene.to) {
        (Some(from), Some(to)) if from != to => format!("{} -> {}", from.name(), to.name()),
        (_, Some(to)) => to.name().to_string(),
        (_, None) => "nobody".to_string(),
    };
    let outage = scene.outage_ms.map_or("-".to_string(), |outage| format!("{outage:.1} ms"));
    let two = format!("{:.0} ms", scene.two_owners_ms);
    let at = format!("{:.1} s", scene.at_ms / 1000.0);
    let line = row(&at, &scene.what, &who, &outage, &two);
    let mut text = out.paint(if scene.kept { Tone::Plain } else { Tone::Bad }, &line);
    text.push('\n');
    let mut aside = |tone: Tone, after: &str, words: &str| {
        let line = out.fit(&format!("{after:>6}  {words}"), ASIDE);
        text.push_str(&format!("{:ASIDE$}{}\n", "", out.paint(tone, &line)));
    };
    for said in &scene.said {
        let words = format!("{}: {}", said.node.name(), said.text);
        aside(Tone::Dim, &format!("+{:.0}", said.after_ms), &words);
    }
    if scene.late_ms > LATE_MS {
        let late =
            format!("this machine is busy: the client was up to {:.0} ms late", scene.late_ms);
        aside(Tone::Warning, "", &late);
    }
    text
}

fn verdict(scenes: &[Scene], promised: Span, out: Out) -> String {
    let broken: Vec<&str> =
        scenes.iter().filter(|scene| !scene.kept).map(|scene| scene.name).collect();
    if !broken.is_empty() {
        let bad = out.paint(Tone::Bad, "Not every promise was kept:");
        return format!("\n{bad} {}.\n", broken.join(", "));
    }
    let moves = scenes.iter().filter(|scene| scene.promised_ms.is_some());
    let worst = moves.filter_map(|scene| scene.outage_ms).fold(0.0, f64::max);
    format!(
        "\n{} back within {worst:.0} of {:.0} ms, and never two owners.\n",
        out.paint(Tone::Good, "Every promise was kept:"),
        promised.as_secs_f64() * 1000.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::Side;

    const TERMINAL: Out = Out { color: false, width: Some(80) };

    fn scene() -> Scene {
        Scene {
            name: "freeze",
            what: "mastiffd of a frozen for 1 s (SIGSTOP)".into(),
            at_ms: 12_345.6,
            from: Some(Side::A),
            to: Some(Side::B),
            asked: 1300,
            answered: 1100,
            probes: 260,
            outage_ms: Some(207.84),
            promised_ms: Some(299.9),
            two_owners_ms: 0.0,
            late_ms: 0.4,
            kept: true,
            said: vec![Said {
                after_ms: 204.0,
                node: Side::B,
                text: "standby -> taking: the owner is silent".into(),
            }],
        }
    }

    #[test]
    fn a_scene_fits_the_terminal_and_says_who_has_the_address() {
        let mut scene = scene();
        assert_eq!(
            scene_text(&scene, TERMINAL),
            "12.3 s  mastiffd of a frozen for 1 s (SIGSTOP)  a -> b    207.8 ms        0 ms\n        \
             \x20   +204  b: standby -> taking: the owner is silent\n"
        );
        scene.late_ms = 1234.0;
        scene.said[0].text = "words and ".repeat(20);
        let text = scene_text(&scene, TERMINAL);
        assert!(text.contains("the client was up to 1234 ms late"), "{text}");
        let begin =
            beginning("nftables (table netdev mastiff-demo/a)", Span::from_millis(300), TERMINAL);
        let all = format!("{begin}{text}{}", wait(Span::from_secs(10), TERMINAL));
        for line in all.lines() {
            let line = line.trim_start_matches(CLEAR);
            assert!(line.chars().count() <= 80, "{line}");
        }
        assert!(begin.contains("within 300 ms (guard: nftables)"), "{begin}");
    }

    #[test]
    fn the_verdict_names_what_was_broken() {
        let (mut scenes, promised) = (vec![scene(), scene()], Span::from_millis(300));
        let text = verdict(&scenes, promised, TERMINAL);
        let kept = "\nEvery promise was kept: back within 208 of 300 ms, and never two owners.\n";
        assert_eq!(text, kept);
        scenes[1].kept = false;
        let text = verdict(&scenes, promised, TERMINAL);
        assert_eq!(text, "\nNot every promise was kept: freeze.\n");
    }
}
