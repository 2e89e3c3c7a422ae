//! How fast a network card could be.

use std::io;
use std::os::fd::AsFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::sys::ethtool::supported;

/// The bits of a mask of modes from the first to the last one, and their speed in megabits in each
/// second (`enum ethtool_link_mode_bit_indices`, linux/ethtool.h). Bits in between say something
/// else.
const SPEEDS: &[(usize, usize, u64)] = &[
    (0, 1, 10),
    (2, 3, 100),
    (4, 5, 1000),
    (12, 12, 10_000),
    (15, 15, 2500),
    (17, 17, 1000),
    (18, 20, 10_000),
    (21, 22, 20_000),
    (23, 26, 40_000),
    (27, 30, 56_000),
    (31, 33, 25_000),
    (34, 35, 50_000),
    (36, 39, 100_000),
    (40, 40, 50_000),
    (41, 41, 1000),
    (42, 46, 10_000),
    (47, 47, 2500),
    (48, 48, 5000),
    (52, 56, 50_000),
    (57, 61, 100_000),
    (62, 66, 200_000),
    (67, 67, 100),
    (68, 68, 1000),
    (69, 73, 400_000),
    (75, 79, 100_000),
    (80, 84, 200_000),
    (85, 89, 400_000),
    (90, 91, 100),
    (92, 92, 10),
    (93, 98, 800_000),
    (99, 101, 10),
];

/// The highest speed that the card of an interface and what is plugged into it support, in megabits
/// in each second; `None` where the driver does not say.
///
/// # Errors
/// [`io::Error`] where it could not be asked. Waits for the kernel's network lock.
pub(crate) fn fastest(interface: &str) -> io::Result<Option<u64>> {
    let any = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    match supported(any.as_fd(), interface) {
        Ok(mask) => Ok(of(&mask)),
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(None),
        Err(error) => Err(error),
    }
}

fn of(mask: &[u32]) -> Option<u64> {
    let has = |bit: usize| mask.get(bit / 32).is_some_and(|word| word >> (bit % 32) & 1 == 1);
    let speeds = SPEEDS.iter().filter(|(first, last, _)| (*first..=*last).any(has));
    speeds.map(|(_, _, speed)| *speed).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_mode_of_a_mask_counts_and_what_is_no_mode_does_not() {
        for (mask, wanted) in [
            // Intel I210: 10, 100 and 1000 on copper; it negotiates.
            (&[0x0000_20ef][..], Some(1000)),
            // A card for SFP28 with a module of 10 gigabit.
            (&[0x0000_1000 | 1 << 10, 1 << 11], Some(10_000)),
            (&[0, 0, 0, 1 << 2], Some(800_000)),
            // Only Autoneg, a port of copper, and bits that nobody knows yet.
            (&[0x0000_00c0, 0, 0, 0xffff_ffc0], None),
            (&[], None),
        ] {
            assert_eq!(of(mask), wanted, "{mask:x?}");
        }
    }

    #[test]
    fn what_has_no_card_says_nothing_and_what_is_not_there_is_an_error() {
        assert_eq!(fastest("lo").expect("asked"), None);
        for name in ["absent0", "a name that is too long"] {
            fastest(name).expect_err(name);
        }
    }
}
