//! Splits a zone file into its entries: words and quoted strings, parentheses and comments resolved.
//!
//! Escapes stay as they are written (RFC 1035 section 5.1), because only the reader of a word knows
//! whether `\.` separates labels.

use crate::text::{ParseError, Position};

/// One entry of a zone file: a line, or several joined by parentheses. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// The line starts with white space, so that its owner is the one of the entry before.
    pub(crate) owner_omitted: bool,
    pub(crate) tokens: Vec<Token<'a>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    /// As written, escapes included, quotes excluded.
    pub(crate) raw: &'a str,
    pub(crate) quoted: bool,
    /// Where the first character of `raw` stands.
    pub(crate) position: Position,
}

/// The entries of a zone file, in order. Ends after the first error.
pub(crate) struct Lines<'a> {
    text: &'a str,
    /// Offset in bytes of what is read next.
    offset: usize,
    position: Position,
    failed: bool,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            offset: 0,
            position: Position { line: 1, column: 1 },
            failed: false,
        }
    }

    fn line(&mut self) -> Result<Option<Line<'a>>, ParseError> {
        let mut tokens = Vec::new();
        let mut owner_omitted = matches!(self.peek(), Some(' ' | '\t'));
        let mut open: Option<Position> = None;

        while let Some(character) = self.peek() {
            match character {
                '\n' => {
                    self.advance();
                    if open.is_some() {
                        continue;
                    }
                    if !tokens.is_empty() {
                        return Ok(Some(Line {
                            owner_omitted,
                            tokens,
                        }));
                    }
                    owner_omitted = matches!(self.peek(), Some(' ' | '\t'));
                }
                ' ' | '\t' | '\r' => self.advance(),
                ';' => self.skip_comment(),
                '(' if open.is_some() => return Err(self.error("parentheses do not nest")),
                '(' => {
                    open = Some(self.position);
                    self.advance();
                }
                ')' if open.take().is_none() => {
                    return Err(self.error("`)` without a `(` before it"));
                }
                ')' => self.advance(),
                '"' => tokens.push(self.quoted()?),
                _ => tokens.push(self.word()),
            }
        }

        if let Some(position) = open {
            return Err(ParseError::new(position, "`(` is never closed"));
        }
        Ok((!tokens.is_empty()).then_some(Line {
            owner_omitted,
            tokens,
        }))
    }

    fn quoted(&mut self) -> Result<Token<'a>, ParseError> {
        let opening = self.position;
        self.advance();
        let (start, position) = (self.offset, self.position);

        loop {
            match self.peek() {
                None | Some('\n') => {
                    return Err(ParseError::new(
                        opening,
                        "the quoted string is never closed",
                    ));
                }
                Some('"') => break,
                Some('\\') => {
                    self.advance();
                    if self.peek() != Some('\n') {
                        self.advance();
                    }
                }
                Some(_) => self.advance(),
            }
        }
        let raw = &self.text[start..self.offset];
        self.advance();
        Ok(Token {
            raw,
            quoted: true,
            position,
        })
    }

    fn word(&mut self) -> Token<'a> {
        let (start, position) = (self.offset, self.position);
        while let Some(character) = self.peek() {
            match character {
                ' ' | '\t' | '\r' | '\n' | ';' | '(' | ')' | '"' => break,
                '\\' => {
                    self.advance();
                    if self.peek() != Some('\n') {
                        self.advance();
                    }
                }
                _ => self.advance(),
            }
        }
        Token {
            raw: &self.text[start..self.offset],
            quoted: false,
            position,
        }
    }

    fn skip_comment(&mut self) {
        while self.peek().is_some_and(|it| it != '\n') {
            self.advance();
        }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.offset..].chars().next()
    }

    /// Steps over one character; at the end it stays.
    fn advance(&mut self) {
        let Some(character) = self.peek() else {
            return;
        };
        self.offset += character.len_utf8();
        if character == '\n' {
            self.position = Position {
                line: self.position.line + 1,
                column: 1,
            };
        } else {
            self.position.column += 1;
        }
    }

    fn error(&self, message: &str) -> ParseError {
        ParseError::new(self.position, message)
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Result<Line<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let line = self.line().transpose();
        self.failed = matches!(line, Some(Err(_)));
        line
    }
}

