//! Seeded damage to files.

/// Xorshift; twenty lines of our own are enough for bad bytes.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `limit`, zero for zero.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % (limit.max(1) as u64)).unwrap()
    }

    /// Damages bytes in one of the ways that text gets damaged.
    pub(crate) fn mutate(&mut self, bytes: &mut Vec<u8>) {
        const WORDS: [&[u8]; 10] = [
            b"-1",
            b"18446744073709551615",
            b"18446744073709551616",
            b"1e308",
            b"nan",
            b"\0\0\0\0",
            b"\xff\xfe",
            b"\n",
            b" ",
            b"",
        ];
        let at = self.below(bytes.len());
        let end = bytes.len().min(at + self.below(24));
        match self.below(5) {
            0 => bytes.truncate(at),
            1 => {
                let word = WORDS[self.below(WORDS.len())];
                bytes.splice(at..end, word.iter().copied());
            }
            2 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            3 => {
                for byte in &mut bytes[at..end] {
                    *byte ^= 1 << (self.0 % 8);
                }
            }
            // A number that is where a number belongs, but far too large.
            _ => {
                let digit = bytes.iter().skip(at).position(u8::is_ascii_digit).map(|i| at + i);
                let place = digit.unwrap_or(at);
                bytes.splice(place..place, b"9".repeat(1 + self.below(25)));
            }
        }
    }
}
