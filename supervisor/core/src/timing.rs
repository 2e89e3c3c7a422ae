//! Every timer of the pair, derived from one wish: `takeover-within`.

use serde::{Deserialize, Serialize};

use crate::time::Span;

/// The longest promise that a voter makes, and how long one that started without memory keeps
/// silent. A constant of the wire version, not of the configuration: a reload may have shortened
/// the lease after a longer promise, and a voter cannot know what it forgot.
pub const PROMISE_MAX: Span = Span::from_secs(10);

/// Two oscillators may differ by this much from the truth, each, in parts per million. A lease is
/// shortened by twice as much.
pub const DRIFT_PPM: u64 = 1000;

/// The timers of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timing {
    /// `L`: how long a granted lease lasts, from the sending of the ask.
    pub lease: Span,
    /// Time between beats.
    pub heartbeat: Span,
    /// How much later than the lease's end the kernel may still pass traffic, whatever the daemon
    /// does.
    pub slack: Span,
    /// `P`: how long a voter promises, from receipt: lease and slack.
    pub promise: Span,
    /// The owner closes the guard this long before the lease ends.
    pub margin: Span,
    /// The lease that is asked for before a planned restart.
    pub restart_lease: Span,
    /// The promise that goes with it.
    pub restart_promise: Span,
    /// The computed promise: from the death of the owner to the address on the other node.
    pub takeover_at_most: Span,
}
