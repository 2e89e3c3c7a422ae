//! The fields behind each other, as the table of [`crate::wire`] has them.

use super::{Error, KeyId, LENGTH, MAGIC, Message, PROMISE_MAX, PairId, SIGNED, SPAN_MAX, VERSION};
use crate::pair::clock::Clocks;
use crate::pair::link::{Echo, Envelope, Sequence};
use crate::pair::message::{
    Answer, Ask, Beat, Epoch, GroupKey, Health, Member, NotReady, Owner, Refusal, Release, Role,
    Sender, Session, Standing, Vote,
};
use crate::time::{Mono, Span};

const PREFERRED: u16 = 1;
const STOPS_WITHIN: u16 = 1 << 1;
const PEER_STOPS_WITHIN: u16 = 1 << 2;
const RELEASED: u16 = 1 << 3;
const RELEASED_BY_SECOND: u16 = 1 << 4;
const CARRIED: u16 = 1 << 5;
const CARRIED_OF_SECOND: u16 = 1 << 6;
const ASK: u16 = 1 << 7;
const ASK_HELD: u16 = 1 << 8;
const PEER_STOPPED: u16 = 1 << 9;

const NO_ANSWER: u8 = 0;
const GRANTED: u8 = 1;

/// One list for both directions: the compiler refuses one that leaves a variant out, and nothing
/// is written that cannot be read.
macro_rules! codes {
    ($write:ident, $read:ident, $kind:ty, $error:expr, { $($code:literal $variant:path,)+ }) => {
        const fn $write(value: $kind) -> u8 {
            match value { $($variant => $code,)+ }
        }

        const fn $read(code: u8) -> Result<$kind, Error> {
            match code { $($code => Ok($variant),)+ _ => Err($error) }
        }
    };
}

codes!(role_code, role, Role, Error::Role, {
    1 Role::Standby,
    2 Role::Waiting,
    3 Role::Fault,
    4 Role::Maintenance,
    5 Role::Taking,
    6 Role::Active,
    7 Role::Yielding,
});

/// Of health, what is not known is unknown: so a later version may tell more.
const fn health_code(value: Health) -> u8 {
    match value {
        Health::Failed => 1,
        Health::Unknown => 2,
        Health::Degraded => 3,
        Health::Healthy => 4,
        Health::Failing => 5,
    }
}

const fn health(code: u8) -> Result<Health, Error> {
    Ok(match code {
        0 => return Err(Error::Health),
        1 => Health::Failed,
        3 => Health::Degraded,
        4 => Health::Healthy,
        5 => Health::Failing,
        _ => Health::Unknown,
    })
}

/// Of reasons, one that is not known is one all the same: so a later version may add some.
const fn not_ready_code(value: NotReady) -> u8 {
    match value {
        NotReady::Starting => 1,
        NotReady::NoReport => 2,
        NotReady::CheckFailed => 3,
        NotReady::LinkDown => 4,
        NotReady::DefinitionDiffers => 5,
        NotReady::Paused => 6,
        NotReady::ObserveOnly => 7,
        NotReady::Recovering => 8,
        NotReady::PeerStopUnknown => 9,
        NotReady::NoWatchdog => 10,
        NotReady::Yielded => 11,
        NotReady::Units => 12,
        NotReady::Rebooting => 13,
        NotReady::Other(code) => code,
    }
}

/// Zero: it is ready.
const fn not_ready(code: u8) -> Option<NotReady> {
    Some(match code {
        0 => return None,
        1 => NotReady::Starting,
        2 => NotReady::NoReport,
        3 => NotReady::CheckFailed,
        4 => NotReady::LinkDown,
        5 => NotReady::DefinitionDiffers,
        6 => NotReady::Paused,
        7 => NotReady::ObserveOnly,
        8 => NotReady::Recovering,
        9 => NotReady::PeerStopUnknown,
        10 => NotReady::NoWatchdog,
        11 => NotReady::Yielded,
        12 => NotReady::Units,
        13 => NotReady::Rebooting,
        code => NotReady::Other(code),
    })
}

codes!(refusal_code, refusal, Refusal, Error::Vote, {
    2 Refusal::Promised,
    3 Refusal::Held,
    4 Refusal::Silent,
    5 Refusal::Unheard,
    6 Refusal::Epoch,
    7 Refusal::Rival,
    8 Refusal::Released,
});

const fn sender_code(sender: Sender) -> u8 {
    match sender {
        Sender::Node(Member::First) => 1,
        Sender::Node(Member::Second) => 2,
        Sender::Witness => 3,
    }
}

const fn sender(code: u8, error: Error) -> Result<Sender, Error> {
    match code {
        1 => Ok(Sender::Node(Member::First)),
        2 => Ok(Sender::Node(Member::Second)),
        3 => Ok(Sender::Witness),
        _ => Err(error),
    }
}