/// The characters that `raw` stands for, each with its place: `\X` is X, `\DDD` the octet with that
/// decimal value (RFC 1035 section 5.1).
///
/// Octets above 127 come out as the characters U+0080 to U+00FF; [`octets`] turns them back.
pub(crate) fn characters(token: &Token<'_>) -> Result<Vec<Character>, ParseError> {
    let mut characters = Vec::with_capacity(token.raw.len());
    let mut rest = token.raw.chars().peekable();
    let mut position = token.position;

    while let Some(character) = rest.next() {
        let start = position;
        position.column += 1;
        if character != '\\' {
            characters.push(Character {
                value: character,
                escaped: false,
                position: start,
            });
            continue;
        }

        let error =
            || ParseError::new(start, "`\\` needs a character or three digits (000 to 255)");
        let escaped = rest.next().ok_or_else(error)?;
        position.column += 1;
        let Some(mut value) = escaped.to_digit(10) else {
            characters.push(Character {
                value: escaped,
                escaped: true,
                position: start,
            });
            continue;
        };
        for _ in 0..2 {
            let digit = rest
                .next()
                .and_then(|it| it.to_digit(10))
                .ok_or_else(error)?;
            position.column += 1;
            value = value * 10 + digit;
        }
        let octet = u8::try_from(value).map_err(|_| error())?;
        characters.push(Character {
            value: char::from(octet),
            escaped: true,
            position: start,
        });
    }
    Ok(characters)
}

/// A character of a token, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Character {
    pub(crate) value: char,
    /// Written with a backslash: a `.` among these does not separate labels.
    pub(crate) escaped: bool,
    pub(crate) position: Position,
}

/// The octets of a text on the wire: what was escaped is one octet, everything else is UTF-8.
pub(crate) fn octets(characters: &[Character]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(characters.len());
    for character in characters {
        match u8::try_from(character.value) {
            Ok(octet) if character.escaped => octets.push(octet),
            _ => {
                octets.extend_from_slice(character.value.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }
    octets
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn joins_lines_in_parentheses_and_drops_comments() {
        check(
            "a 1 ( 2 ; not here )\n 3 )\n\n  ; nothing\n b \"c;d\" e\n",
            "a|1|2|3\n_|b|\"c;d\"|e\n",
        );
    }

    #[test]
    fn keeps_escapes_and_finds_words_next_to_quotes() {
        check(r#"a\ b"c\"d"e\;f"#, "a\\ b|\"c\\\"d\"|e\\;f\n");
    }

    #[test]
    fn says_where_a_string_or_a_parenthesis_was_left_open() {
        check_error(
            "ok 1\n  x \"abc\nd\"",
            "2:5: the quoted string is never closed",
        );
        check_error("x (\n\n", "1:3: `(` is never closed");
        check_error("x )", "1:3: `)` without a `(` before it");
    }

    #[test]
    fn reads_decimal_escapes_as_octets() {
        let line = Lines::new(r"a\.b\255\000é").next().unwrap().unwrap();
        let characters = characters(&line.tokens[0]).unwrap();

        assert_eq!(octets(&characters), b"a.b\xff\x00\xc3\xa9");
    }

    proptest! {
        #[test]
        fn never_panics_and_always_ends(text in r#"[a-z0-9 \t\n\r\\;()"\.@é]{0,80}"#) {
            for line in Lines::new(&text) {
                for token in line.map_or_else(|_| Vec::new(), |it| it.tokens) {
                    let _ = characters(&token);
                }
            }
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mut printed = String::new();
        for line in Lines::new(text) {
            let line = line.unwrap();
            let mut words: Vec<String> = line
                .tokens
                .iter()
                .map(|it| {
                    if it.quoted {
                        format!("\"{}\"", it.raw)
                    } else {
                        it.raw.to_owned()
                    }
                })
                .collect();
            if line.owner_omitted {
                words.insert(0, "_".to_owned());
            }
            printed += &(words.join("|") + "\n");
        }
        assert_eq!(printed, expected);
    }

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        let error = Lines::new(text).find_map(Result::err).unwrap();
        assert_eq!(error.to_string(), expected);
    }
}
