//! The sections of a pair as they take effect, written out.

use mastiff_core::timing::TAKEOVER_DEFAULT;

use super::super::Config;
use super::super::show::{Document, exact, one_argument, quoted, texts};
use super::{
    ArbiterConfig, Failback, GROUP_RECOVER_DEFAULT, GroupConfig, LISTEN_DEFAULT, PairConfig,
    UNITS_WITHIN_DEFAULT, WitnessConfig,
};
use crate::guard::Wanted;

/// Adds them to the document.
pub(in super::super) fn show(out: &mut Document, config: &Config) {
    if let Some(config) = &config.pair {
        pair(out, config);
        for config in &config.groups {
            group(out, config);
        }
    }
    if let Some(config) = &config.witness {
        witness(out, config);
    }
}

fn pair(out: &mut Document, pair: &PairConfig) {
    out.section("[pair]");
    out.key("name", &quoted(&pair.name), false);
    out.key("peer", &quoted(&pair.peer), false);
    out.key("key-file", &quoted(&pair.key_file.to_string_lossy()), false);
    let is_default = pair.takeover_within == TAKEOVER_DEFAULT;
    out.key("takeover-within", &quoted(&exact(pair.takeover_within)), is_default);
    out.key("guard", &quoted(pair.guard.name()), pair.guard == Wanted::Auto);
    let by_keys = match pair.arbiter {
        ArbiterConfig::Witness(_) => true,
        ArbiterConfig::Wire(_) => pair.fence.is_none(),
        ArbiterConfig::Fence => true,
    };
    out.key("arbiter", &quoted(pair.arbiter.name()), by_keys);
    match pair.arbiter {
        ArbiterConfig::Witness(at) => out.key("witness", &quoted(&at.to_string()), false),
        ArbiterConfig::Wire(Some(ip)) => out.key("gateway", &quoted(&ip.to_string()), false),
        ArbiterConfig::Wire(None) | ArbiterConfig::Fence => {}
    }
    if let Some(fence) = &pair.fence {
        out.key("fence", &quoted(&command(fence)), false);
    }
    let ends = |path: &super::PathConfig| {
        let (local, peer) = (path.local.to_string(), path.peer.to_string());
        format!("{{ local = {}, peer = {} }}", quoted(&local), quoted(&peer))
    };
    let paths: Vec<String> = pair.paths.iter().map(ends).collect();
    out.key("paths", &format!("[{}]", paths.join(", ")), false);
}

fn group(out: &mut Document, group: &GroupConfig) {
    out.section("[[group]]");
    out.key("name", &quoted(&group.name), false);
    let addresses: Vec<String> = group.addresses.iter().map(ToString::to_string).collect();
    out.key("addresses", &texts(addresses.iter().map(String::as_str)), addresses.is_empty());
    let units = texts(group.units.iter().map(String::as_str));
    out.key("units", &units, group.units.is_empty());
    out.key("safety", if group.is_data { "\"data\"" } else { "\"network\"" }, !group.is_data);
    let after = group.address_after_units;
    out.key("address-after-units", &after.to_string(), !after);
    let resets = group.resets_connections;
    out.key("connections", if resets { "\"reset\"" } else { "\"keep\"" }, resets);
    if let Some(prefer) = &group.prefer {
        out.key("prefer", &quoted(prefer), false);
    }
    let failback = match group.failback {
        Failback::Never => "never".to_string(),
        Failback::Manual => "manual".to_string(),
        Failback::After(span) => format!("after {}", exact(span)),
    };
    out.key("failback", &quoted(&failback), group.failback == Failback::Never);
    let is_default = group.recover_after == GROUP_RECOVER_DEFAULT;
    out.key("recover-after", &quoted(&exact(group.recover_after)), is_default);
    for (key, span) in [("start-within", group.start_within), ("stop-within", group.stop_within)] {
        out.key(key, &quoted(&exact(span)), span == UNITS_WITHIN_DEFAULT);
    }
    let hooks: Vec<String> = group.on_role_change.iter().map(|words| command(words)).collect();
    out.key("on-role-change", &texts(hooks.iter().map(String::as_str)), hooks.is_empty());
}

fn witness(out: &mut Document, witness: &WitnessConfig) {
    out.section("[witness]");
    let is_default = witness.listen == LISTEN_DEFAULT;
    out.key("listen", &quoted(&witness.listen.to_string()), is_default);
    for pair in &witness.pairs {
        out.section("[[witness.pair]]");
        out.key("name", &quoted(&pair.name), false);
        out.key("key-file", &quoted(&pair.key_file.to_string_lossy()), false);
    }
}

fn command(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| one_argument(word)).collect();
    words.join(" ")
}
