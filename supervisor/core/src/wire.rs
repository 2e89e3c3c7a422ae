//! The bytes of a message: one fixed layout, version 1, [`LENGTH`] bytes, big endian.
//!
//! | offset | width | field | values |
//! |---:|---:|---|---|
//! | 0 | 3 | magic | `MTF` |
//! | 3 | 1 | version | 1 |
//! | 4 | 2 | length of the whole message | 224 |
//! | 6 | 2 | key id | [`KeyId`] of the key that signs |
//! | 8 | 8 | pair | [`PairId`] |
//! | 16 | 1 | sender | 1 first node, 2 second node, 3 witness |
//! | 17 | 1 | receiver | as the sender |
//! | 18 | 1 | role | 1 standby, 2 waiting, 3 fault, 4 maintenance, 5 taking, 6 active, 7 yielding |
//! | 19 | 1 | health | 1 failed, 2 unknown, 3 degraded, 4 healthy, 5 failing |
//! | 20 | 1 | not ready | 0 ready, 1 starting, 2 no report, 3 check failed, 4 link down, 5 definition differs, 6 paused, 7 observe only, 8 recovering, 9 peer's stop unknown, 10 no watchdog, 11 yielded, 12 units, 13 rebooting; others: not ready, for a reason of a later version |
//! | 21 | 1 | vote | 0 no answer, 1 granted; busy: 2 promised, 3 held, 4 silent, 5 unheard, 6 epoch, 7 rival, 8 released |
//! | 22 | 2 | flags | see below |
//! | 24 | 8 | session of the sender | not zero |
//! | 32 | 8 | sequence | not zero |
//! | 40 | 8 | echo: session of the receiver | zero with the next: nothing heard yet |
//! | 48 | 8 | echo: sequence | |
//! | 56 | 8 | group | |
//! | 64 | 8 | definition of the group | zero from the witness |
//! | 72 | 8 | highest epoch | |
//! | 80 | 8 | stops within, ns | bit 1; below 2^63 |
//! | 88 | 8 | peer stops within, ns | bit 2; below 2^63 |
//! | 96 | 8 | release: session of the owner | bit 3 |
//! | 104 | 8 | release: epoch | bit 3 |
//! | 112 | 8 | carried release: session of the owner | bit 5 |
//! | 120 | 8 | carried release: epoch | bit 5 |
//! | 128 | 8 | ask: epoch | bit 7 |
//! | 136 | 8 | ask: sent, boot clock, ns | bit 7; signed |
//! | 144 | 8 | ask: sent, raw clock, ns | bit 7; signed |
//! | 152 | 8 | ask: lease, ns | bit 7; at most the promise |
//! | 160 | 8 | ask: promise, ns | bit 7; at most [`PROMISE_MAX`] |
//! | 168 | 8 | answer: epoch | vote 1 to 8 |
//! | 176 | 8 | answer: sent, boot clock, ns | vote 1 to 8; signed |
//! | 184 | 8 | answer: sent, raw clock, ns | vote 1 to 8; signed |
//! | 192 | 8 | answer: lease, ns | vote 1 to 8; at most [`PROMISE_MAX`] |
//! | 200 | 8 | answer: time left, ns | vote 2 to 8; at most [`PROMISE_MAX`] |
//! | 208 | 16 | MAC over everything before | HMAC-SHA256, its first 16 bytes |
//!
//! Flags, bit 0 the lowest: 0 preferred; 1 stops-within is there; 2 peer-stops-within is there;
//! 3 release is there, 4 its owner is the second node; 5 carried release is there, 6 its owner is
//! the second node; 7 ask is there, 8 it is held already; 9 a
//! grant knows that the other node runs nothing. Bits 10 to 15 are zero.
//!
//! What is not there is zero, and every byte has one meaning: for each message there is one row of
//! bytes, and [`decode`] refuses every other one.
//!
//! 16 bytes of MAC are half of the hash, the least that RFC 2104 (section 5) allows and what IPsec
//! uses (RFC 4868): who has no key can only guess, online, once in 2^128. SHA-256 reads blocks of
//! 64 bytes, so that everything between 200 and 263 bytes in all costs the same.
//!
//! A key is changed in three steps, each on all machines before the next: the new one is added as
//! [`Keys::other`], then the two change places, then the old one is removed.

