//! Computes what an expression gives for one query.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "few terms and operators need care, whatever else there is"
)]

use std::collections::BTreeMap;

use super::call::{Call, Given, Reader, Registry};
use super::evaluate::{Dependency, Records, Run};
use super::value::{Failure, Key, Name, Value};
use super::{Candidate, Content, Pick};
use crate::expression::{Expression, Field, Kind, Operator, Prefix};
use crate::text::Position;
use crate::wire::kind;
use crate::wire::name::ROOT;
use crate::zone::data_from_text;

/// An expression that depends on the query.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Formula {
    pub(super) root: Term,
    pub(super) kind: u16,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Term {
    Binary(Operator, Box<Self>, Box<Self>),
    Call(Call),
    /// The whole content of a record.
    Candidate(Box<Candidate>),
    Constant(Value),
    /// A call whose arguments depend on the query.
    Dynamic {
        function: String,
        arguments: Vec<Self>,
        position: Position,
    },
    Index(Box<Self>, Box<Self>),
    Method {
        value: Box<Self>,
        name: String,
        arguments: Vec<Self>,
    },
    Table(Vec<(Key, Self)>),
    Unary(Prefix, Box<Self>),
    Variable(Variable),
}

/// What of the query has a name of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    BestWho,
    DnssecOk,
    EcsWho,
    EdnsPacketSize,
    Header,
    LocalWho,
    Name,
    Tcp,
    Who,
    Zone,
    ZoneId,
}

impl Variable {
    pub(crate) const ALL: &[(&str, Self)] = &[
        ("bestwho", Self::BestWho),
        ("dh", Self::Header),
        ("dnssecOK", Self::DnssecOk),
        ("ecswho", Self::EcsWho),
        ("ednsPKTSize", Self::EdnsPacketSize),
        ("localwho", Self::LocalWho),
        ("qname", Self::Name),
        ("tcp", Self::Tcp),
        ("who", Self::Who),
        ("zone", Self::Zone),
        ("zoneid", Self::ZoneId),
    ];

    pub(crate) fn read(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|it| it.0 == name).map(|it| it.1)
    }

    pub(crate) fn get(self, run: &mut Run<'_, '_>) -> Value {
        let question = run.scene.question;
        if matches!(self, Self::BestWho | Self::EcsWho) {
            run.depend(Dependency::Address);
        }
        match self {
            Self::BestWho => Value::Address(run.scene.who),
            Self::DnssecOk => Value::Boolean(question.dnssec_ok),
            Self::EcsWho => question.subnet.map_or(Value::Nil, Value::Net),
            Self::EdnsPacketSize => Value::Number(f64::from(question.payload_bytes)),
            Self::Header => Value::Header(question.header),
            Self::LocalWho => question.local.map_or(Value::Nil, Value::Address),
            Self::Name => Value::Name(Name(question.name.into())),
            Self::Tcp => Value::Boolean(question.tcp),
            Self::Who => Value::Address(question.resolver),
            Self::Zone => Value::Name(Name(question.zone.into())),
            // Zones have no numbers here.
            Self::ZoneId => Value::Number(0.0),
        }
    }
}

impl Formula {
    pub(super) fn records<'p>(&'p self, run: &mut Run<'p, '_>) -> Result<Records<'p>, Failure> {
        match self.content(&self.root, run)? {
            Given::Picked { pool, .. } if pool.iter().all(|it| it.data.is_some()) => {
                Ok(Records::Picked(pool))
            }
            given => made(given.into_value(), self.kind).map(Records::Made),
        }
    }

    /// What `term` gives where it may be the whole answer: candidates stay what they are.
    fn content<'p>(&'p self, term: &'p Term, run: &mut Run<'p, '_>) -> Result<Given<'p>, Failure> {
        match term {
            Term::Binary(Operator::And, left, right) => {
                let left = self.value(left, run)?;
                match left.is_true() {
                    true => self.content(right, run),
                    false => Ok(Given::Value(left)),
                }
            }
            Term::Binary(Operator::Or, left, right) => match self.content(left, run)? {
                Given::Value(left) if !left.is_true() => self.content(right, run),
                left => Ok(left),
            },
            Term::Call(call) => call.run(run),
            Term::Candidate(candidate) => Ok(Given::Picked {
                pool: [&**candidate].into_iter().collect(),
                as_table: false,
            }),
            _ => self.value(term, run).map(Given::Value),
        }
    }

    fn value<'p>(&'p self, term: &'p Term, run: &mut Run<'p, '_>) -> Result<Value, Failure> {
        match term {
            Term::Binary(operator, left, right) => {
                let left = self.value(left, run)?;
                match (operator, left.is_true()) {
                    (Operator::And, false) | (Operator::Or, true) => return Ok(left),
                    _ => (),
                }
                compute(*operator, &left, self.value(right, run)?)
            }
            Term::Call(call) => Ok(call.run(run)?.into_value()),
            Term::Candidate(candidate) => Ok(Value::Text(candidate.text.clone())),
            Term::Constant(value) => Ok(value.clone()),
            Term::Dynamic {
                function,
                arguments,
                position,
            } => {
                let arguments = self.values(arguments, run)?;
                let arguments: Vec<Expression> = arguments
                    .into_iter()
                    .map(|it| expression(it, *position))
                    .collect();
                let none = BTreeMap::new();
                let mut reader = Reader {
                    kind: self.kind,
                    atlas: run.scene.atlas,
                    registry: Registry::Known(&none),
                    whole: false,
                };
                call_with(&mut reader, function, &arguments, *position, run)
            }
            Term::Index(value, key) => {
                let value = self.value(value, run)?;
                value.index(&self.value(key, run)?)
            }
            Term::Method {
                value,
                name,
                arguments,
            } => {
                let value = self.value(value, run)?;
                value.method(name, &self.values(arguments, run)?)
            }
            Term::Table(fields) => {
                let mut values = Vec::with_capacity(fields.len());
                for (key, term) in fields {
                    values.push((key.clone(), self.value(term, run)?));
                }
                Ok(Value::Table(values))
            }
            Term::Unary(operator, operand) => change(*operator, &self.value(operand, run)?),
            Term::Variable(variable) => Ok(variable.get(run)),
        }
    }

    fn values<'p>(
        &'p self,
        terms: &'p [Term],
        run: &mut Run<'p, '_>,
    ) -> Result<Vec<Value>, Failure> {
        terms.iter().map(|it| self.value(it, run)).collect()
    }

    pub(super) fn picks(&self) -> Vec<&Pick> {
        let mut found = Vec::new();
        collect(&self.root, &mut found);
        found
    }
}

