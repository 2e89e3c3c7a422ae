//! Takes one TOML table apart, key by key, and remembers every fault on the way.
//!
//! `deny_unknown_fields` of serde would stop at the first fault of the file; this goes on.

use std::ops::Range;

use mastiff_core::sorted::Map;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Given, Review, shorten};
use super::raw::SECTIONS;
use super::suggest;

/// Bytes of any text at most. Commands and paths are the longest; PATH_MAX is 4096
/// (linux/limits.h).
pub const TEXT_BYTES_MAX: usize = 4096;

/// What became of a key.
#[derive(Clone, Debug)]
pub(super) enum Field<T> {
    /// It is not there.
    Missing,
    /// It is there and has a fault, which has been reported.
    Refused,
    /// Its value.
    Given(Given<T>),
}

/// Something with the place where it was written.
pub(super) type Place<T> = (Range<usize>, T);

impl<T> Field<T> {
    /// What is made of the value, if there is one.
    pub(super) fn map<U>(self, make: impl FnOnce(T) -> U) -> Field<U> {
        match self {
            Self::Missing => Field::Missing,
            Self::Refused => Field::Refused,
            Self::Given(Given { key, span, value }) => {
                Field::Given(Given { key, span, value: make(value) })
            }
        }
    }

    pub(super) fn given(&self) -> Option<&Given<T>> {
        match self {
            Self::Given(given) => Some(given),
            Self::Missing | Self::Refused => None,
        }
    }
}

/// One entry of an `options` table.
#[derive(Clone, Debug)]
pub(super) struct RawOption {
    pub(super) name: String,
    pub(super) name_span: Range<usize>,
    pub(super) value: Field<String>,
}

/// One table, from which keys are taken.
pub(super) struct Section<'r, 't, 'v> {
    review: &'r mut Review<'t>,
    name: &'static str,
    known: &'static [&'static str],
    left: Map<String, (Range<usize>, Spanned<DeValue<'v>>)>,
}

impl<'r, 't, 'v> Section<'r, 't, 'v> {
    /// Lets `take` take the keys that it knows, then reports every key that it left.
    pub(super) fn read<T>(
        review: &'r mut Review<'t>,
        name: &'static str,
        known: &'static [&'static str],
        table: DeTable<'v>,
        take: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let mut section = Self::open(review, name, known, table);
        let taken = take(&mut section);
        section.finish();
        taken
    }

    /// Apart from `read`, which there is one of for each section: this is the larger part.
    #[inline(never)]
    fn open(
        review: &'r mut Review<'t>,
        name: &'static str,
        known: &'static [&'static str],
        table: DeTable<'v>,
    ) -> Self {
        let entries = table.into_iter();
        let left =
            entries.map(|(key, value)| (key.get_ref().to_string(), (key.span(), value))).collect();
        Self { review, name, known, left }
    }

    /// A text; `wanted` says what it should be, for those who write something else.
    #[inline(never)]
    pub(super) fn text(&mut self, key: &str, wanted: &str) -> Field<String> {
        let Some(value) = self.take(key) else { return Field::Missing };
        text(self.review, self.path(key), value, wanted)
    }

    /// A text or a list of texts.
    #[inline(never)]
    pub(super) fn texts(&mut self, key: &str, wanted: &str) -> Field<Vec<Given<String>>> {
        let Some(value) = self.take(key) else { return Field::Missing };
        let (path, span) = (self.path(key), value.span());
        let texts = match value.into_inner() {
            DeValue::Array(items) => {
                let mut texts = Vec::new();
                for item in items {
                    if let Field::Given(given) = text(self.review, path.clone(), item, wanted) {
                        texts.push(given);
                    }
                }
                texts
            }
            single => {
                match text(self.review, path.clone(), Spanned::new(span.clone(), single), wanted) {
                    Field::Given(given) => vec![given],
                    Field::Missing | Field::Refused => return Field::Refused,
                }
            }
        };
        Field::Given(Given { key: path, span, value: texts })
    }

    /// A list of tables, or the sections of a list; `wanted` says what it should be.
    pub(super) fn tables(&mut self, key: &str, wanted: &str) -> Field<Vec<Place<DeTable<'v>>>> {
        let Some(value) = self.take(key) else { return Field::Missing };
        let (path, span) = (self.path(key), value.span());
        let items = match value.into_inner() {
            DeValue::Array(items) => items,
            DeValue::Table(_) => {
                self.review.key(&path, &span, format!("must be {wanted}, not one table"));
                return Field::Refused;
            }
            other => {
                let message = format!("must be {wanted}, not {}", kind(&other));
                self.review.value_at(&path, &span, message);
                return Field::Refused;
            }
        };
        let mut tables = Vec::new();
        for item in items {
            let span = item.span();
            match item.into_inner() {
                DeValue::Table(table) => tables.push((span, table)),
                other => {
                    let message = format!("must be {wanted}: this is {}", kind(&other));
                    self.review.value_at(&path, &span, message);
                    return Field::Refused;
                }
            }
        }
        Field::Given(Given { key: path, span, value: tables })
    }

    /// `true` or `false`.
    #[inline(never)]
    pub(super) fn flag(&mut self, key: &str) -> Field<bool> {
        let Some(value) = self.take(key) else { return Field::Missing };
        let (path, span) = (self.path(key), value.span());
        match value.get_ref() {
            DeValue::Boolean(flag) => Field::Given(Given { key: path, span, value: *flag }),
            other => {
                let message = format!("must be true or false, without quotes, not {}", kind(other));
                self.review.value_at(&path, &span, message);
                Field::Refused
            }
        }
    }

    /// A whole number, as it is written; `wanted` says what it should be.
    pub(super) fn count(&mut self, key: &str, wanted: &str) -> Field<String> {
        let Some(value) = self.take(key) else { return Field::Missing };
        let (path, span) = (self.path(key), value.span());
        match (whole_number(value.get_ref()), value.get_ref()) {
            (Some(number), _) => Field::Given(Given { key: path, span, value: number }),
            (None, DeValue::Table(_)) => {
                self.review.key(&path, &span, format!("must be {wanted}, not a table"));
                Field::Refused
            }
            (None, other) => {
                self.review.value_at(
                    &path,
                    &span,
                    format!("must be {wanted}, not {}", kind(other)),
                );
                Field::Refused
            }
        }
    }

    /// A table of texts; whole numbers are taken as texts, too.
    pub(super) fn table(&mut self, key: &str) -> Vec<RawOption> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let (path, span) = (self.path(key), value.span());
        match value.into_inner() {
            DeValue::Table(table) => entries(self.review, &path, table),
            other => {
                let message =
                    format!("must be a table such as {{ key = \"value\" }}, not {}", kind(&other));
                self.review.value_at(&path, &span, message);
                Vec::new()
            }
        }
    }

    /// Reports every key that nobody took.
    #[inline(never)]
    fn finish(self) {
        for (key, (span, _)) in self.left.iter() {
            let home = SECTIONS.iter().find(|section| section.keys.contains(&key.as_str()));
            let near = suggest::nearest(key, self.known.iter().copied());
            let advice = match (home, near) {
                (Some(home), None) => format!("it belongs in {}", home.header()),
                _ => suggest::advice(key, self.known.iter().copied()),
            };
            let message = format!("there is no such key in this section; {advice}");
            self.review.key(&format!("{}.{}", self.name, shorten(key)), span, message);
        }
    }

    fn path(&self, key: &str) -> String {
        format!("{}.{key}", self.name)
    }

    #[inline(never)]
    fn take(&mut self, key: &str) -> Option<Spanned<DeValue<'v>>> {
        self.left.remove(key).map(|(_, value)| value)
    }
}

