//! Network links: carrier, and what their counters say.
//!
//! Only files are read that never wait for the kernel's network lock (rtnl), which a stuck driver
//! can hold for seconds. So the carrier comes from `operstate`, not from `carrier`, which takes
//! that lock since Linux 6.7 (net/core/net-sysfs.c); `speed` and `duplex` take it, too, and are
//! read only when a condition names them.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::time::{Mono, Span};

use crate::kept::Kept;
use crate::once;
use crate::rate::Rate;
use crate::root::Root;
use crate::sensor::{Options, Probe, Sensor, SensorError, Source, Target, Wanted};
use crate::text;

pub(crate) mod modes;

/// One network interface (/sys/class/net/NAME; Documentation/ABI/testing/sysfs-class-net).
pub const SENSOR: Sensor = Sensor {
    name: "link",
    hardware: false,
    summary: "Carrier, speed, traffic and errors of a network interface, from /sys/class/net.",
    target: Target::Interface,
    options: &[],
    quantities: QUANTITIES,
    warn_when: &["up = false", "errors > 100 in 10m", "members-down > 0"],
    fail_when: &["carrier = false", "present = false"],
    interval: Span::from_secs(1),
    // A link that renegotiates its speed is gone for two or three seconds.
    fail_after: Span::from_secs(5),
    recover_after: Span::from_secs(10),
    discover: Some(discover),
    source: Source::Quick(open),
};

const QUANTITIES: &[Quantity] = &[
    Quantity { name: "present", unit: Unit::Flag, meaning: "the interface exists" },
    Quantity {
        name: "up",
        unit: Unit::Flag,
        meaning: "it is switched on (`ip link set up`); absent without interface",
    },
    Quantity {
        name: "carrier",
        unit: Unit::Flag,
        meaning: "it is connected to something; absent while it is switched off or not there",
    },
    Quantity {
        name: "speed",
        unit: Unit::Count,
        meaning: "megabits in each second; absent where the driver does not know; waits for the kernel's network lock, so read only if a condition names it",
    },
    Quantity {
        name: "duplex",
        unit: Unit::Word(&["half", "full", "unknown"]),
        meaning: "whether both sides can send at once; absent and read as speed is",
    },
    Quantity {
        name: "slower",
        unit: Unit::Flag,
        meaning: "its speed is below the highest since the daemon looks, as after a bad cable; absent and read as speed is",
    },
    Quantity {
        name: "below-maximum",
        unit: Unit::Flag,
        meaning: "its speed is below the highest that the card, and what is plugged into it, support; absent without a speed and where the driver does not say; read as speed is",
    },
    Quantity {
        name: "members",
        unit: Unit::Count,
        meaning: "interfaces below a bond, or a team of teamd; absent for other interfaces",
    },
    Quantity {
        name: "members-down",
        unit: Unit::Count,
        meaning: "those of them without carrier, switched off, or taken for dead by the bond; the note names them; absent for other interfaces",
    },
    Quantity { name: "received", unit: Unit::BytesPerSecond, meaning: "data received" },
    Quantity { name: "sent", unit: Unit::BytesPerSecond, meaning: "data sent" },
    Quantity {
        name: "errors",
        unit: Unit::Total,
        meaning: "damaged frames received and frames that could not be sent",
    },
    Quantity {
        name: "drops",
        unit: Unit::Total,
        meaning: "frames thrown away, also those that nobody here wanted",
    },
    Quantity {
        name: "carrier-changes",
        unit: Unit::Total,
        meaning: "times the link came or went; absent before Linux 3.15",
    },
];

/// Interfaces watched without configuration at most: a host of many network cards, not one of many
/// containers.
const LINKS_MAX: usize = 64;

/// Levels of stacking that are followed down to a device: vlan over bridge over bond over card.
pub(crate) const STACK_MAX: u32 = 4;

/// IFF_UP, linux/if.h.
const IFF_UP: u64 = 1;

/// Members of one bond that are looked at.
const MEMBERS_MAX: usize = 32;

