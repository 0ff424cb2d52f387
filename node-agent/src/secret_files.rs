//! A door: reads the secrets that the own cluster shares with others, one file for each cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use topology::id::ClusterName;
use topology::report::Problem;
use wireguard::PresharedKey;
use zeroize::Zeroizing;

use crate::preshared::Shared;

/// How long the other side has for a change of its file: the former secret is taken as well until
/// then, or until the agent ends.
const OVERLAP: Duration = Duration::from_secs(86_400);

/// The directory, and what was good in it when it was last read.
#[derive(Debug)]
pub struct SecretFiles {
    /// `None` where the operator wants no such secrets.
    directory: Option<PathBuf>,
    good: BTreeMap<ClusterName, Good>,
}

#[derive(Debug)]
struct Good {
    secret: PresharedKey,
    former: Option<(PresharedKey, Instant)>,
}

impl SecretFiles {
    pub fn new(directory: Option<PathBuf>) -> Self {
        Self {
            directory,
            good: BTreeMap::new(),
        }
    }

    /// Whether the files of all `clusters` have been looked at.
    pub fn knows(&self, clusters: &BTreeSet<&ClusterName>) -> bool {
        self.directory.is_none() || clusters.iter().all(|it| self.good.contains_key(*it))
    }

    /// Reads the files of `clusters` again. What is wrong with one is said, and its last good value
    /// stays; one that was taken away is wanted no more.
    pub fn read(
        &mut self,
        clusters: &BTreeSet<&ClusterName>,
        now: Instant,
    ) -> (Option<BTreeMap<ClusterName, Shared>>, BTreeSet<Problem>) {
        let Some(directory) = self.directory.clone() else {
            return (None, BTreeSet::new());
        };
        let mut problems = BTreeSet::new();
        self.good.retain(|it, _| clusters.contains(it));
        for cluster in clusters.iter().copied() {
            let path = directory.join(cluster.as_str());
            let secret = read(&path).unwrap_or_else(|error| {
                problems.insert(Problem {
                    what: format!("{error:#}"),
                    remedy: format!(
                        "write the output of `wg genpsk` there, the same on both sides: install -m 600 SECRET {}",
                        path.display()
                    ),
                });
                let good = self.good.get(cluster).map(|it| it.secret.clone());
                good.unwrap_or_else(PresharedKey::none)
            });
            self.take(cluster, secret, now);
        }
        let shared = self.good.iter().map(|(cluster, it)| {
            let former = it.former.as_ref().map(|(secret, _)| secret.clone());
            let current = it.secret.clone();
            (cluster.clone(), Shared { current, former })
        });
        (Some(shared.collect()), problems)
    }

    fn take(&mut self, cluster: &ClusterName, secret: PresharedKey, now: Instant) {
        let Some(good) = self.good.get_mut(cluster) else {
            let former = None;
            self.good.insert(cluster.clone(), Good { secret, former });
            return;
        };
        good.former.take_if(|(_, until)| *until <= now);
        if good.secret != secret {
            let former = std::mem::replace(&mut good.secret, secret);
            good.former = Some((former, now + OVERLAP));
        }
    }
}

/// [`PresharedKey::none`] where there is no file.
fn read(path: &Path) -> anyhow::Result<PresharedKey> {
    let context = || format!("cannot use the preshared secret {}", path.display());
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(PresharedKey::none()),
        metadata => metadata.with_context(context)?,
    };
    if metadata.mode() & OTHERS != 0 {
        bail!("others may read the preshared secret {}", path.display());
    }
    let text = Zeroizing::new(fs::read_to_string(path).with_context(context)?);
    text.trim().parse().with_context(context)
}

/// What the group and all others may do.
const OTHERS: u32 = 0o077;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn keeps_what_was_good_until_it_is_good_again() {
        let mut place = Place::new();
        let (first, second) = (PresharedKey::from([1; 32]), PresharedKey::from([2; 32]));
        assert_eq!(place.read(), (PresharedKey::none(), None, 0));

        place.write(&first.to_base64(), 0o600);
        let none = Some(PresharedKey::none());
        assert_eq!(place.read(), (first.clone(), none.clone(), 0));
        for (text, mode) in [(second.to_base64().as_str(), 0o644), ("5ec4e7", 0o600)] {
            place.write(text, mode);
            assert_eq!(place.read(), (first.clone(), none.clone(), 1));
        }
        place.write(&second.to_base64(), 0o600);
        assert_eq!(place.read(), (second.clone(), Some(first), 0));
        fs::remove_file(&place.path).unwrap();
        assert_eq!(place.read(), (PresharedKey::none(), Some(second), 0));
        let nowhere = SecretFiles::new(None).read(&BTreeSet::from([&place.us]), place.now);
        assert_eq!(nowhere, (None, BTreeSet::new()));
    }

    #[test]
    fn the_former_secret_counts_for_a_day() {
        let mut place = Place::new();
        let (first, second) = (PresharedKey::from([1; 32]), PresharedKey::from([2; 32]));
        place.write(&first.to_base64(), 0o600);
        assert_eq!(place.read(), (first.clone(), None, 0));
        place.write(&second.to_base64(), 0o600);
        assert_eq!(place.read(), (second.clone(), Some(first.clone()), 0));

        place.now += OVERLAP - Duration::from_secs(1);
        assert_eq!(place.read(), (second.clone(), Some(first), 0));
        place.now += Duration::from_secs(1);
        assert_eq!(place.read(), (second, None, 0));
    }

    struct Place {
        files: SecretFiles,
        path: PathBuf,
        us: ClusterName,
        now: Instant,
        _home: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            let home = tempfile::tempdir().unwrap();
            Self {
                files: SecretFiles::new(Some(home.path().to_owned())),
                path: home.path().join("us"),
                us: "us".parse().unwrap(),
                now: daemon::Clock.now(),
                _home: home,
            }
        }

        fn read(&mut self) -> (PresharedKey, Option<PresharedKey>, usize) {
            let (shared, problems) = self.files.read(&BTreeSet::from([&self.us]), self.now);
            assert!(!format!("{problems:?}").contains("5ec4e7"));
            let shared = shared.unwrap().remove(&self.us).unwrap();
            (shared.current, shared.former, problems.len())
        }

        fn write(&self, text: &str, mode: u32) {
            write(&self.path, text, mode);
        }
    }

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
}
