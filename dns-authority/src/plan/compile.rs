//! Turns an expression into a plan.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "few kinds of expressions need care, whatever else there is"
)]

use std::sync::Arc;

use super::call::Call;
use super::call::{CHECKING, Reader, Registry, fitting};
use super::formula::{Formula, Term, Variable};
use super::value::{Key, Value};
use super::{Pick, Plan, Program, Selector};
use crate::check::Checks;
use crate::expression::{Expression, Field, Kind, Operator, Source};
use crate::geo::Atlas;
use crate::script::Script;
use crate::text::{ParseError, Position};

/// What plans are compiled with: the places of addresses, and the checks that all zones share.
#[derive(Debug)]
pub(crate) struct Compiler<'a> {
    pub(crate) atlas: &'a Atlas,
    pub(crate) checks: Checks,
}

/// Tables of constants: what stands behind the dot is the value.
const ENUMERATIONS: &[&str] = &["GeoIPQueryAttribute", "QType", "pdns"];

/// Makes the plan of a record of this type.
pub(crate) fn compile(
    source: &Source,
    kind: u16,
    compiler: &mut Compiler<'_>,
) -> Result<Plan, ParseError> {
    match source {
        Source::Formula(expression) => formula(expression, kind, compiler),
        Source::Script(text, position) => {
            let script = Script::new(text, *position, kind)?;
            Ok(Plan {
                function: "script".to_owned(),
                program: Program::Script(Arc::new(script)),
            })
        }
    }
}

/// Makes the code of a LUA record of type LUA, which scripts include.
pub(crate) fn library(text: &str, position: Position, kind: u16) -> Result<Plan, ParseError> {
    let text = text.trim_start().trim_start_matches(';');
    let script = Script::new(text, position, kind)?;
    Ok(Plan {
        function: "library".to_owned(),
        program: Program::Library(Arc::new(script)),
    })
}

fn formula(
    expression: &Expression,
    kind: u16,
    compiler: &mut Compiler<'_>,
) -> Result<Plan, ParseError> {
    let mut builder = Builder {
        reader: Reader {
            kind,
            atlas: compiler.atlas,
            registry: Registry::Interning(&mut compiler.checks),
            whole: true,
        },
    };
    let position = expression.position;
    let constants = match &expression.kind {
        Kind::String(_) => Some(vec![expression]),
        Kind::Table(fields) => fields
            .iter()
            .map(|it| matches!(it.value.kind, Kind::String(_)).then_some(&it.value))
            .collect(),
        _ => None,
    };
    if let Some(values) = constants {
        let candidates = values.into_iter().map(|it| builder.reader.candidate(it));
        let candidates = candidates.collect::<Result<_, _>>()?;
        let pick = Pick::new("constant", Selector::All, candidates);
        return Ok(Plan {
            function: pick.function.clone(),
            program: Program::Pick(fitting(pick, position)?),
        });
    }
    if let Kind::Boolean(_) | Kind::Number(_) | Kind::Nil = expression.kind {
        let message = format!(
            "expected a string, a table of strings or a function call and found {}",
            expression.kind.noun()
        );
        return Err(ParseError::new(position, message));
    }

    let function = match &expression.kind {
        Kind::Call { function, .. } => function.clone(),
        _ => "expression".to_owned(),
    };
    let program = match builder.term(expression, true)? {
        Term::Call(Call::Pick(pick)) => Program::Pick(*pick),
        root => Program::Formula(Formula { root, kind }),
    };
    Ok(Plan { function, program })
}

struct Builder<'a> {
    reader: Reader<'a>,
}