struct Link {
    directory: PathBuf,
    is_machine: bool,
    /// The socket of teamd while it runs a team of this name: the kernel's files do not tell one.
    teamd: PathBuf,
    files: Option<Files>,
    /// The highest speed since it was opened, in megabits in each second.
    fastest: u64,
    received: Rate,
    sent: Rate,
}

/// The open files of one interface. They stay with the device when it is renamed, so they are given
/// up as soon as the name leads to another inode.
struct Files {
    inode: u64,
    flags: Kept,
    operstate: Kept,
    /// Opened when first wanted.
    rx_bytes: Option<Kept>,
    tx_bytes: Option<Kept>,
    rx_errors: Option<Kept>,
    tx_errors: Option<Kept>,
    rx_dropped: Option<Kept>,
    tx_dropped: Option<Kept>,
    carrier_changes: Option<Kept>,
}

fn open(root: &Root, target: &str, _options: &Options) -> Result<Box<dyn Probe>, SensorError> {
    Target::Interface.check(target).map_err(|reason| SensorError::Target {
        target: target.to_owned(),
        reason: reason.to_owned(),
    })?;
    let net = root.path("/sys/class/net");
    if !net.is_dir() {
        return Err(SensorError::Unsupported(format!("{} is not there", net.display())));
    }
    Ok(Box::new(Link {
        directory: net.join(target),
        is_machine: root.is_machine(),
        teamd: root.path("/run/teamd").join(format!("{target}.sock")),
        files: None,
        fastest: 0,
        received: Rate::default(),
        sent: Rate::default(),
    }))
}

impl Probe for Link {
    fn read(&mut self, now: Mono, wanted: Wanted, out: &mut Readings) -> Result<(), SensorError> {
        self.reopen()?;
        let Some(files) = &mut self.files else {
            out.flag("present", false);
            out.absent("up");
            out.absent("carrier");
            return Ok(());
        };
        out.flag("present", true);
        let Some(up) = switched_on(&mut files.flags)? else {
            return Err(SensorError::malformed(files.flags.path(), "flags such as 0x1003"));
        };
        out.flag("up", up);
        if !up {
            // The kernel cannot tell, and the state "down" would say that a cable is missing.
            out.absent("carrier");
        } else if let Some(carrier) = files.operstate.line()?.and_then(carrier) {
            out.flag("carrier", carrier);
        }
        let wants = |name| wanted.has(QUANTITIES, name);
        let directory = &self.directory;
        if wants("received")
            && let Some(total) = counter(&mut files.rx_bytes, directory, "statistics/rx_bytes")
            && let Some(rate) = self.received.per_second(now, total)
        {
            out.number("received", rate);
        }
        if wants("sent")
            && let Some(total) = counter(&mut files.tx_bytes, directory, "statistics/tx_bytes")
            && let Some(rate) = self.sent.per_second(now, total)
        {
            out.number("sent", rate);
        }
        files.count(directory, wanted, out);
        if wants("speed") || wants("slower") || wants("below-maximum") {
            let megabits = speed(directory, &mut self.fastest, out);
            if wants("below-maximum") && self.is_machine {
                below_maximum(directory, megabits, out);
            }
        }
        if wants("members") || wants("members-down") {
            if self.teamd.exists() || directory.join("bonding").is_dir() {
                members(directory, out);
            } else {
                out.absent("members");
                out.absent("members-down");
            }
        }
        if wants("duplex") {
            duplex(directory, out);
        }
        Ok(())
    }
}

