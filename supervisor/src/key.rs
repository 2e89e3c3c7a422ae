//! Key files: the secret by which nodes and witness of a pair know each other.
//!
//! ```text
//! 64 hexadecimal digits, a newline      signs, and is accepted
//! 64 hexadecimal digits, a newline      optional: is accepted, too, while keys are changed
//! ```
//!
//! Two lines are one step of a change of keys without a gap ([`mastiff_core::wire`]).

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use mastiff_core::wire::{Keys, PairId};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::mac::{KEY_BYTES, PairKey};

/// Bytes of a key file at most: two keys, and what editors leave behind.
const FILE_BYTES_MAX: u64 = 256;

/// What may be done with a key file only by its owner (chmod(1)).
const OTHERS: u32 = 0o077;

/// What is in a key file.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyFile {
    current: [u8; KEY_BYTES],
    other: Option<[u8; KEY_BYTES]>,
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyFile") // and nothing of it
    }
}

impl KeyFile {
    /// Reads a key file that nobody but its owner can read, and whose owner is root or this
    /// process's user.
    ///
    /// # Errors
    /// Each cause of [`Fault`].
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let fault = |fault| KeyError { path: path.to_path_buf(), fault };
        let mut text = String::new();
        let file = open(path).map_err(fault)?;
        let read = file.take(FILE_BYTES_MAX).read_to_string(&mut text);
        read.map_err(|error| fault(Fault::of_io(error)))?;
        Self::parse(&text).map_err(fault)
    }

    fn parse(text: &str) -> Result<Self, Fault> {
        let mut keys = text.trim_end().lines().enumerate();
        let mut next = || {
            keys.next()
                .map(|(at, line)| key(line).ok_or(Fault::NoKey { line: at.saturating_add(1) }))
        };
        let current = next().ok_or(Fault::Empty)??;
        let other = next().transpose()?;
        match next() {
            None => Ok(Self { current, other }),
            Some(_) => Err(Fault::TooMany),
        }
    }

    /// The keys for the pair of that name.
    #[must_use]
    pub fn keys(&self, pair: &str) -> Keys<PairKey> {
        Keys {
            pair: PairId::of(pair),
            current: PairKey::new(&self.current, pair),
            other: self.other.as_ref().map(|key| PairKey::new(key, pair)),
        }
    }
}

/// Opens it if it can be trusted. Looked at through the descriptor: a path may change in between.
fn open(path: &Path) -> Result<File, Fault> {
    // A link would leave it to its target's folder who may change the key; a FIFO would wait.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(Fault::of_io)?;
    let metadata = file.metadata().map_err(Fault::of_io)?;
    if !metadata.is_file() {
        return Err(Fault::NoFile);
    }
    let own = nix::unistd::geteuid().as_raw();
    if ![0, own].contains(&metadata.uid()) {
        return Err(Fault::Owner { uid: metadata.uid(), own });
    }
    if metadata.mode() & OTHERS != 0 {
        return Err(Fault::Mode(metadata.mode() & 0o7777));
    }
    Ok(file)
}

/// The key in a line of hexadecimal digits.
fn key(line: &str) -> Option<[u8; KEY_BYTES]> {
    let digits = line.trim().as_bytes();
    if digits.len() != KEY_BYTES * 2 {
        return None;
    }
    let mut key = [0; KEY_BYTES];
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair.iter().try_fold(0_u8, |value, digit| {
            let digit = char::from(*digit).to_digit(16)?;
            value.checked_mul(16)?.checked_add(u8::try_from(digit).ok()?)
        })?;
    }
    Some(key)
}

/// Writes a key file with one new random key. It must not exist yet: what is overwritten is gone,
/// and with it the pair's agreement.
///
/// # Errors
/// [`Fault::Exists`], and whatever the system says.
pub fn create(path: &Path) -> Result<(), KeyError> {
    let write = || {
        let key: [u8; KEY_BYTES] = random()?;
        let mut text: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        text.push('\n');
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error: io::Error| KeyError {
        path: path.to_path_buf(),
        fault: match error.kind() {
            io::ErrorKind::AlreadyExists => Fault::Exists,
            _ => Fault::Write(error),
        },
    })
}

/// Random bytes, for keys and for the sessions of daemons (getrandom(2)). Early in a boot it waits
/// until the kernel has gathered some.
///
/// # Errors
/// `ENOSYS` where a sandbox forbids the call.
pub fn random<const BYTES: usize>() -> io::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    // Up to 256 bytes come whole or not at all (getrandom(2)).
    match getrandom(&mut bytes, GetRandomFlags::empty())? {
        length if length == BYTES => Ok(bytes),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Why a key file is not used, or not written.
#[derive(Debug)]
pub struct KeyError {
    path: PathBuf,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What can be wrong with a key file.
#[derive(Debug)]
pub enum Fault {
    /// It cannot be opened or read.
    Read(io::Error),
    /// It cannot be written.
    Write(io::Error),
    /// There is one already.
    Exists,
    /// It is a symbolic link.
    Link,
    /// It is a directory, a device or a pipe.
    NoFile,
    /// It belongs to somebody else.
    Owner {
        /// To whom.
        uid: u32,
        /// Who reads it.
        own: u32,
    },
    /// Others can read or change it.
    Mode(u32),
    /// There is nothing in it.
    Empty,
    /// A line is no key; lines count from 1.
    NoKey {
        /// Which.
        line: usize,
    },
    /// It has more than two keys.
    TooMany,
}

impl Fault {
    fn of_io(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ELOOP) => Self::Link,
            _ => Self::Read(error),
        }
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.fault {
            Fault::Read(error) if error.kind() == io::ErrorKind::NotFound => write!(
                f,
                "there is no key file {path}; `mastiff key new` writes one, for all machines of a pair"
            ),
            Fault::Read(error) if error.kind() == io::ErrorKind::PermissionDenied => write!(
                f,
                "cannot read the key file {path}: {error}; it has to belong to user {}, who reads it",
                nix::unistd::geteuid()
            ),
            Fault::Read(error) => write!(f, "cannot read the key file {path}: {error}"),
            Fault::Write(error) => write!(f, "cannot write the key file {path}: {error}"),
            Fault::Exists => write!(
                f,
                "{path} is there already, and is not overwritten: without it a pair cannot talk"
            ),
            Fault::Link => write!(f, "the key file {path} is a symbolic link; name its target"),
            Fault::NoFile => write!(f, "the key file {path} is not a regular file"),
            Fault::Owner { uid, own } => write!(
                f,
                "the key file {path} belongs to user {uid}, not to root or to user {own}, who reads it; see chown(1)"
            ),
            Fault::Mode(mode) => write!(
                f,
                "the key file {path} has mode {mode:04o}, so others can use it; write a new key if they may have, and: chmod 600 {path}"
            ),
            Fault::Empty => write!(f, "the key file {path} is empty"),
            Fault::NoKey { line } => write!(
                f,
                "line {line} of the key file {path} is not a key: 64 hexadecimal digits and nothing else"
            ),
            Fault::TooMany => write!(
                f,
                "the key file {path} has more than two keys: the one that signs, and one to be changed to or from"
            ),
        }
    }
}

