//! The configurations of the servers that are compared.

use super::super::zone::{INTERVAL_SECONDS, SITES, TARGET_PORT, TARGETS, WEIGHTED};

/// One thread serves UDP, as with all.
pub(super) fn gdnsd(directory: &str, listen: &str, database: &str) -> String {
    let targets = ["a", "b", "c"].iter().zip(TARGETS);
    let targets: Vec<String> = targets
        .map(|(name, it)| format!("{name} => {it}"))
        .collect();
    let weighted = ["a", "b", "c"].iter().zip(WEIGHTED);
    let weighted: Vec<String> = weighted
        .map(|(name, (weight, address))| format!("{name} => [{address}, {weight}]"))
        .collect();
    let sites = SITES.map(|(name, ..)| name).join(", ");
    let places =
        SITES.map(|(name, _, latitude, longitude)| format!("{name} => [{latitude}, {longitude}]"));
    let addresses = SITES.map(|(name, address, ..)| format!("{name} => {address}"));
    format!(
        "options => {{ listen => {listen}, udp_threads => 1, tcp_threads => 1,\n  \
           run_dir => {directory}/run, state_dir => {directory}/state, edns_client_subnet => true }}\n\
         service_types => {{ tcp => {{ plugin => tcp_connect, port => {TARGET_PORT},\n  \
           interval => {INTERVAL_SECONDS},\n  \
           timeout => 1, up_thresh => 1, ok_thresh => 1, down_thresh => 1 }} }}\n\
         plugins => {{\n  \
           multifo => {{ checked => {{ service_types => tcp, {} }} }}\n  \
           weighted => {{ weighted => {{ service_types => up, multi => false, {} }} }}\n  \
           geoip => {{ maps => {{ places => {{ geoip2_db => {database}, datacenters => [{sites}],\n    \
             auto_dc_coords => {{ {} }} }} }}\n    \
             resources => {{ closest => {{ map => places, service_types => up, dcmap => {{ {} }} }} }} }}\n\
         }}\n",
        targets.join(", "),
        weighted.join(", "),
        places.join(", "),
        addresses.join(", "),
    )
}

pub(super) fn knot(directory: &str, port: u16, database: &str) -> String {
    format!(
        "server:\n    listen: 127.0.0.1@{port}\n    udp-workers: 1\n    tcp-workers: 1\n    \
         background-workers: 1\n    rundir: {directory}\n    edns-client-subnet: on\n\
         database:\n    storage: {directory}/db\n\
         mod-geoip:\n  - id: geo\n    config-file: {directory}/geo.conf\n    ttl: 60\n    \
         mode: geodb\n    geodb-file: {database}\n    \
         geodb-key: [ continent/code, country/iso_code ]\n\
         zone:\n  - domain: bench.test\n    file: {directory}/bench.test.zone\n    \
         zonefile-sync: -1\n    journal-content: none\n    module: mod-geoip/geo\n\
         log:\n  - target: stderr\n    any: error\n"
    )
}

/// It knows no distances: the continents that are nearest to the sites stand for them.
pub(super) fn knot_places() -> String {
    let [eu, na, asia, oc] = SITES.map(|it| it.1);
    let places = [
        ("EU", eu),
        ("AF", eu),
        ("NA", na),
        ("SA", na),
        ("AS", asia),
        ("OC", oc),
    ];
    let places = places.map(|(it, address)| format!("  - geo: \"{it};*\"\n    A: {address}\n"));
    format!("closest.bench.test:\n{}", places.concat())
}

pub(super) fn nsd(directory: &str, port: u16) -> String {
    format!(
        "server:\n    ip-address: 127.0.0.1@{port}\n    server-count: 1\n    username: \"\"\n    \
         chroot: \"\"\n    database: \"\"\n    zonesdir: \"{directory}\"\n    \
         pidfile: \"{directory}/nsd.pid\"\n    xfrdfile: \"{directory}/xfrd\"\n    \
         zonelistfile: \"{directory}/zonelist\"\n    xfrdir: \"{directory}\"\n    verbosity: 0\n    rrl-ratelimit: 0\n\
         remote-control:\n    control-enable: no\n\
         zone:\n    name: bench.test\n    zonefile: bench.test.zone\n"
    )
}

pub(super) fn pdns(directory: &str, port: u16, database: &str, is_shared: bool) -> String {
    let lua = if is_shared { "shared" } else { "yes" };
    format!(
        "launch=bind geoip\nbind-config={directory}/named.conf\ngeoip-database-files={database}\n\
         edns-subnet-processing=yes\nenable-lua-records={lua}\nlua-health-checks-interval={INTERVAL_SECONDS}\n\
         local-address=127.0.0.1\nlocal-port={port}\nsocket-dir={directory}\ndaemon=no\n\
         guardian=no\nreceiver-threads=1\ndistributor-threads=1\nsecurity-poll-suffix=\nloglevel=3\n"
    )
}

pub(super) fn pdns_zones(directory: &str) -> String {
    format!(
        "options {{ directory \"{directory}\"; }};\n\
         zone \"bench.test\" {{ type master; file \"{directory}/bench.test.zone\"; }};\n"
    )
}
