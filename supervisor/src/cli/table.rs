//! Aligned columns that fit the terminal: the last column is cut or wrapped, the first one gives
//! way before that.

use super::print::{Out, Tone, clean, cut};

/// Blanks between two columns.
const GAP: usize = 2;
/// Of a narrow terminal the first column takes a third at most, so that the reason has room.
const FIRST_SHARE: usize = 3;

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
    /// As the last of its row it goes on under itself instead of being cut.
    wraps: bool,
}

impl Cell {
    /// A cell in a tone; the text is cleaned.
    pub(super) fn new(tone: Tone, text: &str) -> Self {
        Self { text: clean(text), tone, wraps: false }
    }

    /// A cell of plain text.
    pub(super) fn plain(text: &str) -> Self {
        Self::new(Tone::Plain, text)
    }

    /// The same, for a last column that must be read to its end.
    pub(super) fn wrapped(self) -> Self {
        Self { wraps: true, ..self }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// Rows of cells.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Vec<Cell>>,
    /// Blanks before each row.
    indent: usize,
}

impl Table {
    /// An empty table.
    pub(super) fn new(indent: usize) -> Self {
        Self { rows: Vec::new(), indent }
    }

    /// Adds a heading.
    pub(super) fn head(&mut self, names: &[&str]) {
        self.rows.push(names.iter().map(|name| Cell::new(Tone::Dim, name)).collect());
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The lines.
    pub(super) fn render(&self, out: Out) -> String {
        let widths = self.widths(out);
        let mut text = String::new();
        for row in &self.rows {
            let mut column = self.indent;
            let mut line = " ".repeat(self.indent);
            for (index, cell) in row.iter().enumerate() {
                let last = index + 1 == row.len();
                let shown = match widths.get(index) {
                    Some(width) if !last => cut(&cell.text, *width),
                    _ if cell.wraps => out.wrap(&cell.text, column),
                    _ => out.fit(&cell.text, column),
                };
                let pad = match widths.get(index) {
                    Some(width) if !last => width.saturating_sub(shown.chars().count()) + GAP,
                    _ => 0,
                };
                column += shown.chars().count() + pad;
                line.push_str(&out.paint(cell.tone, &shown));
                line.push_str(&" ".repeat(pad));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// The width of each column but the last of a row.
    fn widths(&self, out: Out) -> Vec<usize> {
        let mut widths = Vec::new();
        for row in &self.rows {
            let inner = row.len().saturating_sub(1);
            widths.resize(widths.len().max(inner), 0);
            for (width, cell) in widths.iter_mut().zip(row.iter().take(inner)) {
                *width = cell.width().max(*width);
            }
        }
        if let (Some(columns), Some(first)) = (out.width, widths.first_mut()) {
            *first = (*first).min(columns / FIRST_SHARE);
        }
        widths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(0);
        table.head(&["CHECK", "VERDICT", "WHY"]);
        table.row(vec![
            Cell::plain("filesystem /srv/a/very/long/path/indeed"),
            Cell::new(Tone::Bad, "failed"),
            Cell::plain("used > 95% (96.1%); a note that goes on and on, beyond the edge"),
        ]);
        table.row(vec![Cell::plain("load"), Cell::new(Tone::Good, "healthy"), Cell::plain("")]);
        table
    }

    #[test]
    fn every_line_fits_the_terminal_with_and_without_colour() {
        for columns in [40, 60, 80] {
            let text = sample().render(Out { color: false, width: Some(columns) });
            assert!(text.lines().all(|line| line.chars().count() <= columns), "{text}");
            assert!(text.contains("..."), "{text}");
            let coloured = sample().render(Out { color: true, width: Some(columns) });
            assert!(coloured.contains("\x1b[1;31mfailed\x1b[0m"), "{coloured}");
        }
    }

    #[test]
    fn a_pipe_gets_everything_and_no_trailing_blanks() {
        let text = sample().render(Out { color: false, width: None });
        assert!(text.contains("beyond the edge\n"), "{text}");
        assert!(text.contains("very/long/path/indeed  failed"), "{text}");
        assert!(text.lines().all(|line| line.trim_end() == line), "{text:?}");
    }

    #[test]
    fn a_wrapped_cell_is_whole_and_goes_on_under_itself() {
        let mut table = Table::new(0);
        let words = "one two three four five six seven eight nine ten eleven twelve";
        table.row(vec![Cell::plain("failed"), Cell::plain(words).wrapped()]);
        let text = table.render(Out { color: false, width: Some(40) });
        assert!(text.contains("\n        seven eight") && text.ends_with("twelve\n"), "{text}");
        assert!(text.lines().all(|line| line.len() <= 40), "{text}");
    }

    #[test]
    fn columns_stand_under_each_other() {
        let text = sample().render(Out { color: false, width: None });
        let at: Vec<usize> = text
            .lines()
            .zip(["VERDICT", "failed", "healthy"])
            .map(|(l, w)| l.find(w).unwrap())
            .collect();
        assert!(at.iter().all(|column| Some(column) == at.first()), "{text}");
    }
}
