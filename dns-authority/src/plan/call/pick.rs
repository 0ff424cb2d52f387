//! Reads the calls that choose among values, with or without health checks.

use topology::maglev;

use super::{Call, Reader, Registry, elements, nets, string, wrong};
use crate::expression::{Expression, Kind};
use crate::plan::options;
use crate::plan::{Backup, Candidate, Pick, Selector};
use crate::text::{ParseError, Position};
use crate::wire::kind;
use crate::wire::name::ROOT;
use crate::zone::data_from_text;

/// More candidates than fit into any answer, and few enough to look at all for one query.
const CANDIDATES_MAX: usize = 1000;

/// Entries of a consistent table for each candidate, so that shares are right within a few percent.
const ENTRIES_PER_CANDIDATE: usize = 100;

/// The functions of a table of values.
const PLAIN: &[(&str, Selector)] = &[
    ("all", Selector::All),
    ("pickclosest", Selector::Closest),
    ("pickfirst", Selector::First),
    ("pickhashed", Selector::Hashed),
    ("picklatency", Selector::Latency),
    ("pickleastload", Selector::LeastLoad),
    ("pickrandom", Selector::Random),
];

/// The functions of a table of {weight, value} pairs.
const WEIGHTED: &[(&str, Selector)] = &[
    ("pickchashed", Selector::Consistent),
    ("picknamehashed", Selector::NameHashed),
    ("pickwhashed", Selector::WeightedHashed),
    ("pickwrandom", Selector::WeightedRandom),
];

impl Reader<'_> {
    /// Reads a call of `name`; `None` if that does not choose.
    pub(super) fn picking(
        &mut self,
        name: &str,
        arguments: &[Expression],
        position: Position,
    ) -> Result<Option<Call>, ParseError> {
        let takes = |what: &str| ParseError::new(position, format!("`{name}` takes {what}"));
        let named = |functions: &[(&str, Selector)]| {
            let found = functions.iter().find(|it| it.0 == name);
            found.map(|it| it.1)
        };
        if let Some(selector) = named(PLAIN) {
            let [values] = arguments else {
                return Err(takes("one argument, a table of values"));
            };
            let pick = fitting(self.plain(name, selector, values)?, position)?;
            return Ok(Some(Call::Pick(Box::new(self.ranked(pick)))));
        }
        if let Some(selector) = named(WEIGHTED) {
            let [pairs] = arguments else {
                return Err(takes("one argument, a table of {weight, value} pairs"));
            };
            let pick = fitting(self.weighted(name, selector, pairs)?, position)?;
            return Ok(Some(Call::Pick(Box::new(match selector {
                Selector::Consistent => pick.consistent(),
                _ => pick,
            }))));
        }
        let pick = match name {
            "ifportup" => self.if_port_up(arguments, &takes)?,
            "ifurlextup" => self.if_url_ext_up(arguments, &takes)?,
            "ifurlup" => self.if_url_up(name, arguments, &takes)?,
            "pickrandomsample" => {
                let [number, values] = arguments else {
                    return Err(takes("a number and a table of values"));
                };
                let most = u32::try_from(CANDIDATES_MAX).expect("a thousand fits");
                let sample = options::whole(number, 1, most)? as usize;
                let pick = self.plain(name, Selector::Sample, values)?;
                Pick { sample, ..pick }
            }
            "pickselfweighted" => Pick {
                selector: Selector::SelfWeighted,
                ..self.if_url_up(name, arguments, &takes)?
            },
            "sticky" => {
                let (values, client_bits) = match arguments {
                    [values] => (values, options::STICKY_BITS),
                    [values, table] => (values, options::sticky_bits(table)?),
                    _ => return Err(takes("a table of values and perhaps {ipv4=24, ipv6=56}")),
                };
                let pick = self.plain(name, Selector::Hashed, values)?;
                Pick {
                    client_bits,
                    ..pick
                }
            }
            "view" => return self.view(arguments, &takes).map(Some),
            _ => return Ok(None),
        };
        let pick = self.ranked(fitting(pick, position)?);
        Ok(Some(Call::Pick(Box::new(pick))))
    }

    /// Looks up once how near the candidates are to everybody, if the choice depends on it and is made
    /// again and again.
    fn ranked(&self, pick: Pick) -> Pick {
        let selectors = [Backup::Select(pick.selector), pick.backup];
        let is_asked = selectors.contains(&Backup::Select(Selector::Closest));
        if !is_asked || matches!(self.registry, Registry::Known(_)) {
            return pick;
        }
        let places = pick.sets.iter().flatten().map(|it| it.location);
        let ranking = self.atlas.rank(places);
        Pick { ranking, ..pick }
    }

    fn plain(
        &self,
        name: &str,
        selector: Selector,
        values: &Expression,
    ) -> Result<Pick, ParseError> {
        Ok(Pick::new(name, selector, self.candidates(values)?))
    }

    fn weighted(
        &self,
        name: &str,
        selector: Selector,
        pairs: &Expression,
    ) -> Result<Pick, ParseError> {
        let mut candidates = Vec::new();
        for pair in elements(pairs)? {
            let [weight, value] = elements(pair)?[..] else {
                return Err(wrong(pair, "a {weight, value} pair"));
            };
            let weight = options::whole(weight, 0, u32::MAX)?;
            candidates.push(Candidate {
                weight,
                ..self.candidate(value)?
            });
        }
        Ok(Pick::new(name, selector, candidates))
    }

    fn view(
        &self,
        arguments: &[Expression],
        takes: &dyn Fn(&str) -> ParseError,
    ) -> Result<Call, ParseError> {
        let [pairs] = arguments else {
            return Err(takes("one argument, a table of {networks, values} pairs"));
        };
        let mut views = Vec::new();
        for pair in elements(pairs)? {
            let [masks, values] = elements(pair)?[..] else {
                return Err(wrong(pair, "a {networks, values} pair"));
            };
            let pick = self.plain("view", Selector::Random, values)?;
            views.push((nets(masks)?, fitting(pick, pair.position)?));
        }
        Ok(Call::View(views))
    }

    /// The candidates of a table of strings; a lone string stands for a table of one.
    pub(super) fn candidates(&self, values: &Expression) -> Result<Vec<Candidate>, ParseError> {
        if let Kind::String(_) = values.kind {
            return Ok(vec![self.candidate(values)?]);
        }
        elements(values)?
            .into_iter()
            .map(|it| self.candidate(it))
            .collect()
    }

    pub(in crate::plan) fn candidate(&self, value: &Expression) -> Result<Candidate, ParseError> {
        let text = string(value)?;
        let data = match data_from_text(self.kind, text, ROOT) {
            Ok(data) => Some(data.into_boxed_slice()),
            Err(_) if !self.whole => None,
            Err(error) => {
                let kind = kind::Shown(self.kind);
                let message = format!("`{text}` is no value of a record of type {kind}: {error}");
                return Err(ParseError::new(value.position, message));
            }
        };
        let location = text
            .parse()
            .ok()
            .and_then(|it| self.atlas.locate(it).location);
        Ok(Candidate {
            data,
            location,
            ..Candidate::bare(text.to_owned())
        })
    }
}

