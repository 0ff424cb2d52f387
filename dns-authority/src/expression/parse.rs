//! Builds the tree of an expression from its tokens.

use super::lex::{Token, TokenKind, tokens};
use super::{Expression, Field, Kind};
use crate::text::{ParseError, Position};
use crate::zone::Character;

/// Deeper than any record needs, and far from the end of the stack.
const DEPTH_MAX: usize = 16;

/// Lua's words that start something which only a script engine could run.
const SCRIPT_WORDS: &[&str] = &[
    "and", "break", "do", "else", "elseif", "end", "for", "function", "goto", "if", "in", "local",
    "nil", "not", "or", "repeat", "then", "until", "while",
];

pub(crate) fn parse(characters: &[Character]) -> Result<Expression, ParseError> {
    let first = characters.iter().find(|it| !it.value.is_whitespace());
    if let Some(first) = first.filter(|it| it.value == ';') {
        return Err(ParseError::new(
            first.position,
            "scripts (expressions that start with `;`) are not supported",
        ));
    }

    let end = characters
        .last()
        .map_or(Position { line: 1, column: 1 }, |it| Position {
            column: it.position.column + 1,
            ..it.position
        });
    let tokens = tokens(characters)?;
    let mut parser = Parser {
        tokens: &tokens,
        end,
    };

    let _ = parser.take_name("return");
    let expression = parser.expression(0)?;
    match parser.tokens.first() {
        None => Ok(expression),
        Some(token) => Err(ParseError::new(
            token.position,
            format!(
                "the expression should end here and goes on with {}",
                token.kind
            ),
        )),
    }
}

struct Parser<'a> {
    /// What is left.
    tokens: &'a [Token],
    /// Just behind the last character.
    end: Position,
}

impl Parser<'_> {
    fn expression(&mut self, depth: usize) -> Result<Expression, ParseError> {
        let position = self.position();
        if depth >= DEPTH_MAX {
            let message = format!("tables and calls nest deeper than {DEPTH_MAX} levels");
            return Err(ParseError::new(position, message));
        }

        let kind = match self.step() {
            Some(TokenKind::Number(number)) => Kind::Number(number),
            Some(TokenKind::String(string)) => Kind::String(string),
            Some(TokenKind::Symbol('-')) => self.negative()?,
            Some(TokenKind::Symbol('{')) => Kind::Table(self.fields(depth)?),
            Some(TokenKind::Name(name)) => self.named(name, position, depth)?,
            found @ (Some(TokenKind::Symbol(_)) | None) => {
                return Err(expected("a value", position, found.as_ref()));
            }
        };
        Ok(Expression { position, kind })
    }

    fn negative(&mut self) -> Result<Kind, ParseError> {
        let position = self.position();
        match self.step() {
            Some(TokenKind::Number(number)) => Ok(Kind::Number(-number)),
            found => Err(expected("a number", position, found.as_ref())),
        }
    }

    /// What a name stands for: a boolean, or the function that is called.
    fn named(&mut self, name: String, at: Position, depth: usize) -> Result<Kind, ParseError> {
        match name.as_str() {
            "true" => return Ok(Kind::Boolean(true)),
            "false" => return Ok(Kind::Boolean(false)),
            script if SCRIPT_WORDS.contains(&script) => {
                let message = format!("`{script}` needs a script, and scripts are not supported");
                return Err(ParseError::new(at, message));
            }
            _ => (),
        }

        let position = self.position();
        let arguments = match self.step() {
            Some(TokenKind::Symbol('(')) => self.arguments(depth)?,
            // Lua lets a single string or table stand without parentheses.
            Some(TokenKind::String(string)) => {
                vec![Expression {
                    position,
                    kind: Kind::String(string),
                }]
            }
            Some(TokenKind::Symbol('{')) => {
                vec![Expression {
                    position,
                    kind: Kind::Table(self.fields(depth)?),
                }]
            }
            found => return Err(expected("`(`", position, found.as_ref())),
        };
        Ok(Kind::Call {
            function: name,
            arguments,
        })
    }

    /// What follows `(`, up to and with `)`.
    fn arguments(&mut self, depth: usize) -> Result<Vec<Expression>, ParseError> {
        let mut arguments = Vec::new();
        if self.take_symbol(')') {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.expression(depth + 1)?);
            let position = self.position();
            match self.step() {
                Some(TokenKind::Symbol(',')) => (),
                Some(TokenKind::Symbol(')')) => return Ok(arguments),
                found => return Err(expected("`,` or `)`", position, found.as_ref())),
            }
        }
    }

    /// What follows `{`, up to and with `}`.
    fn fields(&mut self, depth: usize) -> Result<Vec<Field>, ParseError> {
        let mut fields = Vec::new();
        loop {
            if self.take_symbol('}') {
                return Ok(fields);
            }
            fields.push(self.field(depth)?);
            let position = self.position();
            match self.step() {
                Some(TokenKind::Symbol(',' | ';')) => (),
                Some(TokenKind::Symbol('}')) => return Ok(fields),
                found => return Err(expected("`,` or `}`", position, found.as_ref())),
            }
        }
    }

    fn field(&mut self, depth: usize) -> Result<Field, ParseError> {
        let key = match self.tokens {
            [
                Token {
                    kind: TokenKind::Name(name),
                    ..
                },
                equals,
                rest @ ..,
            ] if equals.kind == TokenKind::Symbol('=') => {
                self.tokens = rest;
                Some(name.clone())
            }
            [
                open,
                Token {
                    kind: TokenKind::String(name),
                    ..
                },
                close,
                equals,
                rest @ ..,
            ] if open.kind == TokenKind::Symbol('[')
                && close.kind == TokenKind::Symbol(']')
                && equals.kind == TokenKind::Symbol('=') =>
            {
                self.tokens = rest;
                Some(name.clone())
            }
            _ => None,
        };
        Ok(Field {
            key,
            value: self.expression(depth + 1)?,
        })
    }

    fn take_symbol(&mut self, symbol: char) -> bool {
        self.take(|it| *it == TokenKind::Symbol(symbol))
    }

    fn take_name(&mut self, name: &str) -> bool {
        self.take(|it| matches!(it, TokenKind::Name(found) if found == name))
    }

    fn take(&mut self, wanted: impl Fn(&TokenKind) -> bool) -> bool {
        let found = self.tokens.first().is_some_and(|it| wanted(&it.kind));
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }

    fn step(&mut self) -> Option<TokenKind> {
        let (token, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(token.kind.clone())
    }

    fn position(&self) -> Position {
        self.tokens.first().map_or(self.end, |it| it.position)
    }
}

fn expected(what: &str, position: Position, found: Option<&TokenKind>) -> ParseError {
    let message = match found {
        Some(found) => format!("expected {what} and found {found}"),
        None => format!("expected {what} and found the end of the expression"),
    };
    ParseError::new(position, message)
}
