//! "Did you mean": the known word that a misspelt one is nearest to.

/// Longer words are not compared: the comparison takes the product of both lengths.
const WORD_CHARS_MAX: usize = 64;
/// Known words that are listed where none is near.
const LISTED_MAX: usize = 40;

/// The known word that `word` was probably meant to be.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.chars().nth(WORD_CHARS_MAX).is_some() {
        return None;
    }
    let word = word.to_ascii_lowercase().replace(['_', ' ', '.'], "-");
    // One slip in three letters, or the suggestion is a guess.
    let tolerated = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|known| (strsim::osa_distance(&word, known), known))
        .filter(|(distance, _)| *distance <= tolerated)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// ``did you mean `x`?``, or the list of what is known.
pub(super) fn advice<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(near) = nearest(word, known.clone()) {
        return format!("did you mean `{near}`?");
    }
    let mut all: Vec<&str> = known.into_iter().collect();
    let surplus = all.len().saturating_sub(LISTED_MAX);
    all.truncate(LISTED_MAX);
    match surplus {
        0 => format!("known are: {}", all.join(", ")),
        surplus => format!("known are: {} and {surplus} more", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["fail-when", "warn-when", "fail-after", "name", "used"];

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        for (word, near) in [
            ("fail_when", Some("fail-when")),
            ("Fail-When", Some("fail-when")),
            ("failwhen", Some("fail-when")),
            ("nmae", Some("name")),
            ("usd", Some("used")),
            ("warn-wen", Some("warn-when")),
            ("colour", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, KNOWN.iter().copied()), near, "{word:?}");
        }
        assert_eq!(nearest(&"name".repeat(100_000), KNOWN.iter().copied()), None);
    }

    #[test]
    fn without_a_near_word_all_are_listed() {
        assert_eq!(advice("nmae", ["name"]), "did you mean `name`?");
        assert_eq!(advice("colour", ["name", "used"]), "known are: name, used");
    }
}
