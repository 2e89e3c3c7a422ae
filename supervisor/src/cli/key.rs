//! `mastiff key new`: the secret of a pair.

use std::path::PathBuf;

use super::failure::Failure;
use super::{Context, print};
use crate::control::Answer;
use crate::key::{self, Fault};

/// Make the key of a pair
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    New(New),
}

/// Write a key file with a new random key
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Only its owner can read the file, and an existing one is never overwritten.
Copy it to both nodes and to the witness; there it must have mode 0600, too.

To change a key without a gap, let every machine have two lines: first the old
key above the new one, on all machines; then the new one above the old one, on
all; then the new one alone. Reload after each step.

Example:
  mastiff key new /etc/mastiff/db.key")]
struct New {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let What::New(New { file }) = &arguments.what;
    key::create(file).map_err(|error| match &error.fault {
        Fault::Write(cause) if cause.kind() == std::io::ErrorKind::PermissionDenied => {
            Failure::Permission(error.to_string())
        }
        _ => Failure::Usage(error.to_string()),
    })?;
    let text = format!("wrote {}; copy it to the other machines of the pair", file.display());
    if context.json {
        print::print_json(&Answer::Done(text))?;
    } else {
        print::print(&format!("{}\n", context.out.wrap(&text, 0)))?;
    }
    Ok(0)
}
