//! `mastiff watchdog`: the machine's watchdog devices, and whether the one that is petted works.

use mastiff_core::time::Span;
use mastiff_hwmon::root::Root;
use mastiff_hwmon::watchdog::{self, Holder, Kind, Watchdog};
use serde_json::{Value, json};

use super::Context;
use super::failure::Failure;
use super::print::{self, Out, Tone};
use super::table::{Cell, Table};

mod prove;
pub(super) mod sentence;

/// Show the machine's watchdog devices, and prove that one works
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show each device, the best first, and who has it open
    #[command(after_help = "\
Nothing is opened, since that alone would start a device. As root it sees who
holds one. Exit code: 0 a device counts down, 1 none does, 2 there is none.")]
    Status,
    Prove(prove::Arguments),
}

/// Some device is armed.
const ARMED: u8 = 0;
/// There are devices, and none is armed as far as is known.
const IDLE: u8 = 1;
/// There is no device.
const NONE: u8 = 2;

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<u8, Failure> {
    match &arguments.verb {
        Verb::Status => show(context),
        Verb::Prove(arguments) => prove::run(context, arguments),
    }
}

fn show(context: &Context) -> Result<u8, Failure> {
    let root = Root::machine();
    let (devices, holders) = (watchdog::list(&root), watchdog::holders(&root));
    let ipmi = watchdog::is_ipmi_loaded(&root);
    // The devices are there without the daemon, too.
    let daemon = super::status::ask(context).ok().and_then(|status| status.watchdog);
    // One outside the class, such as that of ipmi_watchdog.
    let is_petted = daemon.as_ref().is_some_and(|daemon| daemon.identity.is_some());
    if context.json {
        let mut all = as_json(&devices, &holders, ipmi);
        if let Some(all) = all.as_object_mut() {
            all.insert("mastiffd".to_string(), json!(daemon));
        }
        print::print_json(&all)?;
    } else {
        let mut text = render(&devices, &holders, ipmi, context.out);
        if !ipmi && devices.is_empty() {
            text += match is_petted {
                true => "The device that mastiffd pets is not in /sys/class/watchdog.\n",
                false => {
                    "There is no watchdog device: no driver is loaded, or the machine has none.\n"
                }
            };
        }
        if let Some(daemon) = &daemon {
            text.push('\n');
            text += &sentence::line(daemon, context.out);
        }
        print::print(&text)?;
    }
    Ok(match is_petted || devices.iter().any(|device| device.active == Some(true)) {
        true => ARMED,
        false if devices.is_empty() => NONE,
        false => IDLE,
    })
}

fn as_json(devices: &[Watchdog], holders: &[Holder], ipmi: bool) -> Value {
    let held_by = |name: &str| -> Vec<Value> {
        let of = holders.iter().filter(|holder| holder.device == name);
        of.map(|it| json!({ "pid": it.pid, "process": it.process, "unit": it.unit })).collect()
    };
    let device = |device: &Watchdog| {
        json!({
            "name": device.name,
            "kind": device.kind.name(),
            "identity": device.identity,
            "driver": device.driver,
            "parent": device.parent,
            "active": device.active,
            "timeout_secs": device.timeout_secs,
            "timeleft_secs": device.timeleft_secs,
            "pretimeout_secs": device.pretimeout_secs,
            "pretimeout_governor": device.governor,
            "pretimeout_governors": device.governors,
            "min_timeout_secs": device.min_timeout_secs,
            "max_timeout_secs": device.max_timeout_secs,
            "nowayout": device.nowayout,
            "bootstatus": device.bootstatus,
            "status": device.status,
            "firmware": device.firmware,
            "held_by": held_by(&device.name),
        })
    };
    let all: Vec<Value> = devices.iter().map(device).collect();
    json!({ "devices": all, "ipmi_watchdog": ipmi })
}

fn render(devices: &[Watchdog], holders: &[Holder], ipmi: bool, out: Out) -> String {
    let mut text = String::new();
    for device in devices {
        text += &format!("{}\n", out.paint(Tone::Strong, &heading(device)));
        let of = holders.iter().filter(|holder| holder.device == device.name);
        text += &rows(device, &of.collect::<Vec<_>>()).render(out);
        text.push('\n');
    }
    if ipmi {
        text +=
            "ipmi_watchdog is loaded, which shows nothing here: `ipmitool mc watchdog get` does.\n";
    }
    text
}

/// `watchdog0: iTCO_wdt, hardware (iTCO_wdt at 0000:00:1f.4)`.
fn heading(device: &Watchdog) -> String {
    let identity = device.identity.as_deref().unwrap_or("no name");
    let place = match (&device.driver, &device.parent) {
        (Some(driver), Some(parent)) => format!(" ({driver} at {parent})"),
        (None, Some(parent)) => format!(" (at {parent})"),
        (_, None) => String::new(),
    };
    format!("{}: {identity}, {}{place}", device.name, device.kind.name())
}

