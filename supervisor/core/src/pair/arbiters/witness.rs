//! Arbiter `witness`: a third machine that answers as a peer would. The node's side remembers only
//! when it was last heard, to warn while it is away; the other side is [`crate::pair::witness`].

use serde::{Deserialize, Serialize};

use crate::pair::clock::Clocks;
use crate::time::Span;

/// The witness as a node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Witness {
    heard: Option<Clocks>,
}

impl Witness {
    /// It was heard.
    pub const fn heard(&mut self, now: Clocks) {
        self.heard = Some(now);
    }

    /// How long it has been silent; `None`: never heard.
    #[must_use]
    pub fn silence(&self, now: Clocks) -> Option<Span> {
        self.heard.map(|heard| now.longest_since(heard))
    }
}
