//! Turns an expression into a plan: knows the functions and what they take.

use std::net::{IpAddr, SocketAddr};

use super::options::{self, Options};
use super::{Backup, Candidate, Plan, Selector};
use crate::check::{CHECKS_MAX, Check, CheckId, Checks, HttpProbe, Method};
use crate::expression::{Expression, Field, Kind};
use crate::geo::Atlas;
use crate::text::{ParseError, Position};
use crate::wire::kind;
use crate::zone::data_from_text;

/// What plans are compiled with: the places of addresses, and the checks that all zones share.
#[derive(Debug)]
pub(crate) struct Compiler<'a> {
    pub(crate) atlas: &'a Atlas,
    pub(crate) checks: Checks,
}

/// What a record is, beside its expression.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) kind: u16,
    /// What relative names go on with.
    pub(crate) origin: &'a [u8],
}

/// The functions that a record can call.
const FUNCTIONS: &[&str] = &[
    "all",
    "ifportup",
    "ifurlup",
    "pickclosest",
    "pickhashed",
    "pickrandom",
    "pickwhashed",
    "pickwrandom",
];

/// More candidates than fit into any answer, and few enough to look at all for one query.
const CANDIDATES_MAX: usize = 1000;

pub(crate) fn compile(
    expression: &Expression,
    target: Target<'_>,
    compiler: &mut Compiler<'_>,
) -> Result<Plan, ParseError> {
    let mut call = Call { target, compiler };
    let plan = match &expression.kind {
        Kind::Call {
            function,
            arguments,
        } => call.function(function, arguments, expression.position)?,
        Kind::String(_) => {
            let candidate = call.candidate(expression)?;
            plan("constant", Selector::All, vec![candidate])
        }
        Kind::Table(_) => plan("constant", Selector::All, call.candidates(expression)?),
        Kind::Boolean(_) | Kind::Number(_) => {
            return Err(expected(
                "a string, a table of strings or a function call",
                expression,
            ));
        }
    };

    let count: usize = plan.sets.iter().map(Vec::len).sum();
    if count == 0 || plan.sets.iter().any(Vec::is_empty) {
        return Err(ParseError::new(
            expression.position,
            "there is nothing to choose from",
        ));
    }
    if count > CANDIDATES_MAX {
        let message = format!("{count} values are more than the {CANDIDATES_MAX} of one record");
        return Err(ParseError::new(expression.position, message));
    }
    Ok(plan)
}

struct Call<'a, 'b> {
    target: Target<'a>,
    compiler: &'a mut Compiler<'b>,
}

impl Call<'_, '_> {
    fn function(
        &mut self,
        name: &str,
        arguments: &[Expression],
        position: Position,
    ) -> Result<Plan, ParseError> {
        match name {
            "all" => self.pick(name, Selector::All, arguments, position),
            "pickclosest" => self.pick(name, Selector::Closest, arguments, position),
            "pickhashed" => self.pick(name, Selector::Hashed, arguments, position),
            "pickrandom" => self.pick(name, Selector::Random, arguments, position),
            "pickwhashed" => self.weighted(name, Selector::WeightedHashed, arguments, position),
            "pickwrandom" => self.weighted(name, Selector::WeightedRandom, arguments, position),
            "ifportup" => self.if_port_up(arguments, position),
            "ifurlup" => self.if_url_up(arguments, position),
            unknown => Err(ParseError::new(
                position,
                format!(
                    "there is no function `{unknown}`; there are {}",
                    FUNCTIONS.join(", ")
                ),
            )),
        }
    }

    fn pick(
        &self,
        name: &str,
        selector: Selector,
        arguments: &[Expression],
        position: Position,
    ) -> Result<Plan, ParseError> {
        let [values] = arguments else {
            return Err(takes(position, name, "one argument, a table of values"));
        };
        Ok(plan(name, selector, self.candidates(values)?))
    }

    fn weighted(
        &self,
        name: &str,
        selector: Selector,
        arguments: &[Expression],
        position: Position,
    ) -> Result<Plan, ParseError> {
        let [values] = arguments else {
            return Err(takes(
                position,
                name,
                "one argument, a table of {weight, value} pairs",
            ));
        };
        let mut candidates = Vec::new();
        for pair in elements(values)? {
            let [weight, value] = elements(pair)?[..] else {
                return Err(expected("a {weight, value} pair", pair));
            };
            let weight = options::whole(weight, 0, u32::MAX)?;
            candidates.push(Candidate {
                weight,
                ..self.candidate(value)?
            });
        }
        Ok(plan(name, selector, candidates))
    }

    fn if_port_up(
        &mut self,
        arguments: &[Expression],
        position: Position,
    ) -> Result<Plan, ParseError> {
        let (port, addresses, options) = match arguments {
            [port, addresses] => (port, addresses, Options::default()),
            [port, addresses, table] => (port, addresses, options::options(table, false)?),
            _ => {
                return Err(takes(
                    position,
                    "ifportup",
                    "a port, addresses and perhaps options",
                ));
            }
        };
        let port = u16::try_from(options::whole(port, 1, u32::from(u16::MAX))?);
        let port = port.expect("at most 65,535");
        self.checked("ifportup", addresses, port, &Method::Tcp, options)
    }

    fn if_url_up(
        &mut self,
        arguments: &[Expression],
        position: Position,
    ) -> Result<Plan, ParseError> {
        let (url, addresses, options) = match arguments {
            [url, addresses] => (url, addresses, Options::default()),
            [url, addresses, table] => (url, addresses, options::options(table, true)?),
            _ => {
                return Err(takes(
                    position,
                    "ifurlup",
                    "a URL, addresses and perhaps options",
                ));
            }
        };
        let Kind::String(text) = &url.kind else {
            return Err(expected("a URL", url));
        };
        let Url { port, probe } =
            parse_url(text, &options).map_err(|it| ParseError::new(url.position, it))?;
        self.checked("ifurlup", addresses, port, &Method::Http(probe), options)
    }

