//! Reads a zone file (RFC 1035 section 5) with LUA records in PowerDNS's notation.

use std::sync::Arc;

use super::generate::{self, Template};
use super::lex::{Character, Line, Lines, Token, characters};
use super::{Zone, data};
use crate::expression;
use crate::plan::{Compiler, Plan, compile, library};
use crate::script;
use crate::store::{Builder, Value};
use crate::text::{ParseError, Position};
use crate::wire::kind;
use crate::wire::name::{Folded, Shown};

/// The text of a zone's file, and where to get those that it includes.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) text: &'a str,
    /// The text of a file by its name in `$INCLUDE`, or why there is none.
    pub(crate) include: &'a dyn Fn(&str) -> Result<Arc<str>, String>,
}

impl<'a> From<&'a str> for Source<'a> {
    fn from(text: &'a str) -> Self {
        let include = &|_: &str| Err("this text cannot include others".to_owned());
        Self { text, include }
    }
}

impl<'a> From<&'a String> for Source<'a> {
    fn from(text: &'a String) -> Self {
        Self::from(text.as_str())
    }
}

/// Files that include each other end somewhere.
const INCLUDES_MAX: usize = 8;

/// Reads the zone at `origin` from the text of its file.
pub(crate) fn zone<'a>(
    origin: &Folded,
    source: impl Into<Source<'a>>,
    compiler: &mut Compiler<'_>,
) -> Result<Zone, ParseError> {
    let source = source.into();
    let mut reader = Reader {
        origin: origin.octets(),
        relative_to: origin.octets().to_vec(),
        default_ttl: None,
        last_ttl: None,
        last_owner: None,
        builder: Builder::new(origin.octets()),
        plans: Vec::new(),
        compiler,
        include: source.include,
        includes: 0,
    };
    reader.text(source.text)?;
    let store = reader.builder.finish().map_err(|mistake| {
        let position = Position {
            line: mistake.line,
            column: 1,
        };
        ParseError::new(position, mistake.what)
    })?;
    let zone = Zone::new(origin.clone(), store, reader.plans)
        .map_err(|it| ParseError::new(FIRST, it.to_string()))?;
    script::learn(&zone, compiler.atlas, &mut compiler.checks);
    Ok(zone)
}

struct Reader<'a, 'b> {
    /// In lower case, as all names here as they travel.
    origin: &'a [u8],
    /// What `$ORIGIN` says.
    relative_to: Vec<u8>,
    /// What `$TTL` says.
    default_ttl: Option<u32>,
    last_ttl: Option<u32>,
    last_owner: Option<Vec<u8>>,
    builder: Builder,
    plans: Vec<Plan>,
    compiler: &'a mut Compiler<'b>,
    include: &'a dyn Fn(&str) -> Result<Arc<str>, String>,
    /// How many files lead to the one that is read.
    includes: usize,
}

