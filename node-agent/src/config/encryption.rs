//! The part of the command line that says how tunnels are made.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};

use crate::desired::{Encrypt, GatewaySpread, OptOut};
use crate::quantum;

#[derive(Args, Clone, Debug)]
pub struct Encryption {
    /// Between whom traffic is encrypted; what should be and cannot be does not leave the node
    #[arg(
        long,
        env = "CAUSEWAY_ENCRYPT",
        value_name = "WHOM",
        default_value = "clusters"
    )]
    pub encrypt: Encrypt,

    /// How the traffic of clusters with gateways is spread over them; all clusters of the mesh must agree.
    /// With `flow` over a device of the kernel, or of another make, this node stays with one gateway
    #[arg(
        long,
        env = "CAUSEWAY_GATEWAY_SPREAD",
        value_name = "BY",
        default_value = "node"
    )]
    pub gateway_spread: GatewaySpread,

    /// With --encrypt all: nodes with one of these labels take no part themselves, so that what they
    /// serve is reached before there are tunnels; the same for every agent, and empty for none
    #[arg(
        long,
        env = "CAUSEWAY_NODE_ENCRYPTION_OPT_OUT",
        value_name = "LABEL[=VALUE],...",
        default_value = "node-role.kubernetes.io/control-plane"
    )]
    pub node_encryption_opt_out: OptOut,

    /// With --encrypt all: what nodes send each other waits for a tunnel that is down, instead of going
    /// out as it is; the store, too, then needs one, unless its node is opted out
    #[arg(
        long,
        env = "CAUSEWAY_NODE_ENCRYPTION_STRICT",
        default_value_t = false,
        action = ArgAction::SetTrue
    )]
    pub node_encryption_strict: bool,

    /// Where the agent remembers what must not leave the node in plaintext, for the time after a reboot
    #[arg(
        long,
        env = "CAUSEWAY_STATE_DIR",
        value_name = "DIR",
        default_value = "/var/lib/causeway"
    )]
    pub state_dir: PathBuf,

    /// The node's private WireGuard key, which the agent makes and keeps there
    #[arg(
        long,
        env = "CAUSEWAY_WIREGUARD_KEY",
        value_name = "FILE",
        default_value = "/var/lib/causeway/wireguard.key"
    )]
    pub wireguard_key: PathBuf,

    /// Secrets that this cluster shares with others, mixed into every handshake with them: a file with the
    /// output of `wg genpsk` for each, named like the cluster
    #[arg(long, env = "CAUSEWAY_WIREGUARD_PSK", value_name = "DIR")]
    pub wireguard_psk: Option<PathBuf>,

    /// Whether agents agree, through each tunnel, on a secret that later computers cannot work out of what
    /// was said, and mix it into the tunnel's handshakes
    #[arg(
        long,
        env = "CAUSEWAY_WIREGUARD_POST_QUANTUM",
        value_name = "WHETHER",
        default_value = "off"
    )]
    pub wireguard_post_quantum: quantum::Mode,

    /// Age at which another such secret takes its place, 1s to 24h
    #[arg(
        long,
        env = "CAUSEWAY_WIREGUARD_POST_QUANTUM_RENEWAL",
        value_name = "AGE",
        default_value = "1h",
        value_parser = renewal
    )]
    pub wireguard_post_quantum_renewal: Duration,

    /// Age at which another key takes the place of the node's, such as 30d [default: never]
    #[arg(
        long,
        env = "CAUSEWAY_WIREGUARD_REKEY_AFTER",
        value_name = "AGE",
        value_parser = age
    )]
    pub wireguard_rekey_after: Option<Duration>,

    /// Where others reach this node's tunnels, before the Node's own addresses: for nodes behind NAT
    /// (repeatable)
    #[arg(
        long,
        env = "CAUSEWAY_WIREGUARD_ENDPOINT",
        value_name = "ADDRESS:PORT",
        value_delimiter = ','
    )]
    pub wireguard_endpoint: Vec<SocketAddr>,
}

/// A change of keys takes a minute and a half; what is shorter than this would never be at rest.
const AGE_MIN: Duration = Duration::from_secs(3_600);

fn age(text: &str) -> Result<Duration, String> {
    let expected = || format!("{text:?} is not an age such as 12h or 30d");
    let split = text
        .len()
        .checked_sub(1)
        .filter(|it| text.is_char_boundary(*it));
    let (number, unit) = text.split_at(split.ok_or_else(expected)?);
    let seconds = match unit {
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(expected()),
    };
    let number: u64 = number.parse().map_err(|_| expected())?;
    let age = number.checked_mul(seconds).map(Duration::from_secs);
    age.filter(|it| AGE_MIN <= *it).ok_or_else(expected)
}

fn renewal(text: &str) -> Result<Duration, String> {
    let split = text.len().saturating_sub(1);
    let unit_seconds = match text.as_bytes().last() {
        Some(b's') => 1,
        Some(b'm') => 60,
        Some(b'h') => 3_600,
        _ => 0,
    };
    let number = text.get(..split).and_then(|it| it.parse::<u64>().ok());
    number
        .and_then(|it| it.checked_mul(unit_seconds))
        .filter(|it| (1..=RENEWAL_SECONDS_MAX).contains(it))
        .map(Duration::from_secs)
        .ok_or_else(|| format!("{text:?} is not an age from 1s to 24h"))
}

/// What is older protects too much at once.
const RENEWAL_SECONDS_MAX: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ages_of_secrets() {
        assert_eq!(renewal("1h"), Ok(quantum::RENEWAL));
        assert_eq!(renewal("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(renewal("90m"), Ok(Duration::from_secs(5_400)));
        for bad in [
            "",
            "s",
            "0s",
            "25h",
            "1",
            "-1s",
            "1é",
            "99999999999999999999h",
        ] {
            assert!(renewal(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn reads_ages_in_hours_and_days() {
        assert_eq!(age("12h"), Ok(Duration::from_secs(43_200)));
        assert_eq!(age("30d"), Ok(Duration::from_secs(2_592_000)));
        for bad in [
            "",
            "h",
            "30",
            "0d",
            "30m",
            "-1d",
            "1é",
            "99999999999999999999d",
        ] {
            assert!(age(bad).is_err(), "{bad}");
        }
    }
}
