//! What outlives the daemon on this boot: session, leases and votes, in a memfd that the service
//! manager keeps (systemd's fd store, `FileDescriptorStoreMax=`).
//!
//! It is written before the first action of a turn, so it must never be half written: two places
//! take turns, and the newest whole one counts.
//!
//! ```text
//! place   magic u64 | boot u64 | turn u64 | length u64 | checksum u64 | Kept as JSON
//! ```
//!
//! A memory of another boot, another layout, another node or with a wrong checksum is no memory:
//! the daemon then starts as one that forgot, which is safe and slow.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use mastiff_core::pair::message::fnv1a;
use mastiff_core::pair::{Kept, Pair};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::uio::{pread, pwrite};

/// The name in the fd store.
pub const NAME: &str = "mastiff-pair";
/// Bytes of one place: 32 groups need about 40,000.
const PLACE: usize = 256 * 1024;
const HEADER: usize = 40;
/// Changes with everything that is kept, so that no daemon reads another one's layout.
const MAGIC: u64 = u64::from_be_bytes(*b"mastiff4");

/// The memory.
#[derive(Debug)]
pub struct Memory {
    fd: Arc<OwnedFd>,
    /// Of which boot and whose.
    boot: u64,
    turn: u64,
    /// What was kept last.
    kept: Option<Kept>,
    /// It is written, too.
    is_written: bool,
    /// As it is written.
    bytes: Vec<u8>,
}

impl Memory {
    /// An empty one. `daemon` names the node, its peer and their pair: as another one of them it
    /// would go on with another's votes.
    ///
    /// # Errors
    /// memfd_create(2).
    pub fn create(daemon: &str) -> io::Result<Self> {
        Ok(Self::on(Arc::new(memfd_create(NAME, MFdFlags::MFD_CLOEXEC)?), daemon))
    }

    /// The one that a daemon before left, with what is in it.
    #[must_use]
    pub fn inherit(fd: OwnedFd, daemon: &str) -> (Self, Option<Kept>) {
        let mut memory = Self::on(Arc::new(fd), daemon);
        let places = [0, 1].map(|place| memory.read(place));
        let newest = places.into_iter().flatten().max_by_key(|(turn, _)| *turn);
        let kept = newest.and_then(|(turn, json)| {
            memory.turn = turn;
            serde_json::from_slice(&json).ok()
        });
        (memory, kept)
    }

    fn on(fd: Arc<OwnedFd>, daemon: &str) -> Self {
        Self {
            fd,
            boot: boot() ^ fnv1a(daemon.as_bytes()),
            turn: 0,
            kept: None,
            is_written: false,
            bytes: Vec::with_capacity(PLACE),
        }
    }

    /// The descriptor, for the service manager's store.
    #[must_use]
    pub fn descriptor(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.fd)
    }

    /// Writes what a successor needs, if it is something else than the last time. Allocates only
    /// the first time.
    ///
    /// # Errors
    /// pwrite(2): no memory is left. Nothing may be promised or begun then.
    pub fn save(&mut self, pair: &Pair) -> io::Result<()> {
        let changed = match &mut self.kept {
            Some(kept) => pair.keep(kept),
            None => {
                self.kept = Some(pair.kept());
                true
            }
        };
        if changed || !self.is_written {
            self.is_written = false;
            self.write()?;
            self.is_written = true;
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        self.bytes.clear();
        self.bytes.resize(HEADER, 0);
        serde_json::to_writer(&mut self.bytes, &self.kept)?;
        let json = self.bytes.get(HEADER..).unwrap_or_default();
        if self.bytes.len() > PLACE {
            return Err(io::Error::other("the pair's memory outgrew its place"));
        }
        let length = u64::try_from(json.len()).unwrap_or(u64::MAX);
        let turn = self.turn.wrapping_add(1);
        let header = [MAGIC, self.boot, turn, length, checksum(self.boot, turn, json)];
        for (bytes, word) in self.bytes.chunks_exact_mut(8).zip(header) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        let written = pwrite(self.fd.as_fd(), &self.bytes, offset(turn))?;
        if written != self.bytes.len() {
            return Err(io::Error::from(io::ErrorKind::WriteZero));
        }
        self.turn = turn;
        Ok(())
    }

    fn read(&self, place: u64) -> Option<(u64, Vec<u8>)> {
        let mut bytes = vec![0; PLACE];
        let length = read_all(self.fd.as_fd(), &mut bytes, offset(place))?;
        let mut words =
            bytes.get(..HEADER)?.as_chunks::<8>().0.iter().map(|b| u64::from_be_bytes(*b));
        let mut word = || words.next();
        let (magic, boot, turn) = (word()?, word()?, word()?);
        let (size, sum) = (usize::try_from(word()?).ok()?, word()?);
        let json = bytes.get(HEADER..HEADER.checked_add(size)?.min(length))?;
        let whole = json.len() == size && checksum(boot, turn, json) == sum;
        (whole && magic == MAGIC && boot == self.boot).then(|| (turn, json.to_vec()))
    }
}

