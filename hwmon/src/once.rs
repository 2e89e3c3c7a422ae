//! Files and folders of /sys that are looked at once; [`kept`](crate::kept) has those that are read
//! again and again.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use mastiff_core::sorted::Set;

use crate::kept::Kept;
use crate::text;

/// Characters that [`shown`] and [`clean`] leave at most.
const SHOWN_CHARS_MAX: usize = 48;

/// The names in a folder, in order; none if it cannot be listed.
pub(crate) fn names(directory: &Path) -> Set<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Set::default() };
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

/// What is called `prefix` and a number in a folder, by number.
pub(crate) fn numbered(directory: &Path, prefix: &str, limit: usize) -> Vec<PathBuf> {
    let names = names(directory);
    let numbers = names.iter().filter_map(|name| text::whole(name.strip_prefix(prefix)?));
    let numbers: Set<u64> = numbers.take(limit).collect();
    numbers.into_iter().map(|number| directory.join(format!("{prefix}{number}"))).collect()
}

/// The first line of a file as it is, without its end.
pub(crate) fn line(path: &Path) -> Option<String> {
    Kept::open_short(path).ok()?.line().ok()?.map(str::to_owned)
}

/// The first `limit` bytes of a file; `None` if it cannot be opened.
pub(crate) fn head(path: &Path, limit: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    // What was read before an error is still what the file begins with.
    File::open(path).ok()?.take(limit).read_to_end(&mut bytes).unwrap_or_default();
    Some(bytes)
}

/// Where a link leads to, by its last name: the driver of a device, the bond of an interface.
pub(crate) fn linked(path: &Path) -> Option<String> {
    clean(fs::read_link(path).ok()?.file_name()?.to_str()?.as_bytes())
}

/// The whole number in the first line of a file.
pub(crate) fn number(path: &Path) -> Option<u64> {
    Kept::open_short(path).ok()?.number().ok()?
}

/// The first line of a file, as text that is safe to show; `None` if nothing is left of it.
pub(crate) fn shown(path: &Path) -> Option<String> {
    clean(line(path)?.as_bytes())
}

/// Printable ASCII without the blanks around it, cut to [`SHOWN_CHARS_MAX`].
pub(crate) fn clean(bytes: &[u8]) -> Option<String> {
    let shown = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    let shown = bytes.trim_ascii().iter().filter(|byte| shown(byte)).take(SHOWN_CHARS_MAX);
    let text: String = shown.map(|byte| char::from(*byte)).collect();
    let text = text.trim().to_owned();
    if text.is_empty() { None } else { Some(text) }
}
