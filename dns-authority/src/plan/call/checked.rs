//! Reads the calls that choose by the health of targets.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::{Reader, Registry, elements, string, wrong};
use crate::check::{CHECKS_MAX, Check, CheckId, Endpoint, Method};
use crate::expression::{Expression, Kind};
use crate::plan::options::{self, Options};
use crate::plan::{Candidate, Pick, url};
use crate::text::{ParseError, Position};

impl Reader<'_> {
    pub(super) fn if_port_up(
        &mut self,
        arguments: &[Expression],
        takes: &dyn Fn(&str) -> ParseError,
    ) -> Result<Pick, ParseError> {
        let (port, addresses, options) = match arguments {
            [port, addresses] => (port, addresses, Options::default()),
            [port, addresses, table] => (port, addresses, options::options(table, false)?),
            _ => return Err(takes("a port, addresses and perhaps options")),
        };
        let port = u16::try_from(options::whole(port, 1, u32::from(u16::MAX))?);
        let port = port.expect("at most 65,535");
        self.checked("ifportup", addresses, port, &Method::Tcp, &options)
    }

    pub(super) fn if_url_up(
        &mut self,
        name: &str,
        arguments: &[Expression],
        takes: &dyn Fn(&str) -> ParseError,
    ) -> Result<Pick, ParseError> {
        let (url, addresses, options) = match arguments {
            [url, addresses] => (url, addresses, Options::default()),
            [url, addresses, table] => (url, addresses, options::options(table, true)?),
            _ => return Err(takes("a URL, addresses and perhaps options")),
        };
        let error = |it: String| ParseError::new(url.position, it);
        let (port, method) = url::method(string(url)?, &options).map_err(error)?;
        if name == "pickselfweighted" && !matches!(method, Method::Http(_)) {
            return Err(error(format!(
                "`{name}` reads weights from answers over http:// or https://"
            )));
        }
        self.checked(name, addresses, port, &method, &options)
    }

    /// Reads groups of `['address'] = 'URL'`.
    pub(super) fn if_url_ext_up(
        &mut self,
        arguments: &[Expression],
        takes: &dyn Fn(&str) -> ParseError,
    ) -> Result<Pick, ParseError> {
        let (groups, options) = match arguments {
            [groups] => (groups, Options::default()),
            [groups, table] => (groups, options::options(table, true)?),
            _ => return Err(takes("groups of {['address'] = 'URL'} and perhaps options")),
        };
        let mut sets = Vec::new();
        for group in elements(groups)? {
            let Kind::Table(fields) = &group.kind else {
                return Err(wrong(group, "a table {['address'] = 'URL'}"));
            };
            let mut set = Vec::new();
            for field in fields {
                let at = field.value.position;
                let Some(key) = &field.key else {
                    return Err(wrong(&field.value, "`['192.0.2.1'] =` before it"));
                };
                let address = Expression {
                    position: at,
                    kind: Kind::String(key.clone()),
                };
                let (target, method) = url::external(string(&field.value)?, &options)
                    .map_err(|it| ParseError::new(at, it))?;
                let check = check(target, method, &options);
                set.push(Candidate {
                    check: self.intern(check, at)?,
                    ..self.candidate(&address)?
                });
            }
            sets.push(set);
        }
        Ok(options.apply(Pick {
            sets,
            ..Pick::new("ifurlextup", options.selector, Vec::new())
        }))
    }

    /// A choice over sets of addresses, each of which is asked the same question at `port`.
    fn checked(
        &mut self,
        name: &str,
        addresses: &Expression,
        port: u16,
        method: &Method,
        options: &Options,
    ) -> Result<Pick, ParseError> {
        let elements = match addresses.kind {
            Kind::String(_) => vec![addresses],
            _ => elements(addresses)?,
        };
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
                let check = check(
                    SocketAddr::new(address, port).into(),
                    method.clone(),
                    options,
                );
                candidate.check = self.intern(check, group.position)?;
            }
            sets.push(set);
        }
        Ok(options.apply(Pick {
            sets,
            ..Pick::new(name, options.selector, Vec::new())
        }))
    }

    fn intern(&mut self, check: Check, position: Position) -> Result<Option<CheckId>, ParseError> {
        let message = || format!("there are more than {CHECKS_MAX} health checks");
        let full = || ParseError::new(position, message());
        match &mut self.registry {
            Registry::Interning(checks) => checks.intern(check).map(Some).ok_or_else(full),
            Registry::Known(known) => {
                Ok(Some(known.get(&check).copied().unwrap_or(CheckId::NOBODY)))
            }
            Registry::Learning(checks, known) => {
                let id = checks.intern(check.clone()).ok_or_else(full)?;
                known.insert(Arc::new(check), id);
                Ok(Some(id))
            }
        }
    }
}

fn check(target: Endpoint, method: Method, options: &Options) -> Check {
    Check {
        target,
        method,
        timing: options.timing,
        source: options.source,
    }
}
