//! From an offset in the file to the line and column that an editor shows.

/// Where the lines of a text begin.
#[derive(Debug)]
pub(super) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let after_break = text.match_indices('\n').map(|(offset, _)| offset + 1);
        Self { text, starts: std::iter::once(0).chain(after_break).collect() }
    }

    /// Line and column, both from 1; columns count characters. An offset behind the end is the end.
    pub(super) fn place(&self, offset: usize) -> (usize, usize) {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = line.checked_sub(1).and_then(|index| self.starts.get(index)).copied();
        let before = self.text.get(start.unwrap_or(0)..offset).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    /// How many lines there are; the empty one behind a last line break counts.
    pub(super) fn count(&self) -> usize {
        self.starts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_as_editors_do() {
        let lines = Lines::new("a\nüb = 1\r\n\nx");
        for (offset, place) in [
            (0, (1, 1)),
            (1, (1, 2)),
            (2, (2, 1)),
            (4, (2, 2)),
            (11, (3, 1)),
            (12, (4, 1)),
            (99, (4, 2)),
        ] {
            assert_eq!(lines.place(offset), place, "{offset}");
        }
        assert_eq!(lines.count(), 4);
        assert_eq!(Lines::new("").place(0), (1, 1));
    }
}