mod body;

use core::fmt;

use crate::pair::link::Envelope;
use crate::pair::message::{Beat, fnv1a};
use crate::time::Span;
use crate::timing::PROMISE_MAX;
use body::Reader;

/// Bytes of a message.
pub const LENGTH: usize = SIGNED + TAG;
/// Bytes of a message before its MAC.
pub const SIGNED: usize = 208;
/// Bytes of a MAC.
pub const TAG: usize = 16;

/// What every message begins with, of whatever version.
pub const MAGIC: [u8; 3] = *b"MTF";
const VERSION: u8 = 1;
/// Longer times cannot be added to a moment.
pub(crate) const SPAN_MAX: Span = Span::from_nanos(i64::MAX.unsigned_abs());

/// Names a pair on the wire, so that a witness finds the key of the pair. It guards nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PairId(pub u64);

impl PairId {
    /// Of the pair's name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self(fnv1a(name.as_bytes()))
    }
}

/// Tells which key signed, and so "another key" from "forged". Derived from the key, so that
/// nobody has to agree on numbers of keys; two keys may have the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u16);

/// One key of one pair. The core knows no cryptography: the shell has HMAC-SHA256, simulations
/// something cheap.
pub trait Mac {
    /// Its name on the wire.
    fn id(&self) -> KeyId;
    /// Signs.
    fn sign(&self, bytes: &[u8]) -> [u8; TAG];
    /// Whether `tag` was made of `bytes` with this key, in a time that does not depend on where
    /// they differ.
    fn verify(&self, bytes: &[u8], tag: &[u8; TAG]) -> bool;
}

/// The keys of a pair.
#[derive(Clone, Debug)]
pub struct Keys<M> {
    /// Whose.
    pub pair: PairId,
    /// Signs, and is accepted.
    pub current: M,
    /// Is accepted too, while keys are changed.
    pub other: Option<M>,
}

/// What is in a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// From whom, to whom, and which one.
    pub envelope: Envelope,
    /// What it says.
    pub beat: Beat,
}

/// Why a datagram is refused. Each has its counter.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Error {
    /// Not one of ours: noise, or another program's.
    Magic,
    /// From a mastiff older than any that talks to this one.
    OlderVersion,
    /// From a newer mastiff: one of the machines waits for its upgrade.
    NewerVersion,
    /// Cut off or too long.
    Length,
    /// Of another pair.
    OtherPair,
    /// Signed with a key that this machine does not have: the key files differ.
    UnknownKey,
    /// Forged or damaged.
    Forged,
    /// Authentic, as those below: no such sender.
    Sender,
    /// No such receiver.
    Receiver,
    /// No such role.
    Role,
    /// No such health.
    Health,
    /// No such vote.
    Vote,
    /// A session of zero.
    Session,
    /// A sequence number of zero.
    Sequence,
    /// Half an echo: a session without a number, or a number without a session.
    Echo,
    /// A stop time that no clock can hold.
    StopsWithin,
    /// A promise of more than [`PROMISE_MAX`].
    Promise,
    /// A lease longer than its promise.
    Lease,
    /// A wait of more than [`PROMISE_MAX`].
    Left,
    /// Something where nothing may be.
    Reserved,
}

