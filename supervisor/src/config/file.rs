//! Gets the text of a configuration file, or says why it is none.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::fault::Fault;
use super::locate::Lines;

/// Bytes of a configuration file at most. The largest allowed number of checks needs less than half
/// of it.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Reads a configuration file.
///
/// # Errors
/// It cannot be read, is no regular file, is larger than [`FILE_BYTES_MAX`], or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, Fault> {
    let fault = |message: String| Fault::of_file(path, message);
    let mut file = open(path).map_err(fault)?;
    let mut bytes = Vec::new();
    let mut limited = (&mut file).take(FILE_BYTES_MAX + 1);
    limited.read_to_end(&mut bytes).map_err(|error| fault(format!("cannot read: {error}")))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > FILE_BYTES_MAX) {
        return Err(fault(format!(
            "is larger than {FILE_BYTES_MAX} bytes; a configuration is a small text file"
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        let upto = error.utf8_error().valid_up_to();
        undecodable(path, error.as_bytes(), upto)
    })
}

/// Opens a regular file and nothing else. It is looked at before it is opened, because opening can
/// itself act: a FIFO waits for its writer, and a watchdog device is armed
/// (Documentation/watchdog/watchdog-api.rst).
fn open(path: &Path) -> Result<File, String> {
    let must_be_file = |is_file: bool| {
        if is_file { Ok(()) } else { Err("is not a regular file; name a text file".to_string()) }
    };
    let cannot = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_string(),
        _ => format!("cannot open: {error}"),
    };
    must_be_file(std::fs::metadata(path).map_err(cannot)?.is_file())?;
    // Should it become a FIFO in between, then at least do not wait.
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(cannot)?;
    must_be_file(file.metadata().map_err(cannot)?.is_file())?;
    Ok(file)
}

fn undecodable(path: &Path, bytes: &[u8], upto: usize) -> Fault {
    let before = bytes.get(..upto).and_then(|before| std::str::from_utf8(before).ok());
    let before = before.unwrap_or_default();
    let (line, column) = Lines::new(before).place(before.len());
    let culprit = bytes.get(upto).copied().unwrap_or_default();
    let guess = match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "this looks like UTF-16",
        _ => "this may be Latin-1",
    };
    let message = format!("byte 0x{culprit:02x} is not UTF-8; {guess}: save the file as UTF-8");
    Fault { line, column, ..Fault::of_file(path, message) }
}