impl Reader<'_, '_> {
    fn text(&mut self, text: &str) -> Result<(), ParseError> {
        Lines::new(text).try_for_each(|line| self.line(&line?))
    }

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
                self.relative_to = data::name(origin, &self.relative_to)?;
                Ok(())
            }
            ("$ORIGIN", _) => Err(error("`$ORIGIN` takes one domain name")),
            ("$TTL", [ttl]) => {
                let seconds = data::ttl(ttl);
                self.default_ttl = Some(seconds.ok_or_else(|| not_a_ttl(ttl))?);
                Ok(())
            }
            ("$TTL", _) => Err(error("`$TTL` takes one number of seconds")),
            ("$INCLUDE", [file]) => self.include(directive.position, file, None),
            ("$INCLUDE", [file, origin]) => self.include(directive.position, file, Some(origin)),
            ("$INCLUDE", _) => Err(error("`$INCLUDE` takes a file and perhaps an origin")),
            ("$GENERATE", [range, rest @ ..]) => self.generate(range, rest),
            (unknown, _) => Err(error(&format!(
                "there is no `{unknown}` here, only `$GENERATE`, `$INCLUDE`, `$ORIGIN` and `$TTL`"
            ))),
        }
    }

    /// Reads another file as if it stood here; the origin is afterwards what it was before (RFC 1035
    /// section 5.1).
    fn include(
        &mut self,
        at: Position,
        file: &Token<'_>,
        origin: Option<&Token<'_>>,
    ) -> Result<(), ParseError> {
        if self.includes == INCLUDES_MAX {
            let message = format!("more than {INCLUDES_MAX} files include each other");
            return Err(ParseError::new(at, message));
        }
        let text = (self.include)(file.raw).map_err(|it| ParseError::new(file.position, it))?;
        let inside = match origin {
            Some(origin) => data::name(origin, &self.relative_to)?,
            None => self.relative_to.clone(),
        };
        let outside = std::mem::replace(&mut self.relative_to, inside);
        let owner = self.last_owner.clone();
        self.includes += 1;
        self.text(&text)
            .map_err(|error| ParseError::new(at, format!("in {}:{error}", file.raw)))?;
        self.includes -= 1;
        self.relative_to = outside;
        self.last_owner = owner;
        Ok(())
    }

    /// Reads a record once for each number of a range (as BIND has it).
    fn generate(&mut self, range: &Token<'_>, record: &[Token<'_>]) -> Result<(), ParseError> {
        let numbers = generate::range(range)?;
        let templates: Vec<Template<'_>> =
            record.iter().map(Template::new).collect::<Result<_, _>>()?;
        for number in numbers {
            let texts: Vec<String> = templates.iter().map(|it| it.with(number)).collect();
            let tokens: Vec<Token<'_>> = record
                .iter()
                .zip(&texts)
                .map(|(token, text)| Token {
                    raw: text,
                    ..*token
                })
                .collect();
            match tokens.split_first() {
                Some((owner, rest)) => self.record(Some(owner), rest)?,
                None => {
                    return Err(ParseError::new(
                        range.position,
                        "there is no record to generate",
                    ));
                }
            }
        }
        Ok(())
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
        self.owner(owner, start)?;

        let mut ttl = None;
        while let [token, rest @ ..] = tokens {
            if let Some(seconds) = data::ttl(token).filter(|_| ttl.is_none()) {
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
            let number = u32::try_from(self.plans.len()).expect("a file is far below 4 GiB");
            self.plans.push(plan);
            return self.push(start, kind, ttl, Value::Plan(number));
        }
        let kind = record_type(kind)?;
        let data = data::data(kind, data, &self.relative_to, end)?;
        let minimum = (kind == kind::SOA).then(|| super::minimum(&data));
        let ttl = self.ttl(ttl, minimum, start)?;
        self.push(start, kind, ttl, Value::Data(&data))
    }

    /// Notes whose record comes.
    fn owner(&mut self, owner: Option<&Token<'_>>, start: Position) -> Result<(), ParseError> {
        if let Some(token) = owner {
            let name = data::name(token, &self.relative_to)?;
            if !is_below(&name, self.origin) {
                let message = format!(
                    "{} does not belong to the zone {}",
                    Shown(&name),
                    Shown(self.origin)
                );
                return Err(ParseError::new(token.position, message));
            }
            self.last_owner = Some(name);
        }
        match self.last_owner {
            Some(_) => Ok(()),
            None => Err(ParseError::new(
                start,
                "the first record has to name its owner",
            )),
        }
    }

    /// The record's own TTL, else the file's default, else what the record before had (RFC 1035
    /// section 5.1), else, for the SOA itself, its minimum.
    fn ttl(
        &mut self,
        own: Option<u32>,
        minimum: Option<u32>,
        start: Position,
    ) -> Result<u32, ParseError> {
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
    fn lua(&mut self, data: &[Token<'_>], end: Position) -> Result<(u16, Plan), ParseError> {
        let [kind, strings @ ..] = data else {
            return Err(ParseError::new(
                end,
                "`LUA` needs a record type and an expression",
            ));
        };
        let is_library = kind.raw.eq_ignore_ascii_case("LUA");
        let record_kind = match is_library {
            true => kind::LUA,
            false => record_type(kind)?,
        };
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
            // PowerDNS puts as many between two: zones rely on words that end with a string.
            let blank = Character {
                value: ' ',
                escaped: false,
                position: end_of(string),
            };
            text.extend([blank; 3]);
        }
        text.truncate(text.len() - 3);
        if is_library {
            let code: String = text.iter().map(|it| it.value).collect();
            return Ok((record_kind, library(&code, end, record_kind)?));
        }
        let source = expression::parse(&text)?;
        Ok((record_kind, compile(&source, record_kind, self.compiler)?))
    }

    fn push(
        &mut self,
        at: Position,
        kind: u16,
        ttl: u32,
        value: Value<'_>,
    ) -> Result<(), ParseError> {
        let owner = self.last_owner.as_deref().expect("just noted");
        if kind == kind::SOA && !owner.eq_ignore_ascii_case(self.origin) {
            let message = format!("an SOA belongs to {} alone", Shown(self.origin));
            return Err(ParseError::new(at, message));
        }
        self.builder.push(at.line, owner, kind, ttl, value);
        Ok(())
    }
}

/// Whether the name is `origin`, or below it.
fn is_below(mut name: &[u8], origin: &[u8]) -> bool {
    while origin.len() < name.len() {
        name = &name[1 + usize::from(name[0])..];
    }
    name.eq_ignore_ascii_case(origin)
}

const FIRST: Position = Position { line: 1, column: 1 };

fn record_type(token: &Token<'_>) -> Result<u16, ParseError> {
    let known = kind::named(token.raw).filter(|_| !token.quoted);
    let is_record =
        |it: &u16| !(kind::IXFR..=kind::ANY).contains(it) && ![kind::OPT, 0].contains(it);
    let unknown = || ParseError::new(token.position, format!("`{}` is no record type", token.raw));
    known.filter(is_record).ok_or_else(unknown)
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