fn rows(device: &Watchdog, holders: &[&Holder]) -> Table {
    let mut table = Table::new(2);
    let mut row = |name: &str, tone: Tone, text: &str| {
        table.row(vec![Cell::new(Tone::Dim, name), Cell::new(tone, text).wrapped()]);
    };
    let (tone, state) = match device.active {
        Some(true) => (Tone::Good, "armed"),
        Some(false) => (Tone::Warning, "not armed: nothing resets this machine if it hangs"),
        None => (Tone::Warning, "not known: the kernel does not say (CONFIG_WATCHDOG_SYSFS)"),
    };
    row("state", tone, state);
    let is_shared = holders.iter().any(|holder| holder.pid != 1);
    for holder in holders {
        if holder.pid == 1 && is_shared {
            row("stored by", Tone::Plain, &format!("{} (pid 1) over a restart", holder.process));
            continue;
        }
        let unit = holder.unit.as_ref().map_or(String::new(), |unit| format!(", {unit}"));
        row("held by", Tone::Plain, &format!("{} (pid {}{unit})", holder.process, holder.pid));
    }
    if let Some(timeout) = device.timeout_secs {
        let left = device.timeleft_secs.map(|left| format!(", {} left", secs(left)));
        row("time-out", Tone::Plain, &format!("{}{}", secs(timeout), left.unwrap_or_default()));
    }
    if let (Some(least), Some(most)) = (device.min_timeout_secs, device.max_timeout_secs)
        && most > 0
    {
        row("possible", Tone::Plain, &format!("{} to {}", secs(least), secs(most)));
    }
    if let Some(before) = device.pretimeout_secs.filter(|before| *before > 0) {
        let governor = device.governor.as_deref().unwrap_or("nothing");
        row("warns", Tone::Plain, &format!("{} before, by {governor}", secs(before)));
    }
    if device.nowayout == Some(true) {
        row("stop", Tone::Warning, "impossible once it is started (nowayout)");
    }
    if let Some(status) = device.bootstatus {
        let words: Vec<&str> = watchdog::flags(status).collect();
        let told = if words.is_empty() { "nothing told".to_string() } else { words.join(", ") };
        row("last boot", Tone::Plain, &told);
    }
    if device.kind == Kind::Software {
        row("note", Tone::Warning, "a timer of the kernel: it dies with the kernel that hangs");
    }
    table
}

fn secs(secs: u64) -> String {
    Span::from_secs(secs).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMINAL: Out = Out { color: false, width: Some(80) };

    fn device() -> Watchdog {
        Watchdog {
            name: "watchdog0".into(),
            kind: Kind::Hardware,
            identity: Some("iTCO_wdt".into()),
            driver: Some("iTCO_wdt".into()),
            parent: Some("0000:00:1f.4".into()),
            active: Some(true),
            timeout_secs: Some(30),
            timeleft_secs: Some(24),
            pretimeout_secs: Some(5),
            governor: Some("panic".into()),
            governors: vec!["noop".into(), "panic".into()],
            min_timeout_secs: Some(4),
            max_timeout_secs: Some(613),
            nowayout: Some(true),
            bootstatus: Some(0x20),
            status: Some(0x8000),
            firmware: None,
        }
    }

    #[test]
    fn a_device_is_shown_with_its_holder_and_what_it_may_do() {
        let holder = Holder {
            device: "watchdog0".into(),
            pid: 1,
            process: "systemd".into(),
            unit: Some("init.scope".into()),
        };
        let text = render(&[device()], std::slice::from_ref(&holder), false, TERMINAL);
        for part in [
            "watchdog0: iTCO_wdt, hardware (iTCO_wdt at 0000:00:1f.4)\n",
            "armed",
            "systemd (pid 1, init.scope)",
            "30s, 24s left",
            "5s before, by panic",
            "impossible once it is started",
            "the watchdog reset the machine",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let daemon = Holder { pid: 9, process: "mastiffd".into(), unit: None, ..holder.clone() };
        let text = render(&[device()], &[holder.clone(), daemon], false, TERMINAL);
        assert!(text.contains("stored by  systemd (pid 1) over a restart"), "{text}");
        assert!(text.contains("held by    mastiffd (pid 9)"), "{text}");
        let json = as_json(&[device()], &[holder], false);
        assert_eq!(json["devices"][0]["held_by"][0]["pid"], 1);
        assert_eq!(json["devices"][0]["timeleft_secs"], 24);
    }

    #[test]
    fn what_is_not_known_is_not_shown_as_something() {
        let bare = Watchdog {
            kind: Kind::Software,
            identity: None,
            driver: None,
            parent: None,
            active: None,
            timeout_secs: None,
            timeleft_secs: None,
            pretimeout_secs: None,
            max_timeout_secs: Some(0),
            nowayout: None,
            bootstatus: None,
            ..device()
        };
        let text = render(&[bare], &[], false, TERMINAL);
        assert!(text.contains("not known") && text.contains("dies with the kernel"), "{text}");
        for part in ["time-out", "possible", "warns", "stop", "last boot", "held by"] {
            assert!(!text.contains(part), "{part} in\n{text}");
        }
        assert!(render(&[], &[], true, TERMINAL).contains("ipmitool"));
    }
}
