//! What a sensor is: one source of readings, declared once.
//!
//! A sensor is one file in `sensors/` with a `pub const SENSOR: Sensor` and one line in
//! [`SENSORS`](crate::SENSORS). Checks, conditions, defaults, the live view, the exporter and the
//! man page follow from the declaration.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use mastiff_core::reading::{Quantity, Readings};
use mastiff_core::sorted::Map;
use mastiff_core::time::{Mono, Span};

use crate::root::Root;

/// One source of readings.
#[derive(Debug)]
pub struct Sensor {
    /// Kebab-case, unique; what `sensor = "..."` names.
    pub name: &'static str,
    /// Whether what fails is a part of this machine, so that another machine does not have that
    /// failure.
    pub hardware: bool,
    /// One sentence: what it reads and from where.
    pub summary: &'static str,
    /// What `target = "..."` means.
    pub target: Target,
    /// Further keys, written in the `options` table of a check.
    pub options: &'static [SensorOption],
    /// What it measures.
    pub quantities: &'static [Quantity],
    /// Conditions of a check that states none of its own.
    pub warn_when: &'static [&'static str],
    /// Conditions of a check that states none of its own.
    pub fail_when: &'static [&'static str],
    /// Time between readings, unless the check or a longer `node.interval` says otherwise.
    pub interval: Span,
    /// Time for which a failure must hold before it is believed, unless the check says otherwise.
    pub fail_after: Span,
    /// Time for which health must hold before it is believed again, unless the check says
    /// otherwise.
    pub recover_after: Span,
    /// Targets to watch when the configuration names none; `None`: only what is configured.
    /// For a sensor without targets it returns one empty string where the source exists.
    pub discover: Option<fn(&Root) -> Vec<String>>,
    /// Who reads it, and how.
    pub source: Source,
}

#[cfg(test)]
impl Sensor {
    /// The default conditions that hold for a single reading, and those that nobody knows.
    pub(crate) fn judged(&self, out: &Readings) -> (Vec<&'static str>, Vec<&'static str>) {
        use mastiff_core::condition::{Condition, History, Truth};
        let texts = self.warn_when.iter().chain(self.fail_when).copied();
        let truth = |text: &str| {
            let condition = Condition::parse(text, self.quantities).unwrap();
            condition.evaluate(out, Mono::BOOT, &mut History::default())
        };
        let with = |wanted| texts.clone().filter(|text| truth(text) == wanted).collect();
        (with(Truth::True), with(Truth::Unknown))
    }
}

/// What a sensor's target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The machine itself: the check has no target.
    Machine,
    /// A mount point: an absolute path.
    MountPoint,
    /// A network interface by name.
    Interface,
    /// A block device by the kernel's name, or by a link below /dev.
    Device,
    /// A systemd unit with its suffix.
    Unit,
    /// An absolute path.
    Path,
    /// `host:port`, IPv6 in brackets.
    HostPort,
    /// A host name or address.
    Host,
    /// `http://host[:port]/path`.
    Url,
    /// `unit:NAME`, `pid-file:/PATH` or `name:COMM`.
    Process,
    /// A program with its arguments: absolute path first, quotes as in a shell, no shell.
    Program,
    /// A free name.
    Name,
}

/// A key of the `options` table.
#[derive(Clone, Copy, Debug)]
pub struct SensorOption {
    /// Kebab-case, unique in its sensor.
    pub name: &'static str,
    /// What it changes, and its default in words.
    pub meaning: &'static str,
    /// A valid value, for the man page and the tests.
    pub example: &'static str,
    /// Whether a value is valid; the text says what is.
    pub check: fn(&str) -> Result<(), String>,
}

/// Who reads a sensor, and how.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// Never blocks: the brain reads it in its own turn.
    Quick(Open),
    /// May hang in the kernel: the prober, a child process with a deadline, reads it.
    MayHang(Open),
    /// A question over the network, asked without blocking by the runner.
    Network(Network),
    /// A program, run as a child of the runner; its exit code and output are the reading.
    Program(Program),
    /// The answer of PID 1 about a unit, and the counters of the unit's cgroup (`sensors/unit.rs`).
    Unit,
    /// Datagrams that an application sends to the daemon (`sensors/heartbeat.rs`).
    Heartbeat,
}

/// Opens a probe for one target. May be called again after an error, at the rhythm of the check.
pub type Open = fn(&Root, &str, &Options) -> Result<Box<dyn Probe>, SensorError>;

