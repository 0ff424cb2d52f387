//! What the command line and the environment may say.

use std::path::PathBuf;

use clap::Parser;
use clap::builder::FalseyValueParser;
use wireguard::uapi::SOCKET_DIRECTORY;

/// Serves one WireGuard interface from userspace; configure it with wg(8).
#[derive(Clone, Debug, Parser)]
#[command(name = "wireguard-device", version)]
pub(crate) struct Config {
    /// Stay in the foreground and log to stderr.
    #[arg(short, long, env = "CAUSEWAY_FOREGROUND", value_parser = FalseyValueParser::new())]
    pub(crate) foreground: bool,

    /// The same, as wireguard-go's users ask for it.
    #[arg(long, hide = true, env = "WG_PROCESS_FOREGROUND", value_parser = FalseyValueParser::new())]
    pub(crate) process_foreground: bool,

    /// Which events to log, for example `info` or `wireguard=debug`.
    #[arg(
        long,
        env = "CAUSEWAY_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    pub(crate) log: String,

    /// Where the configuration socket INTERFACE.sock is made; wg(8) looks in the default place only.
    #[arg(long, env = "CAUSEWAY_UAPI_DIR", value_name = "DIRECTORY", default_value = SOCKET_DIRECTORY)]
    pub(crate) uapi_dir: PathBuf,

    /// Set by the process that waits for this one to be ready.
    #[arg(long, hide = true)]
    pub(crate) detached: bool,

    /// The name of the network interface to create.
    #[arg(env = "CAUSEWAY_INTERFACE")]
    pub(crate) interface: String,
}

impl Config {
    pub(crate) fn runs_in_foreground(&self) -> bool {
        self.foreground || self.process_foreground || self.detached
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn is_a_consistent_command_line() {
        Config::command().debug_assert();
    }
}
