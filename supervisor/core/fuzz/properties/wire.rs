//! What holds for every row of bytes. Used by the fuzzer and, from a seed, by the tests.

use mastiff_core::pair::message::Vote;
use mastiff_core::time::Span;
use mastiff_core::timing::PROMISE_MAX;
use mastiff_core::wire::{
    KeyId, Keys, LENGTH, Mac, Message, PairId, SIGNED, TAG, decode, encode, pair_of,
};

const PAIR: PairId = PairId(0x1122_3344_5566_7788);
const KEY: KeyId = KeyId(0xABCD);
const HEADER: [u8; 16] =
    [b'M', b'T', b'F', 1, 0, 224, 0xAB, 0xCD, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88];

/// Takes every signature, so that the fields behind are reached.
struct Trusting;

impl Mac for Trusting {
    fn id(&self) -> KeyId {
        KEY
    }

    fn sign(&self, _: &[u8]) -> [u8; TAG] {
        [0; TAG]
    }

    fn verify(&self, _: &[u8], _: &[u8; TAG]) -> bool {
        true
    }
}

/// `data` as a datagram, and as what stands behind a header that is right. Returns whether the
/// latter was a message.
pub fn holds(data: &[u8]) -> bool {
    let keys = Keys { pair: PAIR, current: Trusting, other: None };
    if let Ok(message) = decode(data, &keys) {
        assert_eq!(pair_of(data), Ok(PAIR));
        message_holds(&message, data, &keys);
    }
    let mut datagram = [0; LENGTH];
    for (byte, value) in datagram.iter_mut().zip(HEADER.iter().chain(data)) {
        *byte = *value;
    }
    let read = decode(&datagram, &keys);
    if let Ok(message) = &read {
        message_holds(message, &datagram, &keys);
    }
    read.is_ok()
}

fn message_holds(message: &Message, datagram: &[u8], keys: &Keys<Trusting>) {
    let again = encode(message, keys);
    assert_eq!(again[..SIGNED], datagram[..SIGNED], "{message:?} has two rows of bytes");
    assert_eq!(decode(&again, keys), Ok(*message));
    assert_ne!(message.envelope.session.0, 0);
    assert_ne!(message.envelope.sequence.0, 0);
    if let Some(ask) = message.beat.ask {
        assert!(ask.lease <= ask.promise && ask.promise <= PROMISE_MAX, "{ask:?}");
    }
    if let Some(answer) = message.beat.answer {
        let left = match answer.vote {
            Vote::Granted { .. } => Span::ZERO,
            Vote::Busy { left, .. } => left,
        };
        assert!(answer.lease <= PROMISE_MAX && left <= PROMISE_MAX, "{answer:?}");
    }
}
