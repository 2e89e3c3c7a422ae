//! Two nodes, one owner.

pub mod clock;
pub mod event;
pub mod message;
