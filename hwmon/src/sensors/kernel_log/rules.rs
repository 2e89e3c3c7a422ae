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
pub(super) const RULES: [Rule; 24] = [
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
        kind: "overheats",
        // drivers/thermal/thermal_core.c, thermal_zone_device_critical; with `(95 C)` before 5.10
        any: &["critical temperature reached*, shutting down"],
        except: &[],
    },
    Rule {
        kind: "memory-failures",
        any: &[
            // mm/memory-failure.c, of pages that were taken out of use
            "Memory failure: 0x",
            // drivers/edac/edac_mc.c, edac_ue_error
            "EDAC MC*: * UE ",
        ],
        except: &[],
    },
    Rule {
        kind: "hardware-errors",
        any: &[
            // HW_ERR in include/linux/printk.h: machine checks, APEI
            "[Hardware Error]: ",
            // arch/x86/kernel/nmi.c, unknown_nmi_error, pci_serr_error
            "NMI: PCI system error (SERR)",
            "NMI: IOCK error",
        ],
        // arch/x86/kernel/cpu/mce/core.c, __print_mce: more of the error in the line before.
        except: &["mce: [Hardware Error]: TSC ", "mce: [Hardware Error]: PROCESSOR "],
    },
    Rule {
        kind: "pcie-errors",
        any: &[
            // drivers/pci/pcie/aer.c, aer_print_error: `Uncorrected`, since 6.9 `Uncorrectable`;
            // `PCIe Bus Error`, since 6.17 also `CXL Bus Error`
            "Bus Error: severity=Uncorrect",
            // drivers/pci/pcie/dpc.c, dpc_process_error: the port switched its link off
            "DPC: containment event, status",
        ],
        except: &[],
    },
    Rule {
        kind: "gpu-errors",
        any: &[
            // The drivers of NVIDIA, of cards and of their switches
            "NVRM: Xid (",
            "SXid (",
            // drivers/gpu/drm/amd/amdgpu/amdgpu_job.c, amdgpu_job_timedout; amdgpu_device.c
            "amdgpu*ring * timeout",
            "amdgpu*GPU reset begin!",
            // drivers/gpu/drm/i915/i915_gpu_error.c
            "GPU HANG: ecode",
        ],
        // Faults of the program that uses the card, as NVIDIA's list of them says.
        except: &[
            "NVRM: Xid (*): 13,",
            "NVRM: Xid (*): 31,",
            "NVRM: Xid (*): 43,",
            "NVRM: Xid (*): 45,",
        ],
    },
    Rule {
        kind: "controller-faults",
        any: &[
            // drivers/scsi/mpt3sas/mpt3sas_base.c, mpt3sas_base_fault_info
            "mpt*sas*: fault_state(0x",
            // drivers/scsi/megaraid/megaraid_sas_fusion.c; `megasas` before 4.12
            "mega*: Found FW in FAULT state",
            // drivers/scsi/aacraid/linit.c, aac_eh_host_reset and aac_eh_dev_reset
            "aacraid: Host * reset request. SCSI hang",
            // drivers/nvme/host/pci.c, nvme_reset_work; before 6.2 `Removing after probe failure`
            "nvme*: Disabling device after reset failure",
            "nvme*: Removing after probe failure",
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
            // fs/jbd2/commit.c, journal_finish_inode_data_buffers
            "JBD2: Detected IO errors while flushing file data on",
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
            // drivers/scsi/scsi_error.c, scsi_eh_offline_sdevs; scsi_lib.c
            "Device offlined - not ready after error recovery",
            "rejecting I/O to offline device",
            // drivers/md/dm-mpath.c, fail_path
            "device-mapper: multipath: *Failing path ",
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
        // kernel/hung_task.c, hung_task_info; ` in I/O wait` may come between in newer kernels
        any: &["INFO: task * blocked*for more than * seconds"],
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
        kind: "pcie-corrected",
        // drivers/pci/pcie/aer.c, aer_print_error: `Corrected`, since 6.9 `Correctable`
        any: &["Bus Error: severity=Correct"],
        except: &[],
    },
    Rule {
        kind: "memory-corrected",
        // drivers/edac/edac_mc.c, edac_ce_error
        any: &["EDAC MC*: * CE "],
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
            // drivers/net/bonding/bond_main.c, bond_miimon_commit: `, disabling slave` since 5.2,
            // ` for interface` before
            "link status definitely down",
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
                "mce: [Hardware Error]: CPU 0: Machine Check: 0 Bank 9: 9c00004000010092",
                vec!["hardware-errors"],
            ),
            ("mce: [Hardware Error]: TSC 0 ADDR 12345000 MISC 8c ", vec![]),
            (
                "mce: [Hardware Error]: PROCESSOR 2:60fb1 TIME 1795331065 SOCKET 0 APIC 0 microcode 1000065",
                vec![],
            ),
            ("bond0: (slave m1): link status definitely down, disabling slave", vec!["links-down"]),
            (
                "EDAC MC0: 1 CE memory read error on CPU_SrcID#0_Ha#0_Chan#1_DIMM#0",
                vec!["memory-corrected"],
            ),
            (
                "EDAC MC1: 1 UE memory read error on CPU_SrcID#1_MC#0_Chan#0_DIMM#1 (channel:0 slot:1)",
                vec!["memory-failures"],
            ),
            (
                "Memory failure: 0x12a4c5: recovery action for dirty LRU page: Recovered",
                vec!["memory-failures"],
            ),
            (
                "pcieport 0000:00:1c.5: PCIe Bus Error: severity=Corrected, type=Physical Layer, id=00e5(Receiver ID)",
                vec!["pcie-corrected"],
            ),
            (
                "pcieport 0000:07:00.0: PCIe Bus Error: severity=Correctable, type=Data Link Layer, (Receiver ID)",
                vec!["pcie-corrected"],
            ),
            (
                "pcieport 0000:00:1c.4: AER: Correctable error message received from 0000:07:00.0",
                vec![],
            ),
            (
                "pcieport 0000:05:02.0: PCIe Bus Error: severity=Uncorrectable (Non-Fatal), type=Transaction Layer, (Receiver ID)",
                vec!["pcie-errors"],
            ),
            (
                "pcieport 0000:00:01.4: DPC: containment event, status:0x1f01 source:0x0000",
                vec!["pcie-errors"],
            ),
            (
                "thermal thermal_zone4: critical temperature reached (128 C), shutting down",
                vec!["overheats"],
            ),
            (
                "thermal thermal_zone0: acpitz: critical temperature reached, shutting down",
                vec!["overheats"],
            ),
            (
                "NVRM: Xid (PCI:0000:01:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
                vec!["gpu-errors"],
            ),
            (
                "NVRM: Xid (PCI:0000:01:00): 31, pid=1234, name=python, Ch 00000008, MMU Fault",
                vec![],
            ),
            ("NVRM: GPU at PCI:0000:01:00: GPU-34d7319c-5b19-1e75-186d-c187099e4fe5", vec![]),
            (
                "[drm:amdgpu_job_timedout [amdgpu]] *ERROR* ring gfx timeout, signaled seq=3968, emitted seq=3970",
                vec!["gpu-errors"],
            ),
            ("amdgpu 0000:0c:00.0: GPU reset begin!", vec!["gpu-errors"]),
            (
                "i915 0000:00:02.0: [drm] GPU HANG: ecode 9:1:e757fefe, in test_g_monitor_ [25627]",
                vec!["gpu-errors"],
            ),
            ("mpt3sas_cm0: fault_state(0x2666)!", vec!["controller-faults"]),
            (
                "megaraid_sas 0000:03:00.0: Found FW in FAULT state, will reset adapter scsi0.",
                vec!["controller-faults"],
            ),
            ("aacraid: Host adapter reset request. SCSI hang ?", vec!["controller-faults"]),
            ("nvme nvme0: Disabling device after reset failure: -19", vec!["controller-faults"]),
            ("sd 1:0:0:0: Device offlined - not ready after error recovery", vec!["io-errors"]),
            ("sd 1:0:0:0: rejecting I/O to offline device", vec!["io-errors"]),
            ("device-mapper: multipath: 253:0: Failing path 8:32.", vec!["io-errors"]),
            (
                "JBD2: Detected IO errors while flushing file data on sdg1-8",
                vec!["filesystem-errors"],
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
            (
                "INFO: task virtme-ng-init:1 blocked in I/O wait for more than 122 seconds.",
                vec!["hung-tasks"],
            ),
            (
                "INFO: task (udev-worker):374 is blocked on a mutex likely owned by task virtme-ng-init:1.",
                vec![],
            ),
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
