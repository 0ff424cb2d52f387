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

    /// Where the directory INTERFACE keeps how far timestamps went, so that peers answer after a restart
    /// with a clock that went back.
    #[arg(long, env = "CAUSEWAY_STATE_DIR", value_name = "DIRECTORY", default_value = STATE_DIRECTORY)]
    pub(crate) state_dir: PathBuf,

    /// Keep all privileges; by default only those for marks and for ports below 1024 are kept.
    #[arg(long, env = "CAUSEWAY_KEEP_PRIVILEGES", value_parser = FalseyValueParser::new())]
    pub(crate) keep_privileges: bool,

    /// The number of the user, and of the group, to be once the interface is set up. The socket stays
    /// behind at the end, unless it was handed over: its directory is not that user's.
    #[arg(
        long,
        env = "CAUSEWAY_USER",
        value_name = "NUMBER",
        conflicts_with = "keep_privileges"
    )]
    pub(crate) user: Option<u32>,

    #[command(flatten)]
    pub(crate) handover: Handover,

    /// Where a service manager waits to hear that the device serves.
    #[arg(long, hide = true, env = "NOTIFY_SOCKET")]
    pub(crate) notify_socket: Option<String>,

    /// Set by the process that waits for this one to be ready.
    #[arg(long, hide = true)]
    pub(crate) detached: bool,

    /// The name of the network interface to create.
    #[arg(env = "CAUSEWAY_INTERFACE")]
    pub(crate) interface: String,
}

/// What a service manager, or whoever knows wireguard-go, hands over.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Handover {
    #[arg(long, hide = true, env = "LISTEN_FDS")]
    pub(crate) listen_fds: Option<u32>,

    #[arg(long, hide = true, env = "LISTEN_FDNAMES")]
    pub(crate) listen_fdnames: Option<String>,

    #[arg(long, hide = true, env = "LISTEN_PID")]
    pub(crate) listen_pid: Option<i32>,

    #[arg(long, hide = true, env = "WG_TUN_FD")]
    pub(crate) wg_tun_fd: Option<i32>,

    #[arg(long, hide = true, env = "WG_UAPI_FD")]
    pub(crate) wg_uapi_fd: Option<i32>,
}

/// Where the state of daemons lives.
const STATE_DIRECTORY: &str = "/var/lib/causeway/wireguard";

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
