//! Conditions: `used > 95%`, `state != active`, `read-only`, `restarts > 3 in 10m`.
//!
//! `quantity operator value`, and nothing beyond that. A condition is parsed against the quantities
//! of its sensor and typed by their unit when the file is loaded, so none can fail later; it is
//! evaluated to one of three truths, since a missing value makes it neither true nor false.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::reading::{Quantity, Readings, Unit, Value};
use crate::time::{Mono, Span, SpanError};

mod implied;

/// Slices of one `in` window: what grew within a slice counts from its begin, so a window is exact
/// to 1/64 of its length, and a counter that does not move costs nothing.
pub const WINDOW_SLICES: u64 = 64;

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `>`
    Above,
    /// `>=`
    AtLeast,
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `==`, also written `=`
    Equal,
    /// `!=`
    Differs,
}

/// What must hold.
#[derive(Clone, Debug, PartialEq)]
enum Test {
    Number(Operator, f64),
    Flag(bool),
    Word {
        equal: bool,
        word: Box<str>,
    },
    /// Growth of a total within a time.
    Growth {
        operator: Operator,
        by: f64,
        within: Span,
    },
}

/// One parsed condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    text: Box<str>,
    quantity: usize,
    test: Test,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not.
    False,
    /// The value is missing.
    Unknown,
}

/// What one condition remembers of earlier readings; empty unless it has an `in` window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    last_total: Option<f64>,
    /// When each slice began, and what grew in it.
    slices: VecDeque<(Mono, f64)>,
}

