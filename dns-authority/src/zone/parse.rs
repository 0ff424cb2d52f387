//! Reads a zone file (RFC 1035 section 5) with LUA records in PowerDNS's notation.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use hickory_proto::rr::{Name, RData, RecordType};

use super::lex::{Character, Line, Lines, Token, characters};
use super::{Node, RecordSet, Zone, rdata};
use crate::expression;
use crate::plan::{Compiler, Plan, Target, compile};
use crate::text::{ParseError, Position};

/// Reads the zone at `origin` from the text of its file.
pub(crate) fn zone(
    origin: &Name,
    text: &str,
    compiler: &mut Compiler<'_>,
) -> Result<Zone, ParseError> {
    let mut reader = Reader {
        origin: origin.clone(),
        relative_to: origin.clone(),
        default_ttl: None,
        last_ttl: None,
        last_owner: None,
        nodes: BTreeMap::new(),
        compiler,
    };
    for line in Lines::new(text) {
        reader.line(&line?)?;
    }

    let start = Position { line: 1, column: 1 };
    let soa = reader
        .nodes
        .get(origin)
        .and_then(|it| it.set(RecordType::SOA));
    let Some((RData::SOA(soa), soa_ttl)) = soa.and_then(|it| Some((it.fixed.first()?, it.ttl)))
    else {
        return Err(ParseError::new(
            start,
            format!("the zone has no SOA record at {origin}"),
        ));
    };
    let soa = (soa.clone(), soa_ttl);
    Ok(Zone::new(origin.clone(), soa, reader.nodes))
}

struct Reader<'a, 'b> {
    origin: Name,
    /// What `$ORIGIN` says.
    relative_to: Name,
    /// What `$TTL` says.
    default_ttl: Option<u32>,
    last_ttl: Option<u32>,
    last_owner: Option<Name>,
    nodes: BTreeMap<Name, Node>,
    compiler: &'a mut Compiler<'b>,
}

impl Reader<'_, '_> {
    fn line(&mut self, line: &Line<'_>) -> Result<(), ParseError> {
        match line.tokens.as_slice() {
            [first, arguments @ ..] if !first.quoted && first.raw.starts_with('$') => {
                self.directive(first, arguments)
            }
            tokens if line.owner_omitted => self.record(None, tokens),
            [owner, rest @ ..] => self.record(Some(owner), rest),
            [] => Ok(()),
        }
    }

