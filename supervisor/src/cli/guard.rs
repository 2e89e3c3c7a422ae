//! Which guard this machine would have, as far as can be told without loading anything.

use std::fs;
use std::path::Path;

use mastiff_core::timing::Guard;
use mastiff_hwmon::root::Root;

use crate::guard::nftables::{self, Form, tick};
use crate::guard::{self, Wanted};

/// The map of all users to themselves: no namespace lies between (user_namespaces(7)).
const ALL_USERS: [&str; 3] = ["0", "0", "4294967295"];

/// Reads the name of a guard.
pub(super) fn wanted(name: &str) -> Result<Wanted, String> {
    Wanted::named(name).ok_or_else(|| format!("must be one of {}", Wanted::NAMES.join(", ")))
}

/// A guard, and how it came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) guard: Guard,
    /// In words.
    pub(super) why: String,
}

/// The guard to compute with.
pub(super) fn choose(wanted: Wanted, root: &Root) -> Chosen {
    let nftables = Guard::Nftables { tick: tick() };
    let named = "as asked for".to_string();
    match wanted {
        Wanted::Auto => loaded(root).unwrap_or_else(|| assumed(root)),
        Wanted::Bpf => Chosen { guard: Guard::Bpf, why: named },
        Wanted::Nftables => Chosen { guard: nftables, why: named },
        Wanted::NftablesInet => {
            Chosen { guard: nftables, why: format!("{named}, as {}", Form::Inet.name()) }
        }
        Wanted::Lifetime => Chosen { guard: Guard::Lifetime, why: named },
    }
}

/// What loads here; nothing is left of it. `None` for anybody but root, who could not tell.
fn loaded(root: &Root) -> Option<Chosen> {
    let here = root.path("/proc") == Path::new("/proc");
    (here && nix::unistd::geteuid().is_root()).then(|| {
        let (guard, why) = match (guard::bpf::build("mastiff explain", &[]), nftables::best(false))
        {
            (Ok(_), _) => (Guard::Bpf, "it loads here".to_string()),
            (Err(bpf), Ok(form)) => (
                Guard::Nftables { tick: tick() },
                format!("it loads here, as {}, and BPF does not: {bpf}", form.name()),
            ),
            (Err(_), Err(nftables)) => (Guard::Lifetime, format!("nothing else loads: {nftables}")),
        };
        Chosen { guard, why }
    })
}

/// What is assumed: only loading a program or a table shows whether it can be loaded, and that
/// takes root.
fn assumed(root: &Root) -> Chosen {
    let map = fs::read_to_string(root.path("/proc/self/uid_map")).unwrap_or_default();
    let has_all_users = map.split_whitespace().eq(ALL_USERS);
    // The mount point is there if the kernel has BPF (kernel/bpf/inode.c).
    let has_bpf = root.path("/sys/fs/bpf").exists();
    let has_netfilter = root.path("/proc/sys/net/netfilter").exists();
    let (guard, why) = match (has_all_users, has_bpf, has_netfilter) {
        (true, true, _) => (Guard::Bpf, "this kernel has BPF"),
        (false, _, true) => (
            Guard::Nftables { tick: tick() },
            "in a user namespace no BPF program may be loaded, and this kernel has netfilter",
        ),
        (true, false, true) => {
            (Guard::Nftables { tick: tick() }, "this kernel has no BPF, but netfilter")
        }
        (_, _, false) => (Guard::Lifetime, "this kernel has neither BPF nor netfilter for us"),
    };
    let why = format!("assumed, because {why}; only root can find out by loading it");
    Chosen { guard, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guard_is_the_best_that_the_kernel_seems_to_have() {
        let folder = std::env::temp_dir().join(format!("mastiff-guard-{}", std::process::id()));
        let root = Root::recorded(&folder);
        let host = "         0          0 4294967295\n";
        let namespace = "         0       1000          1\n";
        for (map, bpf, netfilter, expected) in [
            (host, true, true, "Bpf"),
            (host, false, true, "Nftables"),
            (host, false, false, "Lifetime"),
            (namespace, true, true, "Nftables"),
            (namespace, true, false, "Lifetime"),
        ] {
            fs::create_dir_all(folder.join("proc/self")).unwrap();
            fs::write(folder.join("proc/self/uid_map"), map).unwrap();
            for (path, is_there) in [("sys/fs/bpf", bpf), ("proc/sys/net/netfilter", netfilter)] {
                if is_there {
                    fs::create_dir_all(folder.join(path)).unwrap();
                }
            }
            let chosen = choose(Wanted::Auto, &root);
            assert!(format!("{:?}", chosen.guard).starts_with(expected), "{chosen:?}");
            assert!(chosen.why.starts_with("assumed, because "), "{chosen:?}");
            fs::remove_dir_all(&folder).unwrap();
        }
    }
}
