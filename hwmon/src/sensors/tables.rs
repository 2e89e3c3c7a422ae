//! Kernel tables of fixed size: when one is full, something fails at once and for everybody.

use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::time::{Mono, Span};

use crate::kept::Kept;
use crate::root::Root;
use crate::sensor::{Options, Probe, Sensor, SensorError, Source, Target, Wanted};
use crate::text;

/// Kernel tables (Documentation/admin-guide/sysctl/fs.rst and kernel.rst,
/// Documentation/networking/nf_conntrack-sysctl.rst).
pub const SENSOR: Sensor = Sensor {
    name: "tables",
    hardware: false,
    summary: "How full the kernel's tables are: open files, process ids, threads, connections, asynchronous I/O.",
    target: Target::Machine,
    options: &[],
    quantities: &[
        Quantity {
            name: "open-files",
            unit: Unit::Ratio,
            meaning: "share of fs.file-max in use by all processes together",
        },
        Quantity {
            name: "pids",
            unit: Unit::Ratio,
            meaning: "share of kernel.pid_max in use; each thread takes one",
        },
        Quantity {
            name: "threads",
            unit: Unit::Ratio,
            meaning: "share of kernel.threads-max in use",
        },
        Quantity {
            name: "conntrack",
            unit: Unit::Ratio,
            meaning: "share of net.netfilter.nf_conntrack_max in use; absent without connection tracking",
        },
        Quantity {
            name: "aio",
            unit: Unit::Ratio,
            meaning: "share of fs.aio-max-nr in use; absent where the kernel has no asynchronous I/O",
        },
    ],
    warn_when: &["open-files > 80%", "pids > 80%", "threads > 80%", "conntrack > 80%", "aio > 80%"],
    // Asynchronous I/O only warns: databases take what they need of it when they start.
    fail_when: &["open-files > 95%", "pids > 95%", "threads > 95%", "conntrack > 95%"],
    interval: Span::from_secs(10),
    fail_after: Span::from_secs(20),
    recover_after: Span::from_secs(60),
    discover: Some(|root| root.machine_if("/proc/sys/fs/file-nr")),
    source: Source::Quick(open),
};

/// Both files of a table with one file for its use and one for its limit.
struct Pair {
    used: Kept,
    limit: Kept,
}

struct Tables {
    root: Root,
    file_nr: Option<Kept>,
    loadavg: Option<Kept>,
    pid_max: Option<Kept>,
    threads_max: Option<Kept>,
    conntrack: Option<Pair>,
    aio: Option<Pair>,
}

fn open(root: &Root, _target: &str, _options: &Options) -> Result<Box<dyn Probe>, SensorError> {
    let file = |path| Kept::open_short(root.path(path));
    let tables = Tables {
        root: root.clone(),
        file_nr: file("/proc/sys/fs/file-nr").ok(),
        loadavg: file("/proc/loadavg").ok(),
        pid_max: file("/proc/sys/kernel/pid_max").ok(),
        threads_max: file("/proc/sys/kernel/threads-max").ok(),
        conntrack: None,
        aio: None,
    };
    if tables.file_nr.is_none() && tables.loadavg.is_none() {
        // Both exist on every kernel: this is a place where nothing can be said.
        return Err(SensorError::Unsupported(format!(
            "cannot open {}: is /proc mounted, with its sys directory?",
            root.path("/proc/sys/fs/file-nr").display()
        )));
    }
    Ok(Box::new(tables))
}

impl Probe for Tables {
    fn read(&mut self, _now: Mono, _wanted: Wanted, out: &mut Readings) -> Result<(), SensorError> {
        if let Some((used, limit)) = self.file_nr.as_mut().and_then(open_files) {
            share(out, "open-files", used, limit);
        }
        if let Some(tasks) = self.loadavg.as_mut().and_then(tasks) {
            for (name, limit) in [("pids", &mut self.pid_max), ("threads", &mut self.threads_max)] {
                if let Some(limit) = limit.as_mut().and_then(number) {
                    share(out, name, tasks, limit);
                }
            }
        }
        pair(
            out,
            "conntrack",
            &mut self.conntrack,
            &self.root,
            [
                "/proc/sys/net/netfilter/nf_conntrack_count",
                "/proc/sys/net/netfilter/nf_conntrack_max",
            ],
        );
        pair(
            out,
            "aio",
            &mut self.aio,
            &self.root,
            ["/proc/sys/fs/aio-nr", "/proc/sys/fs/aio-max-nr"],
        );
        Ok(())
    }
}

fn number(file: &mut Kept) -> Option<u64> {
    file.number().ok()?
}

/// `allocated unused maximum`; unused is 0 since Linux 2.6.
fn open_files(file: &mut Kept) -> Option<(u64, u64)> {
    let mut fields = file.line().ok()??.split_ascii_whitespace();
    let allocated = text::whole(fields.next()?)?;
    let unused = text::whole(fields.next()?)?;
    Some((allocated.checked_sub(unused)?, text::whole(fields.next()?)?))
}

/// The tasks that exist: the part after the slash in `0.05 0.14 0.09 1/85 10487` (proc_loadavg(5)).
fn tasks(file: &mut Kept) -> Option<u64> {
    let line = file.line().ok()??;
    text::whole(line.split_ascii_whitespace().nth(3)?.split_once('/')?.1)
}

/// Reads a table of two files. They are opened here, since a module may bring them later; when they
/// have gone with it, the next reading says absent.
fn pair(out: &mut Readings, name: &str, kept: &mut Option<Pair>, root: &Root, paths: [&str; 2]) {
    let [used, limit] = paths.map(|path| root.path(path));
    if kept.is_none() {
        if !used.exists() {
            out.absent(name);
            return;
        }
        let (Ok(used), Ok(limit)) = (Kept::open_short(used), Kept::open_short(limit)) else {
            return;
        };
        *kept = Some(Pair { used, limit });
    }
    let Some(open) = kept.as_mut() else { return };
    match (open.used.number(), open.limit.number()) {
        (Ok(Some(used)), Ok(Some(limit))) => share(out, name, used, limit),
        (Ok(_), Ok(_)) => {}
        (Err(_), _) | (_, Err(_)) => *kept = None,
    }
}

/// A privileged process may go beyond a limit, and a limit may be lowered below its use: that is
/// full.
fn share(out: &mut Readings, name: &str, used: u64, limit: u64) {
    if limit > 0 {
        out.ratio(name, used.min(limit), limit);
    }
}
