//! Findings about what else manages the interfaces of floating addresses.

use super::settings::setting;
use super::{Finding, Machine, Severity};
use crate::config::Config;

/// The interfaces of all floating addresses, each once.
pub(super) fn interfaces(config: &Config) -> Vec<String> {
    let groups = config.pair.iter().flat_map(|pair| &pair.groups);
    let mut names: Vec<String> =
        groups.flat_map(|group| &group.addresses).map(|a| a.interface.clone()).collect();
    names.sort();
    names.dedup();
    names
}

/// Whether systemd-networkd would remove them. It removes what it did not put there whenever it
/// configures an interface, unless `KeepConfiguration=yes` (systemd.network(5)); seen with systemd
/// 252 (a changed file, `networkctl reconfigure`) and 257 (its restart, too), and that `static` is
/// not enough.
pub(super) fn networkd(machine: &Machine) -> Vec<Finding> {
    let of = |name: &String| {
        let file = network_file(machine, name)?;
        let keep = setting(machine, &format!("network/{file}"), "KeepConfiguration");
        // parse_boolean() takes these, in any case.
        let is_yes = |value: &str| {
            ["yes", "y", "true", "t", "on", "1"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
        };
        if keep.is_some_and(|keep| is_yes(&keep.value)) {
            return Finding::good(format!("systemd-networkd keeps what others put on {name}"))
                .pop();
        }
        Some(Finding::new(
            Severity::Note,
            format!(
                "systemd-networkd removes the floating addresses from {name} when it configures \
                 the interface anew, as after its upgrade"
            ),
            "They are back within milliseconds and no role changes, but for so long nobody has \
             them.",
            format!(
                "[Network] KeepConfiguration=yes in /etc/systemd/network/{file}.d/keep.conf, then: \
                 networkctl reload (an address of DHCP then stays after its lease, too)"
            ),
        ))
    };
    machine.interfaces.iter().filter_map(of).collect()
}

/// The name of the file by which systemd-networkd manages an interface; `None` if it does not.
fn network_file(machine: &Machine, interface: &str) -> Option<String> {
    let index = machine.number(&format!("/sys/class/net/{interface}/ifindex"))?;
    // What sd_network_link_get_network_file() reads for networkctl(1).
    let state = machine.text(&format!("/run/systemd/netif/links/{index}")).ok()?;
    let path = state.lines().find_map(|line| line.strip_prefix("NETWORK_FILE="))?;
    path.rsplit('/').next().filter(|file| !file.is_empty()).map(String::from)
}