impl Builder<'_> {
    /// `whole`: what comes out of it is a record's content, not part of one or a condition.
    fn term(&mut self, expression: &Expression, whole: bool) -> Result<Term, ParseError> {
        let position = expression.position;
        let boxed = |this: &mut Self, it: &Expression, whole| this.term(it, whole).map(Box::new);
        Ok(match &expression.kind {
            Kind::Boolean(it) => Term::Constant(Value::Boolean(*it)),
            Kind::Nil => Term::Constant(Value::Nil),
            Kind::Number(it) => Term::Constant(Value::Number(*it)),
            Kind::String(_) if whole => {
                self.reader.whole = true;
                Term::Candidate(Box::new(self.reader.candidate(expression)?))
            }
            Kind::String(it) => Term::Constant(Value::Text(it.clone())),
            Kind::Table(fields) => Term::Table(self.fields(fields, whole)?),
            Kind::Variable(name) => Term::Variable(variable(name, position)?),
            Kind::Unary { operator, operand } => {
                Term::Unary(*operator, boxed(self, operand, false)?)
            }
            Kind::Binary {
                operator,
                left,
                right,
            } => {
                let (before, behind) = match operator {
                    Operator::And => (false, whole),
                    Operator::Or => (whole, whole),
                    _ => (false, false),
                };
                let left = boxed(self, left, before)?;
                Term::Binary(*operator, left, boxed(self, right, behind)?)
            }
            Kind::Index { value, key } => match enumerated(value, key) {
                Some(name) => Term::Constant(Value::Text(name)),
                None => Term::Index(boxed(self, value, false)?, boxed(self, key, false)?),
            },
            Kind::Method {
                value,
                name,
                arguments,
            } => Term::Method {
                value: boxed(self, value, false)?,
                name: name.clone(),
                arguments: self.terms(arguments)?,
            },
            Kind::Call {
                function,
                arguments,
            } => self.call(function, arguments, position, whole)?,
        })
    }

    fn call(
        &mut self,
        function: &str,
        arguments: &[Expression],
        position: Position,
        whole: bool,
    ) -> Result<Term, ParseError> {
        // `string.lower(x)` is another way to write `x:lower()`.
        if let (Some(name), [value, rest @ ..]) = (function.strip_prefix("string."), arguments) {
            return Ok(Term::Method {
                value: Box::new(self.term(value, false)?),
                name: name.to_owned(),
                arguments: self.terms(rest)?,
            });
        }
        let constants: Option<Vec<Expression>> = arguments.iter().map(constant).collect();
        if let Some(arguments) = constants {
            self.reader.whole = whole;
            return Ok(Term::Call(
                self.reader.call(function, &arguments, position)?,
            ));
        }
        if CHECKING.contains(&function) {
            let message = format!(
                "the arguments of `{function}` have to be constants, so that its checks begin when the zone is loaded"
            );
            return Err(ParseError::new(position, message));
        }
        if !super::call::FUNCTIONS.contains(&function) {
            // The reader says which there are.
            self.reader.call(function, &[], position)?;
        }
        Ok(Term::Dynamic {
            function: function.to_owned(),
            arguments: self.terms(arguments)?,
            position,
        })
    }

    fn terms(&mut self, expressions: &[Expression]) -> Result<Vec<Term>, ParseError> {
        expressions.iter().map(|it| self.term(it, false)).collect()
    }

    fn fields(&mut self, fields: &[Field], whole: bool) -> Result<Vec<(Key, Term)>, ParseError> {
        let mut number = 0;
        let mut terms = Vec::new();
        for field in fields {
            let key = match &field.key {
                Some(key) => Key::Text(key.clone()),
                None => {
                    number += 1;
                    Key::Number(number)
                }
            };
            // Strings of a table are put together as text, not as candidates.
            let _ = whole;
            terms.push((key, self.term(&field.value, false)?));
        }
        Ok(terms)
    }
}

/// The expression with what it computes out of constants computed; `None` if it depends on the query.
fn constant(expression: &Expression) -> Option<Expression> {
    let kind = match &expression.kind {
        Kind::Boolean(_) | Kind::Nil | Kind::Number(_) | Kind::String(_) => expression.kind.clone(),
        Kind::Table(fields) => {
            let field = |it: &Field| {
                Some(Field {
                    key: it.key.clone(),
                    value: constant(&it.value)?,
                })
            };
            Kind::Table(fields.iter().map(field).collect::<Option<_>>()?)
        }
        Kind::Index { value, key } => Kind::String(enumerated(value, key)?),
        // What they make of one argument is read from it where it is taken.
        Kind::Call {
            function,
            arguments,
        } if ["newCA", "newDN", "newNMG", "newNetmask"].contains(&function.as_str()) => {
            let [argument] = &arguments[..] else {
                return None;
            };
            constant(argument)?.kind
        }
        _ => return None,
    };
    Some(Expression {
        position: expression.position,
        kind,
    })
}

fn enumerated(value: &Expression, key: &Expression) -> Option<String> {
    match (&value.kind, &key.kind) {
        (Kind::Variable(table), Kind::String(key)) if ENUMERATIONS.contains(&table.as_str()) => {
            Some(key.clone())
        }
        _ => None,
    }
}

fn variable(name: &str, position: Position) -> Result<Variable, ParseError> {
    Variable::read(name).ok_or_else(|| {
        let names: Vec<&str> = Variable::ALL.iter().map(|it| it.0).collect();
        let message = format!(
            "there is no variable `{name}`; there are {}",
            names.join(", ")
        );
        ParseError::new(position, message)
    })
}
