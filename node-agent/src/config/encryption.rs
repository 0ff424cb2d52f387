//! The part of the command line that says how tunnels are made.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::desired::Encrypt;

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

#[cfg(test)]
mod tests {
    use super::*;

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
