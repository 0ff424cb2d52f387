//! Finds and reads the context file: which cluster this is, and where its daemons answer.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

use crate::client::Endpoint;

/// Below the home directory; asked first.
const OF_THE_USER: &str = ".config/causeway/context.yaml";
const OF_THE_MACHINE: &str = "/etc/causeway/context.yaml";
/// Ten thousand daemons fit; a larger file is another file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The admin addresses of one cluster's daemons, or of several clusters', as its author likes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// The cluster that the person looks from.
    pub(crate) cluster: String,
    #[serde(default)]
    pub(crate) apiservers: Vec<Endpoint>,
    #[serde(default)]
    pub(crate) agents: Vec<Endpoint>,
    #[serde(default)]
    pub(crate) dns: Vec<Endpoint>,
}

#[derive(Debug, Error)]
pub(crate) enum ContextError {
    #[error("context file {} names no daemon; list the admin addresses of some", .0.display())]
    Empty(PathBuf),
    #[error(
        "context file {} is not understood: {why}; `meshctl --help` shows one",
        .path.display()
    )]
    Invalid { path: PathBuf, why: String },
    #[error(
        "there is no context file {tried}; write one (`meshctl --help` shows one) or name one with --context"
    )]
    Missing { tried: String },
    #[error("cannot read context file {}", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
}

impl Context {
    /// Reads `chosen`, or else the first of the two usual files that exists.
    pub(crate) fn find(chosen: Option<&Path>) -> Result<Self, ContextError> {
        let candidates = match chosen {
            Some(chosen) => vec![chosen.to_owned()],
            None => usual(),
        };
        for path in &candidates {
            match read(path) {
                Ok(text) => return Self::parse(&text, path),
                Err(error) if error.kind() == io::ErrorKind::NotFound => (),
                Err(source) => {
                    let path = path.clone();
                    return Err(ContextError::Unreadable { path, source });
                }
            }
        }
        let tried: Vec<String> = candidates
            .iter()
            .map(|it| it.display().to_string())
            .collect();
        Err(ContextError::Missing {
            tried: tried.join(" or "),
        })
    }

    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, ContextError> {
        let path = path.to_owned();
        let context: Self = match serde_saphyr::from_str(text) {
            Ok(context) => context,
            Err(error) => {
                let why = first_line(&error.to_string());
                return Err(ContextError::Invalid { path, why });
            }
        };
        let none = context.apiservers.is_empty() && context.agents.is_empty();
        match none && context.dns.is_empty() {
            true => Err(ContextError::Empty(path)),
            false => Ok(context),
        }
    }
}

/// What is wrong and where; a drawing of the place follows it.
fn first_line(error: &str) -> String {
    let line = error.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

fn usual() -> Vec<PathBuf> {
    let home = std::env::home_dir();
    let of_the_user = home.map(|it| it.join(OF_THE_USER));
    of_the_user
        .into_iter()
        .chain([OF_THE_MACHINE.into()])
        .collect()
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = File::open(path)?;
    let length = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    match u64::try_from(length) {
        Ok(length) if length <= FILE_BYTES_MAX => Ok(text),
        _ => Err(io::Error::other("it is larger than 1 MiB")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_addresses_of_the_daemons() {
        let context = parse(
            "cluster: eu\n\
             apiservers: [\"http://192.0.2.10:9962\"]\n\
             agents: [\"http://192.0.2.11:9962\", \"http://192.0.2.12:9962\"]\n",
        )
        .unwrap();

        assert_eq!(context.cluster, "eu");
        assert_eq!(context.agents[1].to_string(), "http://192.0.2.12:9962");
        assert!(context.dns.is_empty());
    }

    #[test]
    fn names_file_and_line_of_a_mistake() {
        let error = parse("cluster: eu\nagents: [\"192.0.2.11\"]\n").unwrap_err();
        let text = error.to_string();

        assert!(
            text.starts_with("context file here.yaml is not understood: line 2 "),
            "{text}"
        );
        assert!(
            text.contains("\"192.0.2.11\" is not an admin address"),
            "{text}"
        );

        let error = parse("cluster: eu\nagent: []\n").unwrap_err().to_string();
        assert!(error.contains("agent"), "{error}");
    }

    #[test]
    fn refuses_a_context_without_daemons() {
        let error = parse("cluster: eu\n").unwrap_err();

        assert!(matches!(error, ContextError::Empty(_)), "{error}");
    }

    #[test]
    fn says_which_file_is_missing() {
        let error = Context::find(Some(Path::new("/nonexistent/context.yaml"))).unwrap_err();

        let text = error.to_string();
        assert!(
            text.contains("no context file /nonexistent/context.yaml;"),
            "{text}"
        );
    }

    /// With the fuzz target `context`, which finds more and is not run every time.
    #[test]
    fn says_something_of_any_text() {
        let good =
            "cluster: eu\napiservers: [\"http://192.0.2.10:9962\", 'http://[::1]:9962']\ndns: []\n";
        parse(good).unwrap();
        for place in 0..good.len() {
            for other in [
                "", "\n", " ", "\"", "'", "[", "]", "{", ":", "/", "@", "&a *a", "é", "\0",
            ] {
                let text = [&good[..place], other, &good[place + 1..]].concat();
                let problem = parse(&text).err().map(|it| it.to_string());
                let named = problem.is_none_or(|it| it.starts_with("context file here.yaml "));
                assert!(named, "{text:?}");
            }
        }
    }

    fn parse(text: &str) -> Result<Context, ContextError> {
        Context::parse(text, Path::new("here.yaml"))
    }
}