/// Everything that is signed.
pub(super) fn write(message: &Message, pair: PairId, key: KeyId) -> [u8; SIGNED] {
    let Message { envelope, beat } = message;
    let mut writer = Writer { bytes: [0; SIGNED], written: 0 };
    writer.put(MAGIC);
    writer.byte(VERSION);
    writer.put(u16::try_from(LENGTH).unwrap_or(0).to_be_bytes());
    writer.put(key.0.to_be_bytes());
    writer.word(pair.0);

    writer.byte(sender_code(envelope.from));
    writer.byte(sender_code(envelope.to));
    writer.byte(role_code(beat.role));
    writer.byte(health_code(beat.standing.health));
    writer.byte(beat.not_ready.map_or(0, not_ready_code));
    writer.byte(vote_code(beat.answer));
    writer.put(flags(beat).to_be_bytes());

    writer.word(envelope.session.0);
    writer.word(envelope.sequence.0);
    writer.word(envelope.echo.map_or(0, |echo| echo.session.0));
    writer.word(envelope.echo.map_or(0, |echo| echo.sequence.0));

    writer.word(beat.group.0);
    writer.word(beat.definition);
    writer.word(beat.highest.0);
    writer.span(beat.stops_within);
    writer.span(beat.peer_stops_within);
    for release in [beat.released, beat.carried] {
        writer.word(release.map_or(0, |release| release.owner.session.0));
        writer.word(release.map_or(0, |release| release.epoch.0));
    }
    writer.word(beat.ask.map_or(0, |ask| ask.epoch.0));
    writer.clocks(beat.ask.map(|ask| ask.sent));
    writer.span(beat.ask.map(|ask| ask.lease));
    writer.span(beat.ask.map(|ask| ask.promise));

    writer.word(beat.answer.map_or(0, |answer| answer.epoch.0));
    writer.clocks(beat.answer.map(|answer| answer.sent));
    writer.span(beat.answer.map(|answer| answer.lease));
    writer.span(beat.answer.and_then(|answer| match answer.vote {
        Vote::Granted { .. } => None,
        Vote::Busy { left, .. } => Some(left),
    }));
    writer.bytes
}

fn vote_code(answer: Option<Answer>) -> u8 {
    match answer.map(|answer| answer.vote) {
        None => NO_ANSWER,
        Some(Vote::Granted { .. }) => GRANTED,
        Some(Vote::Busy { why, .. }) => refusal_code(why),
    }
}

fn flags(beat: &Beat) -> u16 {
    let second = |release: Option<Release>| {
        release.is_some_and(|release| release.owner.member == Member::Second)
    };
    let vote = beat.answer.map(|answer| answer.vote);
    let peer_stopped = matches!(vote, Some(Vote::Granted { peer_stopped: true }));
    [
        (beat.standing.preferred, PREFERRED),
        (beat.stops_within.is_some(), STOPS_WITHIN),
        (beat.peer_stops_within.is_some(), PEER_STOPS_WITHIN),
        (beat.released.is_some(), RELEASED),
        (second(beat.released), RELEASED_BY_SECOND),
        (beat.carried.is_some(), CARRIED),
        (second(beat.carried), CARRIED_OF_SECOND),
        (beat.ask.is_some(), ASK),
        (beat.ask.is_some_and(|ask| ask.held), ASK_HELD),
        (peer_stopped, PEER_STOPPED),
    ]
    .into_iter()
    .filter_map(|(is_set, flag)| is_set.then_some(flag))
    .fold(0, |flags, flag| flags | flag)
}

/// The message in bytes that are signed and whose header is checked. What is marked as absent is
/// skipped, not checked.
pub(super) fn read(signed: &[u8]) -> Result<Message, Error> {
    let mut reader = Reader::new(signed);
    reader.take::<16>()?; // the header

    let from = sender(reader.byte()?, Error::Sender)?;
    let to = sender(reader.byte()?, Error::Receiver)?;
    let role = role(reader.byte()?)?;
    let health = health(reader.byte()?)?;
    let not_ready = not_ready(reader.byte()?);
    let vote = reader.byte()?;
    let flags = Flags(u16::from_be_bytes(reader.take()?));

    let session = Session(reader.word()?);
    let sequence = Sequence(reader.word()?);
    let echo = Echo { session: Session(reader.word()?), sequence: Sequence(reader.word()?) };
    let envelope = envelope(Envelope { from, to, session, sequence, echo: Some(echo) })?;

    let beat = Beat {
        role,
        standing: Standing { health, preferred: flags.has(PREFERRED) },
        not_ready,
        group: GroupKey(reader.word()?),
        definition: reader.word()?,
        highest: Epoch(reader.word()?),
        stops_within: flags.when(STOPS_WITHIN, reader.span()?),
        peer_stops_within: flags.when(PEER_STOPS_WITHIN, reader.span()?),
        released: flags.when(RELEASED, reader.release(flags.member(RELEASED_BY_SECOND))?),
        carried: flags.when(CARRIED, reader.release(flags.member(CARRIED_OF_SECOND))?),
        ask: flags.when(ASK, reader.ask(flags.has(ASK_HELD))?),
        answer: reader.answer(vote, flags.has(PEER_STOPPED))?,
    };
    limits(&beat)?;
    Ok(Message { envelope, beat })
}

