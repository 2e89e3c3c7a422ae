//! What the kernel's messages mean: a table of texts, each with the source that prints it.
//!
//! The texts are no interface, so each rule keeps to the few words that have been stable over the
//! years, and lists the older forms that distributions still run.

/// One kind of event and the texts that tell of it.
pub(super) struct Rule {
    /// The quantity that counts it.
    pub(super) kind: &'static str,
    /// Texts, any of which is enough; see [`matches()`].
    pub(super) any: &'static [&'static str],
    /// Texts that make it harmless.
    pub(super) except: &'static [&'static str],
}

/// Worst first: of several matches in the last hour the note shows the worst. A record may match
/// several rules.
pub(super) const RULES: [Rule; 17] = [
    Rule {
        kind: "remounted-read-only",
        any: &[
            // fs/ext4/super.c, ext4_handle_error
            "EXT4-fs (*): Remounting filesystem read-only",
            // fs/btrfs/messages.c, btrfs_handle_fs_error
            "BTRFS*forced readonly",
            // fs/xfs/xfs_fsops.c, xfs_do_force_shutdown: unmounted in all but name
            "XFS (*): *Filesystem has been shut down",
            "XFS (*): *Shutting down filesystem",
            // fs/fat/misc.c, __fat_fs_error
            "FAT-fs (*): Filesystem has been set read-only",
        ],
        except: &[],
    },
    Rule {
        kind: "oopses",
        any: &[
            // arch/x86/kernel/dumpstack.c, __die_header; arch/*/kernel/traps.c, die
            "Oops*[#",
            // arch/arm64/kernel/traps.c, __die
            "Internal error: *[#",
            // arch/x86 before 6.11: `invalid opcode: 0000 [#1]`, `general protection fault ...:
            // 0000 [#1]`
            ": 0000 [#",
        ],
        except: &[],
    },
    Rule {
        kind: "lockups",
        any: &[
            // kernel/watchdog.c, watchdog_timer_fn
            "BUG: soft lockup - CPU#",
            // kernel/watchdog.c and watchdog_perf.c, watchdog_hardlockup_check
            "Watchdog detected hard LOCKUP on cpu",
            // kernel/rcu/tree_stall.h
            "rcu: INFO: *self-detected stall on CPU",
            "rcu: INFO: *detected stalls on CPUs/tasks",
            "rcu: INFO: *detected expedited stalls on CPUs/tasks",
        ],
        except: &[],
    },
    Rule {
        kind: "oom-kills",
        // mm/oom_kill.c, __oom_kill_process; the first words come from out_of_memory
        any: &["Out of memory*: Killed process "],
        except: &[],
    },
    Rule {
        kind: "hardware-errors",
        any: &[
            // HW_ERR in include/linux/printk.h: machine checks, APEI
            "[Hardware Error]: ",
            // drivers/edac/edac_mc.c, edac_mc_printk
            "EDAC MC*: * UE ",
            "EDAC MC*: * CE ",
            // mm/memory-failure.c
            "Memory failure: 0x",
            // drivers/pci/pcie/aer.c, aer_print_error: `Uncorrected`, since 6.9 `Uncorrectable`
            "PCIe Bus Error: severity=Uncorrect",
            // arch/x86/kernel/nmi.c, unknown_nmi_error, pci_serr_error
            "NMI: PCI system error (SERR)",
            "NMI: IOCK error",
        ],
        except: &[],
    },
    Rule {
        kind: "filesystem-errors",
        any: &[
            // fs/ext4/super.c, __ext4_error and its kin
            "EXT4-fs error (device ",
            // fs/jbd2/journal.c, jbd2_journal_abort
            "Aborting journal on device ",
            // fs/xfs/xfs_error.c, xfs_corruption_error; xfs_buf.c; xfs_log.c
            "XFS (*): *orruption detected",
            "XFS (*): *Internal error",
            "XFS (*): *I/O error",
            // fs/btrfs/messages.c
            "BTRFS error (device ",
            "BTRFS critical (device ",
            "BTRFS: error (device ",
            // fs/f2fs/super.c, f2fs_handle_critical_error
            "F2FS-fs (*): Stopped filesystem due to reason",
            // fs/fat/misc.c, __fat_fs_error
            "FAT-fs (*): error, ",
        ],
        except: &[],
    },
    Rule {
        kind: "io-errors",
        any: &[
            // block/blk-mq.c, blk_print_req_error; `I/O`, `critical medium`, `timeout` ... come
            // before
            " error, dev *, sector ",
            // fs/buffer.c, buffer_io_error
            "Buffer I/O error on dev",
            // drivers/nvme/host/pci.c, nvme_timeout
            "nvme*timeout, aborting",
            "nvme*timeout, reset controller",
            "nvme*controller is down; will reset",
        ],
        // Floppies that hypervisors pretend to have, and empty optical drives.
        except: &[" dev fd", " dev sr"],
    },
    Rule {
        kind: "raid-failures",
        // drivers/md/raid1.c, raid10.c, raid5.c
        any: &["md/raid*Disk failure on "],
        except: &[],
    },
    Rule {
        kind: "hung-tasks",
        // kernel/hung_task.c, hung_task_info
        any: &["INFO: task *blocked for more than * seconds."],
        except: &[],
    },
    Rule {
        kind: "tables-full",
        any: &[
            // net/netfilter/nf_conntrack_core.c, __nf_conntrack_alloc
            "nf_conntrack: table full, dropping packet",
            // fs/file_table.c, alloc_empty_file
            "VFS: file-max limit * reached",
            // net/core/neighbour.c, neigh_alloc
            "neighbor table overflow!",
            // kernel/cgroup/pids.c is per cgroup and left to its unit
        ],
        except: &[],
    },
    Rule {
        kind: "transmit-timeouts",
        // net/sched/sch_generic.c, dev_watchdog
        any: &["NETDEV WATCHDOG: *transmit queue * timed out"],
        except: &[],
    },
    Rule {
        kind: "ata-resets",
        any: &[
            // drivers/ata/libata-eh.c, ata_eh_link_report, ata_eh_reset
            "ata*: hard resetting link",
            "ata*exception Emask*frozen",
        ],
        except: &[],
    },
    Rule {
        kind: "throttles",
        // arch/x86 (drivers/thermal/intel/therm_throt.c), therm_throt_process
        any: &["temperature above threshold, cpu clock"],
        except: &[],
    },
    Rule {
        kind: "links-down",
        any: &[
            // drivers/net/phy/phy.c, and most drivers of Intel: `NIC Link is Down`
            "Link is Down",
            // drivers/net/ethernet/broadcom/tg3.c and others
            "Link is down",
            // drivers/net/ethernet/mellanox/mlx5
            ": Link down",
            // drivers/net/bonding/bond_main.c, bond_mii_inspect
            "link status definitely down for interface",
        ],
        except: &[],
    },
    Rule {
        kind: "cgroup-oom-kills",
        // mm/oom_kill.c, with the words of mem_cgroup_out_of_memory
        any: &["Memory cgroup out of memory: Killed process "],
        except: &[],
    },
    Rule {
        kind: "warnings",
        any: &[
            // kernel/panic.c, __warn
            "WARNING: CPU: * PID: * at ",
            // the same since 6.19
            "WARNING: *at *, CPU#",
        ],
        except: &[],
    },
    Rule {
        kind: "segfaults",
        any: &[
            // arch/x86/mm/fault.c, show_signal_msg
            "]: segfault at * ip ",
            // arch/arm64/kernel/traps.c, arm64_show_signal
            "]: unhandled exception: ",
        ],
        except: &[],
    },
];

