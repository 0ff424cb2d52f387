//! What expressions and scripts compute with: Lua's values, and the addresses and names of a query.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "few kinds of values can do a thing, whatever else there is"
)]

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::wire::name::{Folded, Shown};
use crate::wire::query;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Address(IpAddr),
    Boolean(bool),
    Header(Header),
    Name(Name),
    Net(IpNet),
    /// What `newNMG` makes.
    Nets(Vec<IpNet>),
    Nil,
    Number(f64),
    Table(Vec<(Key, Self)>),
    Text(String),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Key {
    /// Counted from 1.
    Number(usize),
    Text(String),
}

/// The header of a query, `dh`: what it may have set. The rest is 0 in every query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    id: u16,
    operation: u8,
    recursion_desired: bool,
    checking_disabled: bool,
}

impl From<query::Header> for Header {
    fn from(header: query::Header) -> Self {
        Self {
            id: u16::from_be_bytes(header.id),
            operation: header.operation,
            recursion_desired: header.recursion_desired,
            checking_disabled: header.checking_disabled,
        }
    }
}

/// A name in lower case, as it travels.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Name(pub(crate) Box<[u8]>);

/// Why a value could not be computed: a fragment that says what was done with what.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub(crate) String);

/// Longer texts fit into no record.
const TEXT_BYTES_MAX: usize = 65_535;

impl Value {
    pub(crate) fn is_true(&self) -> bool {
        !matches!(self, Self::Nil | Self::Boolean(false))
    }

    /// What it is, for messages.
    pub(crate) fn noun(&self) -> &'static str {
        match self {
            Self::Address(_) => "an address",
            Self::Boolean(_) => "a boolean",
            Self::Header(_) => "a header",
            Self::Name(_) => "a name",
            Self::Net(_) => "a network",
            Self::Nets(_) => "a group of networks",
            Self::Nil => "nil",
            Self::Number(_) => "a number",
            Self::Table(_) => "a table",
            Self::Text(_) => "a string",
        }
    }

    pub(crate) fn list(values: impl IntoIterator<Item = Self>) -> Self {
        Self::Table((1..).map(Key::Number).zip(values).collect())
    }

    /// As `tostring` and `..` write it; `None` for what has no text.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Self::Address(it) => Some(it.to_string()),
            Self::Name(it) => Some(it.to_string()),
            Self::Net(it) => Some(it.to_string()),
            Self::Number(it) => Some(it.to_string()),
            Self::Text(it) => Some(it.clone()),
            Self::Boolean(_) | Self::Header(_) | Self::Nets(_) | Self::Nil | Self::Table(_) => None,
        }
    }

    /// The content of each record that the value stands for: of one, or of a table of them.
    pub(crate) fn into_texts(self) -> Result<Vec<String>, Failure> {
        let noun = self.noun();
        let wrong = || {
            Failure(format!(
                "the result is {noun}, and a string or a table of strings was wanted"
            ))
        };
        match self {
            Self::Table(fields) => {
                let texts = fields.into_iter().map(|(_, value)| value.text());
                texts.collect::<Option<_>>().ok_or_else(wrong)
            }
            one => Ok(vec![one.text().ok_or_else(wrong)?]),
        }
    }

    pub(crate) fn index(&self, key: &Self) -> Result<Self, Failure> {
        let Self::Table(fields) = self else {
            return Err(Failure(format!("{} has no elements", self.noun())));
        };
        let is_it = |it: &Key| match (it, key) {
            (Key::Text(it), Self::Text(key)) => it == key,
            #[expect(clippy::cast_precision_loss, reason = "tables have far fewer elements")]
            #[expect(clippy::float_cmp, reason = "both are whole numbers, or differ")]
            (Key::Number(it), Self::Number(key)) => *it as f64 == *key,
            _ => false,
        };
        let found = fields.iter().find(|it| is_it(&it.0));
        Ok(found.map_or(Self::Nil, |it| it.1.clone()))
    }

    pub(crate) fn concatenate(&self, other: &Self) -> Result<Self, Failure> {
        let part = |it: &Self| {
            let text = it.text();
            text.ok_or_else(|| Failure(format!("{} cannot be part of a text", it.noun())))
        };
        let text = part(self)? + &part(other)?;
        if TEXT_BYTES_MAX < text.len() {
            return Err(Failure(format!(
                "the text is longer than {TEXT_BYTES_MAX} octets"
            )));
        }
        Ok(Self::Text(text))
    }

    /// As a number, which a text may spell.
    pub(crate) fn number(&self) -> Result<f64, Failure> {
        let number = match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| Failure(format!("{} is no number", self.noun())))
    }

    /// Whether it comes before `other`: numbers by size, texts by their octets.
    pub(crate) fn is_less(&self, other: &Self) -> Result<bool, Failure> {
        match (self, other) {
            (Self::Number(left), Self::Number(right)) => Ok(left < right),
            (Self::Text(left), Self::Text(right)) => Ok(left < right),
            _ => Err(Failure(format!(
                "{} cannot be compared with {}",
                self.noun(),
                other.noun()
            ))),
        }
    }

    /// The methods of addresses, names, networks and texts.
    pub(crate) fn method(&self, name: &str, arguments: &[Self]) -> Result<Self, Failure> {
        let argument = arguments.first().unwrap_or(&Self::Nil);
        let found = match (self, name) {
            (Self::Address(it), _) => address_method(*it, name),
            (Self::Header(it), _) => it.method(name),
            (Self::Name(it), _) => it.method(name, argument),
            (Self::Net(it), _) => net_method(it, name, argument),
            (Self::Nets(it), "match") => {
                argument.address().map(|who| Self::Boolean(holds(it, who)))
            }
            (Self::Nets(it), "size") => Some(count(it.len())),
            (Self::Text(it), _) => text_method(it, name, arguments),
            _ => None,
        };
        found.ok_or_else(|| {
            Failure(format!(
                "{} has no method `{name}` for such arguments",
                self.noun()
            ))
        })
    }

    pub(crate) fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Address(it) => Some(*it),
            Self::Text(it) => it.parse().ok(),
            _ => None,
        }
    }
}