fn collect<'p>(term: &'p Term, into: &mut Vec<&'p Pick>) {
    match term {
        Term::Binary(_, left, right) | Term::Index(left, right) => {
            collect(left, into);
            collect(right, into);
        }
        Term::Call(call) => into.extend(call.picks()),
        Term::Candidate(_) | Term::Constant(_) | Term::Variable(_) => (),
        Term::Dynamic { arguments, .. } => arguments.iter().for_each(|it| collect(it, into)),
        Term::Method {
            value, arguments, ..
        } => {
            collect(value, into);
            arguments.iter().for_each(|it| collect(it, into));
        }
        Term::Table(fields) => fields.iter().for_each(|it| collect(&it.1, into)),
        Term::Unary(_, operand) => collect(operand, into),
    }
}

/// Reads a call and makes it, for arguments that only this query has.
pub(crate) fn call_with(
    reader: &mut Reader<'_>,
    function: &str,
    arguments: &[Expression],
    position: Position,
    run: &mut Run<'_, '_>,
) -> Result<Value, Failure> {
    let call = reader.call(function, arguments, position);
    let call = call.map_err(|it| Failure(format!("`{function}`: {}", it.message)))?;
    // The choices of such a call end with it.
    let mut inner = Run::new(run.scene);
    inner.skip_to(run);
    let value = call.run(&mut inner)?.into_value();
    let (dependency, draws) = inner.ended();
    run.resume(dependency, draws);
    Ok(value)
}

/// The records that `value` spells; names in it are whole, with a dot at their end or without.
pub(crate) fn made(value: Value, kind: u16) -> Result<Vec<Content>, Failure> {
    let content = |text: String| {
        let data = data_from_text(kind, &text, ROOT).map_err(|it| {
            let kind = kind::Shown(kind);
            Failure(format!(
                "`{text}` is no value of a record of type {kind}: {it}"
            ))
        })?;
        Ok(data.into_boxed_slice())
    };
    value.into_texts()?.into_iter().map(content).collect()
}

/// A value as what the readers of arguments read.
pub(crate) fn expression(value: Value, position: Position) -> Expression {
    let kind = match value {
        Value::Boolean(it) => Kind::Boolean(it),
        Value::Nil | Value::Header(_) => Kind::Nil,
        Value::Number(it) => Kind::Number(it),
        Value::Nets(nets) => {
            let texts = nets.iter().map(|it| Value::Text(it.to_string()));
            return expression(Value::list(texts), position);
        }
        Value::Table(fields) => {
            let field = |(key, value): (Key, Value)| Field {
                key: match key {
                    Key::Number(_) => None,
                    Key::Text(key) => Some(key),
                },
                value: expression(value, position),
            };
            Kind::Table(fields.into_iter().map(field).collect())
        }
        Value::Address(_) | Value::Name(_) | Value::Net(_) | Value::Text(_) => {
            Kind::String(value.text().unwrap_or_default())
        }
    };
    Expression { position, kind }
}

fn compute(operator: Operator, left: &Value, right: Value) -> Result<Value, Failure> {
    let number =
        |with: fn(f64, f64) -> f64| Ok(Value::Number(with(left.number()?, right.number()?)));
    let boolean = |it: bool| Ok(Value::Boolean(it));
    match operator {
        Operator::And | Operator::Or => Ok(right),
        Operator::Add => number(|a, b| a + b),
        Operator::Concatenate => left.concatenate(&right),
        Operator::Divide => number(|a, b| a / b),
        Operator::Equal => boolean(*left == right),
        Operator::Less => boolean(left.is_less(&right)?),
        Operator::LessOrEqual => boolean(!right.is_less(left)?),
        Operator::More => boolean(right.is_less(left)?),
        Operator::MoreOrEqual => boolean(!left.is_less(&right)?),
        Operator::Multiply => number(|a, b| a * b),
        Operator::Power => number(f64::powf),
        // Lua's has the sign of the divisor.
        Operator::Remainder => number(|a, b| a - (a / b).floor() * b),
        Operator::Subtract => number(|a, b| a - b),
        Operator::Unequal => boolean(*left != right),
    }
}

fn change(operator: Prefix, operand: &Value) -> Result<Value, Failure> {
    match (operator, operand) {
        (Prefix::Not, _) => Ok(Value::Boolean(!operand.is_true())),
        (Prefix::Negative, _) => Ok(Value::Number(-operand.number()?)),
        (Prefix::Length, Value::Table(fields)) => {
            let count = fields
                .iter()
                .filter(|it| matches!(it.0, Key::Number(_)))
                .count();
            #[expect(clippy::cast_precision_loss, reason = "tables have far fewer elements")]
            Ok(Value::Number(count as f64))
        }
        (Prefix::Length, _) => operand.method("len", &[]),
    }
}

#[cfg(test)]
mod tests;