    fn directive(
        &mut self,
        directive: &Token<'_>,
        arguments: &[Token<'_>],
    ) -> Result<(), ParseError> {
        let error = |why: &str| ParseError::new(directive.position, why);
        match (directive.raw.to_ascii_uppercase().as_str(), arguments) {
            ("$ORIGIN", [origin]) => {
                self.relative_to = rdata::name(origin, &self.relative_to)?;
                Ok(())
            }
            ("$ORIGIN", _) => Err(error("`$ORIGIN` takes one domain name")),
            ("$TTL", [ttl]) => {
                let seconds = rdata::ttl(ttl);
                self.default_ttl = Some(seconds.ok_or_else(|| not_a_ttl(ttl))?);
                Ok(())
            }
            ("$TTL", _) => Err(error("`$TTL` takes one number of seconds")),
            (unknown, _) => Err(error(&format!(
                "there is no `{unknown}` here, only `$ORIGIN` and `$TTL`"
            ))),
        }
    }

    /// Reads `[ttl] [class] type data`, TTL and class in any order.
    fn record(
        &mut self,
        owner: Option<&Token<'_>>,
        mut tokens: &[Token<'_>],
    ) -> Result<(), ParseError> {
        let start = owner
            .or_else(|| tokens.first())
            .map_or(FIRST, |it| it.position);
        let owner = self.owner(owner, start)?;

        let mut ttl = None;
        while let [token, rest @ ..] = tokens {
            if let Some(seconds) = rdata::ttl(token).filter(|_| ttl.is_none()) {
                ttl = Some(seconds);
            } else if let Some(class) = class(token) {
                if class != "IN" {
                    let message = format!("class {class} is not served, only IN");
                    return Err(ParseError::new(token.position, message));
                }
            } else {
                break;
            }
            tokens = rest;
        }
        let [kind, data @ ..] = tokens else {
            return Err(ParseError::new(start, "the record has no type"));
        };

        let end = end_of(kind);
        if kind.raw.eq_ignore_ascii_case("LUA") {
            let (kind, plan) = self.lua(data, end)?;
            let ttl = self.ttl(ttl, None, start)?;
            return self.insert(
                &owner,
                start,
                RecordSet {
                    kind,
                    ttl,
                    fixed: vec![],
                    plans: vec![plan],
                },
            );
        }
        let kind = record_type(kind)?;
        let data = rdata::rdata(kind, data, &self.relative_to, end)?;
        let ttl = self.ttl(ttl, Some(&data), start)?;
        self.insert(
            &owner,
            start,
            RecordSet {
                kind,
                ttl,
                fixed: vec![data],
                plans: vec![],
            },
        )
    }

    fn owner(&mut self, owner: Option<&Token<'_>>, start: Position) -> Result<Name, ParseError> {
        if let Some(token) = owner {
            let name = rdata::name(token, &self.relative_to)?;
            if !self.origin.zone_of(&name) {
                let message = format!("{name} does not belong to the zone {}", self.origin);
                return Err(ParseError::new(token.position, message));
            }
            self.last_owner = Some(name);
        }
        let missing = || ParseError::new(start, "the first record has to name its owner");
        self.last_owner.clone().ok_or_else(missing)
    }

    /// The record's own TTL, else the file's default, else what the record before had (RFC 1035
    /// section 5.1), else, for the SOA itself, its minimum.
    fn ttl(
        &mut self,
        own: Option<u32>,
        data: Option<&RData>,
        start: Position,
    ) -> Result<u32, ParseError> {
        let minimum = match data {
            Some(RData::SOA(soa)) => Some(soa.minimum),
            _ => None,
        };
        let ttl = own.or(self.default_ttl).or(self.last_ttl).or(minimum);
        self.last_ttl = ttl;
        ttl.ok_or_else(|| {
            ParseError::new(
                start,
                "no time to live: begin the file with `$TTL 300` or the like",
            )
        })
    }

    /// Reads what follows `LUA`: the type and the strings that make up the expression.
    fn lua(&mut self, data: &[Token<'_>], end: Position) -> Result<(RecordType, Plan), ParseError> {
        let [kind, strings @ ..] = data else {
            return Err(ParseError::new(
                end,
                "`LUA` needs a record type and an expression",
            ));
        };
        let record_kind = record_type(kind)?;
        if strings.is_empty() {
            return Err(ParseError::new(end_of(kind), "the expression is missing"));
        }
        if let Some(bare) = strings.iter().find(|it| !it.quoted) {
            let message = format!(
                "expected an expression in double quotes and found `{}`",
                bare.raw
            );
            return Err(ParseError::new(bare.position, message));
        }

        let mut text: Vec<Character> = Vec::new();
        for string in strings {
            text.extend(characters(string)?);
        }
        let expression = expression::parse(&text)?;
        let target = Target {
            kind: record_kind,
            origin: &self.relative_to,
        };
        Ok((record_kind, compile(&expression, target, self.compiler)?))
    }

    fn insert(&mut self, owner: &Name, at: Position, set: RecordSet) -> Result<(), ParseError> {
        let kind = set.kind;
        if kind == RecordType::SOA && *owner != self.origin {
            return Err(ParseError::new(
                at,
                format!("an SOA belongs to {} alone", self.origin),
            ));
        }
        if !self.nodes.contains_key(owner) {
            self.nodes.insert(owner.clone(), Node::default());
        }
        let node = self
            .nodes
            .get_mut(owner)
            .expect("just inserted if it was missing");
        match node.sets.iter_mut().find(|it| it.kind == kind) {
            None => node.sets.push(set),
            Some(same) => {
                same.ttl = same.ttl.min(set.ttl);
                for data in set.fixed {
                    if !same.fixed.contains(&data) {
                        same.fixed.push(data);
                    }
                }
                same.plans.extend(set.plans);
            }
        }

        let alias = node.set(RecordType::CNAME);
        let is_alone =
            |it: &RecordSet| node.sets.len() == 1 && it.fixed.len() + it.plans.len() == 1;
        if alias.is_some_and(|it| !is_alone(it)) {
            let message = format!("{owner} has a CNAME and can have nothing beside it");
            return Err(ParseError::new(at, message));
        }
        if kind == RecordType::SOA && node.set(kind).is_some_and(|it| it.fixed.len() > 1) {
            return Err(ParseError::new(at, "the zone has a second SOA"));
        }
        Ok(())
    }
}

const FIRST: Position = Position { line: 1, column: 1 };

fn record_type(token: &Token<'_>) -> Result<RecordType, ParseError> {
    let unknown = || ParseError::new(token.position, format!("`{}` is no record type", token.raw));
    let kind = RecordType::from_str(&token.raw.to_ascii_uppercase()).map_err(|_| unknown())?;
    let questions = [
        RecordType::ANY,
        RecordType::AXFR,
        RecordType::IXFR,
        RecordType::OPT,
    ];
    match token.quoted || questions.contains(&kind) {
        true => Err(unknown()),
        false => Ok(kind),
    }
}

fn class(token: &Token<'_>) -> Option<&'static str> {
    let classes = ["IN", "CH", "HS", "CS", "ANY", "NONE"];
    let matches = |it: &&str| !token.quoted && it.eq_ignore_ascii_case(token.raw);
    classes.into_iter().find(matches)
}

fn not_a_ttl(token: &Token<'_>) -> ParseError {
    let message = format!("`{}` is not a time to live: 300, 5m, 1h30m", token.raw);
    ParseError::new(token.position, message)
}

/// Where something that should follow `token` is missing.
fn end_of(token: &Token<'_>) -> Position {
    let characters = u32::try_from(token.raw.chars().count()).unwrap_or(u32::MAX);
    Position {
        column: token.position.column.saturating_add(characters),
        ..token.position
    }
}
