//! The part of the command line that every daemon shares.

use std::net::SocketAddr;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// Flattened into each binary's own command line.
///
/// A binary with another default for `--admin` says so at its own struct:
/// `#[command(mut_arg("admin", |it| it.default_value("127.0.0.1:9963")))]`.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Options {
    /// Address that serves /live, /ready, /metrics and what meshctl reads
    #[arg(
        long,
        env = "CAUSEWAY_ADMIN",
        value_name = "ADDR:PORT",
        default_value = "127.0.0.1:9962"
    )]
    pub admin: SocketAddr,

    /// What to log: a level, or levels per module ("info,kvstore=debug")
    #[arg(
        long,
        env = "CAUSEWAY_LOG",
        value_name = "FILTER",
        default_value = "info",
        value_parser = filter
    )]
    pub log: String,

    /// How to write the log, which goes to stderr
    #[arg(
        long,
        env = "CAUSEWAY_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line
    Json,
    /// One readable line per event
    Text,
}

/// Accepts what the log can be filtered by, so that a mistake is a usage error.
fn filter(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[test]
    fn has_defaults_that_the_help_shows() {
        let options = Plain::try_parse_from(["daemon"]).unwrap().options;

        assert_eq!(options.admin.to_string(), "127.0.0.1:9962");
        assert_eq!(options.log, "info");
        assert_eq!(options.log_format, LogFormat::Text);
        let help = Plain::command().render_help().to_string();
        assert!(help.contains("[default: 127.0.0.1:9962]"), "{help}");
    }

    #[test]
    fn lets_a_binary_choose_another_admin_address() {
        let options = Elsewhere::try_parse_from(["daemon"]).unwrap().options;

        assert_eq!(options.admin.to_string(), "127.0.0.1:9963");
        let help = Elsewhere::command().render_help().to_string();
        assert!(help.contains("[default: 127.0.0.1:9963]"), "{help}");
    }

    #[test]
    fn refuses_a_filter_that_makes_no_sense() {
        let error = Plain::try_parse_from(["daemon", "--log", "kvstore=loud"]).unwrap_err();

        assert_eq!(error.exit_code(), 2);
    }

    #[derive(Debug, Parser)]
    struct Plain {
        #[command(flatten)]
        options: Options,
    }

    #[derive(Debug, Parser)]
    #[command(mut_arg("admin", |it| it.default_value("127.0.0.1:9963")))]
    struct Elsewhere {
        #[command(flatten)]
        options: Options,
    }
}