/// The entries of a table whose keys are not fixed.
pub(super) fn entries(review: &mut Review<'_>, path: &str, table: DeTable<'_>) -> Vec<RawOption> {
    let mut entries = Vec::new();
    for (key, value) in table {
        let name = key.get_ref().to_string();
        let path = format!("{path}.{}", shorten(&name));
        let value = match whole_number(value.get_ref()) {
            Some(number) => Field::Given(Given { key: path, span: value.span(), value: number }),
            None => option_text(review, path, value),
        };
        entries.push(RawOption { name, name_span: key.span(), value });
    }
    entries
}

/// Any text but an empty one: what an option may contain, its sensor knows (`send = "PING\r\n"`).
fn option_text(review: &mut Review<'_>, key: String, value: Spanned<DeValue<'_>>) -> Field<String> {
    match value.get_ref() {
        DeValue::String(text) if !text.is_empty() && text.len() <= TEXT_BYTES_MAX => {
            Field::Given(Given { key, span: value.span(), value: text.to_string() })
        }
        _ => text(review, key, value, "text in quotes"),
    }
}

/// A number as it would be written in quotes: `count = 3` means `count = "3"`.
fn whole_number(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_string()),
        _ => None,
    }
}

fn text(
    review: &mut Review<'_>,
    key: String,
    value: Spanned<DeValue<'_>>,
    wanted: &str,
) -> Field<String> {
    let span = value.span();
    let fault = match value.get_ref() {
        DeValue::String(text) if text.trim().is_empty() => {
            format!("is empty; write {wanted}, or leave the key out")
        }
        DeValue::String(text) if text.len() > TEXT_BYTES_MAX => {
            format!("is longer than {TEXT_BYTES_MAX} bytes")
        }
        // None of them has a meaning in a name, path or command, and NUL would end it early.
        DeValue::String(text) if text.contains(char::is_control) => {
            "contains a control character, such as a line break; leave it out".to_string()
        }
        DeValue::String(text) => {
            return Field::Given(Given { key, span, value: text.to_string() });
        }
        // Its text would be the header of a section, or a part of a dotted key.
        DeValue::Table(_) => {
            review.key(&key, &span, format!("must be {wanted}, not a table"));
            return Field::Refused;
        }
        other => format!("must be {wanted}, not {}", kind(other)),
    };
    review.value_at(&key, &span, fault);
    Field::Refused
}

/// What a value is, with its article.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// What to say of a section that is not known.
pub(super) fn unknown_section(name: &str) -> String {
    let sections = SECTIONS.iter().map(|section| section.name);
    match SECTIONS.iter().find(|section| section.keys.contains(&name)) {
        Some(home) => {
            format!("there is no such section; the key `{name}` belongs in {}", home.header())
        }
        None => format!("there is no such section; {}", suggest::advice(name, sections)),
    }
}