/// The names of all methods, for script engines, which want to know them before.
pub(crate) const METHODS: &[&str] = &[
    "countLabels",
    "equal",
    "getAA",
    "getAD",
    "getBits",
    "getCD",
    "getID",
    "getMaskedNetwork",
    "getNetwork",
    "getOPCODE",
    "getQR",
    "getRA",
    "getRCODE",
    "getRD",
    "getTC",
    "isIPv4",
    "isIPv6",
    "isPartOf",
    "isWildcard",
    "match",
    "size",
    "toString",
    "toStringNoDot",
    "toStringWithPort",
    "tostring",
];

pub(crate) fn holds(nets: &[IpNet], who: IpAddr) -> bool {
    let who = who.to_canonical();
    nets.iter().any(|it| it.contains(&who))
}

fn address_method(address: IpAddr, name: &str) -> Option<Value> {
    match name {
        "isIPv4" => Some(Value::Boolean(address.is_ipv4())),
        "isIPv6" => Some(Value::Boolean(address.is_ipv6())),
        "toString" | "tostring" => Some(Value::Text(address.to_string())),
        "toStringWithPort" if address.is_ipv6() => Some(Value::Text(format!("[{address}]:0"))),
        "toStringWithPort" => Some(Value::Text(format!("{address}:0"))),
        _ => None,
    }
}

fn net_method(net: &IpNet, name: &str, argument: &Value) -> Option<Value> {
    match name {
        "getBits" => Some(Value::Number(f64::from(net.prefix_len()))),
        "getMaskedNetwork" => Some(Value::Address(net.network())),
        "getNetwork" => Some(Value::Address(net.addr())),
        "isIPv4" => Some(Value::Boolean(matches!(net, IpNet::V4(_)))),
        "isIPv6" => Some(Value::Boolean(matches!(net, IpNet::V6(_)))),
        "match" => argument
            .address()
            .map(|it| Value::Boolean(net.contains(&it.to_canonical()))),
        "toString" | "tostring" => Some(Value::Text(net.to_string())),
        _ => None,
    }
}

