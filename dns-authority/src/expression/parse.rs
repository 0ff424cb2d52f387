//! Builds the tree of an expression from its tokens.

use super::lex::{Token, TokenKind, tokens};
use super::{Expression, Field, Kind, Operator, Prefix, Source};
use crate::text::{ParseError, Position};
use crate::zone::Character;

/// Deeper than any record needs, and far from the end of the stack.
const DEPTH_MAX: usize = 16;

/// Lua's words that start something which only a script can do.
const SCRIPT_WORDS: &[&str] = &[
    "break", "do", "else", "elseif", "end", "for", "function", "goto", "if", "in", "local",
    "repeat", "then", "until", "while",
];

/// Lua's operators between two values: how firmly they bind on the left and on the right.
const OPERATORS: &[(&str, Operator, u8, u8)] = &[
    ("or", Operator::Or, 1, 1),
    ("and", Operator::And, 2, 2),
    ("<", Operator::Less, 3, 3),
    ("<=", Operator::LessOrEqual, 3, 3),
    (">", Operator::More, 3, 3),
    (">=", Operator::MoreOrEqual, 3, 3),
    ("==", Operator::Equal, 3, 3),
    ("~=", Operator::Unequal, 3, 3),
    // Lua binds it from the right, which makes no difference to the text.
    ("..", Operator::Concatenate, 5, 5),
    ("+", Operator::Add, 6, 6),
    ("-", Operator::Subtract, 6, 6),
    ("*", Operator::Multiply, 7, 7),
    ("/", Operator::Divide, 7, 7),
    ("%", Operator::Remainder, 7, 7),
    ("^", Operator::Power, 10, 9),
];

/// More operators, or calls, in a row than any record has, and few enough to follow one by one.
const CHAIN_MAX: usize = 64;

/// How firmly operators before a value bind.
const PREFIX_POWER: u8 = 8;