impl Candidate {
    /// A value of which nothing is known.
    pub(in crate::plan) fn bare(text: String) -> Self {
        Self {
            text,
            data: None,
            location: None,
            weight: 1,
            check: None,
        }
    }
}

impl Pick {
    pub(in crate::plan) fn new(function: &str, selector: Selector, set: Vec<Candidate>) -> Self {
        Self {
            function: function.to_owned(),
            sets: vec![set],
            selector,
            backup: Backup::Select(selector),
            fail_on_incomplete_check: false,
            ranking: None,
            sample: usize::MAX,
            leave_below_permille: 0,
            spill_above_permille: None,
            client_bits: (32, 128),
            table: Vec::new(),
        }
    }

    /// Fills the table that a consistent choice looks into.
    pub(in crate::plan) fn consistent(self) -> Self {
        let set = self.sets.iter().flatten();
        let shares: Vec<(&[u8], u32)> = set.map(|it| (it.text.as_bytes(), it.weight)).collect();
        let wanted = shares.len() * ENTRIES_PER_CANDIDATE;
        let size = maglev::SIZES.into_iter().find(|it| wanted <= *it);
        let size = size.unwrap_or(maglev::SIZES[maglev::SIZES.len() - 1]);
        let table = maglev::table(&shares, size);
        Self { table, ..self }
    }

    /// Whether Lua gets a table of strings, instead of one string.
    pub(in crate::plan) fn gives_table(&self) -> bool {
        [
            "all",
            "constant",
            "ifportup",
            "ifurlextup",
            "ifurlup",
            "pickrandomsample",
        ]
        .contains(&self.function.as_str())
    }
}

/// The choice if it has something to choose from, and not too much.
pub(in crate::plan) fn fitting(pick: Pick, position: Position) -> Result<Pick, ParseError> {
    let count: usize = pick.sets.iter().map(Vec::len).sum();
    if count == 0 || pick.sets.iter().any(Vec::is_empty) {
        return Err(ParseError::new(position, "there is nothing to choose from"));
    }
    if count > CANDIDATES_MAX {
        let message = format!("{count} values are more than the {CANDIDATES_MAX} of one record");
        return Err(ParseError::new(position, message));
    }
    Ok(pick)
}