/// Why a text is not a condition on this sensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConditionError {
    /// Nothing is there.
    Empty,
    /// The sensor has no quantity of this name.
    UnknownQuantity(String),
    /// Something else than an operator follows the name.
    Operator(String),
    /// The quantity is not a flag, so an operator and a value must follow.
    NeedsValue(&'static str, &'static str),
    /// The operator makes no sense for this unit; the second part says what does.
    WrongOperator(&'static str, &'static str),
    /// The value is not of the quantity's unit: the value, and how to write it.
    WrongValue(String, &'static str),
    /// Not one of the words that the quantity can be.
    UnknownWord(String, &'static [&'static str]),
    /// `in` after a quantity that does not count up.
    NotATotal(&'static str),
    /// The length of an `in` window.
    Window(SpanError),
    /// A share above 100 % or a window of no length: the condition could never hold, or always.
    Impossible(&'static str),
}

impl Condition {
    /// Parses and types one condition against the quantities of its sensor.
    ///
    /// # Errors
    /// Each variant of [`ConditionError`].
    pub fn parse(text: &str, quantities: &[Quantity]) -> Result<Self, ConditionError> {
        let text = text.trim();
        let name_end =
            text.find(|c: char| c.is_whitespace() || "<>=!".contains(c)).unwrap_or(text.len());
        let (name, rest) = text.split_at(name_end);
        if name.is_empty() {
            return Err(ConditionError::Empty);
        }
        let index = quantities.iter().position(|quantity| quantity.name == name);
        let Some((index, quantity)) = index.and_then(|i| quantities.get(i).map(|q| (i, q))) else {
            return Err(ConditionError::UnknownQuantity(name.to_string()));
        };
        let rest = rest.trim_start();
        let test = if rest.is_empty() {
            match quantity.unit {
                Unit::Flag => Test::Flag(true),
                unit => return Err(ConditionError::NeedsValue(quantity.name, example(unit))),
            }
        } else {
            let (operator, value) = split_operator(rest)?;
            typed(quantity, operator, value)?
        };
        Ok(Self { text: text.into(), quantity: index, test })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The index of its quantity in the sensor's declaration.
    pub fn quantity(&self) -> usize {
        self.quantity
    }

    /// Takes one reading into `history`, which must be this condition's own, and says whether it
    /// holds.
    pub fn evaluate(&self, readings: &Readings, now: Mono, history: &mut History) -> Truth {
        if let (Test::Growth { within, .. }, Some(Value::Number(total))) =
            (&self.test, readings.at(self.quantity))
            && total.is_finite()
        {
            history.feed(now, *total, *within);
        }
        self.look(readings, now, history)
    }

    /// Whether it holds for a reading that was already taken in.
    pub fn look(&self, readings: &Readings, now: Mono, history: &History) -> Truth {
        let Some(value) = readings.at(self.quantity) else { return Truth::Unknown };
        match (&self.test, value) {
            (_, Value::Absent) => Truth::False,
            (Test::Number(operator, limit), Value::Number(number)) => {
                compare(*operator, *number, *limit)
            }
            (Test::Flag(wanted), Value::Flag(flag)) => truth(wanted == flag),
            (Test::Word { equal, word }, Value::Word(is)) => truth((word == is) == *equal),
            (Test::Growth { .. }, Value::Number(total)) if !total.is_finite() => Truth::Unknown,
            (Test::Growth { operator, by, within }, Value::Number(_)) => {
                compare(*operator, history.growth(now, *within), *by)
            }
            // A sensor that sends a word for a number is broken, not healthy.
            (Test::Number(..) | Test::Flag(_) | Test::Word { .. } | Test::Growth { .. }, _) => {
                Truth::Unknown
            }
        }
    }
}

impl History {
    /// Adds a sample. A total that fell was restarted, so what it shows now is growth, too.
    fn feed(&mut self, now: Mono, total: f64, within: Span) {
        let last = self.last_total.replace(total);
        let grown = last.map_or(0.0, |last| if total >= last { total - last } else { total });
        let width = Span::from_nanos(within.as_nanos() / WINDOW_SLICES);
        if grown > 0.0 {
            match self.slices.back_mut() {
                Some((began, sum)) if now.since(*began) < width => *sum += grown,
                Some(_) | None => self.slices.push_back((now, grown)),
            }
        }
        while self.slices.front().is_some_and(|(began, _)| now.since(*began) >= within) {
            self.slices.pop_front();
        }
    }

    /// How much the total grew within the window that ends now.
    fn growth(&self, now: Mono, within: Span) -> f64 {
        let inside = |slice: &&(Mono, f64)| now.since(slice.0) < within;
        self.slices.iter().filter(inside).map(|(_, sum)| sum).sum()
    }
}

fn truth(holds: bool) -> Truth {
    if holds { Truth::True } else { Truth::False }
}

fn compare(operator: Operator, number: f64, limit: f64) -> Truth {
    // Numbers that came through a pipe may still be NaN: that is a missing value, not a large one.
    // And -0 is 0.
    let Some(order) = number.partial_cmp(&limit) else { return Truth::Unknown };
    truth(match operator {
        Operator::Above => order.is_gt(),
        Operator::AtLeast => order.is_ge(),
        Operator::Below => order.is_lt(),
        Operator::AtMost => order.is_le(),
        Operator::Equal => order.is_eq(),
        Operator::Differs => order.is_ne(),
    })
}

fn split_operator(text: &str) -> Result<(Operator, &str), ConditionError> {
    for (sign, operator) in [
        (">=", Operator::AtLeast),
        ("<=", Operator::AtMost),
        ("==", Operator::Equal),
        ("!=", Operator::Differs),
        (">", Operator::Above),
        ("<", Operator::Below),
        ("=", Operator::Equal),
    ] {
        if let Some(value) = text.strip_prefix(sign) {
            return Ok((operator, value.trim()));
        }
    }
    Err(ConditionError::Operator(text.split_whitespace().next().unwrap_or(text).to_string()))
}

fn typed(quantity: &Quantity, operator: Operator, value: &str) -> Result<Test, ConditionError> {
    let wrong = || ConditionError::WrongValue(value.to_string(), example(quantity.unit));
    let equality = match operator {
        Operator::Equal => Some(true),
        Operator::Differs => Some(false),
        Operator::Above | Operator::AtLeast | Operator::Below | Operator::AtMost => None,
    };
    match (quantity.unit, equality) {
        (Unit::Flag, Some(equal)) => {
            let flag = match value {
                "true" | "yes" => true,
                "false" | "no" => false,
                _ => return Err(wrong()),
            };
            Ok(Test::Flag(flag == equal))
        }
        (Unit::Word(words), Some(equal)) => {
            let word = value.trim_matches('"');
            if word.is_empty() || word.contains(char::is_whitespace) {
                return Err(wrong());
            }
            if !words.is_empty() && !words.contains(&word) {
                return Err(ConditionError::UnknownWord(word.to_string(), words));
            }
            Ok(Test::Word { equal, word: word.into() })
        }
        (Unit::Flag, None) => {
            Err(ConditionError::WrongOperator(quantity.name, example(Unit::Flag)))
        }
        (unit @ Unit::Word(_), None) => {
            Err(ConditionError::WrongOperator(quantity.name, example(unit)))
        }
        (unit, _) => typed_number(quantity.name, unit, operator, value)
            .and_then(|test| test.ok_or_else(wrong)),
    }
}

fn typed_number(
    name: &'static str,
    unit: Unit,
    operator: Operator,
    value: &str,
) -> Result<Option<Test>, ConditionError> {
    if let Some((amount, window)) = value.split_once(" in ") {
        if unit != Unit::Total {
            return Err(ConditionError::NotATotal(name));
        }
        let within = Span::parse(window).map_err(ConditionError::Window)?;
        if within == Span::ZERO {
            return Err(ConditionError::Impossible("a window needs a length, as in \"in 10m\""));
        }
        let number = parse_number(amount.trim(), &[]);
        return Ok(number.map(|by| Test::Growth { operator, by, within }));
    }
    let number = match unit {
        Unit::Ratio => parse_ratio(value),
        Unit::Bytes => parse_bytes(value),
        Unit::BytesPerSecond => parse_bytes(value.strip_suffix("/s").unwrap_or(value)),
        Unit::Celsius => parse_number(value, &["°C", "C", "c"]),
        Unit::Seconds => parse_seconds(value),
        Unit::PerSecond => parse_number(value, &["/s", ""]),
        Unit::Count | Unit::Total | Unit::Flag | Unit::Word(_) => parse_number(value, &[]),
    };
    let never = matches!(operator, Operator::Above) && number.is_some_and(|n| n >= 1.0)
        || number.is_some_and(|n| n > 1.0);
    if unit == Unit::Ratio && never {
        return Err(ConditionError::Impossible("a share never exceeds 100%"));
    }
    Ok(number.map(|number| Test::Number(operator, number)))
}

/// A plain number, finite, with one of `suffixes`, or with none where the list is empty.
fn parse_number(text: &str, suffixes: &[&str]) -> Option<f64> {
    let digits = if suffixes.is_empty() {
        text
    } else {
        suffixes.iter().find_map(|suffix| text.strip_suffix(suffix))?.trim_end()
    };
    // `parse` would also take "inf", "nan" and "1e3"; a limit is written plainly.
    if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_digit() || c == '.' || c == '-') {
        return None;
    }
    digits.parse().ok().filter(|number: &f64| number.is_finite())
}

fn parse_ratio(text: &str) -> Option<f64> {
    parse_number(text, &["%"]).map(|percent| percent / 100.0).filter(|share| *share >= 0.0)
}

fn parse_seconds(text: &str) -> Option<f64> {
    match text.strip_prefix('-') {
        Some(positive) => Span::parse(positive).ok().map(|span| -span.as_secs_f64()),
        None => Span::parse(text).ok().map(Span::as_secs_f64),
    }
}

/// `10GiB`, `64k`, `512`: powers of 1024, as systemd reads sizes. `GB` is refused: it has two
/// meanings.
pub fn parse_bytes(text: &str) -> Option<f64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let power = match unit.trim() {
        "" | "B" => 0,
        "K" | "k" | "KiB" => 1,
        "M" | "MiB" => 2,
        "G" | "GiB" => 3,
        "T" | "TiB" => 4,
        "P" | "PiB" => 5,
        _ => return None,
    };
    let mut number = parse_number(digits, &[])?;
    for _ in 0..power {
        number *= 1024.0;
    }
    Some(number)
}