impl std::error::Error for KeyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            Fault::Read(error) | Fault::Write(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mastiff_core::wire::Mac;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// A folder that goes with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("mastiff-key-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn told(path: &Path) -> String {
        KeyFile::read(path).unwrap_err().to_string()
    }

    #[test]
    fn a_new_key_is_read_back_by_its_owner_only_and_never_overwritten() {
        let folder = Folder::new("new");
        let (path, second) = (folder.0.join("db.key"), folder.0.join("web.key"));
        create(&path).unwrap();
        create(&second).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(text.len(), KEY_BYTES * 2 + 1);
        let file = KeyFile::read(&path).unwrap();
        assert_ne!(file, KeyFile::read(&second).unwrap(), "random");
        assert_eq!(format!("{file:?}"), "KeyFile");
        assert!(matches!(create(&path).unwrap_err().fault, Fault::Exists));
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        let nowhere = create(&folder.0.join("no/such.key")).unwrap_err().to_string();
        assert!(nowhere.starts_with("cannot write the key file "), "{nowhere}");
    }

    #[test]
    fn one_key_or_two_are_a_key_file() {
        let (one, two) = ("0aF1".repeat(16), "2b".repeat(32));
        let file = KeyFile::parse(&format!("{one}\n")).unwrap();
        assert_eq!(file.current[..2], [0x0a, 0xf1]);
        assert_eq!(KeyFile::parse(&one).unwrap(), file, "without a newline");
        let both = KeyFile::parse(&format!("{one}\r\n  {two}\n\n")).unwrap();
        assert_eq!(both, KeyFile { other: Some([0x2b; KEY_BYTES]), ..file });
        let keys = both.keys("db");
        assert_eq!(keys.pair, PairId::of("db"));
        let other = keys.other.unwrap();
        assert!(other.verify(b"x", &PairKey::new(&[0x2b; KEY_BYTES], "db").sign(b"x")));
        assert!(!other.verify(b"x", &keys.current.sign(b"x")));
    }

    #[test]
    fn what_is_no_key_file_is_refused_with_the_line() {
        let key = "ab".repeat(32);
        for (text, wanted) in [
            (String::new(), "Empty"),
            ("\n\n".into(), "Empty"),
            ("ab".repeat(31), "NoKey { line: 1 }"),
            ("ab".repeat(33), "NoKey { line: 1 }"),
            ("xy".repeat(32), "NoKey { line: 1 }"),
            ("+b".repeat(32), "NoKey { line: 1 }"),
            ("ä".repeat(32), "NoKey { line: 1 }"),
            (format!("{key}\nnot this\n"), "NoKey { line: 2 }"),
            (format!("{key}\n\n{key}\n"), "NoKey { line: 2 }"),
            (format!("{key}\n{key}\n{key}\n"), "TooMany"),
        ] {
            let fault = KeyFile::parse(&text).unwrap_err();
            assert_eq!(format!("{fault:?}"), wanted, "{text:?}");
        }
    }

    #[test]
    fn what_others_could_have_read_or_put_there_is_refused() {
        let folder = Folder::new("mode");
        let path = folder.0.join("db.key");
        assert!(told(&path).starts_with("there is no key file "), "{}", told(&path));
        create(&path).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o602, 0o644, 0o610] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(told(&path).contains(&format!("has mode {mode:04o}")), "{}", told(&path));
        }
        for mode in [0o600, 0o400] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            KeyFile::read(&path).unwrap();
        }
        let link = folder.0.join("link.key");
        symlink(&path, &link).unwrap();
        assert!(told(&link).ends_with("is a symbolic link; name its target"), "{}", told(&link));
        assert!(told(&folder.0).ends_with("is not a regular file"), "{}", told(&folder.0));
        let fifo = folder.0.join("fifo.key");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(told(&fifo).ends_with("is not a regular file"), "{}", told(&fifo));
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
            assert!(told(&path).contains("belongs to user 12345, not to root"), "{}", told(&path));
        } else {
            eprintln!("skipped: a file of another user, which only root can make");
        }
    }

    #[test]
    fn text_that_is_none_and_files_without_end_are_refused() {
        let folder = Folder::new("text");
        let path = folder.0.join("db.key");
        for bytes in [&[0xff; 65][..], &[b'a'; 100_000]] {
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            KeyFile::read(&path).unwrap_err();
        }
    }
}
