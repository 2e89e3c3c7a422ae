//! The bytes of messages, in both directions, and everything that is refused.
#![allow(unreachable_pub, reason = "the parts of a test are not a library")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../fuzz/properties/wire.rs"]
mod property;
#[path = "seeded/random.rs"]
mod random;

use mastiff_core::pair::clock::Clocks;
use mastiff_core::pair::link::{Echo, Envelope, Sequence};
use mastiff_core::pair::message::{
    Answer, Ask, Beat, Epoch, GroupKey, Health, Member, NotReady, Owner, Refusal, Release, Role,
    Sender, Session, Standing, Vote, fnv1a,
};
use mastiff_core::time::{Mono, Span};
use mastiff_core::timing::PROMISE_MAX;
use mastiff_core::wire::{
    Error, KeyId, Keys, LENGTH, Mac, Message, PairId, Refusals, SIGNED, TAG, decode, encode,
    pair_of,
};
use random::Random;

/// Enough of a signature for tests: FNV-1a over key and bytes. It guards against nobody.
#[derive(Clone)]
struct Checksum {
    id: u16,
    key: u8,
}

impl Mac for Checksum {
    fn id(&self) -> KeyId {
        KeyId(self.id)
    }

    fn sign(&self, bytes: &[u8]) -> [u8; TAG] {
        let mut text = vec![self.key];
        text.extend(bytes);
        let mut tag = [0; TAG];
        tag[..8].copy_from_slice(&fnv1a(&text).to_be_bytes());
        text.push(0);
        tag[8..].copy_from_slice(&fnv1a(&text).to_be_bytes());
        tag
    }

    fn verify(&self, bytes: &[u8], tag: &[u8; TAG]) -> bool {
        self.sign(bytes) == *tag
    }
}

fn keys(key: u8) -> Keys<Checksum> {
    let current = Checksum { id: 0x0A00 | u16::from(key), key };
    Keys { pair: PairId(0x1122_3344_5566_7788), current, other: None }
}

fn clocks(boot: i64, raw: i64) -> Clocks {
    Clocks { boot: Mono::from_nanos(boot), raw: Mono::from_nanos(raw) }
}

/// A node that asks, and answers its peer with a grant.
fn full() -> Message {
    let release = |member, session, epoch| {
        Some(Release { owner: Owner { member, session: Session(session) }, epoch: Epoch(epoch) })
    };
    Message {
        envelope: Envelope {
            from: Sender::Node(Member::Second),
            to: Sender::Witness,
            session: Session(0x0102_0304_0506_0708),
            sequence: Sequence(0x1112_1314_1516_1718),
            echo: Some(Echo {
                session: Session(0x2122_2324_2526_2728),
                sequence: Sequence(0x3132_3334_3536_3738),
            }),
        },
        beat: Beat {
            group: GroupKey(0x4142_4344_4546_4748),
            definition: 0x5152_5354_5556_5758,
            role: Role::Active,
            standing: Standing { health: Health::Healthy, preferred: true },
            not_ready: None,
            highest: Epoch(0x6162_6364_6566_6768),
            stops_within: Some(Span::from_nanos(0x7172_7374_7576_7778)),
            peer_stops_within: Some(Span::from_nanos(0x0182_8384_8586_8788)),
            released: release(Member::First, 0x9192, 0x9394),
            carried: release(Member::Second, 0xA1A2, 0xA3A4),
            ask: Some(Ask {
                epoch: Epoch(0xB1B2),
                sent: clocks(0xB3B4, -2),
                lease: Span::from_nanos(1_000_000_000),
                promise: PROMISE_MAX,
                held: true,
            }),
            answer: Some(Answer {
                epoch: Epoch(0xC1C2),
                sent: clocks(-1, 0xC3C4),
                lease: Span::from_nanos(999_999_999),
                vote: Vote::Granted { peer_stopped: true },
            }),
        },
    }
}

/// A witness that has heard nobody and says nothing.
fn empty() -> Message {
    Message {
        envelope: Envelope {
            from: Sender::Witness,
            to: Sender::Node(Member::First),
            session: Session(1),
            sequence: Sequence(2),
            echo: None,
        },
        beat: Beat {
            group: GroupKey(3),
            definition: 0,
            role: Role::Waiting,
            standing: Standing { health: Health::Unknown, preferred: false },
            not_ready: Some(NotReady::NoReport),
            highest: Epoch::NONE,
            stops_within: None,
            peer_stops_within: None,
            released: None,
            carried: None,
            ask: None,
            answer: None,
        },
    }
}

