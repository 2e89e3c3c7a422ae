//! Wall-clock time as the operator's clock shows it: `localtime_r` knows TZ and /etc/localtime.

use std::mem::MaybeUninit;

/// A moment of Unix time in whole seconds as `2026-11-21 03:12:45` in the local time zone
/// (localtime(3)).
///
/// `None` where the year does not fit into what the C library can hold.
pub fn local_time(unix_secs: i64) -> Option<String> {
    let seconds: libc::time_t = unix_secs;
    let mut broken = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both pointers are valid for the call and of the right types; localtime_r writes
    // `broken` whole when it returns non-null, and touches nothing else but its own time zone data,
    // under its own lock. No code of this crate changes the environment (TZ) while threads run.
    let filled = unsafe { libc::localtime_r(&raw const seconds, broken.as_mut_ptr()) };
    if filled.is_null() {
        return None;
    }
    // SAFETY: non-null means that it was filled; tm is plain integers and a pointer that is not
    // used here.
    let tm = unsafe { broken.assume_init() };
    let year = i64::from(tm.tm_year).saturating_add(1900);
    let month = tm.tm_mon.saturating_add(1);
    Some(format!(
        "{year:04}-{month:02}-{:02} {:02}:{:02}:{:02}",
        tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_the_shape_of_a_date_and_a_time() {
        let text = local_time(1_700_000_000).unwrap();
        assert!(text.starts_with("2023-11-1"), "{text}");
        assert_eq!(text.len(), "2023-11-14 22:13:20".len(), "{text}");
    }

    #[test]
    fn a_moment_beyond_the_calendar_is_none() {
        assert_eq!(local_time(i64::MAX), None);
    }
}
