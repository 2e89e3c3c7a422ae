//! The watchdog that mastiffd pets, in a line.

use crate::cli::print::{Out, Tone, clean, duration};
use crate::clock;
use crate::control::WatchdogStatus;

/// One line for `status` and `watchdog status`.
pub(in crate::cli) fn line(status: &WatchdogStatus, out: Out) -> String {
    let (tone, text) = sentence(status);
    format!("{}\n", out.paint(tone, &out.wrap(&clean(&text), 0)))
}

fn sentence(status: &WatchdogStatus) -> (Tone, String) {
    if let Some(why) = &status.why_none {
        return (Tone::Bad, format!("Watchdog: none is petted: {why}"));
    }
    let Some(identity) = &status.identity else {
        return (Tone::Dim, "Watchdog: PID 1 has the device, and watches mastiffd".to_string());
    };
    let name = status.name.as_deref().unwrap_or("the device");
    let mut text = format!("Watchdog: {name} ({identity})");
    if let Some(secs) = status.petted_secs_ago {
        text += &format!(", petted {} ago", duration(secs));
    }
    match (status.timeout_secs, status.fires_after_secs) {
        (Some(said), Some(seen)) if seen > said => {
            text += &format!(", fires after {seen} s although it says {said} s");
        }
        (Some(said), _) => text += &format!(", fires after {said} s"),
        (None, _) => text += ", and does not say after how long it fires",
    }
    match status.proven_at_unix_ms {
        Some(at) => {
            let at = i64::try_from(at).unwrap_or(0).saturating_mul(1_000_000);
            text += &format!("; proven {}", clock::utc(at));
        }
        None => text += "; not proven (`mastiff watchdog prove`)",
    }
    if let Some(celsius) = status.celsius {
        text += &format!("; {celsius} °C");
    }
    if let Some(alarm) = &status.alarm {
        text += &format!("; its driver says: {alarm}");
    }
    if status.is_software {
        text += "; it is software, and dies with the kernel";
    }
    if status.nowayout == Some(true) {
        text += "; it cannot be stopped (nowayout)";
    }
    match &status.refusal {
        Some(why) => (Tone::Bad, format!("{text}. It is NOT petted: {why}")),
        None if status.is_software || status.failed > 0 || status.alarm.is_some() => {
            (Tone::Warning, text)
        }
        None => (Tone::Dim, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn armed() -> WatchdogStatus {
        WatchdogStatus {
            device: "auto".into(),
            name: Some("watchdog0".into()),
            identity: Some("iTCO_wdt".into()),
            timeout_secs: Some(30),
            fires_after_secs: Some(30),
            petted_secs_ago: Some(2.0),
            ..WatchdogStatus::default()
        }
    }

    #[test]
    fn a_line_says_what_it_is_worth() {
        let said = |status: &WatchdogStatus| sentence(status).1;
        let plain = said(&armed());
        assert!(plain.contains("watchdog0 (iTCO_wdt), petted 2s ago, fires after 30 s"), "{plain}");
        assert!(plain.contains("not proven"));
        let proven = WatchdogStatus {
            proven_at_unix_ms: Some(1_795_231_173_000),
            fires_after_secs: Some(62),
            ..armed()
        };
        let proven = said(&proven);
        assert!(proven.contains("fires after 62 s although it says 30 s"), "{proven}");
        assert!(proven.contains("proven 2026-11-21T03:19:33Z"), "{proven}");
        let refused = WatchdogStatus { refusal: Some("a rung".into()), ..armed() };
        assert!(said(&refused).ends_with("It is NOT petted: a rung"));
        let hot =
            WatchdogStatus { celsius: Some(71), alarm: Some("a fan failed".into()), ..armed() };
        let (tone, hot) = sentence(&hot);
        assert!(tone == Tone::Warning && hot.ends_with("; 71 °C; its driver says: a fan failed"));
        let none = WatchdogStatus { why_none: Some("busy".into()), ..armed() };
        assert_eq!(said(&none), "Watchdog: none is petted: busy");
        let pid1 = WatchdogStatus { device: "pid1".into(), ..WatchdogStatus::default() };
        assert!(said(&pid1).contains("PID 1 has the device"));
    }
}
