//! Breaks text into lines of a given width.

/// Breaks `text` at spaces, and where a word is longer than a line, inside of the word. Spaces in
/// front indent each line. There is always at least one line. Control characters become spaces:
/// messages come from other programs, and theirs must not reach a terminal.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let indent = text
        .chars()
        .take_while(|it| *it == ' ')
        .count()
        .min(width / 2);
    let width = (width - indent).max(1);
    let mut lines = vec![Vec::new()];
    for word in text
        .replace(char::is_control, " ")
        .split(' ')
        .filter(|it| !it.is_empty())
    {
        let word: Vec<char> = word.chars().collect();
        for (index, piece) in word.chunks(width).enumerate() {
            let line = lines
                .last_mut()
                .expect("there is a first line, and none is taken away");
            if line.is_empty() {
                line.extend(piece);
            } else if index == 0 && line.len() + 1 + piece.len() <= width {
                line.push(' ');
                line.extend(piece);
            } else {
                lines.push(piece.to_vec());
            }
        }
    }
    let line = |it: Vec<char>| format!("{:indent$}{}", "", String::from_iter(it));
    lines.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn breaks_lines_between_words_and_long_words_where_it_must() {
        check("two words", 9, &["two words"]);
        check("two words", 8, &["two", "words"]);
        check("  indented words here", 12, &["  indented", "  words here"]);
        check("abcdefgh", 3, &["abc", "def", "gh"]);
        check("a bcdefgh i", 3, &["a", "bcd", "efg", "h i"]);
        check("evil\x1b[2J\nend", 20, &["evil [2J end"]);
        check("", 3, &[""]);
        check("  ab", 0, &["a", "b"]);
    }

    #[track_caller]
    fn check(text: &str, width: usize, expected: &[&str]) {
        assert_eq!(wrapped(text, width), expected);
    }
}