impl Link {
    /// Makes `files` those of the interface that has the name now; none if there is none.
    fn reopen(&mut self) -> Result<(), SensorError> {
        let path = self.directory.join("flags");
        let inode = match fs::metadata(&path) {
            Ok(metadata) => metadata.ino(),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.files = None;
                return Ok(());
            }
            Err(error) => return Err(SensorError::io("look at", &path, error)),
        };
        if self.files.as_ref().is_some_and(|files| files.inode == inode) {
            return Ok(());
        }
        self.files = None;
        // Another device: its counters have nothing to do with the last ones.
        (self.received, self.sent, self.fastest) = (Rate::default(), Rate::default(), 0);
        self.files = Some(Files {
            inode,
            flags: Kept::open_short(path)?,
            operstate: Kept::open_short(self.directory.join("operstate"))?,
            rx_bytes: None,
            tx_bytes: None,
            rx_errors: None,
            tx_errors: None,
            rx_dropped: None,
            tx_dropped: None,
            carrier_changes: None,
        });
        Ok(())
    }
}

impl Files {
    fn count(&mut self, directory: &Path, wanted: Wanted, out: &mut Readings) {
        let wants = |name| wanted.has(QUANTITIES, name);
        for (name, [rx, tx], paths) in [
            (
                "errors",
                [&mut self.rx_errors, &mut self.tx_errors],
                ["statistics/rx_errors", "statistics/tx_errors"],
            ),
            (
                "drops",
                [&mut self.rx_dropped, &mut self.tx_dropped],
                ["statistics/rx_dropped", "statistics/tx_dropped"],
            ),
        ] {
            let [rx_path, tx_path] = paths;
            if wants(name)
                && let Some(rx) = counter(rx, directory, rx_path)
                && let Some(tx) = counter(tx, directory, tx_path)
            {
                out.count(name, rx.saturating_add(tx));
            }
        }
        if wants("carrier-changes") {
            match counter(&mut self.carrier_changes, directory, "carrier_changes") {
                Some(changes) => out.count("carrier-changes", changes),
                None if !directory.join("carrier_changes").exists() => {
                    out.absent("carrier-changes")
                }
                None => {}
            }
        }
    }
}

fn counter(kept: &mut Option<Kept>, directory: &Path, name: &str) -> Option<u64> {
    if kept.is_none() {
        *kept = Kept::open_short(directory.join(name)).ok();
    }
    kept.as_mut()?.number().ok()?
}

fn switched_on(flags: &mut Kept) -> Result<Option<bool>, SensorError> {
    let flags = flags.line()?.and_then(text::hexadecimal);
    Ok(flags.map(|flags| flags & IFF_UP != 0))
}

/// From the operational state (RFC 2863; Documentation/networking/operstates.rst). Drivers that
/// never set it, such as tun, stay `unknown`, which the kernel takes as connected (netif_oper_up).
/// `dormant` has a carrier and waits for more, as for 802.1X.
fn carrier(operstate: &str) -> Option<bool> {
    match operstate {
        "up" | "unknown" | "dormant" | "testing" => Some(true),
        "down" | "lowerlayerdown" | "notpresent" => Some(false),
        _ => None,
    }
}

/// `-1` where the driver does not know; EINVAL where it cannot be asked.
fn speed(directory: &Path, fastest: &mut u64, out: &mut Readings) -> Option<u64> {
    let text = match slow(directory, "speed") {
        Slow::Refused => "-1".to_owned(),
        Slow::Text(text) => text,
        Slow::Unknown => return None,
    };
    if text == "-1" {
        for name in ["speed", "slower", "below-maximum"] {
            out.absent(name);
        }
        return None;
    }
    let megabits = text::whole(&text)?;
    *fastest = megabits.max(*fastest);
    out.count("speed", megabits);
    out.flag("slower", megabits < *fastest);
    Some(megabits)
}

fn below_maximum(directory: &Path, megabits: Option<u64>, out: &mut Readings) {
    let Some(name) = directory.file_name().and_then(|name| name.to_str()) else { return };
    let (Some(megabits), Ok(maximum)) = (megabits, modes::fastest(name)) else { return };
    match maximum {
        Some(maximum) => {
            out.flag("below-maximum", megabits < maximum);
            if megabits < maximum {
                out.note = Some(format!("{megabits} of {maximum} Mb/s").into());
            }
        }
        None => out.absent("below-maximum"),
    }
}