/// One opened source: descriptors that are kept, counters of the last reading.
pub trait Probe: Send {
    /// Takes one reading.
    ///
    /// # Errors
    /// When nothing can be said. A part that cannot be read is left missing instead.
    fn read(&mut self, now: Mono, wanted: Wanted, out: &mut Readings) -> Result<(), SensorError>;

    /// Descriptors that become ready when a reading is worth taking before its time. The list keeps
    /// its length and order for as long as the probe lives.
    fn wakes(&self) -> Vec<Wake<'_>> {
        Vec::new()
    }

    /// Whether it has learnt what costs much to learn anew, or can never be learnt again. A reading
    /// that takes long is taken by a process of its own; with this that process is kept for the
    /// next one, and the probe with it.
    fn is_worth_keeping(&self) -> bool {
        false
    }

    /// Told before [`read`](Self::read) which of [`wakes`](Self::wakes) became ready, by its place
    /// in the list.
    ///
    /// Needed because some events are gone once they are polled: the kernel clears a PSI trigger
    /// when `epoll_wait` reports it, so the probe cannot see it a second time.
    fn woken(&mut self, _index: usize) {}
}

/// What to wait for on a descriptor of a [`Probe`].
#[derive(Clone, Copy, Debug)]
pub enum Wake<'a> {
    /// Readable (`POLLIN`); the reading drains it.
    Readable(BorrowedFd<'a>),
    /// An exceptional condition (`POLLPRI`), as of PSI triggers, /proc/mounts and cgroup event
    /// files.
    Priority(BorrowedFd<'a>),
}

/// The functions of a network sensor.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// The host and port that a target names. A name is resolved by a child of the runner.
    pub peer: fn(&str) -> Result<Peer, SensorError>,
    /// Starts the question.
    pub ask: Ask,
}

/// Starts a question to a resolved address for a target.
pub type Ask = fn(SocketAddr, &str, &Options, Mono) -> Result<Box<dyn Conversation>, SensorError>;

/// Where a network target is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// An address, or a name to be resolved.
    pub host: String,
    /// Zero where the protocol has none.
    pub port: u16,
}

/// A question that has been asked and waits for its answer.
pub trait Conversation: Send {
    /// The socket to wait on.
    fn fd(&self) -> BorrowedFd<'_>;
    /// Whether it waits to write (else to read).
    fn wants_write(&self) -> bool;
    /// When it gives up by itself. Silence until then is an answer: the peer did not answer.
    fn deadline(&self) -> Mono;
    /// Goes on after the socket became ready or the deadline passed; true when `out` is complete.
    ///
    /// # Errors
    /// When the question itself could not be put. A refusal is a reading, not an error.
    fn proceed(&mut self, now: Mono, out: &mut Readings) -> Result<bool, SensorError>;
}

/// The functions of a sensor that runs a program.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// The argument list, program first.
    pub arguments: fn(&str, &Options) -> Result<Vec<String>, SensorError>,
    /// Reads exit code and output.
    pub judge: fn(&Finished, &Options, &mut Readings) -> Result<(), SensorError>,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// How it ended.
    pub end: End,
    /// The first bytes of its standard output and error, as text.
    pub output: String,
    /// How long it ran.
    pub took: Span,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code.
    Exit(i32),
    /// By this signal.
    Signal(i32),
    /// It was still running at its deadline and was killed.
    TooLong,
}

/// The quantities that somebody will look at: what no condition names need not be read each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted(u64);

impl Wanted {
    /// Everything.
    pub const ALL: Self = Self(u64::MAX);
    /// Nothing yet.
    pub const NONE: Self = Self(0);

    /// Adds the quantity with this index in the declaration.
    #[must_use]
    pub fn with(self, index: usize) -> Self {
        Self(self.0 | u32::try_from(index).map_or(0, |index| 1_u64.checked_shl(index).unwrap_or(0)))
    }

    /// Whether `name` is wanted.
    pub fn has(self, quantities: &[Quantity], name: &str) -> bool {
        quantities.iter().position(|q| q.name == name).is_some_and(|index| self.with(index) == self)
    }

