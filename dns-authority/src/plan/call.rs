//! The functions of the language: what they take, and what they give for one query.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a function takes what it takes, whatever else expressions may be"
)]

mod arguments;
mod checked;
mod pick;
mod place;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use arguments::{address, elements, filter, kind_number, make, nets, reverse, texts};
pub(super) use arguments::{string, wrong};
pub(super) use pick::fitting;
pub(super) use place::Attribute;

use super::choose::{Basis, Picked, choose};
use super::evaluate::{Run, incomplete};
use super::synthesize::{self, Format};
use super::value::{Failure, Name, Value, holds};
use super::{Candidate, Pick, Selector};
use crate::check::{Check, CheckId, Checks};
use crate::expression::Expression;
use crate::geo::Atlas;
use crate::text::{ParseError, Position};

/// A call whose arguments are known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Call {
    ClosestMagic,
    Code(Attribute),
    Filter {
        address: IpAddr,
        nets: Vec<IpNet>,
        fallback: Option<String>,
    },
    Forward,
    Forward6,
    LatLon,
    LatLonLoc,
    Look(IpAddr, Attribute),
    Lookup(Name, u16),
    Netmask(Vec<IpNet>),
    Pick(Box<Pick>),
    Place(Attribute, Vec<String>),
    Reverse(Format, Vec<(IpAddr, String)>),
    Reverse6(Format, Vec<(IpAddr, String)>),
    /// What does not depend on the query.
    Value(Value),
    View(Vec<(Vec<IpNet>, Pick)>),
}

/// What a call gives.
pub(crate) enum Given<'p> {
    Picked { pool: Picked<'p>, as_table: bool },
    Value(Value),
}

/// The functions that a record can call.
pub(crate) const FUNCTIONS: &[&str] = &[
    "all",
    "asnum",
    "closestMagic",
    "continent",
    "continentCode",
    "country",
    "countryCode",
    "createForward",
    "createForward6",
    "createReverse",
    "createReverse6",
    "dblookup",
    "filterForward",
    "geoiplookup",
    "ifportup",
    "ifurlextup",
    "ifurlup",
    "latlon",
    "latlonloc",
    "netmask",
    "newCA",
    "newDN",
    "newNMG",
    "newNetmask",
    "pickchashed",
    "pickclosest",
    "pickfirst",
    "pickhashed",
    "picklatency",
    "pickleastload",
    "picknamehashed",
    "pickrandom",
    "pickrandomsample",
    "pickselfweighted",
    "pickwhashed",
    "pickwrandom",
    "region",
    "regionCode",
    "sticky",
    "tonumber",
    "tostring",
    "view",
];

/// The functions that have checks, which begin when the record is loaded.
pub(crate) const CHECKING: &[&str] = &["ifportup", "ifurlextup", "ifurlup", "pickselfweighted"];

/// Where the health checks that calls name are found, or kept.
pub(crate) enum Registry<'a> {
    /// At load.
    Interning(&'a mut Checks),
    /// In a query: nothing begins to be checked for it.
    Known(&'a BTreeMap<Arc<Check>, CheckId>),
    /// While a script is tried out at load.
    Learning(&'a mut Checks, &'a mut BTreeMap<Arc<Check>, CheckId>),
}

impl Registry<'_> {
    /// The same for a shorter time.
    pub(crate) fn reborrow(&mut self) -> Registry<'_> {
        match self {
            Self::Interning(checks) => Registry::Interning(checks),
            Self::Known(known) => Registry::Known(known),
            Self::Learning(checks, known) => Registry::Learning(checks, known),
        }
    }
}

/// Reads the arguments of calls, which are constants.
pub(crate) struct Reader<'a> {
    pub(crate) kind: u16,
    pub(crate) atlas: &'a Atlas,
    pub(crate) registry: Registry<'a>,
    /// Whether values are records by themselves, or perhaps parts of one.
    pub(crate) whole: bool,
}

impl Reader<'_> {
    /// Reads a call of the function `name`.
    pub(crate) fn call(
        &mut self,
        name: &str,
        arguments: &[Expression],
        position: Position,
    ) -> Result<Call, ParseError> {
        if let Some(pick) = self.picking(name, arguments, position)? {
            return Ok(pick);
        }
        let takes = |what: &str| Err(ParseError::new(position, format!("`{name}` takes {what}")));
        let code = |attribute| match arguments {
            [] => Ok(Call::Code(attribute)),
            _ => takes("no arguments"),
        };
        let place = |attribute| match arguments {
            [wanted] => Ok(Call::Place(attribute, texts(wanted)?)),
            _ => takes("one argument, a string or a table of strings"),
        };
        let plain = |call| match arguments {
            [] => Ok(call),
            _ => takes("no arguments"),
        };
        match name {
            "asnum" => place(Attribute::Asn),
            "closestMagic" => plain(Call::ClosestMagic),
            "continent" => place(Attribute::Continent),
            "continentCode" => code(Attribute::Continent),
            "country" => place(Attribute::Country2),
            "countryCode" => code(Attribute::Country2),
            "createForward" => plain(Call::Forward),
            "createForward6" => plain(Call::Forward6),
            "createReverse" => reverse(arguments, 6, Call::Reverse, &takes),
            "createReverse6" => reverse(arguments, 41, Call::Reverse6, &takes),
            "dblookup" => match arguments {
                [name, kind] => Ok(Call::Lookup(arguments::name(name)?, kind_number(kind)?)),
                _ => takes("a name and a type"),
            },
            "filterForward" => filter(arguments, &takes),
            "geoiplookup" => match arguments {
                [who, attribute] => Ok(Call::Look(address(who)?, Attribute::read(attribute)?)),
                _ => takes("an address and one of GeoIPQueryAttribute"),
            },
            "include" => takes("effect in scripts only: begin the record with `;`"),
            "latlon" => plain(Call::LatLon),
            "latlonloc" => plain(Call::LatLonLoc),
            "netmask" => match arguments {
                [list] => Ok(Call::Netmask(nets(list)?)),
                _ => takes("one argument, a table of networks"),
            },
            "region" => place(Attribute::Region),
            "regionCode" => code(Attribute::Region),
            _ => make(name, arguments, position).map(Call::Value),
        }
    }
}

