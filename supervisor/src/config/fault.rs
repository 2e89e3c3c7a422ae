//! What is wrong with a configuration: where, which key, which value, and what to write instead.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use mastiff_core::sorted;

use super::locate::Lines;

/// Faults that are reported one by one; of the others only the number is.
pub const FAULTS_MAX: usize = 200;
/// Characters of a value that a fault shows.
const VALUE_SHOWN_MAX: usize = 60;

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub file: PathBuf,
    /// From 1; 0 where the file as a whole is meant.
    pub line: usize,
    /// In characters, from 1; 0 where the file as a whole is meant.
    pub column: usize,
    /// Section and key, as in `check.fail-when`; empty where no key is concerned.
    pub key: String,
    /// The value as written, shortened; empty where it does not matter.
    pub value: String,
    /// What is wrong, the limit, and what to write instead.
    pub message: String,
}

impl Fault {
    /// A fault of the file as a whole.
    pub fn of_file(file: &Path, message: impl Into<String>) -> Self {
        Self {
            file: file.to_path_buf(),
            line: 0,
            column: 0,
            key: String::new(),
            value: String::new(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Fault {
    /// `FILE:LINE:COLUMN: key = value: message`, which editors and CI systems find their way by.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(f, "{}:{}:", self.line, self.column)?;
        }
        match (self.key.as_str(), self.value.as_str()) {
            ("", _) => {}
            (key, "") => write!(f, " {key}:")?,
            (key, value) => write!(f, " {key} = {value}:")?,
        }
        write!(f, " {}", self.message)
    }
}

/// All faults of a file, by line; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    /// A line for each, without a final line break.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Self(vec![fault])
    }
}

/// A value with the key and the place where it was written.
#[derive(Clone, Debug)]
pub(super) struct Given<T> {
    pub(super) key: String,
    pub(super) span: Range<usize>,
    pub(super) value: T,
}

/// Collects the faults of one text.
#[derive(Debug)]
pub(super) struct Review<'t> {
    file: &'t Path,
    text: &'t str,
    lines: Lines<'t>,
    faults: Vec<Fault>,
    unlisted: usize,
}

impl<'t> Review<'t> {
    pub(super) fn new(file: &'t Path, text: &'t str) -> Self {
        Self { file, text, lines: Lines::new(text), faults: Vec::new(), unlisted: 0 }
    }

    /// Something is wrong with a value, which the message then shows.
    #[cold]
    #[inline(never)]
    pub(super) fn value<T>(&mut self, given: &Given<T>, message: impl Into<String>) {
        self.value_at(&given.key, &given.span, message);
    }

    /// As [`value`](Self::value), where the value has no type yet.
    #[cold]
    #[inline(never)]
    pub(super) fn value_at(&mut self, key: &str, span: &Range<usize>, message: impl Into<String>) {
        let value = self.shown(span);
        self.push(key, value, span.start, message.into());
    }

    /// Something is wrong with a key or a section as such.
    #[cold]
    #[inline(never)]
    pub(super) fn key(&mut self, key: &str, span: &Range<usize>, message: impl Into<String>) {
        self.push(key, String::new(), span.start, message.into());
    }

    /// The text is no TOML.
    pub(super) fn syntax(&mut self, span: Option<Range<usize>>, message: &str) {
        let span = span.unwrap_or(self.text.len()..self.text.len());
        let line = self.lines.place(span.start).0;
        // What follows a slip in the same line is mostly its echo.
        if self.faults.last().is_some_and(|fault| fault.line == line) {
            return;
        }
        let culprit = self.shown(&span);
        let at = if culprit.is_empty() { String::new() } else { format!(", at `{culprit}`") };
        self.push("", String::new(), span.start, format!("this is not TOML: {message}{at}"));
    }

    /// The line of an offset.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        self.lines.place(span.start).0
    }

    pub(super) fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    /// All faults by line.
    pub(super) fn end(mut self) -> Vec<Fault> {
        sorted::sort_by_key(&mut self.faults, &|fault| (fault.line, fault.column));
        if self.unlisted > 0 {
            let last = self.lines.count();
            let message = format!("and {} further faults, not listed", self.unlisted);
            let rest = Fault { line: last, column: 1, ..Fault::of_file(self.file, message) };
            self.faults.push(rest);
        }
        self.faults
    }

    fn push(&mut self, key: &str, value: String, offset: usize, message: String) {
        if self.faults.len() >= FAULTS_MAX {
            self.unlisted += 1;
            return;
        }
        let (line, column) = self.lines.place(offset);
        let key = shorten(key);
        self.faults.push(Fault {
            file: self.file.to_path_buf(),
            line,
            column,
            key,
            value,
            message,
        });
    }

    /// The text of a value, unless it has several lines or is the header of a section.
    fn shown(&self, span: &Range<usize>) -> String {
        let text = self.text.get(span.clone()).unwrap_or_default().trim_end();
        let before = self.text.get(..span.start).unwrap_or_default();
        let is_header = text.starts_with('[')
            && before.chars().rev().take_while(|c| *c != '\n').all(char::is_whitespace);
        if is_header || text.contains('\n') { String::new() } else { shorten(text) }
    }
}

/// Cuts what a fault repeats of the file, and makes control characters visible: a terminal would
/// obey them.
pub(super) fn shorten(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(VALUE_SHOWN_MAX)
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            escaped.into_iter().flatten().chain((!c.is_control()).then_some(c))
        })
        .collect();
    if text.chars().nth(VALUE_SHOWN_MAX).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_come_by_line_with_key_and_value() {
        let text = "a = 1\nb = \"x\u{7}\"\n";
        let mut review = Review::new(Path::new("f.toml"), text);
        review.value_at("s.b", &(10..14), "is wrong");
        review.key("s.a", &(0..1), "is unknown");
        let faults = Faults(review.end());
        assert_eq!(
            faults.to_string(),
            "f.toml:1:1: s.a: is unknown\nf.toml:2:5: s.b = \"x\\u{7}\": is wrong"
        );
    }

    #[test]
    fn a_flood_of_faults_is_counted_not_listed() {
        let mut review = Review::new(Path::new("f"), "a\n");
        for _ in 0..FAULTS_MAX + 7 {
            review.key("k", &(0..1), "m");
        }
        let faults = review.end();
        assert_eq!(faults.len(), FAULTS_MAX + 1);
        assert!(faults[FAULTS_MAX].message.contains("and 7 further"));
    }

    #[test]
    fn values_are_cut() {
        assert_eq!(shorten(&"x".repeat(61)), format!("{}…", "x".repeat(60)));
        assert_eq!(shorten("a\u{1b}[2J"), "a\\u{1b}[2J");
    }
}