    /// The bits, for a message between processes.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// From bits that travelled.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// The `options` of one check, already validated against the declaration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(pub Map<String, String>);

impl Options {
    /// The value of a key, if it was written.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// Why a reading could not be taken: its check becomes `unknown`.
#[derive(Debug)]
pub enum SensorError {
    /// A file could not be used.
    Io {
        /// `open`, `read`, `statvfs` ...
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file does not have the form that its document promises.
    Malformed {
        /// The file, or `output of PROGRAM`.
        path: PathBuf,
        /// What was expected there.
        expected: &'static str,
    },
    /// A file is larger than anything that makes sense.
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Bytes allowed.
        limit: usize,
    },
    /// The kernel or the machine has no such source.
    Unsupported(String),
    /// A target or an option cannot be used.
    Target {
        /// As written.
        target: String,
        /// Why not, and what to write.
        reason: String,
    },
    /// A call outside any file failed.
    Call {
        /// `socket`, `adjtimex` ...
        call: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl SensorError {
    /// A failed operation on a file.
    pub fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { doing, path: path.to_path_buf(), source }
    }

    /// A file that does not have its form.
    pub fn malformed(path: impl Into<PathBuf>, expected: &'static str) -> Self {
        Self::Malformed { path: path.into(), expected }
    }
}

impl fmt::Display for SensorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, path, source } => {
                write!(f, "cannot {doing} {}: {source}", path.display())
            }
            Self::Malformed { path, expected } => {
                write!(f, "cannot understand {}: expected {expected}", path.display())
            }
            Self::TooLarge { path, limit } => {
                write!(f, "cannot read {}: it has more than {limit} bytes", path.display())
            }
            Self::Unsupported(what) => f.write_str(what),
            Self::Target { target, reason } => write!(f, "cannot use \"{target}\": {reason}"),
            Self::Call { call, source } => write!(f, "{call} failed: {source}"),
        }
    }
}

impl std::error::Error for SensorError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } | Self::Call { source, .. } => Some(source),
            Self::Malformed { .. }
            | Self::TooLarge { .. }
            | Self::Unsupported(_)
            | Self::Target { .. } => None,
        }
    }
}

impl Target {
    /// Whether `text` can be a target of this kind.
    ///
    /// # Errors
    /// Says what to write instead.
    pub fn check(self, text: &str) -> Result<(), &'static str> {
        let good = match self {
            Self::Machine => text.is_empty(),
            Self::MountPoint | Self::Path | Self::Program => text.starts_with('/'),
            // IFNAMSIZ, linux/if.h: 16 with the final zero.
            Self::Interface => (1..16).contains(&text.len()) && !text.contains(['/', ' ']),
            Self::Device => match text.strip_prefix("/dev/") {
                Some(link) => !link.is_empty(),
                None => !text.is_empty() && !text.contains('/'),
            },
            Self::Unit => is_unit_name(text),
            Self::HostPort => text.rsplit_once(':').is_some_and(|(host, port)| {
                is_host(host) && port.parse::<u16>().is_ok_and(|port| port != 0)
            }),
            Self::Host => is_host(text) || text.parse::<std::net::IpAddr>().is_ok(),
            Self::Url => text
                .strip_prefix("http://")
                .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/')),
            Self::Process => match text.split_once(':') {
                Some(("unit", unit)) => is_unit_name(unit),
                Some(("pid-file", path)) => path.starts_with('/'),
                Some(("name", name)) => !name.is_empty() && !name.contains('/'),
                _ => false,
            },
            Self::Name => !text.is_empty(),
        };
        if good { Ok(()) } else { Err(self.wanted()) }
    }

    /// What to write as target.
    pub const fn wanted(self) -> &'static str {
        match self {
            Self::Machine => "this sensor takes no target; leave it out",
            Self::MountPoint => "write a mount point, as in \"/var\"",
            Self::Interface => "write an interface of at most 15 characters, as in \"eth0\"",
            Self::Device => {
                "write a block device, as in \"sda\", or a link to it that holds over reboots, as in \"/dev/disk/by-id/wwn-0x5000c500a1b2c3d4\""
            }
            Self::Unit => "write a unit with its suffix, as in \"nginx.service\"",
            Self::Path => "write an absolute path, as in \"/var/log/backup.log\"",
            Self::HostPort => {
                "write host and port, as in \"192.0.2.1:5432\" or \"[2001:db8::1]:5432\""
            }
            Self::Host => "write a host, as in \"192.0.2.1\"",
            Self::Url => {
                "write a URL with http, as in \"http://127.0.0.1:8080/health\"; for https use the sensor `command`"
            }
            Self::Process => {
                "write \"unit:NAME.service\", \"pid-file:/run/NAME.pid\" or \"name:NAME\""
            }
            Self::Program => {
                "write a program by its absolute path with its arguments, as in \"/usr/lib/nagios/plugins/check_load -w 5\""
            }
            Self::Name => "write a name",
        }
    }
}

