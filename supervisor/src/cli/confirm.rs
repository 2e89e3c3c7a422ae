//! Asking a person before something that cannot be taken back.

use std::io::{self, BufRead, IsTerminal, Write};

use super::failure::Failure;

/// Characters of an answer that are read.
const ANSWER_CHARS_MAX: u64 = 100;

/// Says what will happen and waits for the word `yes`.
///
/// # Errors
/// When another word comes, or nobody sits at a terminal to give one: a script says `--yes`.
pub(super) fn confirm(what: &str) -> Result<(), Failure> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::Usage(format!("{what}\nnobody is there to confirm it; see --yes")));
    }
    ask(what, &mut stdin.lock(), &mut io::stderr())
}

fn ask(what: &str, from: &mut dyn BufRead, to: &mut dyn Write) -> Result<(), Failure> {
    let mut answer = String::new();
    let asked = write!(to, "{what}\nType yes to go on: ").and_then(|()| to.flush());
    let read = io::Read::take(from, ANSWER_CHARS_MAX).read_line(&mut answer);
    if asked.is_ok() && read.is_ok() && answer.trim() == "yes" {
        return Ok(());
    }
    Err(Failure::Usage("not confirmed; nothing was done".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_a_yes() {
        let answer = |text: &str| ask("Really?", &mut text.as_bytes(), &mut Vec::new());
        assert_eq!(answer("yes\n"), Ok(()));
        let long = "y".repeat(1000);
        for no in ["", "\n", "y\n", "YES\n", "no\n", "yes please\n", &long] {
            let refused = answer(no).unwrap_err();
            assert!(matches!(refused, Failure::Usage(_)), "{no}: {refused}");
        }
    }

    #[test]
    fn what_is_confirmed_is_said_first() {
        let mut said = Vec::new();
        ask("You vouch.", &mut "yes\n".as_bytes(), &mut said).unwrap();
        assert_eq!(String::from_utf8(said).unwrap(), "You vouch.\nType yes to go on: ");
    }
}
