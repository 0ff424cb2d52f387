//! Decides where the items of a `List` stand in a YAML document, so that they are read one by one:
//! a list of 100,000 objects as a whole would take gigabytes, and more than a reader of YAML lets
//! anybody have.

/// An item as a document of its own: with blanks before it, and in the place of its dash, so that
/// lines and columns are those of the list.
#[derive(Debug, PartialEq)]
pub(super) struct Item {
    /// From 0, within the list's document.
    pub(super) line: u64,
    pub(super) text: String,
}

/// The items under the key `items` of a block mapping; `None` where they are written otherwise, such
/// as in brackets.
///
/// Within a block sequence, nothing but its entries begins with a dash in the column of its dashes:
/// whatever an entry holds stands further to the right.
pub(super) fn items(document: &str) -> Option<impl Iterator<Item = Item>> {
    let mut lines = Lines {
        rest: document,
        number: 0,
    };
    lines.find(|(_, line)| is_key(line, "items:"))?;
    let (number, first) = lines.find(|(_, line)| !is_blank(line))?;
    let indent = first.len() - first.trim_start_matches(' ').len();
    if !is_entry(first, indent) {
        return None;
    }
    let mut next = Some((number, first));
    Some(std::iter::from_fn(move || {
        let (line, first) = next.take()?;
        let mut text = String::with_capacity(first.len());
        text.push_str(&first[..indent]);
        text.push(' ');
        text.push_str(&first[indent + 1..]);
        for (number, line) in lines.by_ref() {
            if is_entry(line, indent) {
                next = Some((number, line));
                break;
            }
            if !is_blank(line) && !line.starts_with(' ') {
                break; // The next key of the list.
            }
            text.push_str(line);
        }
        Some(Item { line, text })
    }))
}

/// Whether one item may stand for what is written in another.
pub(super) fn has_aliases(document: &str) -> bool {
    let has = |sign| {
        let places = [": ", "- ", ", ", "["].iter();
        places
            .map(|it| format!("{it}{sign}"))
            .any(|it| document.contains(&it))
    };
    has('&') && has('*')
}

/// Lines with their ends and numbers.
struct Lines<'a> {
    rest: &'a str,
    number: u64,
}

impl<'a> Iterator for Lines<'a> {
    type Item = (u64, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let end = self.rest.find('\n').map_or(self.rest.len(), |it| it + 1);
        let (line, rest) = self.rest.split_at(end);
        let number = self.number;
        (self.rest, self.number) = (rest, number + 1);
        Some((number, line))
    }
}

/// Whether a line in the first column holds this key, and nothing that is its value.
fn is_key(line: &str, key: &str) -> bool {
    line.strip_prefix(key).is_some_and(is_blank)
}

fn is_entry(line: &str, indent: usize) -> bool {
    let (Some(blanks), Some(rest)) = (line.get(..indent), line.get(indent..)) else {
        return false;
    };
    let is_dash = |it: &str| it.is_empty() || it.starts_with([' ', '\r', '\n']);
    blanks.bytes().all(|it| it == b' ') && rest.strip_prefix('-').is_some_and(is_dash)
}

fn is_blank(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_a_list_as_kubectl_writes_it() {
        let list = "apiVersion: v1\nitems:\n- a: 1\n  b:\n  - x\n  - y\n- a: |\n    - z\n\n  c: 2\nkind: List\nmetadata:\n  x: y\n";

        assert_eq!(
            cut(list),
            [
                (2, "  a: 1\n  b:\n  - x\n  - y\n"),
                (6, "  a: |\n    - z\n\n  c: 2\n")
            ]
        );
    }

    #[test]
    fn cuts_at_any_indentation_and_passes_comments() {
        let list =
            "# a list\nitems: # all\n# none yet\n\n    -   a: 1\n        b: 2\n# one\n    - {c: 3}";

        assert_eq!(
            cut(list),
            [
                (4, "        a: 1\n        b: 2\n# one\n"),
                (7, "      {c: 3}")
            ]
        );
        assert_eq!(cut("items:\r\n-\r\n  a: 1\r\n"), [(1, " \r\n  a: 1\r\n")]);
    }

    #[test]
    fn leaves_other_styles_alone() {
        for list in [
            "items: []",
            "items: [\n- a]",
            "{items:\n- a}",
            "a: b",
            "items:",
            "items:\n  a: b",
        ] {
            assert!(items(list).is_none(), "{list}");
        }
    }

    fn cut(list: &str) -> Vec<(u64, &'static str)> {
        let items = items(list).unwrap();
        items.map(|it| (it.line, &*it.text.leak())).collect()
    }
}