fn read_all(fd: BorrowedFd<'_>, bytes: &mut [u8], at: i64) -> Option<usize> {
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match pread(fd, rest, at.saturating_add(i64::try_from(done).ok()?)).ok()? {
            0 => break,
            more => done += more,
        }
    }
    Some(done)
}

/// Of all that is looked at: a wrong turn would make an old word the newest.
fn checksum(boot: u64, turn: u64, json: &[u8]) -> u64 {
    fnv1a(json) ^ fnv1a(&boot.to_be_bytes()).rotate_left(1) ^ fnv1a(&turn.to_be_bytes())
}

fn offset(turn: u64) -> i64 {
    if turn.is_multiple_of(2) { 0 } else { i64::try_from(PLACE).unwrap_or(0) }
}

/// Which boot this is (random(4), `boot_id`); without it every memory is of another one.
fn boot() -> u64 {
    std::fs::read("/proc/sys/kernel/random/boot_id").map_or(0, |id| fnv1a(&id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mastiff_core::pair::Identity;
    use mastiff_core::pair::clock::Now;
    use mastiff_core::pair::message::{Member, Session};

    fn pair(session: u64) -> Pair {
        let identity = Identity { member: Member::First, session: Session(session), seed: 1 };
        Pair::start(identity, Vec::new(), None, Now::default(), &mut Vec::new())
    }

    fn again(memory: &Memory) -> (Memory, Option<u64>) {
        let fd = memory.fd.as_fd().try_clone_to_owned().unwrap();
        let (memory, kept) = Memory::inherit(fd, "pair/a/b");
        (memory, kept.map(|kept| kept.me.session.0))
    }

    #[test]
    fn the_newest_word_is_found_again() {
        let mut memory = Memory::create("pair/a/b").unwrap();
        assert_eq!(again(&memory).1, None, "nothing was left");
        for session in 1..=5 {
            memory.save(&pair(session)).unwrap();
            memory.save(&pair(session)).unwrap();
            let (mut heir, found) = again(&memory);
            assert_eq!(found, Some(session));
            assert_eq!(heir.turn, session, "the same again is not written");
            assert!(heir.kept.is_none());
            // Who inherits goes on in the other place.
            heir.save(&pair(session + 100)).unwrap();
            assert_eq!(again(&memory).1, Some(session + 100));
            memory.save(&pair(session + 200)).unwrap();
            memory.turn = session;
        }
        let fd = memory.fd.as_fd().try_clone_to_owned().unwrap();
        assert_eq!(Memory::inherit(fd, "pair/b/a").1, None, "it is another node's");
    }

    #[test]
    fn what_is_torn_or_of_another_boot_is_no_memory() {
        let mut memory = Memory::create("pair/a/b").unwrap();
        memory.save(&pair(1)).unwrap();
        memory.save(&pair(2)).unwrap();
        let length = memory.bytes.len();
        for at in 0..length {
            let place = offset(2) + i64::try_from(at).unwrap();
            let mut byte = [0];
            pread(memory.fd.as_fd(), &mut byte, place).unwrap();
            pwrite(memory.fd.as_fd(), &[byte[0] ^ 1], place).unwrap();
            assert_eq!(again(&memory).1, Some(1), "byte {at}: the one before counts");
            pwrite(memory.fd.as_fd(), &byte, place).unwrap();
        }
        assert_eq!(again(&memory).1, Some(2));
        memory.boot ^= 1;
        memory.save(&pair(3)).unwrap();
        memory.save(&pair(4)).unwrap();
        assert_eq!(again(&memory).1, None);
    }
}
