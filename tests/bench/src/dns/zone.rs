//! The zone that all servers serve, each in its own notation.

use std::fmt::Write as _;

/// The targets of the health-checked name, on which something listens, and the port.
pub(crate) const TARGETS: [&str; 3] = ["127.0.0.101", "127.0.0.102", "127.0.0.103"];
pub(crate) const TARGET_PORT: u16 = 18_080;

/// How often targets are asked, in seconds: no less than all servers can be told.
pub(crate) const INTERVAL_SECONDS: u32 = 2;

/// The sites of the name that is answered by distance: how a server calls each, its address, and
/// where it is.
pub(crate) const SITES: [(&str, &str, f64, f64); 4] = [
    ("eu", "5.1.1.1", 50.1, 8.7),
    ("na", "50.2.2.2", 38.9, -77.0),
    ("as", "103.3.3.3", 1.3, 103.8),
    ("oc", "193.4.4.4", -33.9, 151.2),
];

/// Weights and their addresses.
pub(crate) const WEIGHTED: [(u32, &str); 3] =
    [(15, "192.0.2.1"), (42, "192.0.2.2"), (100, "192.0.2.3")];

/// How a server says what is not the same for everybody.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Notation {
    /// PowerDNS's LUA records, which are ours too.
    Lua,
    /// gdnsd's plugins.
    Plugins,
    /// A record that a module of Knot replaces.
    Replaced,
    /// Not at all.
    Static,
}

/// The zone `bench.test` with so many names `host-0`, `host-1`, ….
pub(crate) fn text(notation: Notation, names: u32) -> String {
    let mut text = "$TTL 3600\n$ORIGIN bench.test.\n\
        @ SOA ns1.bench.test. hostmaster.bench.test. 1 3600 600 86400 300\n\
        @ NS ns1.bench.test.\nns1 A 127.0.0.1\n"
        .to_owned();
    text += &dynamic(notation);
    for number in 0..names {
        let [_, b, c, d] = number.to_be_bytes();
        // A string takes all that is written to it.
        let _ = writeln!(text, "host-{number} A 10.{b}.{c}.{d}");
    }
    text
}

fn dynamic(notation: Notation) -> String {
    match notation {
        Notation::Static => String::new(),
        Notation::Replaced => "closest A 192.0.2.1\n".to_owned(),
        Notation::Plugins => "checked DYNA multifo!checked\nclosest DYNA geoip!closest\n\
            weighted DYNA weighted!weighted\n"
            .to_owned(),
        Notation::Lua => {
            let targets = TARGETS.map(|it| format!("'{it}'")).join(",");
            let sites = SITES.map(|it| format!("'{}'", it.1)).join(",");
            let weighted = WEIGHTED
                .map(|it| format!("{{{},'{}'}}", it.0, it.1))
                .join(",");
            format!(
                "checked IN LUA A \"ifportup({TARGET_PORT}, {{{targets}}}, {{interval={INTERVAL_SECONDS},timeout=1}})\"\n\
                 closest IN LUA A \"pickclosest({{{sites}}})\"\n\
                 weighted IN LUA A \"pickwhashed({{{weighted}}})\"\n"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_many_hosts_as_it_was_asked_for() {
        let text = text(Notation::Lua, 300);
        assert!(text.ends_with("host-299 A 10.0.1.43\n"), "{text}");
        assert!(text.contains("weighted IN LUA A \"pickwhashed({{15,'192.0.2.1'},"));
    }
}