/// How a condition on this unit is written.
fn example(unit: Unit) -> &'static str {
    match unit {
        Unit::Ratio => "> 95%",
        Unit::Bytes => "> 10GiB",
        Unit::BytesPerSecond => "> 10MiB/s",
        Unit::Celsius => "> 90C",
        Unit::Seconds => "> 1min 30s",
        Unit::Count => "> 100",
        Unit::Total => "> 3 in 10m",
        Unit::PerSecond => "> 100/s",
        Unit::Flag => "= true, = false, or the name alone",
        Unit::Word(_) => "!= word",
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for ConditionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("is empty; write a condition such as \"used > 95%\""),
            Self::UnknownQuantity(name) => write!(f, "has no quantity `{name}`"),
            Self::Operator(text) => {
                write!(f, "`{text}` is no operator; use one of > >= < <= == !=")
            }
            Self::NeedsValue(name, example) => {
                write!(f, "`{name}` needs a value, as in \"{name} {example}\"")
            }
            Self::WrongOperator(name, example) => {
                write!(f, "`{name}` can only be compared for equality, as in \"{name} {example}\"")
            }
            Self::WrongValue(value, example) if value.is_empty() => {
                write!(f, "a value must follow the operator; write it as in \"{example}\"")
            }
            Self::WrongValue(value, example) => {
                write!(f, "`{value}` is not a value of this quantity; write it as in \"{example}\"")
            }
            Self::UnknownWord(word, words) => {
                write!(f, "`{word}` is none of its words: {}", words.join(", "))
            }
            Self::NotATotal(name) => {
                write!(
                    f,
                    "`{name}` does not count up, so `in` makes no sense; leave the window out"
                )
            }
            Self::Window(error) => write!(f, "the time after `in` {error}"),
            Self::Impossible(why) => write!(f, "can never work: {why}"),
        }
    }
}

impl core::error::Error for ConditionError {}

/// Any-of over a list: true if one holds, else unknown if one is unknown.
pub fn any(
    conditions: &[Condition],
    histories: &mut [History],
    readings: &Readings,
    now: Mono,
) -> (Truth, Vec<usize>) {
    let mut holding = Vec::new();
    let mut unknown = false;
    for (index, (condition, history)) in conditions.iter().zip(histories.iter_mut()).enumerate() {
        match condition.evaluate(readings, now, history) {
            Truth::True => holding.push(index),
            Truth::Unknown => unknown = true,
            Truth::False => {}
        }
    }
    match (holding.is_empty(), unknown) {
        (false, _) => (Truth::True, holding),
        (true, true) => (Truth::Unknown, holding),
        (true, false) => (Truth::False, holding),
    }
}

#[cfg(test)]
mod tests;