    /// A plan over sets of addresses, each of which is asked the same question at `port`.
    fn checked(
        &mut self,
        name: &str,
        addresses: &Expression,
        port: u16,
        method: &Method,
        options: Options,
    ) -> Result<Plan, ParseError> {
        let elements = elements(addresses)?;
        let nested = elements.iter().any(|it| matches!(it.kind, Kind::Table(_)));
        let groups = if nested { elements } else { vec![addresses] };

        let mut sets = Vec::with_capacity(groups.len());
        for group in groups {
            let mut set = self.candidates(group)?;
            for candidate in &mut set {
                let address: IpAddr = candidate.text.parse().map_err(|_| {
                    let message = format!("`{}` is not an IP address to check", candidate.text);
                    ParseError::new(group.position, message)
                })?;
                let check = Check {
                    target: SocketAddr::new(address, port),
                    method: method.clone(),
                    timing: options.timing,
                    source: options.source,
                };
                candidate.check = Some(self.intern(check, group.position)?);
            }
            sets.push(set);
        }
        Ok(Plan {
            sets,
            backup: options.backup,
            fail_on_incomplete_check: options.fail_on_incomplete_check,
            ..plan(name, options.selector, Vec::new())
        })
    }

    fn intern(&mut self, check: Check, position: Position) -> Result<CheckId, ParseError> {
        self.compiler.checks.intern(check).ok_or_else(|| {
            ParseError::new(
                position,
                format!("there are more than {CHECKS_MAX} health checks"),
            )
        })
    }

    /// The candidates of a table of strings; a lone string stands for a table of one.
    fn candidates(&self, values: &Expression) -> Result<Vec<Candidate>, ParseError> {
        if let Kind::String(_) = values.kind {
            return Ok(vec![self.candidate(values)?]);
        }
        elements(values)?
            .into_iter()
            .map(|it| self.candidate(it))
            .collect()
    }

    fn candidate(&self, value: &Expression) -> Result<Candidate, ParseError> {
        let Kind::String(text) = &value.kind else {
            return Err(expected("a string", value));
        };
        let Target { kind, origin } = self.target;
        let data = data_from_text(kind, text, origin).map_err(|it| {
            let kind = kind::Shown(kind);
            let message = format!("`{text}` is no value of a record of type {kind}: {it}");
            ParseError::new(value.position, message)
        })?;
        let location = text
            .parse()
            .ok()
            .and_then(|it| self.compiler.atlas.locate(it).location);
        Ok(Candidate {
            text: text.clone(),
            data: data.into_boxed_slice(),
            location,
            weight: 1,
            check: None,
        })
    }
}

fn plan(name: &str, selector: Selector, set: Vec<Candidate>) -> Plan {
    Plan {
        function: name.to_owned(),
        sets: vec![set],
        selector,
        backup: Backup::Select(selector),
        fail_on_incomplete_check: false,
    }
}

/// The elements of a table without keys.
fn elements(table: &Expression) -> Result<Vec<&Expression>, ParseError> {
    let Kind::Table(fields) = &table.kind else {
        return Err(expected("a table", table));
    };
    let element = |field: &'_ Field| match field.key {
        Some(_) => Err(ParseError::new(
            table.position,
            "the elements of this table have no keys",
        )),
        None => Ok(()),
    };
    fields.iter().try_for_each(element)?;
    Ok(fields.iter().map(|it| &it.value).collect())
}

struct Url {
    port: u16,
    probe: HttpProbe,
}

/// Splits a URL (RFC 3986) into whom to ask and what; user names in it are refused.
fn parse_url(text: &str, options: &Options) -> Result<Url, String> {
    let (tls, rest) = match text.split_once("://") {
        Some(("http", rest)) => (false, rest),
        Some(("https", rest)) => (true, rest),
        _ => {
            return Err(format!(
                "`{text}` is not a URL that starts with http:// or https://"
            ));
        }
    };
    let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
    let split = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(split);
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };

    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let default = if tls { 443 } else { 80 };
    let port = port.map_or(Ok(default), |it| {
        it.parse::<u16>()
            .map_err(|_| format!("`{it}` in `{text}` is not a port"))
    })?;
    let host_fits = |it: char| it.is_ascii_alphanumeric() || "-._[]:".contains(it);
    if host.is_empty() || !host.chars().all(host_fits) {
        return Err(format!("`{host}` in `{text}` is not a host name"));
    }
    if !path.chars().all(|it| it.is_ascii_graphic()) {
        return Err(format!(
            "the path of `{text}` has to be printable ASCII without spaces"
        ));
    }

    let authority = if port == default {
        host.to_owned()
    } else {
        format!("{host}:{port}")
    };
    let url = options.url.clone();
    let probe = HttpProbe {
        tls,
        host: host.trim_matches(['[', ']']).to_owned(),
        authority,
        path,
        user_agent: url.user_agent,
        expected_status: url.expected_status,
        body_contains: url.body_contains,
        body_bytes_max: url.body_bytes_max,
    };
    Ok(Url { port, probe })
}

fn takes(position: Position, function: &str, what: &str) -> ParseError {
    ParseError::new(position, format!("`{function}` takes {what}"))
}

fn expected(what: &str, found: &Expression) -> ParseError {
    let message = format!("expected {what} and found {}", found.kind.noun());
    ParseError::new(found.position, message)
}
