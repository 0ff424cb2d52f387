//! Splits an expression into Lua's tokens.

use std::fmt;

use crate::text::{ParseError, Position};
use crate::zone::Character;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) position: Position,
    pub(super) kind: TokenKind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    Name(String),
    Number(f64),
    String(String),
    /// One of [`SYMBOLS`].
    Symbol(&'static str),
}

impl fmt::Display for TokenKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(formatter, "`{name}`"),
            Self::Number(number) => write!(formatter, "`{number}`"),
            Self::String(_) => formatter.write_str("a string"),
            Self::Symbol(symbol) => write!(formatter, "`{symbol}`"),
        }
    }
}

/// Lua's, the longer ones before those that they begin with.
const SYMBOLS: &[&str] = &[
    "..", "==", "~=", "<=", ">=", "{", "}", "(", ")", "[", "]", ",", ";", "=", "-", ".", ":", "+",
    "*", "/", "%", "^", "#", "<", ">",
];

pub(super) fn tokens(characters: &[Character]) -> Result<Vec<Token>, ParseError> {
    let mut lexer = Lexer {
        characters,
        index: 0,
    };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blank();
        let Some(character) = lexer.characters.get(lexer.index) else {
            return Ok(tokens);
        };
        let position = character.position;
        let kind = lexer.token(character.value, position)?;
        tokens.push(Token { position, kind });
    }
}

struct Lexer<'a> {
    characters: &'a [Character],
    index: usize,
}

impl Lexer<'_> {
    /// Reads the token that starts with `first`, which is not blank.
    fn token(&mut self, first: char, position: Position) -> Result<TokenKind, ParseError> {
        match first {
            '\'' | '"' => self.quoted(first, position),
            '[' if self.ahead(1) == Some('[') => self.long_string(position),
            '0'..='9' => self.number(position),
            '.' if self.ahead(1).is_some_and(|it| it.is_ascii_digit()) => self.number(position),
            'a'..='z' | 'A'..='Z' | '_' => {
                let name = self.take_while(|it| it.is_ascii_alphanumeric() || it == '_');
                Ok(TokenKind::Name(name))
            }
            other => self
                .symbol()
                .ok_or_else(|| ParseError::new(position, format!("`{other}` has no meaning here"))),
        }
    }

    fn symbol(&mut self) -> Option<TokenKind> {
        let fits = |symbol: &&&str| {
            let mut ahead = self.characters[self.index..].iter();
            symbol
                .chars()
                .all(|it| ahead.next().is_some_and(|next| next.value == it))
        };
        let symbol = *SYMBOLS.iter().find(fits)?;
        self.index += symbol.len();
        Some(TokenKind::Symbol(symbol))
    }

    fn quoted(&mut self, quote: char, position: Position) -> Result<TokenKind, ParseError> {
        self.index += 1;
        let mut text = String::new();
        loop {
            let place = self
                .characters
                .get(self.index)
                .map_or(position, |it| it.position);
            match self.step() {
                None => return Err(ParseError::new(position, "the string is never closed")),
                Some(end) if end == quote => return Ok(TokenKind::String(text)),
                Some('\\') => text.push(self.escape(place)?),
                Some(other) => text.push(other),
            }
        }
    }

    /// What stands after a backslash: Lua 5.1's escapes and `\xHH`.
    fn escape(&mut self, position: Position) -> Result<char, ParseError> {
        let error = |message: &str| ParseError::new(position, message);
        match self.step() {
            None => Err(error("the string is never closed")),
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some('x') => {
                let digits: String = [self.step(), self.step()].into_iter().flatten().collect();
                let octet = u8::from_str_radix(&digits, 16);
                octet
                    .map(char::from)
                    .map_err(|_| error("`\\x` needs two hexadecimal digits"))
            }
            Some(digit @ '0'..='9') => {
                let mut digits = String::from(digit);
                while digits.len() < 3 && self.ahead(0).is_some_and(|it| it.is_ascii_digit()) {
                    digits.extend(self.step());
                }
                let octet = digits.parse::<u8>();
                octet
                    .map(char::from)
                    .map_err(|_| error("`\\` and digits mean 0 to 255"))
            }
            Some(other) if other.is_ascii_alphanumeric() => {
                Err(error("this escape has no meaning in Lua"))
            }
            Some(other) => Ok(other),
        }
    }

    fn long_string(&mut self, position: Position) -> Result<TokenKind, ParseError> {
        self.index += 2;
        let mut text = String::new();
        loop {
            match self.step() {
                None => return Err(ParseError::new(position, "the string is never closed")),
                Some(']') if self.ahead(0) == Some(']') => {
                    self.index += 1;
                    return Ok(TokenKind::String(text));
                }
                Some(other) => text.push(other),
            }
        }
    }

    fn number(&mut self, position: Position) -> Result<TokenKind, ParseError> {
        let text = self.take_while(|it| it.is_ascii_alphanumeric() || it == '.');
        let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
        let number = match hexadecimal {
            Some(digits) => u32::from_str_radix(digits, 16).ok().map(f64::from),
            None => text.parse::<f64>().ok().filter(|it| it.is_finite()),
        };
        let number =
            number.ok_or_else(|| ParseError::new(position, format!("`{text}` is not a number")))?;
        Ok(TokenKind::Number(number))
    }

    /// Steps over white space and `--` comments, which reach to the end of the line.
    fn skip_blank(&mut self) {
        loop {
            match self.ahead(0) {
                Some(it) if it.is_whitespace() => self.index += 1,
                Some('-') if self.ahead(1) == Some('-') => {
                    self.take_while(|it| it != '\n');
                }
                Some(_) | None => return,
            }
        }
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> String {
        let mut text = String::new();
        while let Some(character) = self.ahead(0).filter(|it| belongs(*it)) {
            text.push(character);
            self.index += 1;
        }
        text
    }

    fn ahead(&self, count: usize) -> Option<char> {
        self.characters.get(self.index + count).map(|it| it.value)
    }

    fn step(&mut self) -> Option<char> {
        let character = self.ahead(0)?;
        self.index += 1;
        Some(character)
    }
}
