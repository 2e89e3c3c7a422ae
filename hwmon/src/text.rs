//! How /proc and /sys write numbers.
//!
//! All of it is strict: what is not plainly a number is no number, since a wrong one would be
//! believed. A last line without its end was cut off (a recording, a file that changed under the
//! reader), so it is not read: `MemFree: 123` may have been `MemFree: 123456 kB`.

/// The complete lines of a text, without their ends.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'))
}

/// A whole number: decimal digits and nothing else but blanks around them.
pub fn whole(text: &str) -> Option<u64> {
    let digits = text.trim_ascii();
    // `parse` would also take a sign.
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// A whole number that may be negative. Above 2^53 it is rounded.
pub fn signed(text: &str) -> Option<f64> {
    match text.trim_ascii().strip_prefix('-') {
        // `whole` allows blanks around its digits.
        Some(digits) if digits.starts_with(|c: char| c.is_ascii_digit()) => {
            whole(digits).map(|number| -(number as f64))
        }
        Some(_) => None,
        None => whole(text).map(|number| number as f64),
    }
}

/// A number with a fraction: digits and at most one point, never negative.
pub fn decimal(text: &str) -> Option<f64> {
    let digits = text.trim_ascii();
    // `parse` would also take "inf", "nan" and "1e9".
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if plain { digits.parse().ok().filter(|number: &f64| number.is_finite()) } else { None }
}

/// A number as C's `%#x` writes it: `0x1003`.
pub fn hexadecimal(text: &str) -> Option<u64> {
    let digits = text.trim_ascii().strip_prefix("0x")?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if plain { u64::from_str_radix(digits, 16).ok() } else { None }
}

/// The number after a name in lines such as `pswpin 12` (/proc/vmstat, /proc/stat).
pub fn keyed(text: &str, name: &str) -> Option<u64> {
    lines(text).find_map(|line| {
        let rest = line.strip_prefix(name)?;
        if rest.starts_with(' ') { whole(rest) } else { None }
    })
}

/// The bytes after a name in lines such as `MemFree:  123 kB` (/proc/meminfo).
pub fn kibibytes(text: &str, name: &str) -> Option<u64> {
    meminfo(text, name).and_then(|value| whole(value.strip_suffix(" kB")?)?.checked_mul(1024))
}

/// The pages or other plain number after a name in lines such as `HugePages_Total:  4`
/// (/proc/meminfo).
pub fn meminfo_count(text: &str, name: &str) -> Option<u64> {
    meminfo(text, name).and_then(whole)
}

fn meminfo<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    lines(text).find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_numbers_are_numbers() {
        for (text, number) in [
            ("12\n", Some(12)),
            ("  7 ", Some(7)),
            ("", None),
            ("+7", None),
            ("-1", None),
            ("0x10", None),
            ("1 2", None),
            ("18446744073709551616", None),
        ] {
            assert_eq!(whole(text), number, "{text:?}");
        }
        for (text, number) in
            [("0.16", Some(0.16)), ("inf", None), ("-0.1", None), ("1e9", None), ("", None)]
        {
            assert_eq!(decimal(text), number, "{text:?}");
        }
        for (text, number) in
            [("0x1003\n", Some(0x1003)), ("1003", None), ("0x", None), ("0x-1", None)]
        {
            assert_eq!(hexadecimal(text), number, "{text:?}");
        }
    }

    #[test]
    fn numbers_may_be_negative() {
        for (text, number) in [
            ("-5000\n", Some(-5000.0)),
            ("7", Some(7.0)),
            ("--7", None),
            ("- 7", None),
            ("-", None),
            ("1.5", None),
        ] {
            assert_eq!(signed(text), number, "{text:?}");
        }
    }

    #[test]
    fn a_line_without_its_end_is_not_read() {
        let cut = "MemTotal:    2048 kB\nHugePages_Total:  4\nMemFree:    123";
        assert_eq!(kibibytes(cut, "MemTotal"), Some(2 << 20));
        assert_eq!(kibibytes(cut, "MemFree"), None);
        assert_eq!(kibibytes(cut, "Mem"), None);
        assert_eq!(meminfo_count(cut, "HugePages_Total"), Some(4));
        assert_eq!(keyed("pswpin 1\npswpout 2", "pswpin"), Some(1));
        assert_eq!(keyed("pswpin 1\npswpout 2", "pswpout"), None);
        assert_eq!(keyed("pswpin 1\n", "psw"), None);
    }
}