fn envelope(read: Envelope) -> Result<Envelope, Error> {
    if read.session.0 == 0 {
        return Err(Error::Session);
    }
    if read.sequence.0 == 0 {
        return Err(Error::Sequence);
    }
    match read.echo.map_or((0, 0), |echo| (echo.session.0, echo.sequence.0)) {
        (0, 0) => Ok(Envelope { echo: None, ..read }),
        (0, _) | (_, 0) => Err(Error::Echo),
        _ => Ok(read),
    }
}

/// A voter must not be talked into a promise that outlives its own silence after a restart.
fn limits(beat: &Beat) -> Result<(), Error> {
    let is_within = |span: Option<Span>, most| span.is_none_or(|span| span <= most);
    if !is_within(beat.stops_within, SPAN_MAX) || !is_within(beat.peer_stops_within, SPAN_MAX) {
        return Err(Error::StopsWithin);
    }
    if let Some(ask) = beat.ask {
        if ask.promise > PROMISE_MAX {
            return Err(Error::Promise);
        }
        if ask.lease > ask.promise {
            return Err(Error::Lease);
        }
    }
    if let Some(answer) = beat.answer {
        if answer.lease > PROMISE_MAX {
            return Err(Error::Lease);
        }
        if matches!(answer.vote, Vote::Busy { left, .. } if left > PROMISE_MAX) {
            return Err(Error::Left);
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Flags(u16);

impl Flags {
    const fn has(self, flag: u16) -> bool {
        self.0 & flag != 0
    }

    fn when<T>(self, flag: u16, value: T) -> Option<T> {
        self.has(flag).then_some(value)
    }

    const fn member(self, is_second: u16) -> Member {
        if self.has(is_second) { Member::Second } else { Member::First }
    }
}

/// Fills a message from the front. The table adds up to its length, so nothing is left out or over
/// (tests).
struct Writer {
    bytes: [u8; SIGNED],
    written: usize,
}

impl Writer {
    fn put<const N: usize>(&mut self, field: [u8; N]) {
        if let Some(room) = self.bytes.get_mut(self.written..).and_then(<[u8]>::first_chunk_mut) {
            *room = field;
        }
        self.written = self.written.saturating_add(N);
    }

    fn byte(&mut self, value: u8) {
        self.put([value]);
    }

    fn word(&mut self, value: u64) {
        self.put(value.to_be_bytes());
    }

    fn span(&mut self, span: Option<Span>) {
        self.word(span.map_or(0, Span::as_nanos));
    }

    fn clocks(&mut self, clocks: Option<Clocks>) {
        let Clocks { boot, raw } = clocks.unwrap_or(Clocks::ZERO);
        self.put(boot.as_nanos().to_be_bytes());
        self.put(raw.as_nanos().to_be_bytes());
    }
}

/// Takes fields from the front of bytes.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(Error::Length)?;
        self.0 = rest;
        Ok(*field)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Error> {
        self.take::<1>().map(|[byte]| byte)
    }

    pub(super) fn word(&mut self) -> Result<u64, Error> {
        self.take().map(u64::from_be_bytes)
    }

    fn span(&mut self) -> Result<Span, Error> {
        self.word().map(Span::from_nanos)
    }

    fn moment(&mut self) -> Result<Mono, Error> {
        self.take().map(|bytes| Mono::from_nanos(i64::from_be_bytes(bytes)))
    }

    fn clocks(&mut self) -> Result<Clocks, Error> {
        Ok(Clocks { boot: self.moment()?, raw: self.moment()? })
    }

    fn release(&mut self, member: Member) -> Result<Release, Error> {
        let owner = Owner { member, session: Session(self.word()?) };
        Ok(Release { owner, epoch: Epoch(self.word()?) })
    }

    fn ask(&mut self, held: bool) -> Result<Ask, Error> {
        Ok(Ask {
            epoch: Epoch(self.word()?),
            sent: self.clocks()?,
            lease: self.span()?,
            promise: self.span()?,
            held,
        })
    }

    fn answer(&mut self, vote: u8, peer_stopped: bool) -> Result<Option<Answer>, Error> {
        let epoch = Epoch(self.word()?);
        let sent = self.clocks()?;
        let lease = self.span()?;
        let left = self.span()?;
        let vote = match vote {
            NO_ANSWER => return Ok(None),
            GRANTED => Vote::Granted { peer_stopped },
            code => Vote::Busy { left, why: refusal(code)? },
        };
        Ok(Some(Answer { epoch, sent, lease, vote }))
    }
}
