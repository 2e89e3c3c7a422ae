//! What can be said of a condition before anything is measured: that it can never hold, that it
//! always does, or that another one holds whenever it does. The configuration is refused for such
//! conditions, since nobody who writes one means it.

use super::{Condition, Operator, Test, Truth, compare};
use crate::reading::Unit;

impl Condition {
    /// Whether `other`, on the same sensor, holds whenever this one does. False where that is not
    /// certain.
    pub fn implies(&self, other: &Self) -> bool {
        if self.quantity != other.quantity {
            return false;
        }
        match (&self.test, &other.test) {
            (Test::Number(a, low), Test::Number(b, high)) => is_within((*a, *low), (*b, *high)),
            (Test::Flag(a), Test::Flag(b)) => a == b,
            (Test::Word { equal: true, word: a }, Test::Word { equal: true, word: b })
            | (Test::Word { equal: false, word: a }, Test::Word { equal: false, word: b }) => {
                a == b
            }
            (Test::Word { equal: true, word: a }, Test::Word { equal: false, word: b }) => a != b,
            (
                Test::Growth { operator: a, by: low, within },
                Test::Growth { operator: b, by: high, within: other_within },
            ) => within == other_within && is_within((*a, *low), (*b, *high)),
            (Test::Number(..) | Test::Flag(_) | Test::Word { .. } | Test::Growth { .. }, _) => {
                false
            }
        }
    }

    /// `Some(true)` if it holds for every value that a quantity of this unit can have,
    /// `Some(false)` if for none.
    pub fn is_settled(&self, unit: Unit) -> Option<bool> {
        let (operator, limit) = match &self.test {
            Test::Number(operator, limit) => (*operator, *limit),
            Test::Growth { operator, by, .. } => (*operator, *by),
            Test::Flag(_) | Test::Word { .. } => return None,
        };
        let (least, most) = match unit {
            Unit::Ratio => (0.0, Some(1.0)),
            Unit::Bytes | Unit::BytesPerSecond | Unit::Count | Unit::Total | Unit::PerSecond => {
                (0.0, None)
            }
            // Offsets and ages may be negative, and so may temperatures.
            Unit::Celsius | Unit::Seconds | Unit::Flag | Unit::Word(_) => return None,
        };
        let all = [(Operator::AtLeast, Some(least)), (Operator::AtMost, most)];
        for (side, bound) in all.into_iter().filter_map(|(side, bound)| Some((side, bound?))) {
            if is_within((side, bound), (operator, limit)) {
                return Some(true);
            }
            if excludes((operator, limit), (side, bound)) {
                return Some(false);
            }
        }
        None
    }
}

/// Whether each number that passes the first comparison passes the second.
fn is_within(inner: (Operator, f64), outer: (Operator, f64)) -> bool {
    let holds = |test: (Operator, f64), number| compare(test.0, number, test.1) == Truth::True;
    match (inner.0, outer.0) {
        (Operator::Equal, _) => holds(outer, inner.1),
        (_, Operator::Differs) => !holds(inner, outer.1),
        (Operator::AtLeast, Operator::Above) => inner.1 > outer.1,
        (Operator::AtMost, Operator::Below) => inner.1 < outer.1,
        (Operator::Above | Operator::AtLeast, Operator::Above | Operator::AtLeast) => {
            inner.1 >= outer.1
        }
        (Operator::Below | Operator::AtMost, Operator::Below | Operator::AtMost) => {
            inner.1 <= outer.1
        }
        (
            Operator::Above
            | Operator::AtLeast
            | Operator::Below
            | Operator::AtMost
            | Operator::Differs,
            _,
        ) => false,
    }
}

/// Whether no number passes both comparisons: each that passes the first fails the second.
fn excludes(first: (Operator, f64), second: (Operator, f64)) -> bool {
    let opposite = match second.0 {
        Operator::Above => Operator::AtMost,
        Operator::AtLeast => Operator::Below,
        Operator::Below => Operator::AtLeast,
        Operator::AtMost => Operator::Above,
        Operator::Equal => Operator::Differs,
        Operator::Differs => Operator::Equal,
    };
    is_within(first, (opposite, second.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::Quantity;

    const QUANTITIES: &[Quantity] = &[
        Quantity { name: "used", unit: Unit::Ratio, meaning: "" },
        Quantity { name: "offset", unit: Unit::Seconds, meaning: "" },
        Quantity { name: "errors", unit: Unit::Total, meaning: "" },
        Quantity { name: "up", unit: Unit::Flag, meaning: "" },
        Quantity { name: "state", unit: Unit::Word(&["a", "b"]), meaning: "" },
        Quantity { name: "tasks", unit: Unit::Count, meaning: "" },
    ];

    fn condition(text: &str) -> Condition {
        Condition::parse(text, QUANTITIES).unwrap()
    }

    #[test]
    fn a_stricter_condition_implies_a_looser_one() {
        for (inner, outer, both_ways) in [
            ("used > 95%", "used > 85%", false),
            ("used > 95%", "used >= 95%", false),
            ("used >= 95%", "used > 90%", false),
            ("used < 5%", "used <= 5%", false),
            ("used <= 4%", "used < 5%", false),
            ("used = 50%", "used != 40%", false),
            ("used > 50%", "used != 40%", false),
            ("used > 95%", "used  >  95.0%", true),
            ("up", "up = true", true),
            ("up = no", "up != true", true),
            ("state = a", "state != b", false),
            ("errors > 9 in 1h", "errors > 3 in 1h", false),
        ] {
            assert!(condition(inner).implies(&condition(outer)), "{inner} / {outer}");
            assert_eq!(condition(outer).implies(&condition(inner)), both_ways, "{outer} / {inner}");
        }
    }

    #[test]
    fn unrelated_conditions_imply_nothing() {
        for (first, second) in [
            ("used > 95%", "used < 85%"),
            ("used > 95%", "errors > 3"),
            ("errors > 9 in 1h", "errors > 9 in 2h"),
            ("errors > 9 in 1h", "errors > 9"),
            ("up", "up = false"),
            ("state = a", "state = b"),
            ("state != a", "state != b"),
        ] {
            assert!(!condition(first).implies(&condition(second)), "{first} / {second}");
            assert!(!condition(second).implies(&condition(first)), "{second} / {first}");
        }
    }

    #[test]
    fn conditions_outside_the_range_of_their_unit_are_settled() {
        for (text, settled) in [
            ("used >= 0%", Some(true)),
            ("used < 0%", Some(false)),
            ("used <= 100%", Some(true)),
            ("used >= 100%", None),
            ("used != 100%", None),
            ("used < 100%", None),
            ("used > 0%", None),
            ("tasks < 0", Some(false)),
            ("tasks > -1", Some(true)),
            ("tasks != -1", Some(true)),
            ("tasks = -1", Some(false)),
            ("tasks <= 0", None),
            ("errors >= 0 in 1h", Some(true)),
            ("offset < -1s", None),
            ("up", None),
            ("state = a", None),
        ] {
            let condition = condition(text);
            let unit = QUANTITIES[condition.quantity()].unit;
            assert_eq!(condition.is_settled(unit), settled, "{text}");
        }
    }
}
