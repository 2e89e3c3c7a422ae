//! Why a verb could not do what was asked, and the exit code that says so (sysexits.h).

use std::fmt;

/// It could be done, but not now.
pub(super) const REFUSED: u8 = 1;
/// The arguments make no sense (EX_USAGE).
pub(super) const EX_USAGE: u8 = 64;
/// The daemon does not run or does not answer (EX_UNAVAILABLE).
pub(super) const EX_UNAVAILABLE: u8 = 69;
/// A bug, in this program or in the daemon (EX_SOFTWARE).
pub(super) const EX_SOFTWARE: u8 = 70;
/// The caller may not do this (EX_NOPERM).
pub(super) const EX_NOPERM: u8 = 77;
/// The configuration has faults (EX_CONFIG).
pub(super) const EX_CONFIG: u8 = 78;

/// Why a verb could not do what was asked. The text goes after `mastiff: `.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The daemon will not do it as things stand.
    Refused(String),
    /// The arguments make no sense.
    Usage(String),
    /// No daemon listens on the socket.
    NotRunning(String),
    /// The daemon listens, but does not answer as it should.
    Unavailable(String),
    /// The daemon is a witness, and listens to nobody but its pairs.
    Witness(String),
    /// The daemon answered what no daemon may answer.
    Bug(String),
    /// The caller may not do this.
    Permission(String),
    /// The configuration has faults.
    Config(String),
    /// Whoever read our output has left, as `head` does. Nothing is wrong.
    ReaderGone,
}

impl Failure {
    /// The exit code.
    pub(super) const fn code(&self) -> u8 {
        match self {
            Self::Refused(_) => REFUSED,
            Self::Usage(_) => EX_USAGE,
            Self::NotRunning(_) | Self::Unavailable(_) | Self::Witness(_) => EX_UNAVAILABLE,
            Self::Bug(_) => EX_SOFTWARE,
            Self::Permission(_) => EX_NOPERM,
            Self::Config(_) => EX_CONFIG,
            Self::ReaderGone => 0,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(text)
            | Self::Usage(text)
            | Self::NotRunning(text)
            | Self::Unavailable(text)
            | Self::Witness(text)
            | Self::Bug(text)
            | Self::Permission(text)
            | Self::Config(text) => f.write_str(text),
            Self::ReaderGone => f.write_str("the reader of the output has gone"),
        }
    }
}