fn text_method(text: &str, name: &str, arguments: &[Value]) -> Option<Value> {
    match (name, arguments) {
        ("len", []) => Some(count(text.len())),
        ("lower", []) => Some(Value::Text(text.to_ascii_lowercase())),
        ("upper", []) => Some(Value::Text(text.to_ascii_uppercase())),
        ("sub", [Value::Number(first)]) => Some(part(text, *first, -1.0)),
        ("sub", [Value::Number(first), Value::Number(last)]) => Some(part(text, *first, *last)),
        _ => None,
    }
}

/// Characters `first` to `last`, counted from 1, or from the end if negative.
fn part(text: &str, first: f64, last: f64) -> Value {
    #[expect(
        clippy::cast_precision_loss,
        reason = "texts are at most TEXT_BYTES_MAX long"
    )]
    let length = text.len() as f64;
    let place = |it: f64| if it < 0.0 { length + it + 1.0 } else { it };
    let (first, last) = (place(first).max(1.0), place(last).min(length));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the length, as just ensured"
    )]
    let range = (first - 1.0).min(length) as usize..last.max(0.0) as usize;
    Value::Text(text.get(range).unwrap_or_default().to_owned())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts are far below 2 to the 52nd"
)]
fn count(number: usize) -> Value {
    Value::Number(number as f64)
}

impl Header {
    fn method(self, name: &str) -> Option<Value> {
        match name {
            "getCD" => Some(Value::Boolean(self.checking_disabled)),
            "getID" => Some(Value::Number(f64::from(self.id))),
            "getOPCODE" => Some(Value::Number(f64::from(self.operation))),
            "getRCODE" => Some(Value::Number(0.0)),
            "getRD" => Some(Value::Boolean(self.recursion_desired)),
            "getAA" | "getAD" | "getQR" | "getRA" | "getTC" => Some(Value::Boolean(false)),
            _ => None,
        }
    }
}

impl Name {
    /// The name that `text` spells, which ends with a dot or is taken as if it did; `None` if it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(Self::from(&Folded::parse(text).ok()?))
    }

    pub(crate) fn labels(&self) -> Vec<&[u8]> {
        labels(&self.0)
    }

    fn method(&self, name: &str, argument: &Value) -> Option<Value> {
        let other = || match argument {
            Value::Name(it) => Some(it.clone()),
            Value::Text(it) => Self::parse(it),
            _ => None,
        };
        match name {
            "countLabels" => Some(count(self.labels().len())),
            "equal" => Some(Value::Boolean(*self == other()?)),
            "isPartOf" => Some(Value::Boolean(self.labels().ends_with(&other()?.labels()))),
            "isWildcard" => Some(Value::Boolean(self.0.starts_with(b"\x01*"))),
            "toString" | "tostring" => Some(Value::Text(self.to_string())),
            "toStringNoDot" => {
                let text = self.to_string();
                Some(Value::Text(
                    text.strip_suffix('.').unwrap_or(&text).to_owned(),
                ))
            }
            _ => None,
        }
    }
}

/// The labels of a name as it travels, without the root's.
pub(crate) fn labels(mut name: &[u8]) -> Vec<&[u8]> {
    let mut labels = Vec::new();
    while let Some((length @ 1.., rest)) = name.split_first() {
        let Some((label, rest)) = rest.split_at_checked(usize::from(*length)) else {
            break;
        };
        labels.push(label);
        name = rest;
    }
    labels
}

impl From<&Folded> for Name {
    fn from(name: &Folded) -> Self {
        Self(name.octets().into())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown(&self.0).fmt(formatter)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}
