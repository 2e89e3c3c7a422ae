//! What a network card can do (linux/ethtool.h); `nix` has no wrapper for it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Words of each mask that there is room for; Linux 6.12 has four.
pub(crate) const MASK_WORDS_MAX: usize = 16;

/// `struct ethtool_link_settings` with room for its three masks.
#[repr(C)]
struct Settings {
    command: u32,
    speed: u32,
    duplex: u8,
    port: u8,
    address: u8,
    negotiates: u8,
    mdio: u8,
    crossover: u8,
    crossover_control: u8,
    mask_words: i8,
    transceiver: u8,
    master: u8,
    master_state: u8,
    rate_matching: u8,
    reserved: [u32; 7],
    masks: [u32; 3 * MASK_WORDS_MAX],
}

const _: () = assert!(size_of::<Settings>() == 48 + 12 * MASK_WORDS_MAX);

nix::ioctl_readwrite_bad!(ethtool, libc::SIOCETHTOOL, libc::ifreq);

/// `ETHTOOL_GLINKSETTINGS`.
const GET_LINK_SETTINGS: u32 = 0x4c;

/// The modes that a card and what is plugged into it support, as a mask: bit by
/// `enum ethtool_link_mode_bit_indices`. `socket` is any socket of the interface's network.
///
/// # Errors
/// `EOPNOTSUPP` where the driver cannot say, `ENODEV` without such an interface, `EINVAL` for a
/// name that can be none, `EMSGSIZE` where the kernel knows of more modes than there is room for.
pub(crate) fn supported(
    socket: BorrowedFd<'_>,
    interface: &str,
) -> io::Result<[u32; MASK_WORDS_MAX]> {
    // The first answer only says, as a negative number, how many words the masks have.
    let words = get(socket, interface, 0)?.mask_words.unsigned_abs();
    if usize::from(words) > MASK_WORDS_MAX {
        return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
    }
    let settings = get(socket, interface, words.cast_signed())?;
    let mut supported = [0; MASK_WORDS_MAX];
    for (word, source) in supported.iter_mut().zip(settings.masks).take(words.into()) {
        *word = source;
    }
    Ok(supported)
}

fn get(socket: BorrowedFd<'_>, interface: &str, mask_words: i8) -> io::Result<Settings> {
    let mut settings = Settings {
        command: GET_LINK_SETTINGS,
        speed: 0,
        duplex: 0,
        port: 0,
        address: 0,
        negotiates: 0,
        mdio: 0,
        crossover: 0,
        crossover_control: 0,
        mask_words,
        transceiver: 0,
        master: 0,
        master_state: 0,
        rate_matching: 0,
        reserved: [0; 7],
        masks: [0; 3 * MASK_WORDS_MAX],
    };
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: (&raw mut settings).cast() },
    };
    // Its last byte stays zero.
    if interface.len() >= libc::IFNAMSIZ {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (byte, source) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *byte = libc::c_char::from_ne_bytes([source]);
    }
    // SAFETY: the kernel reads a name that ends with zero from one `ifreq`, which `request` is, and
    // reads and writes at `ifru_data` the head of `ethtool_link_settings` and three masks of
    // `mask_words` words, none or as many as it has just asked for: for these `settings`, which
    // outlives the call, has room, as `supported` makes sure.
    unsafe { ethtool(socket.as_raw_fd(), &raw mut request) }?;
    Ok(settings)
}
