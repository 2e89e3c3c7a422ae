//! The bytes of an echo request and its answer (RFC 792, "Echo"; RFC 4443, section 4).
//!
//! ```text
//! 0 type  1 code  2..4 checksum  4..6 identifier  6..8 sequence  8..16 token (big endian)
//! ```
//!
//! A ping socket sets the identifier and both checksums itself and delivers only its own answers;
//! the kernel also sets the ICMPv6 checksum of raw sockets. A raw IPv4 socket delivers the IP
//! header, too.

use mastiff_core::time::Mono;

/// Type of an echo request and of its answer (RFC 792).
const V4: (u8, u8) = (8, 0);

/// The same for ICMPv6 (RFC 4443).
const V6: (u8, u8) = (128, 129);

const PACKET_BYTES: usize = 16;

/// Which protocol and which kind of socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) is_v6: bool,
    pub(super) raw: bool,
}

impl Kind {
    const fn types(self) -> (u8, u8) {
        if self.is_v6 { V6 } else { V4 }
    }
}

/// A request. The token is the moment of asking: it tells this question from one of another
/// process.
pub(super) fn request(kind: Kind, sequence: u16, asked: Mono) -> [u8; PACKET_BYTES] {
    let mut packet = [0; PACKET_BYTES];
    let fields = [kind.types().0, 0, 0, 0]
        .into_iter()
        .chain(identifier())
        .chain(sequence.to_be_bytes())
        .chain(asked.as_nanos().to_be_bytes());
    for (byte, value) in packet.iter_mut().zip(fields) {
        *byte = value;
    }
    if kind.raw && !kind.is_v6 {
        let sum = checksum(&packet);
        for (byte, value) in packet.iter_mut().skip(2).zip(sum.to_be_bytes()) {
            *byte = value;
        }
    }
    packet
}

/// The sequence number of an answer to a question of that moment; `None` for anything else.
pub(super) fn answer(kind: Kind, datagram: &[u8], asked: Mono) -> Option<u16> {
    let packet = if kind.raw && !kind.is_v6 { without_header(datagram)? } else { datagram };
    let (head, token) = packet.get(..PACKET_BYTES)?.split_at(8);
    let [type_, code, _, _, id_high, id_low, high, low] = *head else { return None };
    let own = !kind.raw || [id_high, id_low] == identifier();
    let good =
        type_ == kind.types().1 && code == 0 && own && token == asked.as_nanos().to_be_bytes();
    good.then(|| u16::from_be_bytes([high, low]))
}

/// What lies behind the IPv4 header, whose length is in its first byte in units of four bytes (RFC
/// 791, 3.1).
fn without_header(datagram: &[u8]) -> Option<&[u8]> {
    let length = usize::from(datagram.first()? & 0x0f).checked_mul(4)?;
    datagram.get(length..).filter(|_| length >= 20)
}

/// Sixteen bits of the process number, as ping(8) does.
fn identifier() -> [u8; 2] {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    [high, low]
}

/// The complement of the ones-complement sum of all 16-bit words (RFC 1071).
fn checksum(packet: &[u8]) -> u16 {
    let words = packet.chunks(2).map(|pair| match *pair {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        [high] => u32::from(u16::from_be_bytes([high, 0])),
        _ => 0,
    });
    let mut sum = words.fold(0_u32, u32::wrapping_add);
    while let Some(carry) = sum.checked_shr(16).filter(|carry| *carry != 0) {
        sum = (sum & 0xffff).wrapping_add(carry);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: Kind = Kind { is_v6: false, raw: true };
    const PLAIN_V6: Kind = Kind { is_v6: true, raw: false };

    fn answered(kind: Kind, sequence: u16, asked: Mono) -> Vec<u8> {
        let mut packet = request(kind, sequence, asked).to_vec();
        packet[0] = kind.types().1;
        if kind == RAW {
            let mut header = vec![0x46; 24];
            header.append(&mut packet);
            return header;
        }
        packet
    }

    #[test]
    fn an_answer_is_known_by_type_identifier_sequence_and_token() {
        let asked = Mono::from_nanos(123_456_789);
        for kind in [RAW, PLAIN_V6] {
            let good = answered(kind, 0x1234, asked);
            assert_eq!(answer(kind, &good, asked), Some(0x1234));
            assert_eq!(answer(kind, &good, Mono::from_nanos(5)), None, "another question");
            for end in 0..good.len() {
                assert_eq!(answer(kind, &good[..end], asked), None, "cut at {end}");
            }
            let at = good.len() - PACKET_BYTES;
            for (byte, name) in [(0, "type"), (1, "code"), (12, "token")] {
                let mut bad = good.clone();
                bad[at + byte] ^= 1;
                assert_eq!(answer(kind, &bad, asked), None, "{name}");
            }
        }
        let mut bad = answered(RAW, 1, asked);
        bad[24 + 5] ^= 1;
        assert_eq!(answer(RAW, &bad, asked), None, "identifier of another process");
        assert_eq!(answer(RAW, &[0x4f; 16], asked), None, "a header longer than the datagram");
        assert_eq!(answer(RAW, &[0x40; 64], asked), None, "a header of no length");
    }

    #[test]
    fn checksums_add_up_to_nothing() {
        let packet = request(RAW, 7, Mono::from_nanos(-1));
        assert_eq!(checksum(&packet), 0);
        assert_eq!(
            checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            !0xddf2,
            "RFC 1071, 3"
        );
    }
}
