//! Lays text out in columns, for people: colours only underline what the words say.

/// Two spaces stand between columns, as in the tools that people compare this with.
const GAP: &str = "  ";

/// What a cell feels like; without colours it looks like any other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tone {
    Bad,
    Faint,
    Good,
    Plain,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) tone: Tone,
}

/// Rows under headings. A row may be shorter than the headings; its last cell may be as long as it
/// needs.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Tone {
    /// `text` in this tone, if colours are wanted.
    pub(crate) fn paint(self, text: &str, colours: bool) -> String {
        let code = match self {
            Self::Bad => "31",
            Self::Faint => "2",
            Self::Good => "32",
            Self::Plain => return text.to_owned(),
        };
        match colours {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self {
            text: text.into(),
            tone,
        }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::new(text, Tone::Plain)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::new(text, Tone::Plain)
    }
}

impl Table {
    pub(crate) fn new(headings: impl Into<Vec<&'static str>>) -> Self {
        Self {
            headings: headings.into(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: impl Into<Vec<Cell>>) {
        self.rows.push(cells.into());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table with a line break after each row and no space at the ends of lines.
    pub(crate) fn render(&self, colours: bool) -> String {
        let headings: Vec<Cell> = self
            .headings
            .iter()
            .map(|it| Cell::new(*it, Tone::Faint))
            .collect();
        let widths = self.widths(&headings);
        let mut text = String::new();
        for row in std::iter::once(&headings).chain(&self.rows) {
            text.push_str(&line(row, &widths, colours));
            text.push('\n');
        }
        text
    }

    /// The widest cell of each column, except for cells that end their row early.
    fn widths(&self, headings: &[Cell]) -> Vec<usize> {
        let column = |index: usize| {
            let goes_on = |it: &&Vec<Cell>| it.len() == headings.len() || index + 1 < it.len();
            let rows = self.rows.iter().filter(goes_on);
            let cells = rows
                .filter_map(|it| it.get(index))
                .chain(headings.get(index));
            cells.map(Cell::width).max().unwrap_or_default()
        };
        (0..headings.len()).map(column).collect()
    }
}

fn line(row: &[Cell], widths: &[usize], colours: bool) -> String {
    let mut text = String::new();
    let last = row.len().saturating_sub(1);
    for (index, cell) in row.iter().enumerate() {
        text.push_str(&cell.tone.paint(&cell.text, colours));
        if index < last {
            let width = widths.get(index).copied().unwrap_or_default();
            text.push_str(&" ".repeat(width.saturating_sub(cell.width())));
            text.push_str(GAP);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_columns_and_lets_a_short_row_run_on() {
        let mut table = Table::new(["NODE", "TUNNELS", "SERVICES"]);
        table.row([
            "eu-node-1".into(),
            Cell::new("5/5", Tone::Good),
            "12".into(),
        ]);
        table.row([
            "us".into(),
            "unreachable: connection refused; is it running?".into(),
        ]);

        assert_eq!(
            table.render(false),
            "NODE       TUNNELS  SERVICES\n\
             eu-node-1  5/5      12\n\
             us         unreachable: connection refused; is it running?\n"
        );
    }

    #[test]
    fn colours_do_not_move_columns() {
        let mut table = Table::new(["A", "B"]);
        table.row([Cell::new("ok", Tone::Good), "x".into()]);
        table.row([Cell::new("lost", Tone::Bad), "y".into()]);

        let coloured = table.render(true);

        assert!(
            coloured.contains("\x1b[32mok\x1b[0m    x\n"),
            "{coloured:?}"
        );
        assert!(
            coloured.contains("\x1b[31mlost\x1b[0m  y\n"),
            "{coloured:?}"
        );
    }
}