pub(crate) fn parse(characters: &[Character]) -> Result<Source, ParseError> {
    let first = characters.iter().position(|it| !it.value.is_whitespace());
    if let Some(first) = first.filter(|it| characters[*it].value == ';') {
        let text = characters[first + 1..].iter().map(|it| it.value).collect();
        return Ok(Source::Script(text, characters[first].position));
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
        depth: 0,
    };

    let _ = parser.take_name("return");
    let expression = parser.expression(0)?;
    match parser.tokens.first() {
        None => Ok(Source::Formula(expression)),
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
    /// How many expressions the next one is inside of.
    depth: usize,
}

impl Parser<'_> {
    /// Reads operators that bind more firmly than `power`, and what is between them.
    fn expression(&mut self, power: u8) -> Result<Expression, ParseError> {
        let position = self.position();
        if self.depth >= DEPTH_MAX {
            let message = format!("the expression nests deeper than {DEPTH_MAX} levels");
            return Err(ParseError::new(position, message));
        }
        self.depth += 1;
        let mut left = self.operand()?;
        // A chain of operators makes a tree as deep as it is long.
        let mut links = 0;
        while let Some((operator, binding)) = self.operator(power) {
            links += 1;
            if links > CHAIN_MAX {
                let message = format!("more than {CHAIN_MAX} operators in a row");
                return Err(ParseError::new(self.position(), message));
            }
            let right = self.expression(binding)?;
            let kind = Kind::Binary {
                operator,
                left: Box::new(left),
                right: Box::new(right),
            };
            left = Expression { position, kind };
        }
        self.depth -= 1;
        Ok(left)
    }

    /// Takes the next token if it is an operator that binds more firmly than `power`; returns how
    /// firmly it holds what follows.
    fn operator(&mut self, power: u8) -> Option<(Operator, u8)> {
        let spelt = match &self.tokens.first()?.kind {
            TokenKind::Name(name) => name.as_str(),
            TokenKind::Symbol(symbol) => symbol,
            TokenKind::Number(_) | TokenKind::String(_) => return None,
        };
        let found = OPERATORS.iter().find(|it| it.0 == spelt);
        let (_, operator, _, right) = found.filter(|it| power < it.2)?;
        self.tokens = &self.tokens[1..];
        Some((*operator, *right))
    }

    /// Reads a value with what stands before and behind it.
    fn operand(&mut self) -> Result<Expression, ParseError> {
        let position = self.position();
        let token = self.step();
        let prefix = match &token {
            Some(TokenKind::Symbol("-")) => Some(Prefix::Negative),
            Some(TokenKind::Symbol("#")) => Some(Prefix::Length),
            Some(TokenKind::Name(name)) if name == "not" => Some(Prefix::Not),
            _ => None,
        };
        if let Some(operator) = prefix {
            let operand = self.expression(PREFIX_POWER)?;
            let kind = match (operator, &operand.kind) {
                (Prefix::Negative, Kind::Number(number)) => Kind::Number(-number),
                _ => Kind::Unary {
                    operator,
                    operand: Box::new(operand),
                },
            };
            return Ok(Expression { position, kind });
        }

        let kind = match token {
            Some(TokenKind::Number(number)) => return Ok(at(position, Kind::Number(number))),
            Some(TokenKind::String(string)) => return Ok(at(position, Kind::String(string))),
            Some(TokenKind::Symbol("{")) => return Ok(at(position, Kind::Table(self.fields()?))),
            Some(TokenKind::Symbol("(")) => {
                let inner = self.expression(0)?;
                self.expect(")")?;
                inner.kind
            }
            Some(TokenKind::Name(name)) => match name.as_str() {
                "true" => return Ok(at(position, Kind::Boolean(true))),
                "false" => return Ok(at(position, Kind::Boolean(false))),
                "nil" => return Ok(at(position, Kind::Nil)),
                script if SCRIPT_WORDS.contains(&script) => {
                    let message =
                        format!("`{script}` needs a script: begin the record with `;`, and return");
                    return Err(ParseError::new(position, message));
                }
                _ => Kind::Variable(name),
            },
            found @ (Some(TokenKind::Symbol(_)) | None) => {
                return Err(expected("a value", position, found.as_ref()));
            }
        };
        self.suffixes(at(position, kind))
    }

    /// Reads what is done with `value`: indexing and calls, one after the other.
    fn suffixes(&mut self, mut value: Expression) -> Result<Expression, ParseError> {
        let position = value.position;
        for _ in 0..CHAIN_MAX {
            let kind = match self.tokens.first().map(|it| &it.kind) {
                Some(TokenKind::Symbol(".")) => {
                    self.step();
                    let key_position = self.position();
                    let key = at(key_position, Kind::String(self.name()?));
                    index(value, key)
                }
                Some(TokenKind::Symbol("[")) => {
                    self.step();
                    let key = self.expression(0)?;
                    self.expect("]")?;
                    index(value, key)
                }
                Some(TokenKind::Symbol(":")) => {
                    self.step();
                    Kind::Method {
                        name: self.name()?,
                        arguments: self.arguments()?,
                        value: Box::new(value),
                    }
                }
                Some(TokenKind::Symbol("(" | "{") | TokenKind::String(_)) => {
                    let Some(function) = path(&value) else {
                        return Err(ParseError::new(
                            self.position(),
                            "only functions are called",
                        ));
                    };
                    Kind::Call {
                        function,
                        arguments: self.arguments()?,
                    }
                }
                _ => return Ok(value),
            };
            value = at(position, kind);
        }
        let message = format!("more than {CHAIN_MAX} calls in a row");
        Err(ParseError::new(self.position(), message))
    }

    /// What a function is called with. Lua lets a single string or table stand without parentheses.
    fn arguments(&mut self) -> Result<Vec<Expression>, ParseError> {
        let position = self.position();
        match self.step() {
            Some(TokenKind::Symbol("(")) => (),
            Some(TokenKind::String(string)) => return Ok(vec![at(position, Kind::String(string))]),
            Some(TokenKind::Symbol("{")) => {
                return Ok(vec![at(position, Kind::Table(self.fields()?))]);
            }
            found => return Err(expected("`(`", position, found.as_ref())),
        }

        let mut arguments = Vec::new();
        if self.take_symbol(")") {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.expression(0)?);
            let position = self.position();
            match self.step() {
                Some(TokenKind::Symbol(",")) => (),
                Some(TokenKind::Symbol(")")) => return Ok(arguments),
                found => return Err(expected("`,` or `)`", position, found.as_ref())),
            }
        }
    }

    /// What follows `{`, up to and with `}`.
    fn fields(&mut self) -> Result<Vec<Field>, ParseError> {
        let mut fields = Vec::new();
        loop {
            if self.take_symbol("}") {
                return Ok(fields);
            }
            fields.push(self.field()?);
            let position = self.position();
            match self.step() {
                Some(TokenKind::Symbol("," | ";")) => (),
                Some(TokenKind::Symbol("}")) => return Ok(fields),
                found => return Err(expected("`,` or `}`", position, found.as_ref())),
            }
        }
    }

    fn field(&mut self) -> Result<Field, ParseError> {
        let kind = |index: usize| self.tokens.get(index).map(|it| &it.kind);
        let is =
            |index: usize, symbol: &'static str| kind(index) == Some(&TokenKind::Symbol(symbol));
        let (key, length) = match (kind(0), kind(1)) {
            (Some(TokenKind::Name(name)), _) if is(1, "=") => (Some(name.clone()), 2),
            (_, Some(TokenKind::String(name))) if is(0, "[") && is(2, "]") && is(3, "=") => {
                (Some(name.clone()), 4)
            }
            _ => (None, 0),
        };
        self.tokens = &self.tokens[length..];
        Ok(Field {
            key,
            value: self.expression(0)?,
        })
    }

    fn name(&mut self) -> Result<String, ParseError> {
        let position = self.position();
        match self.step() {
            Some(TokenKind::Name(name)) => Ok(name),
            found => Err(expected("a name", position, found.as_ref())),
        }
    }

    fn expect(&mut self, symbol: &'static str) -> Result<(), ParseError> {
        let position = self.position();
        match self.step() {
            Some(TokenKind::Symbol(found)) if found == symbol => Ok(()),
            found => Err(expected(&format!("`{symbol}`"), position, found.as_ref())),
        }
    }

    fn take_symbol(&mut self, symbol: &'static str) -> bool {
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

fn at(position: Position, kind: Kind) -> Expression {
    Expression { position, kind }
}

fn index(value: Expression, key: Expression) -> Kind {
    Kind::Index {
        value: Box::new(value),
        key: Box::new(key),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a path has two forms, whatever else expressions may be"
)]
/// The name of a function, which may be one of a library: `name` or `library.name`.
fn path(value: &Expression) -> Option<String> {
    match &value.kind {
        Kind::Variable(name) => Some(name.clone()),
        Kind::Index { value, key } => match (&value.kind, &key.kind) {
            (Kind::Variable(library), Kind::String(name)) => Some(format!("{library}.{name}")),
            _ => None,
        },
        _ => None,
    }
}

fn expected(what: &str, position: Position, found: Option<&TokenKind>) -> ParseError {
    let message = match found {
        Some(found) => format!("expected {what} and found {found}"),
        None => format!("expected {what} and found the end of the expression"),
    };
    ParseError::new(position, message)
}

#[cfg(test)]
pub(super) fn spelt(operator: Operator) -> &'static str {
    let found = OPERATORS.iter().find(|it| it.1 == operator);
    found.expect("all are in the list").0
}
