//! Reads the expressions of LUA records: the part of the Lua language that plain records use.
//!
//! No script engine: what consists of values, variables, operators and calls becomes a
//! [`Plan`](crate::plan::Plan) when its zone is loaded. What begins with `;` is a script, and is left
//! to one.

mod lex;
mod parse;

pub(crate) use parse::parse;

use crate::text::Position;

/// What a LUA record says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    Formula(Expression),
    /// What stands after the `;`, and where.
    Script(String, Position),
}

/// A piece of an expression, and where it starts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expression {
    pub(crate) position: Position,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Binary {
        operator: Operator,
        left: Box<Expression>,
        right: Box<Expression>,
    },
    Boolean(bool),
    /// `f(x)`, or `library.f(x)`.
    Call {
        function: String,
        arguments: Vec<Expression>,
    },
    /// `value.key`, `value['key']` or `value[1]`.
    Index {
        value: Box<Expression>,
        key: Box<Expression>,
    },
    /// `value:name(x)`.
    Method {
        value: Box<Expression>,
        name: String,
        arguments: Vec<Expression>,
    },
    Nil,
    Number(f64),
    String(String),
    Table(Vec<Field>),
    Unary {
        operator: Prefix,
        operand: Box<Expression>,
    },
    Variable(String),
}

/// An element of a table: with a key (`{interval = 5}`, `{['a'] = 1}`) or without (`{'a', 'b'}`).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    pub(crate) key: Option<String>,
    pub(crate) value: Expression,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    And,
    Concatenate,
    Divide,
    Equal,
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
    Multiply,
    Or,
    Power,
    Remainder,
    Subtract,
    Unequal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prefix {
    Length,
    Negative,
    Not,
}

impl Kind {
    /// What it is, for messages about what was expected instead.
    pub(crate) fn noun(&self) -> &'static str {
        match self {
            Self::Binary { .. } | Self::Unary { .. } => "an operation",
            Self::Boolean(_) => "a boolean",
            Self::Call { .. } | Self::Method { .. } => "a function call",
            Self::Index { .. } | Self::Variable(_) => "a variable",
            Self::Nil => "nil",
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
        check("GeoIPQueryAttribute.City", "GeoIPQueryAttribute['City']");
        check("bestwho:toString():lower()", "bestwho:toString():lower()");
        check("string.lower('A')", "string.lower('A')");
        check("nil", "nil");
    }

    #[test]
    fn binds_operators_as_lua_does() {
        check("a or b and c", "(a or (b and c))");
        check(
            "country('US') and 'x' or 'y'",
            "((country('US') and 'x') or 'y')",
        );
        check("1 + 2 * 3 - 4", "((1 + (2 * 3)) - 4)");
        check("2 ^ 3 ^ 2", "(2 ^ (3 ^ 2))");
        check("-x ^ 2", "-(x ^ 2)");
        check("not a == b", "(not a == b)");
        check("'a' .. b .. 'c' == d", "((('a' .. b) .. 'c') == d)");
        check("(1 + 2) * 3 % 4", "(((1 + 2) * 3) % 4)");
        check("a < b", "(a < b)");
        check("#t ~= 1 and a >= b / 2", "((#t ~= 1) and (a >= (b / 2)))");
    }

    #[test]
    fn leaves_scripts_as_they_are() {
        let source = parse(&characters("  ; if x then return 'a' end")).unwrap();
        let position = Position { line: 1, column: 3 };
        assert_eq!(
            source,
            Source::Script(" if x then return 'a' end".to_owned(), position)
        );
    }

    #[test]
    fn says_where_it_stops_understanding() {
        check_error(
            "pickrandom({'a' 'b'})",
            "1:17: expected `,` or `}` and found a string",
        );
        check_error("pickrandom('a", "1:12: the string is never closed");
        check_error(
            "'a' 'b'",
            "1:5: the expression should end here and goes on with a string",
        );
        check_error(
            "qname:",
            "1:7: expected a name and found the end of the expression",
        );
        check_error("(1 + 2)(3)", "1:8: only functions are called");
        check_error(
            "'a' +",
            "1:6: expected a value and found the end of the expression",
        );
        check_error(
            "",
            "1:1: expected a value and found the end of the expression",
        );
        check_error(
            "f(function)",
            "1:3: `function` needs a script: begin the record with `;`, and return",
        );
        check_error("f(@)", "1:3: `@` has no meaning here");
        check_error(
            &"{".repeat(40),
            "1:17: the expression nests deeper than 16 levels",
        );
        check_error("f({1=2})", "1:5: expected `,` or `}` and found `=`");
        check_error("9e999", "1:1: `9e999` is not a number");
    }

    proptest! {
        #[test]
        fn never_panics(text in r#"[a-z0-9 '"{}()\[\]=,;.:<>~+*/%^#\\x-]{0,60}"#) {
            let _ = parse(&characters(&text));
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mut printed = String::new();
        match parse(&characters(text)).unwrap() {
            Source::Formula(expression) => print(&expression, &mut printed),
            Source::Script(..) => panic!("{text} is a script"),
        }
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
                print_all(arguments, out);
            }
            Kind::Method {
                value,
                name,
                arguments,
            } => {
                print(value, out);
                write!(out, ":{name}").unwrap();
                print_all(arguments, out);
            }
            Kind::Index { value, key } => {
                print(value, out);
                *out += "[";
                print(key, out);
                *out += "]";
            }
            Kind::Nil => *out += "nil",
            Kind::Variable(name) => *out += name,
            Kind::Unary { operator, operand } => {
                *out += match operator {
                    Prefix::Length => "#",
                    Prefix::Negative => "-",
                    Prefix::Not => "not ",
                };
                print(operand, out);
            }
            Kind::Binary {
                operator,
                left,
                right,
            } => {
                *out += "(";
                print(left, out);
                write!(out, " {} ", parse::spelt(*operator)).unwrap();
                print(right, out);
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

    fn print_all(arguments: &[Expression], out: &mut String) {
        *out += "(";
        for (index, argument) in arguments.iter().enumerate() {
            *out += if index == 0 { "" } else { ", " };
            print(argument, out);
        }
        *out += ")";
    }
}