fn busy(why: Refusal, left: Span) -> Message {
    let mut message = empty();
    let vote = Vote::Busy { left, why };
    let lease = Span::from_millis(500);
    message.beat.answer = Some(Answer { epoch: Epoch(7), sent: clocks(8, 9), lease, vote });
    message
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .chars()
        .filter(char::is_ascii_hexdigit)
        .map(|c| u8::try_from(c.to_digit(16).unwrap()).unwrap())
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

const FULL: &str = "
    4d5446 01 00e0 0a05 1122334455667788
    02 03 06 04 00 01 03ef
    0102030405060708 1112131415161718 2122232425262728 3132333435363738
    4142434445464748 5152535455565758 6162636465666768 7172737475767778 0182838485868788
    0000000000009192 0000000000009394 000000000000a1a2 000000000000a3a4
    000000000000b1b2 000000000000b3b4 fffffffffffffffe 000000003b9aca00 00000002540be400
    000000000000c1c2 ffffffffffffffff 000000000000c3c4 000000003b9ac9ff 0000000000000000";

const EMPTY: &str = "
    4d5446 01 00e0 0a05 1122334455667788
    03 01 02 02 02 00 0000
    0000000000000001 0000000000000002 0000000000000000 0000000000000000
    0000000000000003 0000000000000000 0000000000000000 0000000000000000 0000000000000000
    0000000000000000 0000000000000000 0000000000000000 0000000000000000
    0000000000000000 0000000000000000 0000000000000000 0000000000000000 0000000000000000
    0000000000000000 0000000000000000 0000000000000000 0000000000000000 0000000000000000";

const BUSY: &str = "
    4d5446 01 00e0 0a05 1122334455667788
    03 01 02 02 02 03 0000
    0000000000000001 0000000000000002 0000000000000000 0000000000000000
    0000000000000003 0000000000000000 0000000000000000 0000000000000000 0000000000000000
    0000000000000000 0000000000000000 0000000000000000 0000000000000000
    0000000000000000 0000000000000000 0000000000000000 0000000000000000 0000000000000000
    0000000000000007 0000000000000008 0000000000000009 000000001dcd6500 000000000bebc200";

#[test]
fn version_1_has_these_bytes_in_both_directions() {
    let keys = keys(5);
    for (message, vector) in
        [(full(), FULL), (empty(), EMPTY), (busy(Refusal::Held, Span::from_millis(200)), BUSY)]
    {
        let mut expected = bytes(vector);
        assert_eq!(expected.len(), SIGNED);
        expected.extend(keys.current.sign(&expected));
        assert_eq!(hex(&encode(&message, &keys)), hex(&expected));
        assert_eq!(decode(&expected, &keys), Ok(message));
        assert_eq!(pair_of(&expected), Ok(keys.pair));
    }
}

#[test]
fn every_value_of_every_enum_survives() {
    let keys = keys(5);
    let mut messages = vec![full(), empty()];
    for role in [
        Role::Standby,
        Role::Waiting,
        Role::Fault,
        Role::Maintenance,
        Role::Taking,
        Role::Active,
        Role::Yielding,
    ] {
        messages.push(full());
        messages.last_mut().unwrap().beat.role = role;
    }
    for health in
        [Health::Failed, Health::Unknown, Health::Failing, Health::Degraded, Health::Healthy]
    {
        messages.push(full());
        messages.last_mut().unwrap().beat.standing.health = health;
    }
    for not_ready in [
        NotReady::Starting,
        NotReady::NoReport,
        NotReady::CheckFailed,
        NotReady::LinkDown,
        NotReady::DefinitionDiffers,
        NotReady::Paused,
        NotReady::ObserveOnly,
        NotReady::Recovering,
        NotReady::PeerStopUnknown,
        NotReady::Units,
        NotReady::NoWatchdog,
        NotReady::Yielded,
        NotReady::Rebooting,
        NotReady::Other(14),
        NotReady::Other(255),
    ] {
        messages.push(full());
        messages.last_mut().unwrap().beat.not_ready = Some(not_ready);
    }
    for why in [
        Refusal::Promised,
        Refusal::Held,
        Refusal::Silent,
        Refusal::Unheard,
        Refusal::Epoch,
        Refusal::Rival,
        Refusal::Released,
    ] {
        messages.push(busy(why, PROMISE_MAX));
    }
    messages.push(full());
    messages.last_mut().unwrap().beat.answer.as_mut().unwrap().vote =
        Vote::Granted { peer_stopped: false };
    let senders = [Sender::Node(Member::First), Sender::Node(Member::Second), Sender::Witness];
    for (from, to) in senders.into_iter().flat_map(|from| senders.map(|to| (from, to))) {
        messages.push(full());
        let envelope = &mut messages.last_mut().unwrap().envelope;
        (envelope.from, envelope.to) = (from, to);
    }
    let mut seen = std::collections::BTreeSet::new();
    for message in messages {
        let datagram = encode(&message, &keys);
        assert_eq!(decode(&datagram, &keys), Ok(message));
        seen.insert((hex(&datagram), format!("{message:?}")));
    }
    let rows: std::collections::BTreeSet<_> = seen.iter().map(|(row, _)| row).collect();
    assert_eq!(rows.len(), seen.len(), "two messages have the same bytes");
}

#[test]
fn what_is_cut_off_or_too_long_is_refused() {
    let keys = keys(5);
    let datagram = encode(&full(), &keys);
    for length in 0..LENGTH {
        let error = decode(&datagram[..length], &keys).unwrap_err();
        assert_eq!(error, Error::Length, "{length} bytes");
    }
    let mut long = datagram.to_vec();
    long.push(0);
    assert_eq!(decode(&long, &keys), Err(Error::Length));
    assert_eq!(decode(&vec![b'M'; 70_000], &keys), Err(Error::Magic));
}

#[test]
fn no_bit_of_a_signed_message_can_be_changed() {
    let keys = keys(5);
    for message in [full(), empty()] {
        let datagram = encode(&message, &keys);
        for bit in 0..LENGTH * 8 {
            let mut changed = datagram;
            changed[bit / 8] ^= 1 << (bit % 8);
            let error = decode(&changed, &keys).unwrap_err();
            let expected: &[Error] = match bit / 8 {
                0..3 => &[Error::Magic],
                3 => &[Error::OlderVersion, Error::NewerVersion],
                4..6 => &[Error::Length],
                6..8 => &[Error::UnknownKey],
                8..16 => &[Error::OtherPair],
                _ => &[Error::Forged],
            };
            assert!(expected.contains(&error), "bit {bit}: {error:?}");
        }
    }
}

/// Changes signed bytes and signs them again: a sender with the key and a fault.
fn forged(message: &Message, offset: usize, value: &[u8]) -> Result<Message, Error> {
    let keys = keys(5);
    let mut datagram = encode(message, &keys);
    datagram[offset..offset + value.len()].copy_from_slice(value);
    let tag = keys.current.sign(&datagram[..SIGNED]);
    datagram[SIGNED..].copy_from_slice(&tag);
    decode(&datagram, &keys)
}

#[test]
fn every_fault_of_an_honest_sender_has_its_own_name() {
    let over = |span: Span| (span.as_nanos() + 1).to_be_bytes();
    for (offset, value, error) in [
        (16, &[0][..], Error::Sender),
        (16, &[4], Error::Sender),
        (17, &[0], Error::Receiver),
        (17, &[255], Error::Receiver),
        (18, &[0], Error::Role),
        (18, &[8], Error::Role),
        (19, &[0], Error::Health),
        (21, &[9], Error::Vote),
        (22, &[0x07, 0xEF], Error::Reserved), // a flag without meaning
        (22, &[0x03, 0x6F], Error::Reserved), // no ask, and its fields
        (22, &[0x03, 0xED], Error::Reserved), // no stop time, and its value
        (22, &[0x03, 0xE7], Error::Reserved), // no release, and its fields
        (24, &[0; 8], Error::Session),
        (32, &[0; 8], Error::Sequence),
        (40, &[0; 8], Error::Echo),
        (48, &[0; 8], Error::Echo),
        (80, &[0x80, 0, 0, 0, 0, 0, 0, 0], Error::StopsWithin),
        (88, &[0x80, 0, 0, 0, 0, 0, 0, 0], Error::StopsWithin),
        (160, &over(PROMISE_MAX), Error::Promise),
        (152, &over(PROMISE_MAX), Error::Lease),
        (192, &over(PROMISE_MAX), Error::Lease),
        (200, &[0, 0, 0, 0, 0, 0, 0, 1], Error::Reserved), // a grant with a wait
        (21, &[0], Error::Reserved),                       // no answer, and its fields
    ] {
        assert_eq!(forged(&full(), offset, value), Err(error), "{value:?} at {offset}");
    }
    let waits = busy(Refusal::Held, PROMISE_MAX);
    assert_eq!(forged(&waits, 200, &over(PROMISE_MAX)), Err(Error::Left));
    assert_eq!(forged(&waits, 22, &[0x02, 0x00]), Err(Error::Reserved), "no grant, and its flag");
    for field in (80..208).step_by(8) {
        let read = forged(&empty(), field, &[0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(read, Err(Error::Reserved), "an absent field at {field} that is not zero");
    }
}

#[test]
fn what_does_not_carry_our_header_is_counted_apart() {
    let keys = keys(5);
    let datagram = encode(&full(), &keys);
    let with = |offset: usize, value: u8| {
        let mut changed = datagram;
        changed[offset] = value;
        decode(&changed, &keys)
    };
    assert_eq!(with(0, b'm'), Err(Error::Magic));
    assert_eq!(with(3, 0), Err(Error::OlderVersion));
    assert_eq!(with(3, 2), Err(Error::NewerVersion));
    assert_eq!(with(5, 223), Err(Error::Length));
    // A newer version may be longer or shorter.
    assert_eq!(decode(b"MTF\x02\x00\x04", &keys), Err(Error::NewerVersion));
    assert_eq!(decode(&[0; LENGTH], &keys), Err(Error::Magic));

    let mut refusals = Refusals::default();
    for error in Error::ALL {
        refusals.count(error);
        refusals.count(Error::Magic);
    }
    let all = u64::try_from(Error::ALL.len()).unwrap();
    for (error, count) in refusals.iter() {
        assert_eq!(count, if error == Error::Magic { all + 1 } else { 1 }, "{error}");
    }
}

#[test]
fn a_key_is_changed_without_losing_a_message() {
    let (old, new) = (keys(1), keys(2));
    let with = |current: &Keys<Checksum>, other: &Keys<Checksum>| Keys {
        other: Some(other.current.clone()),
        ..current.clone()
    };
    let steps = [old.clone(), with(&old, &new), with(&new, &old), new.clone()];
    for (step, sender) in steps.iter().enumerate() {
        for (at, receiver) in steps.iter().enumerate() {
            let read = decode(&encode(&full(), sender), receiver);
            // Machines are at most one step apart; those further apart hear each other as long
            // as they share a key.
            let unknown = (step < 2 && at == 3) || (step > 1 && at == 0);
            let expected = if unknown { Err(Error::UnknownKey) } else { Ok(full()) };
            assert_eq!(read, expected, "from step {step} to step {at}");
            assert!(!unknown || step.abs_diff(at) > 1);
        }
    }
}

#[test]
fn two_keys_of_one_id_are_both_tried() {
    let mut receiver = keys(1);
    receiver.other = Some(Checksum { id: receiver.current.id, key: 2 });
    let mut sender = keys(2);
    sender.current.id = receiver.current.id;
    assert_eq!(decode(&encode(&full(), &sender), &receiver), Ok(full()));
    sender.current.key = 3;
    assert_eq!(decode(&encode(&full(), &sender), &receiver), Err(Error::Forged));
}

#[test]
fn nothing_behind_the_header_is_looked_at_before_the_signature() {
    let keys = keys(5);
    for offset in 16..LENGTH {
        let mut datagram = encode(&full(), &keys);
        datagram[offset] = !datagram[offset];
        assert_eq!(decode(&datagram, &keys), Err(Error::Forged), "offset {offset}");
    }
}

/// The same as the fuzzer, on stable and from a seed: random bytes, and vectors changed in a few
/// places.
#[test]
fn random_bytes_are_refused_or_mean_one_thing() {
    let seed = std::env::var("MASTIFF_SEED").ok().and_then(|seed| seed.parse().ok());
    let vectors = [bytes(FULL), bytes(EMPTY), bytes(BUSY)];
    let mut messages = 0;
    for seed in seed.map_or(0..20_000, |seed: u64| seed..seed.saturating_add(1)) {
        let mut random = Random::new(seed);
        let mut data = if random.below(4) == 0 {
            (0..random.below(300)).map(|_| random.byte()).collect()
        } else {
            vectors[random.below(vectors.len())][16..].to_vec()
        };
        for _ in 0..random.below(4) {
            if !data.is_empty() {
                let at = random.below(data.len());
                // Small values are what codes and flags are made of.
                data[at] = if random.below(2) == 0 { random.byte() } else { random.byte() % 12 };
            }
        }
        if random.below(8) == 0 {
            data.truncate(random.below(data.len() + 1));
        }
        let run = std::panic::catch_unwind(|| property::holds(&data));
        let was_message = run.unwrap_or_else(|_| panic!("MASTIFF_SEED={seed}"));
        messages += usize::from(was_message);
    }
    assert!(seed.is_some() || messages > 2000, "only {messages} were messages: nothing is tested");
}