fn is_host(text: &str) -> bool {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match inner {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-' || c == '_';
            // Four numbers that are no address are a mistyped address, not a host name.
            let numeric = text.chars().all(|c| c.is_ascii_digit() || c == '.');
            !text.is_empty()
                && text.len() <= 253
                && text.chars().all(plain)
                && (!numeric || text.parse::<std::net::Ipv4Addr>().is_ok())
        }
    }
}

/// Unit names: systemd.unit(5), at most 255 characters, a known suffix.
pub fn is_unit_name(text: &str) -> bool {
    const SUFFIXES: [&str; 11] = [
        "service",
        "socket",
        "device",
        "mount",
        "automount",
        "swap",
        "target",
        "path",
        "timer",
        "slice",
        "scope",
    ];
    let Some((name, suffix)) = text.rsplit_once('.') else { return false };
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    !name.is_empty() && text.len() <= 255 && SUFFIXES.contains(&suffix) && name.chars().all(allowed)
}

/// Splits a program and its arguments at blanks; single and double quotes hold blanks together, a
/// backslash takes the next character as it is. There is no shell: no variables, no globs, no
/// pipes.
///
/// # Errors
/// An unclosed quote or an empty text.
pub fn split_arguments(text: &str) -> Result<Vec<String>, &'static str> {
    let mut arguments = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some('\''), _) => word.get_or_insert_default().push(c),
            (_, '\\') => {
                let next = chars.next().ok_or("ends with a backslash")?;
                word.get_or_insert_default().push(next);
            }
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, _) if c.is_whitespace() => arguments.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("has a quote that is never closed");
    }
    arguments.extend(word);
    if arguments.is_empty() { Err("names no program") } else { Ok(arguments) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_split_without_a_shell() {
        let split = |text| split_arguments(text).map(|list| list.join("|"));
        assert_eq!(split("/bin/a  b c"), Ok("/bin/a|b|c".into()));
        assert_eq!(split("/bin/a 'b $c' \"d 'e'\" ''"), Ok("/bin/a|b $c|d 'e'|".into()));
        assert_eq!(split(r#"/bin/a b\ c "d\"e""#), Ok("/bin/a|b c|d\"e".into()));
        assert_eq!(split("/bin/a 'b"), Err("has a quote that is never closed"));
        assert_eq!(split("  "), Err("names no program"));
    }

    #[test]
    fn targets_are_checked_by_kind() {
        for (target, good, bad) in [
            (Target::Machine, vec![""], vec!["x"]),
            (Target::MountPoint, vec!["/", "/var"], vec!["var", ""]),
            (Target::Interface, vec!["eth0", "bond0.7"], vec!["", "averylonginterface", "a/b"]),
            (
                Target::Unit,
                vec!["nginx.service", "a@b.timer"],
                vec!["nginx", ".service", "a b.service", "x.conf"],
            ),
            (
                Target::Device,
                vec!["sda", "nvme0n1", "/dev/disk/by-id/x"],
                vec!["", "/dev/", "/etc/passwd", "../sda"],
            ),
            (
                Target::HostPort,
                vec!["192.0.2.1:80", "[::1]:80", "db1:5432"],
                vec!["192.0.2.300:80", "h:99999", "h", ":80", "h:0"],
            ),
            (Target::Host, vec!["192.0.2.1", "::1", "db1"], vec!["10.77.0.300", "a b", ""]),
            (Target::Url, vec!["http://h/", "http://h:80"], vec!["https://h/", "h", "http:///x"]),
            (
                Target::Process,
                vec!["unit:a.service", "pid-file:/run/a.pid", "name:a"],
                vec!["a", "pid-file:a", "unit:a", "name:"],
            ),
            (Target::Program, vec!["/bin/true x"], vec!["true"]),
        ] {
            for text in good {
                assert_eq!(target.check(text), Ok(()), "{target:?} {text:?}");
            }
            for text in bad {
                assert!(target.check(text).is_err(), "{target:?} {text:?}");
            }
        }
    }
}
