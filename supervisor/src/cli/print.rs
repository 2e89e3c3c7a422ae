//! How things are printed: colour, width, words. Text from the machine is cleaned before it is
//! shown.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use clap::ValueEnum;
use mastiff_core::health::Verdict;
use mastiff_core::time::Span;

use super::failure::Failure;

/// Columns where the terminal does not say.
const COLUMNS_DEFAULT: usize = 80;
/// Below this no table can be read; lines then run over the edge.
const COLUMNS_MIN: usize = 40;
/// What stands for the part that was cut off. Three dots, since not every console shows `…`.
const ELLIPSIS: &str = "...";

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What a text means; the colour follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// Needs a hand.
    Bad,
    /// Needs a look.
    Warning,
    /// Nobody knows.
    Unknown,
    /// All is well.
    Good,
    /// A heading.
    Strong,
    /// Beside the point.
    Dim,
    /// Nothing special.
    Plain,
}

impl Tone {
    /// Of a verdict.
    pub(super) const fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Rests => Self::Dim,
            Verdict::Healthy => Self::Good,
            Verdict::Degraded => Self::Warning,
            Verdict::Unknown => Self::Unknown,
            Verdict::Failed => Self::Bad,
        }
    }

    /// The SGR parameters (ECMA-48 8.3.117); the eight basic colours follow the user's palette.
    const fn code(self) -> &'static str {
        match self {
            Self::Bad => "1;31",
            Self::Warning => "33",
            Self::Unknown => "35",
            Self::Good => "32",
            Self::Strong => "1",
            Self::Dim => "2",
            Self::Plain => "0",
        }
    }
}

/// Where the output goes, and how wide and colourful it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Out {
    /// Whether to colour.
    pub(super) color: bool,
    /// Columns; `None` where lines are not cut, as in a pipe.
    pub(super) width: Option<usize>,
}

impl Out {
    /// For the standard output of this process.
    pub(super) fn standard(color: Color) -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let color = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                terminal
                    && set("NO_COLOR").is_none()
                    && set("TERM").is_some_and(|term| term != "dumb")
            }
        };
        let told = set("COLUMNS").and_then(|value| value.to_str()?.parse().ok());
        let asked = || {
            let size = rustix::termios::tcgetwinsize(&stdout).ok()?;
            Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
        };
        let width =
            terminal.then(|| told.or_else(asked).unwrap_or(COLUMNS_DEFAULT).max(COLUMNS_MIN));
        Self { color, width }
    }

    /// The text in its tone.
    pub(super) fn paint(self, tone: Tone, text: &str) -> String {
        if self.color && tone != Tone::Plain && !text.is_empty() {
            format!("\x1b[{}m{text}\x1b[0m", tone.code())
        } else {
            text.to_string()
        }
    }

    /// The text in lines that fit, each indented by `indent`, the first one not. Words are never
    /// broken.
    pub(super) fn wrap(self, text: &str, indent: usize) -> String {
        let text = clean(text);
        let Some(width) = self.width else { return text };
        let mut out = String::with_capacity(text.len());
        let mut column = indent;
        for word in text.split(' ') {
            let length = word.chars().count();
            if column > indent && column.saturating_add(1 + length) > width {
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', indent));
                column = indent;
            } else if !out.is_empty() {
                out.push(' ');
                column += 1;
            }
            out.push_str(word);
            column = column.saturating_add(length);
        }
        out
    }

    /// The text, cut to what is left of a line after `used` columns.
    pub(super) fn fit(self, text: &str, used: usize) -> String {
        match self.width {
            Some(width) => cut(&clean(text), width.saturating_sub(used)),
            None => clean(text),
        }
    }
}

/// Writes to the standard output, all or nothing but an error.
///
/// # Errors
/// When the reader has gone ([`Failure::ReaderGone`]), or the output cannot be written, as on a
/// full disk.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ReaderGone,
            _ => Failure::Unavailable(format!("cannot write the output: {error}")),
        }
    })
}

