//! Reads the expressions of LUA records: the part of the Lua language that plain records use.
//!
//! No script engine: an expression is a value, a table of values or one function call, and becomes
//! a [`Plan`](crate::plan::Plan) when its zone is loaded.

mod lex;
mod parse;

pub(crate) use parse::parse;

use crate::text::Position;

/// A piece of an expression, and where it starts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expression {
    pub(crate) position: Position,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Boolean(bool),
    Call {
        function: String,
        arguments: Vec<Expression>,
    },
    Number(f64),
    String(String),
    Table(Vec<Field>),
}

/// An element of a table: with a key (`{interval = 5}`, `{['a'] = 1}`) or without (`{'a', 'b'}`).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    pub(crate) key: Option<String>,
    pub(crate) value: Expression,
}

impl Kind {
    /// What it is, for messages about what was expected instead.
    pub(crate) fn noun(&self) -> &'static str {
        match self {
            Self::Boolean(_) => "a boolean",
            Self::Call { .. } => "a function call",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Table(_) => "a table",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;
    use crate::zone::Character;

    #[test]
    fn reads_what_records_are_made_of() {
        check("'192.0.2.1'", "'192.0.2.1'");
        check(r#"pickrandom({"a", 'b'})"#, "pickrandom({'a', 'b'})");
        check(
            "ifportup(443, {'a';'b',}, {selector='all', timeout=1.5, ['interval'] = 3, x=true})",
            "ifportup(443, {'a', 'b'}, {selector='all', timeout=1.5, interval=3, x=true})",
        );
        check("f() -- a comment", "f()");
        check(
            "return f({{15, 'a'}, {-1, 'b'}})",
            "f({{15, 'a'}, {-1, 'b'}})",
        );
        check(r"'a\'b\065\n\x41'", "'a'bA\nA'");
        check("[[long 'string']]", "'long 'string''");
        check("0x10", "16");
        check("pickrandom{'a'}", "pickrandom({'a'})");
    }

    #[test]
    fn says_where_it_stops_understanding() {
        check_error(
            "pickrandom({'a' 'b'})",
            "1:17: expected `,` or `}` and found a string",
        );
        check_error("pickrandom('a", "1:12: the string is never closed");
        check_error(
            "'a' .. 'b'",
            "1:5: the expression should end here and goes on with `.`",
        );
        check_error(
            "qname",
            "1:6: expected `(` and found the end of the expression",
        );
        check_error(
            "",
            "1:1: expected a value and found the end of the expression",
        );
        check_error(
            "f(function)",
            "1:3: `function` needs a script, and scripts are not supported",
        );
        check_error(
            ";return 'a'",
            "1:1: scripts (expressions that start with `;`) are not supported",
        );
        check_error("f(#)", "1:3: `#` has no meaning here");
        check_error(
            &"{".repeat(40),
            "1:17: tables and calls nest deeper than 16 levels",
        );
        check_error("f({1=2})", "1:5: expected `,` or `}` and found `=`");
        check_error("9e999", "1:1: `9e999` is not a number");
    }

    proptest! {
        #[test]
        fn never_panics(text in r#"[a-z0-9 '"{}()\[\]=,;.\\x-]{0,60}"#) {
            let _ = parse(&characters(&text));
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mut printed = String::new();
        print(&parse(&characters(text)).unwrap(), &mut printed);
        assert_eq!(printed, expected);
    }

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        let error = parse(&characters(text)).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    fn characters(text: &str) -> Vec<Character> {
        (1..)
            .zip(text.chars())
            .map(|(column, value)| Character {
                value,
                escaped: false,
                position: Position { line: 1, column },
            })
            .collect()
    }

    fn print(expression: &Expression, out: &mut String) {
        match &expression.kind {
            Kind::Boolean(value) => write!(out, "{value}").unwrap(),
            Kind::Number(value) => write!(out, "{value}").unwrap(),
            Kind::String(value) => write!(out, "'{value}'").unwrap(),
            Kind::Call {
                function,
                arguments,
            } => {
                *out += function;
                *out += "(";
                for (index, argument) in arguments.iter().enumerate() {
                    *out += if index == 0 { "" } else { ", " };
                    print(argument, out);
                }
                *out += ")";
            }
            Kind::Table(fields) => {
                *out += "{";
                for (index, field) in fields.iter().enumerate() {
                    *out += if index == 0 { "" } else { ", " };
                    if let Some(key) = &field.key {
                        write!(out, "{key}=").unwrap();
                    }
                    print(&field.value, out);
                }
                *out += "}";
            }
        }
    }
}
