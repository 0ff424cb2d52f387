//! Reads the arguments of calls into what they stand for.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Call, FUNCTIONS};
use crate::expression::{Expression, Kind};
use crate::plan::options;
use crate::plan::synthesize::Format;
use crate::plan::value::{Name, Value};
use crate::text::{ParseError, Position};
use crate::wire::kind;

/// Functions that only make one value of others.
pub(super) fn make(
    function: &str,
    arguments: &[Expression],
    position: Position,
) -> Result<Value, ParseError> {
    let [argument] = arguments else {
        let message = match FUNCTIONS.contains(&function) {
            true => format!("`{function}` takes one argument"),
            false => unknown(function),
        };
        return Err(ParseError::new(position, message));
    };
    match function {
        "newCA" => address(argument).map(Value::Address),
        "newDN" => name(argument).map(Value::Name),
        "newNMG" => nets(argument).map(Value::Nets),
        "newNetmask" => Ok(Value::Net(net(argument)?)),
        "tonumber" => match &argument.kind {
            Kind::Number(number) => Ok(Value::Number(*number)),
            Kind::String(text) => Ok(text.trim().parse().map_or(Value::Nil, Value::Number)),
            _ => Ok(Value::Nil),
        },
        "tostring" => match &argument.kind {
            Kind::Number(number) => Ok(Value::Text(number.to_string())),
            Kind::String(text) => Ok(Value::Text(text.clone())),
            Kind::Boolean(it) => Ok(Value::Text(it.to_string())),
            Kind::Nil => Ok(Value::Text("nil".to_owned())),
            _ => Err(wrong(argument, "something that has a text")),
        },
        _ => Err(ParseError::new(position, unknown(function))),
    }
}

fn unknown(function: &str) -> String {
    format!(
        "there is no function `{function}`; there are {}",
        FUNCTIONS.join(", ")
    )
}

type Takes<'a> = &'a dyn Fn(&str) -> Result<Call, ParseError>;

pub(super) fn reverse(
    arguments: &[Expression],
    places: usize,
    call: fn(Format, Vec<(IpAddr, String)>) -> Call,
    takes: Takes<'_>,
) -> Result<Call, ParseError> {
    let (format, exceptions) = match arguments {
        [format] => (format, None),
        [format, exceptions] => (format, Some(exceptions)),
        _ => return takes("a format and perhaps exceptions"),
    };
    let parsed = Format::parse(string(format)?, places);
    let parsed = parsed.map_err(|it| ParseError::new(format.position, it))?;
    let mut pairs = Vec::new();
    if let Some(table) = exceptions {
        let Kind::Table(fields) = &table.kind else {
            return Err(wrong(table, "a table of names by address"));
        };
        for field in fields {
            let key = field.key.as_deref().and_then(|it| it.parse().ok());
            let key = key.ok_or_else(|| wrong(&field.value, "`['192.0.2.1'] =` before it"))?;
            pairs.push((key, string(&field.value)?.to_owned()));
        }
    }
    Ok(call(parsed, pairs))
}

pub(super) fn filter(arguments: &[Expression], takes: Takes<'_>) -> Result<Call, ParseError> {
    let (from, masks, fallback) = match arguments {
        [from, masks] => (from, masks, None),
        [from, masks, fallback] => (from, masks, Some(string(fallback)?.to_owned())),
        _ => return takes("an address, a newNMG{…} and perhaps a fallback"),
    };
    Ok(Call::Filter {
        address: address(from)?,
        nets: nets(masks)?,
        fallback,
    })
}

/// A type by number or name.
pub(super) fn kind_number(argument: &Expression) -> Result<u16, ParseError> {
    match &argument.kind {
        Kind::String(name) => kind::named(name).ok_or_else(|| wrong(argument, "a record type")),
        _ => {
            let number = options::whole(argument, 1, u32::from(u16::MAX))?;
            Ok(u16::try_from(number).expect("at most 65,535"))
        }
    }
}

pub(super) fn name(argument: &Expression) -> Result<Name, ParseError> {
    Name::parse(string(argument)?).ok_or_else(|| wrong(argument, "a domain name"))
}

pub(super) fn address(argument: &Expression) -> Result<IpAddr, ParseError> {
    let address = string(argument)?.parse();
    address.map_err(|_| wrong(argument, "an IP address"))
}

/// A network, or an address as one of its own.
fn net(argument: &Expression) -> Result<IpNet, ParseError> {
    let text = string(argument)?;
    let net = text
        .parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    net.map_err(|_| wrong(argument, "a network like 192.0.2.0/24"))
}

pub(super) fn nets(argument: &Expression) -> Result<Vec<IpNet>, ParseError> {
    match argument.kind {
        Kind::String(_) => Ok(vec![net(argument)?]),
        _ => elements(argument)?.into_iter().map(net).collect(),
    }
}

/// Strings or numbers, or one of them.
pub(super) fn texts(argument: &Expression) -> Result<Vec<String>, ParseError> {
    match &argument.kind {
        Kind::Number(number) => Ok(vec![number.to_string()]),
        Kind::String(text) => Ok(vec![text.clone()]),
        Kind::Table(_) => {
            let found: Vec<Vec<String>> = elements(argument)?
                .into_iter()
                .map(texts)
                .collect::<Result<_, _>>()?;
            Ok(found.concat())
        }
        _ => Err(wrong(argument, "a string or a table of strings")),
    }
}

/// The elements of a table without keys.
pub(super) fn elements(table: &Expression) -> Result<Vec<&Expression>, ParseError> {
    let Kind::Table(fields) = &table.kind else {
        return Err(wrong(table, "a table"));
    };
    if fields.iter().any(|it| it.key.is_some()) {
        let message = "the elements of this table have no keys";
        return Err(ParseError::new(table.position, message));
    }
    Ok(fields.iter().map(|it| &it.value).collect())
}

pub(in crate::plan) fn string(value: &Expression) -> Result<&str, ParseError> {
    let Kind::String(string) = &value.kind else {
        return Err(wrong(value, "a string"));
    };
    Ok(string)
}

pub(in crate::plan) fn wrong(value: &Expression, wanted: &str) -> ParseError {
    ParseError::new(
        value.position,
        format!("expected {wanted} and found {}", value.kind.noun()),
    )
}