/// Prints a value as JSON, indented for people who look at it.
///
/// # Errors
/// As [`print()`].
pub(super) fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::Bug(format!("cannot write JSON: {error}")))?;
    text.push('\n');
    print(&text)
}

/// One line of plain characters: a file name, a plugin's output or a log line may carry escape
/// sequences that would drive the operator's terminal.
pub(super) fn clean(text: &str) -> String {
    let safe = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        // Marks that reverse the direction of text can make a line read as another one
        // (CVE-2021-42574).
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c => c,
    };
    text.trim_end().chars().map(safe).collect()
}

/// The text in at most `width` characters, with dots where it was cut.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_string();
    }
    let kept: String = text.chars().take(width.saturating_sub(ELLIPSIS.len())).collect();
    let dots: String = ELLIPSIS.chars().take(width).collect();
    format!("{}{dots}", kept.trim_end())
}

/// A length of time in words: `2h 5m`, `12s`; `?` for what is none.
pub(super) fn duration(secs: f64) -> String {
    let Ok(length) = Duration::try_from_secs_f64(secs) else { return "?".to_string() };
    // Under a second a person reads "just now" from any number.
    let length =
        if length.as_secs() >= 10 { Duration::from_secs(length.as_secs()) } else { length };
    Span::from_nanos(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)).to_string()
}

/// `1 check`, `2 checks`.
pub(super) fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// The one of `known` that is nearest to what was typed, if any is near enough to be meant.
pub(super) fn nearest<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// Likeness from 0 to 1 above which a name is worth suggesting: two letters of eight may be
    /// wrong.
    const LIKENESS_MIN: f64 = 0.75;
    known
        .map(|name| (strsim::jaro_winkler(typed, name), name))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NARROW: Out = Out { color: false, width: Some(20) };
    const PIPE: Out = Out { color: false, width: None };

    #[test]
    fn a_cut_text_fits_and_says_that_it_was_cut() {
        assert_eq!(cut("used > 95% (96.1%)", 10), "used >...");
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("ümläute überall", 10), "ümläute...");
        assert_eq!(cut("anything", 2), "..");
        assert_eq!(cut("anything", 0), "");
    }

    #[test]
    fn a_wrapped_text_fits_unless_a_word_does_not() {
        let text = NARROW.wrap("one two three four five six seven", 4);
        assert_eq!(text, "one two three\n    four five six\n    seven");
        assert!(text.lines().all(|line| line.chars().count() <= 20), "{text}");
        assert_eq!(NARROW.wrap("a-word-that-is-longer-than-the-line b", 0).lines().count(), 2);
        assert_eq!(PIPE.wrap("one two three four five six seven", 4).lines().count(), 1);
    }

    #[test]
    fn what_would_drive_a_terminal_is_made_harmless() {
        assert_eq!(clean("a\x1b[2Jb\nc\x07"), "a\u{fffd}[2Jb c\u{fffd}");
        assert_eq!(clean("rlo \u{202e}x"), "rlo \u{fffd}x");
        assert_eq!(clean("größer > 95%\n"), "größer > 95%");
    }

    #[test]
    fn colour_is_there_only_when_wanted() {
        let loud = Out { color: true, width: None };
        assert_eq!(loud.paint(Tone::Bad, "failed"), "\x1b[1;31mfailed\x1b[0m");
        assert_eq!(PIPE.paint(Tone::Bad, "failed"), "failed");
    }

    #[test]
    fn lengths_of_time_are_words_and_nonsense_is_not_a_panic() {
        assert_eq!(duration(7500.0), "2h 5m");
        assert_eq!(duration(0.04), "40ms");
        for nonsense in [f64::NAN, -1.0, f64::INFINITY, 1e300] {
            assert_eq!(duration(nonsense), "?");
        }
    }

    #[test]
    fn a_misspelt_name_finds_its_neighbour_and_a_strange_one_none() {
        let known = ["memory", "filesystem /", "load"];
        assert_eq!(nearest("memroy", known.into_iter()), Some("memory"));
        assert_eq!(nearest("filesystem", known.into_iter()), Some("filesystem /"));
        assert_eq!(nearest("zzz", known.into_iter()), None);
    }
}