impl Call {
    pub(super) fn run<'p>(&'p self, run: &mut Run<'p, '_>) -> Result<Given<'p>, Failure> {
        let is_test = matches!(self, Self::Netmask(_) | Self::Place(..));
        if let Some(forced) = run.forced.filter(|_| is_test) {
            return Ok(Given::Value(Value::Boolean(forced)));
        }
        let question = run.scene.question;
        let text = |it: String| Ok(Given::Value(Value::Text(it)));
        match self {
            Self::Pick(pick) => picked(pick, run),
            Self::View(views) => {
                let nets = views.iter().flat_map(|it| &it.0);
                let found = views.iter().find(|it| holds(&it.0, run.scene.who));
                run.depend(place::scope(nets, run.scene.who));
                match found {
                    Some((_, pick)) => picked(pick, run),
                    None => Ok(Given::Value(Value::Table(Vec::new()))),
                }
            }
            Self::Filter {
                address,
                nets,
                fallback,
            } => Ok(Given::Value(filtered(*address, nets, fallback.as_deref()))),
            Self::Forward => text(synthesize::forward(question.name, question.owner).to_string()),
            Self::Forward6 => text(synthesize::forward6(question.name, question.owner).to_string()),
            Self::Reverse(format, except) => {
                text(synthesize::reverse(question.name, format, except))
            }
            Self::Reverse6(format, except) => {
                text(synthesize::reverse6(question.name, format, except))
            }
            Self::Lookup(name, kind) => {
                let found = run.scene.lookup(name, *kind);
                Ok(Given::Value(Value::list(
                    found.into_iter().map(Value::Text),
                )))
            }
            Self::Value(value) => Ok(Given::Value(value.clone())),
            Self::ClosestMagic => closest_magic(run).map(Given::Value),
            Self::Netmask(nets) => {
                run.depend(place::scope(nets, run.scene.who));
                Ok(Given::Value(Value::Boolean(holds(nets, run.scene.who))))
            }
            Self::Code(_) | Self::LatLon | Self::LatLonLoc | Self::Look(..) | Self::Place(..) => {
                Ok(Given::Value(place::run(self, run)))
            }
        }
    }

    /// The choices that it may make.
    pub(super) fn picks(&self) -> Vec<&Pick> {
        match self {
            Self::Pick(pick) => vec![pick],
            Self::View(views) => views.iter().map(|it| &it.1).collect(),
            _ => Vec::new(),
        }
    }
}

impl Given<'_> {
    pub(crate) fn into_value(self) -> Value {
        match self {
            Self::Value(value) => value,
            Self::Picked { pool, as_table } => {
                let mut texts = pool.iter().map(|it| Value::Text(it.text.clone()));
                match as_table {
                    true => Value::list(texts),
                    false => texts.next().unwrap_or(Value::Nil),
                }
            }
        }
    }
}

fn picked<'p>(pick: &'p Pick, run: &mut Run<'p, '_>) -> Result<Given<'p>, Failure> {
    let entropy = run.chance();
    let part = choose(pick, run.scene, entropy);
    let pool = part.picked.clone();
    let is_incomplete = part.basis == Basis::Incomplete;
    run.depend(part.dependency);
    run.parts.push(part);
    if is_incomplete {
        return Err(incomplete());
    }
    Ok(Given::Picked {
        pool,
        as_table: pick.gives_table(),
    })
}

/// The nearest of the addresses that the name itself lists.
fn closest_magic(run: &mut Run<'_, '_>) -> Result<Value, Failure> {
    let candidates: Vec<Candidate> = synthesize::magic(run.scene.question.name)
        .into_iter()
        .map(|it| Candidate {
            location: run.scene.atlas.locate(it).location,
            ..Candidate::bare(it.to_string())
        })
        .collect();
    if candidates.is_empty() {
        return Err(Failure(
            "the name does not begin with addresses like 192-0-2-1".to_owned(),
        ));
    }
    let pick = Pick::new("closestMagic", Selector::Closest, candidates);
    let entropy = run.chance();
    let part = choose(&pick, run.scene, entropy);
    run.depend(part.dependency);
    let found = part.picked.first().map(|it| Value::Text(it.text.clone()));
    Ok(found.unwrap_or(Value::Nil))
}

fn filtered(address: IpAddr, nets: &[IpNet], fallback: Option<&str>) -> Value {
    let one = |it: String| Value::list([Value::Text(it)]);
    match fallback {
        _ if holds(nets, address) => one(address.to_string()),
        Some("") => Value::Table(Vec::new()),
        Some(fallback) => one(fallback.to_owned()),
        None if address.is_ipv4() => one("0.0.0.0".to_owned()),
        None => one("::".to_owned()),
    }
}