impl Rule {
    /// Whether a message tells of this kind of event.
    pub(super) fn applies(&self, message: &str) -> bool {
        self.any.iter().any(|pattern| matches(message, pattern))
            && !self.except.iter().any(|pattern| matches(message, pattern))
    }
}

/// Whether the parts of `pattern` between its `*` all occur in `message`, in this order.
///
/// No regular expressions: a pattern cannot take long, whatever the message, and cannot be wrong.
pub(super) fn matches(message: &str, pattern: &str) -> bool {
    let mut rest = message;
    pattern.split('*').all(|part| match rest.split_once(part) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_in_their_order() {
        for (message, pattern, found) in [
            ("abc", "b", true),
            ("abc", "a*c", true),
            ("abc", "c*a", false),
            ("aa", "a*a", true),
            ("a", "a*a", false),
            ("abc", "", true),
            ("ABC", "b", false),
        ] {
            assert_eq!(matches(message, pattern), found, "{message} {pattern}");
        }
    }

    /// Each as a kernel printed it, and all kinds that it is.
    #[test]
    fn messages_are_told_apart() {
        for (message, kinds) in [
            ("EXT4-fs (sda3): Remounting filesystem read-only", vec!["remounted-read-only"]),
            ("BTRFS info (device sda1: state E): forced readonly", vec!["remounted-read-only"]),
            (
                "XFS (dm-0): Filesystem has been shut down due to log error (0x2).",
                vec!["remounted-read-only"],
            ),
            ("XFS (dm-0): log I/O error -5", vec!["filesystem-errors"]),
            (
                "EXT4-fs error (device sda3): ext4_find_entry:1455: inode #2: comm ls: reading directory lblock 0",
                vec!["filesystem-errors"],
            ),
            ("Oops: 0002 [#1] PREEMPT SMP PTI", vec!["oopses"]),
            (
                "Oops: general protection fault, probably for non-canonical address 0xdead: 0000 [#1] SMP",
                vec!["oopses"],
            ),
            ("invalid opcode: 0000 [#1] SMP", vec!["oopses"]),
            ("Internal error: Oops: 0000000096000004 [#1] SMP", vec!["oopses"]),
            (
                "watchdog: BUG: soft lockup - CPU#3 stuck for 22s! [kworker/3:1:123]",
                vec!["lockups"],
            ),
            ("rcu: INFO: rcu_sched self-detected stall on CPU", vec!["lockups"]),
            (
                "Out of memory: Killed process 1234 (mysqld) total-vm:1234kB, anon-rss:1000kB",
                vec!["oom-kills"],
            ),
            (
                "Out of memory (oom_kill_allocating_task): Killed process 1 (x) total-vm:1kB",
                vec!["oom-kills"],
            ),
            (
                "Memory cgroup out of memory: Killed process 1234 (java) total-vm:1234kB",
                vec!["cgroup-oom-kills"],
            ),
            ("mce: [Hardware Error]: Machine check events logged", vec!["hardware-errors"]),
            (
                "EDAC MC0: 1 CE memory read error on CPU_SrcID#0_Ha#0_Chan#1_DIMM#0",
                vec!["hardware-errors"],
            ),
            (
                "pcieport 0000:00:1c.5: PCIe Bus Error: severity=Corrected, type=Physical Layer",
                vec![],
            ),
            (
                "I/O error, dev sda, sector 2048 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 2",
                vec!["io-errors"],
            ),
            (
                "critical medium error, dev sdb, sector 99 op 0x0:(READ) flags 0x80700",
                vec!["io-errors"],
            ),
            ("blk_update_request: I/O error, dev fd0, sector 0 op 0x0:(READ) flags 0x0", vec![]),
            (
                "nvme nvme0: I/O tag 12 (100c) opcode 0x2 (I/O Cmd) QID 3 timeout, aborting req_op:READ(0)",
                vec!["io-errors"],
            ),
            ("md/raid1:md0: Disk failure on sdb1, disabling device.", vec!["raid-failures"]),
            ("INFO: task kworker/u8:1:57 blocked for more than 120 seconds.", vec!["hung-tasks"]),
            ("nf_conntrack: nf_conntrack: table full, dropping packet", vec!["tables-full"]),
            ("NETDEV WATCHDOG: eth2 (igb): transmit queue 4 timed out", vec!["transmit-timeouts"]),
            ("ata1: hard resetting link", vec!["ata-resets"]),
            (
                "CPU0: Core temperature above threshold, cpu clock throttled (total events = 22034)",
                vec!["throttles"],
            ),
            ("e1000e 0000:00:19.0 eth0: NIC Link is Down", vec!["links-down"]),
            (
                "bond0: (slave eth1): link status definitely down for interface eth1, disabling it",
                vec!["links-down"],
            ),
            (
                "WARNING: CPU: 1 PID: 0 at net/sched/sch_generic.c:480 dev_watchdog+0x1f3/0x200",
                vec!["warnings"],
            ),
            ("WARNING: kernel/fork.c:12 at copy_process+0x1/0x2, CPU#1: bash/77", vec!["warnings"]),
            (
                "app[77]: segfault at 0 ip 0000000000401136 sp 00007ffd error 6 in app[401000+1000]",
                vec!["segfaults"],
            ),
            // A healthy day.
            ("EXT4-fs (vda): mounted filesystem r/w without journal. Quota mode: none.", vec![]),
            ("EXT4-fs (sda1): re-mounted 4f1a r/w. Quota mode: none.", vec![]),
            ("e1000e 0000:00:19.0 eth0: NIC Link is Up 1000 Mbps Full Duplex", vec![]),
            ("br0: port 1(eth0) entered disabled state", vec![]),
            ("ata1: SATA link up 6.0 Gbps (SStatus 133 SControl 300)", vec![]),
        ] {
            let told: Vec<_> =
                RULES.iter().filter(|rule| rule.applies(message)).map(|rule| rule.kind).collect();
            assert_eq!(told, kinds, "{message}");
        }
    }
}
