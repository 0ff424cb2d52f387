//! Decides what the file of further users says.

use std::path::Path;

use serde::Deserialize;
use tracing::error;

/// More than a mesh has clusters, and little enough to set up at once.
const ENTRIES_MAX: usize = 1_024;

/// A user beside those that every cluster has: Cilium's format.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The common name of its certificate; `remote-NAME` for the cluster NAME.
    pub name: String,
    pub role: Role,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Local,
    Remote,
    Root,
}

/// What a file in the watched directory says.
#[derive(Clone, Debug, PartialEq)]
pub enum UsersFile {
    /// Why it says nothing; what was in force stays so.
    Broken(String),
    Good(Vec<Entry>),
    /// It is another file.
    Other,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
            Self::Root => "root",
        }
    }
}

impl UsersFile {
    /// `path` is only shown in problems.
    pub fn read(path: &Path, text: Result<&str, String>) -> Self {
        let parsed = match text {
            Ok(text) => parse(text).map_err(|it| format!("{}:{it}", path.display())),
            Err(problem) => Err(format!("{}: {problem}", path.display())),
        };
        match parsed {
            Ok(entries) => Self::Good(entries),
            Err(problem) => {
                error!("{problem}");
                Self::Broken(problem)
            }
        }
    }
}

/// The error begins with line and column, where there are any.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>, String> {
    let yaml: Yaml = serde_saphyr::from_str(text).map_err(|error| {
        let place = error
            .location()
            .map(|it| format!("{}:{}:", it.line(), it.column()));
        let text = error.to_string();
        let summary = text.lines().next().unwrap_or_default();
        format!("{} {summary}", place.unwrap_or_default())
    })?;
    if ENTRIES_MAX < yaml.users.len() {
        return Err(format!(" more than {ENTRIES_MAX} users; remove some"));
    }
    if yaml.users.iter().any(|it| it.name.is_empty()) {
        return Err(
            " a user without a name; give it the common name of its certificate".to_owned(),
        );
    }
    Ok(yaml.users)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Yaml {
    #[serde(default)]
    users: Vec<Entry>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_cilium_writes() {
        let text = "users:\n- name: remote-beta\n  role: remote\n- name: ops\n  role: root\n";
        let expected = [("remote-beta", Role::Remote), ("ops", Role::Root)];
        let expected = expected.map(|(name, role)| Entry {
            name: name.to_owned(),
            role,
        });
        assert_eq!(parse(text).unwrap(), expected);
        assert_eq!(parse("users: []").unwrap(), []);
    }

    #[test]
    fn says_where_it_is_wrong() {
        check(
            "users:\n- {name: b, role: wheel}",
            "/etc/users.yaml:2:",
            "wheel",
        );
        check(
            "users: [{name: '', role: remote}]",
            "/etc/users.yaml: ",
            "without a name",
        );
        check(
            "users: [{name: a, role: remote, more: 1}]",
            "/etc/users.yaml:1:",
            "more",
        );
        check("user: []", "/etc/users.yaml:1:", "user");
        let unreadable = read(Err("permission denied".to_owned()));
        let problem = "/etc/users.yaml: permission denied".to_owned();
        assert_eq!(unreadable, UsersFile::Broken(problem));
    }

    #[track_caller]
    fn check(text: &str, place: &str, problem: &str) {
        let UsersFile::Broken(found) = read(Ok(text)) else {
            panic!("{text} is good");
        };
        assert!(
            found.starts_with(place) && found.contains(problem),
            "{found}"
        );
    }

    fn read(text: Result<&str, String>) -> UsersFile {
        UsersFile::read(Path::new("/etc/users.yaml"), text)
    }
}
