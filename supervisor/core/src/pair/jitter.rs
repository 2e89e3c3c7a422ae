//! A little randomness, from a seed: so that two candidates do not ask in step for ever.

use crate::time::Span;

/// splitmix64 (Steele, Lea, Flood 2014): one addition and one mix a number; any seed will do, and
/// nothing about safety depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Jitter(u64);

impl Jitter {
    /// From a seed that differs between the nodes.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A length below `limit`.
    pub fn below(&mut self, limit: Span) -> Span {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        Span::from_nanos(mixed.checked_rem(limit.as_nanos()).unwrap_or(0))
    }
}