/// Counts the members of a bond or team and names those that do not work. When one of them cannot
/// be read, nothing is said of all.
fn members(directory: &Path, out: &mut Readings) {
    let names = once::names(directory);
    // The folder of an interface always has files: it could not be listed.
    let (Some(net), false) = (directory.parent(), names.is_empty()) else { return };
    let lower = names.iter().filter_map(|name| name.strip_prefix("lower_"));
    let (mut all, mut down, mut dead) = (0, 0, String::new());
    for name in lower.take(MEMBERS_MAX) {
        let Some(works) = works(&net.join(name)) else { return };
        all += 1;
        if !works {
            down += 1;
            dead.push_str(if dead.is_empty() { "without connection: " } else { ", " });
            dead.push_str(name);
        }
    }
    out.count("members", all);
    out.count("members-down", down);
    if down > 0 {
        out.note = Some(dead.into());
    }
}

/// Whether a member can carry traffic. A bond has its own opinion, from ARP or MII, which is read
/// without the network lock (drivers/net/bonding/bond_sysfs_slave.c).
fn works(member: &Path) -> Option<bool> {
    let line = |name: &str| once::line(&member.join(name));
    let up = text::hexadecimal(&line("flags")?)? & IFF_UP != 0;
    let connected = carrier(&line("operstate")?)?;
    let dead = line("bonding_slave/mii_status").is_some_and(|status| status == "down");
    Some(up && connected && !dead)
}

fn duplex(directory: &Path, out: &mut Readings) {
    match slow(directory, "duplex") {
        Slow::Refused => out.absent("duplex"),
        Slow::Text(text) if matches!(text.as_str(), "half" | "full" | "unknown") => {
            out.word("duplex", &text);
        }
        Slow::Text(_) | Slow::Unknown => {}
    }
}

/// What a file said that asks the driver.
enum Slow {
    Text(String),
    /// The driver has no such notion.
    Refused,
    Unknown,
}

fn slow(directory: &Path, name: &str) -> Slow {
    let read = Kept::open_short(directory.join(name))
        .and_then(|mut file| Ok(file.line()?.map(str::to_owned)));
    match read {
        Ok(Some(text)) => Slow::Text(text),
        Err(SensorError::Io { source, .. })
            if matches!(source.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) =>
        {
            Slow::Refused
        }
        Ok(None) | Err(_) => Slow::Unknown,
    }
}

/// The links that matter without being named: switched on, connected now, and leading out of the
/// machine, which is a card (it has a `device`) or anything stacked on one (vlan, bridge, bond,
/// macvlan).
///
/// So lo, veth, tap and the bridges of containers and virtual machines are left out. A port without
/// a cable at this moment is taken for unused: many servers have some, all switched on. One that
/// must have a cable is to be named in a check.
fn discover(root: &Root) -> Vec<String> {
    let net = root.path("/sys/class/net");
    let matters = |name: &String| {
        Target::Interface.check(name).is_ok()
            && is_connected(&net.join(name))
            && leads_out(&net, name, STACK_MAX)
    };
    once::names(&net).into_iter().filter(matters).take(LINKS_MAX).collect()
}

fn is_connected(directory: &Path) -> bool {
    let up =
        Kept::open_short(directory.join("flags")).and_then(|mut flags| switched_on(&mut flags));
    let connected = Kept::open_short(directory.join("operstate"))
        .and_then(|mut file| Ok(file.line()?.and_then(carrier)));
    matches!((up, connected), (Ok(Some(true)), Ok(Some(true))))
}

/// Each device below another shows as `lower_NAME` in it (net/core/dev.c,
/// netdev_adjacent_sysfs_add).
pub(crate) fn leads_out(net: &Path, name: &str, levels: u32) -> bool {
    let directory = net.join(name);
    if directory.join("device").exists() {
        return true;
    }
    let Some(levels) = levels.checked_sub(1) else { return false };
    let names = once::names(&directory);
    let mut lower = names.iter().filter_map(|name| name.strip_prefix("lower_"));
    lower.any(|lower| leads_out(net, lower, levels))
}
