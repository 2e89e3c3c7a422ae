//! Somebody who has no key, but our packets: what he makes of them is refused, each time.

use mastiff_core::pair::message::fnv1a;
use mastiff_core::wire::{KeyId, Keys, Mac, Message, PairId, TAG, decode, encode};

use crate::network::Packet;
use crate::rng::Rng;

/// A signature that is cheap and catches every flipped bit: enough where nobody computes backwards.
#[derive(Clone, Copy, Debug)]
struct Cheap(u64);

impl Mac for Cheap {
    fn id(&self) -> KeyId {
        KeyId(7)
    }

    fn sign(&self, bytes: &[u8]) -> [u8; TAG] {
        let hash = fnv1a(bytes) ^ self.0;
        let mut tag = [0; TAG];
        for (place, byte) in tag.iter_mut().zip(hash.to_be_bytes().into_iter().cycle()) {
            *place = byte;
        }
        tag
    }

    fn verify(&self, bytes: &[u8], tag: &[u8; TAG]) -> bool {
        self.sign(bytes) == *tag
    }
}

const fn keys(key: u64) -> Keys<Cheap> {
    Keys { pair: PairId(1), current: Cheap(key), other: None }
}

/// Damages, cuts off or signs anew what was recorded; `Err` if any of it is believed.
///
/// # Errors
/// What was believed.
pub(crate) fn attempt(packet: &Packet, rng: &mut Rng) -> Result<(), String> {
    let message = Message { envelope: packet.envelope, beat: packet.beat };
    let honest = encode(&message, &keys(1));
    if decode(&honest, &keys(1)) != Ok(message) {
        return Err(format!("not understood: {message:?}"));
    }
    let mut bytes = honest.to_vec();
    let at = usize::try_from(rng.below(bytes.len() as u64)).unwrap_or(0);
    match rng.below(3) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << rng.below(8);
            }
        }
        1 => bytes.truncate(at),
        _ => bytes = encode(&message, &keys(2)).to_vec(),
    }
    decode(&bytes, &keys(1)).map_or(Ok(()), |believed| Err(format!("believed: {believed:?}")))
}
