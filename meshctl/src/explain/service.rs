//! Shows which backends serve a service and which do not, each with the reason.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use topology::report::{PortExplanation, ServiceExplanation};
use topology::select::{Backend, Because};

use super::list;
use crate::table::{Cell, Table, Tone};

/// Backends of one cluster with one verdict that are shown; the others are counted. A screen has room
/// for three clusters.
const SHOWN_MAX: usize = 8;

/// For people; `all` backends, or the first of each cluster.
pub(crate) fn service(explanation: &ServiceExplanation, all: bool, colours: bool) -> String {
    let scope = match (explanation.global, explanation.shared) {
        (false, _) => "not global".to_owned(),
        (true, true) => format!("global, affinity {}", explanation.affinity),
        (true, false) => format!("global, not shared, affinity {}", explanation.affinity),
    };
    let place = match &explanation.node {
        Some(node) => format!("on node {node} of cluster {}", explanation.cluster),
        None => format!("on the nodes of cluster {}", explanation.cluster),
    };
    let mut text = format!(
        "Service {} {place}\n{scope}; served at {}\n",
        explanation.service,
        list(&explanation.frontends),
    );
    for port in &explanation.ports {
        text.push_str(&port_text(port, all, colours));
    }
    text
}

fn port_text(explanation: &PortExplanation, all: bool, colours: bool) -> String {
    let selection = &explanation.selection;
    let name = match explanation.name.as_str() {
        "" => String::new(),
        name => format!("{name} "),
    };
    let chosen = selection.backends.len();
    let offered = chosen + selection.passed_over.len();
    let count = match offered {
        0 => String::new(),
        _ => format!("; {chosen} of {offered} backends serve"),
    };
    let mut text = format!(
        "\nPort {name}{}/{}: {}{count}\n",
        explanation.port.port, explanation.port.protocol, selection.reason
    );
    let groups = groups(explanation);
    if !groups.is_empty() {
        text.push_str(&table(&groups, all).render(colours));
    }
    if !all && groups.iter().any(|it| it.hidden() > 0) {
        text.push_str("Every backend is shown with --all.\n");
    }
    if let Some(programmed) = &explanation.programmed {
        text.push_str(&kernel(&selection.backends, programmed, colours));
    }
    text
}

/// Neighbouring backends of one cluster that have one verdict.
struct Group<'a> {
    backends: Vec<&'a Backend>,
    /// `None` if they are chosen.
    because: Option<Because>,
}

impl Group<'_> {
    /// How many are only counted. One more takes no more room than its number.
    fn hidden(&self) -> usize {
        match self.backends.len().saturating_sub(SHOWN_MAX) {
            1 => 0,
            hidden => hidden,
        }
    }

    fn verdict(&self) -> Cell {
        match self.because {
            None => Cell::new("chosen", Tone::Good),
            Some(because) => Cell::new(format!("passed over: {because}"), Tone::Faint),
        }
    }
}

fn groups(explanation: &PortExplanation) -> Vec<Group<'_>> {
    let selection = &explanation.selection;
    let chosen = selection.backends.iter().map(|it| (it, None));
    let passed_over = selection.passed_over.iter();
    let passed_over = passed_over.map(|it| (&it.backend, Some(it.because)));
    let mut groups: Vec<Group<'_>> = Vec::new();
    for (backend, because) in chosen.chain(passed_over) {
        match groups.last_mut() {
            Some(it) if it.because == because && it.backends[0].cluster == backend.cluster => {
                it.backends.push(backend);
            }
            _ => groups.push(Group {
                backends: vec![backend],
                because,
            }),
        }
    }
    groups
}

fn table(groups: &[Group<'_>], all: bool) -> Table {
    let mut table = Table::new(["CLUSTER", "BACKEND", "ZONE", "VERDICT"]);
    for group in groups {
        let hidden = if all { 0 } else { group.hidden() };
        let cluster = group.backends[0].cluster.to_string();
        for backend in &group.backends[..group.backends.len() - hidden] {
            table.row([
                cluster.as_str().into(),
                backend.address.to_string().into(),
                backend.zone.as_deref().unwrap_or("-").into(),
                group.verdict(),
            ]);
        }
        if hidden > 0 {
            table.row([
                cluster.as_str().into(),
                format!("and {hidden} more").into(),
                "".into(),
                group.verdict(),
            ]);
        }
    }
    table
}

/// Whether the kernel does what the agent decided.
fn kernel(
    backends: &BTreeSet<Backend>,
    programmed: &BTreeSet<SocketAddr>,
    colours: bool,
) -> String {
    let chosen: BTreeSet<SocketAddr> = backends.iter().map(|it| it.address).collect();
    let missing: BTreeSet<_> = chosen.difference(programmed).collect();
    let surplus: BTreeSet<_> = programmed.difference(&chosen).collect();
    let difference = match (missing.is_empty(), surplus.is_empty()) {
        (true, true) => return "The kernel holds the same.\n".to_owned(),
        (false, true) => format!("The kernel lacks {}.", list(missing)),
        (true, false) => format!("The kernel still holds {}.", list(surplus)),
        (false, false) => format!(
            "The kernel lacks {} and still holds {}.",
            list(missing),
            list(surplus)
        ),
    };
    format!("{}\n", Tone::Bad.paint(&difference, colours))
}
