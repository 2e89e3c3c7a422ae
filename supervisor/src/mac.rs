//! The signature of the pair's messages: HMAC-SHA256 (RFC 2104), its first 16 bytes.
//!
//! The key of a pair is derived from the key file and the pair's name, so that one file may serve
//! several pairs and a message of one is no message of another:
//!
//! ```text
//! pair key = HMAC(key file, "mastiff wire 1 pair " name)
//! key id   = HMAC(pair key, "key id"), its first two bytes
//! MAC      = HMAC(pair key, message), its first 16 bytes
//! ```
//!
//! A message begins with the magic of the wire, so no signature is a key id.

use core::fmt;

use hmac::{Hmac, KeyInit, Mac as _};
use mastiff_core::wire::{KeyId, Mac, TAG};
use sha2::Sha256;

/// Bytes of a key: as many as the hash has. More would not be stronger (RFC 2104, section 3).
pub const KEY_BYTES: usize = 32;

/// One key of one pair. The first blocks of both hashes are computed once, here.
#[derive(Clone)]
pub struct PairKey {
    id: KeyId,
    hmac: Hmac<Sha256>,
}

impl PairKey {
    /// The key in a key file, for the pair of that name.
    #[must_use]
    pub fn new(key: &[u8; KEY_BYTES], pair: &str) -> Self {
        let mut derivation = keyed(key);
        derivation.update(b"mastiff wire 1 pair ");
        derivation.update(pair.as_bytes());
        let derived: [u8; KEY_BYTES] = derivation.finalize().into_bytes().into();
        let hmac = keyed(&derived);
        let [first, second, ..] = sum(&hmac, b"key id");
        Self { id: KeyId(u16::from_be_bytes([first, second])), hmac }
    }
}

impl fmt::Debug for PairKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PairKey({:04x})", self.id.0) // and nothing else of it
    }
}

impl Mac for PairKey {
    fn id(&self) -> KeyId {
        self.id
    }

    fn sign(&self, bytes: &[u8]) -> [u8; TAG] {
        sum(&self.hmac, bytes)
    }

    fn verify(&self, bytes: &[u8], tag: &[u8; TAG]) -> bool {
        self.hmac.clone().chain_update(bytes).verify_truncated_left(tag).is_ok()
    }
}

/// HMAC fills a short key up to a block with zeros (RFC 2104, section 2); done here, no length is
/// left that could be wrong.
fn keyed(key: &[u8; KEY_BYTES]) -> Hmac<Sha256> {
    let mut block = [0; 64];
    for (byte, value) in block.iter_mut().zip(key) {
        *byte = *value;
    }
    Hmac::new(&block.into())
}

fn sum(hmac: &Hmac<Sha256>, bytes: &[u8]) -> [u8; TAG] {
    let whole: [u8; 32] = hmac.clone().chain_update(bytes).finalize().into_bytes().into();
    let mut tag = [0; TAG];
    for (byte, value) in tag.iter_mut().zip(whole) {
        *byte = value;
    }
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn padded(key: &[u8]) -> [u8; KEY_BYTES] {
        let mut padded = [0; KEY_BYTES];
        padded[..key.len()].copy_from_slice(key);
        padded
    }

    /// RFC 4231, test cases 1 to 5; the fifth is about 16 bytes of MAC.
    #[test]
    fn signatures_are_those_of_rfc_4231() {
        let counted: Vec<u8> = (1..=25).collect();
        for (key, data, expected) in [
            (&[0x0b; 20][..], &b"Hi There"[..], "b0344c61d8db38535ca8afceaf0bf12b"),
            (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c7"),
            (&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a7"),
            (&counted, &[0xcd; 50], "82558a389a443c0ea4cc819899f2083a"),
            (&[0x0c; 20], b"Test With Truncation", "a3b6167473100ee06e0c796c2955552b"),
        ] {
            let key = PairKey { id: KeyId(0), hmac: keyed(&padded(key)) };
            let tag = key.sign(data);
            assert_eq!(hex(&tag), expected);
            assert!(key.verify(data, &tag));
            for bit in 0..TAG * 8 {
                let mut changed = tag;
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(!key.verify(data, &changed), "bit {bit}");
            }
        }
    }

    /// Computed apart, with openssl:
    /// `k=$(printf 'mastiff wire 1 pair db' | openssl mac -digest SHA256 -macopt hexkey:KEY HMAC)`,
    /// then the same with `hexkey:$k` over `key id` and over `message`.
    #[test]
    fn keys_are_derived_by_the_name_of_the_pair() {
        let file: Vec<u8> = (0..32).collect();
        let file = padded(&file);
        let key = PairKey::new(&file, "db");
        assert_eq!(
            (key.id(), hex(&key.sign(b"message")).as_str()),
            (KeyId(0xe05e), "fd3967365014429fd75018204a47d208")
        );
        let other = PairKey::new(&file, "web");
        assert!(!other.verify(b"message", &key.sign(b"message")));
        assert_eq!(format!("{key:?}"), format!("PairKey({:04x})", key.id().0));
    }
}