impl Error {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 20] = [
        Self::Magic,
        Self::OlderVersion,
        Self::NewerVersion,
        Self::Length,
        Self::OtherPair,
        Self::UnknownKey,
        Self::Forged,
        Self::Sender,
        Self::Receiver,
        Self::Role,
        Self::Health,
        Self::Vote,
        Self::Session,
        Self::Sequence,
        Self::Echo,
        Self::StopsWithin,
        Self::Promise,
        Self::Lease,
        Self::Left,
        Self::Reserved,
    ];

    /// What an operator is told.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Magic => "not a message of mastiff",
            Self::OlderVersion => "from an older version",
            Self::NewerVersion => "from a newer version",
            Self::Length => "cut off or too long",
            Self::OtherPair => "of another pair",
            Self::UnknownKey => "signed with another key",
            Self::Forged => "forged or damaged",
            Self::Sender => "unknown sender",
            Self::Receiver => "unknown receiver",
            Self::Role => "unknown role",
            Self::Health => "unknown health",
            Self::Vote => "unknown vote",
            Self::Session => "no session",
            Self::Sequence => "no sequence number",
            Self::Echo => "half an echo",
            Self::StopsWithin => "stop time out of range",
            Self::Promise => "promise too long",
            Self::Lease => "lease longer than its promise",
            Self::Left => "wait too long",
            Self::Reserved => "something where nothing may be",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for Error {}

/// How many datagrams were refused, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals([u64; Error::ALL.len()]);

impl Refusals {
    /// One more.
    pub fn count(&mut self, error: Error) {
        if let Some(count) = self.0.get_mut(error as usize) {
            *count = count.saturating_add(1);
        }
    }

    /// All reasons with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (Error, u64)> {
        Error::ALL.into_iter().zip(self.0)
    }
}

/// The bytes of a message. Values beyond the limits of the layout are written as they are, and
/// refused by whoever reads them: a fault of the sender is seen in the receiver's counters.
pub fn encode<M: Mac>(message: &Message, keys: &Keys<M>) -> [u8; LENGTH] {
    let signed = body::write(message, keys.pair, keys.current.id());
    let tag = keys.current.sign(&signed);
    let mut bytes = [0; LENGTH];
    if let Some(front) = bytes.first_chunk_mut() {
        *front = signed;
    }
    if let Some(back) = bytes.last_chunk_mut() {
        *back = tag;
    }
    bytes
}

/// The pair that a datagram says it is of. It is not yet authentic: good for finding the key.
///
/// # Errors
/// [`Error::Magic`], [`Error::OlderVersion`], [`Error::NewerVersion`], [`Error::Length`].
pub fn pair_of(datagram: &[u8]) -> Result<PairId, Error> {
    Ok(header(datagram)?.0)
}

/// Reads a message. Behind the header nothing is looked at before the MAC is found right.
///
/// # Errors
/// Says why the datagram is not a message for the holder of `keys`.
pub fn decode<M: Mac>(datagram: &[u8], keys: &Keys<M>) -> Result<Message, Error> {
    let (pair, key) = header(datagram)?;
    if pair != keys.pair {
        return Err(Error::OtherPair);
    }
    let (signed, tag) = datagram.split_last_chunk::<TAG>().ok_or(Error::Length)?;
    let mut candidates =
        [Some(&keys.current), keys.other.as_ref()].into_iter().flatten().filter(|k| k.id() == key);
    let Some(first) = candidates.next() else { return Err(Error::UnknownKey) };
    if !first.verify(signed, tag) && !candidates.any(|other| other.verify(signed, tag)) {
        return Err(Error::Forged);
    }
    let message = body::read(signed)?;
    // There is one row of bytes for a message. Whatever differs from it, a bit without meaning or
    // a value behind the flag that says "absent", is a fault of the sender.
    if body::write(&message, pair, key).as_slice() == signed {
        Ok(message)
    } else {
        Err(Error::Reserved)
    }
}

/// Checks what can be checked without a key.
fn header(datagram: &[u8]) -> Result<(PairId, KeyId), Error> {
    let mut reader = Reader::new(datagram);
    if reader.take()? != MAGIC {
        return Err(Error::Magic);
    }
    // Before the length: a newer version may have another one.
    match reader.byte()? {
        VERSION => {}
        0 => return Err(Error::OlderVersion),
        _ => return Err(Error::NewerVersion),
    }
    let length = u16::from_be_bytes(reader.take()?);
    if usize::from(length) != LENGTH || datagram.len() != LENGTH {
        return Err(Error::Length);
    }
    let key = KeyId(u16::from_be_bytes(reader.take()?));
    Ok((PairId(reader.word()?), key))
}
