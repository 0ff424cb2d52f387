//! A door: reads the secrets that the own cluster shares with others, one file for each cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use topology::id::ClusterName;
use topology::report::Problem;
use wireguard::PresharedKey;

use crate::preshared::Secrets;

/// The directory, and what was good in it when it was last read.
#[derive(Debug)]
pub struct SecretFiles {
    /// `None` where the operator wants no such secrets.
    directory: Option<PathBuf>,
    good: BTreeMap<ClusterName, PresharedKey>,
}

impl SecretFiles {
    pub fn new(directory: Option<PathBuf>) -> Self {
        Self {
            directory,
            good: BTreeMap::new(),
        }
    }

    /// Reads the files of `clusters` again. What is wrong with one is said, and its last good value
    /// stays; one that was taken away is wanted no more.
    pub fn read(&mut self, clusters: &BTreeSet<&ClusterName>) -> (Secrets, BTreeSet<Problem>) {
        let Some(directory) = &self.directory else {
            return (None, BTreeSet::new());
        };
        let mut problems = BTreeSet::new();
        self.good.retain(|it, _| clusters.contains(it));
        for cluster in clusters.iter().copied() {
            let path = directory.join(cluster.as_str());
            match read(&path) {
                Ok(Some(secret)) => drop(self.good.insert(cluster.clone(), secret)),
                Ok(None) => drop(self.good.remove(cluster)),
                Err(error) => {
                    problems.insert(Problem {
                        what: format!("{error:#}"),
                        remedy: format!(
                            "write the output of `wg genpsk` there, the same on both sides: install -m 600 SECRET {}",
                            path.display()
                        ),
                    });
                }
            }
        }
        (Some(self.good.clone()), problems)
    }
}

fn read(path: &Path) -> anyhow::Result<Option<PresharedKey>> {
    let context = || format!("cannot use the preshared secret {}", path.display());
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        metadata => metadata.with_context(context)?,
    };
    if metadata.mode() & OTHERS != 0 {
        bail!("others may read the preshared secret {}", path.display());
    }
    let text = fs::read_to_string(path).with_context(context)?;
    let secret = text.trim().parse().with_context(context)?;
    Ok(Some(secret))
}

/// What the group and all others may do.
const OTHERS: u32 = 0o077;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn keeps_what_was_good_until_it_is_good_again() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("us");
        let us: ClusterName = "us".parse().unwrap();
        let clusters = BTreeSet::from([&us]);
        let mut files = SecretFiles::new(Some(home.path().to_owned()));
        let (first, second) = (PresharedKey::from([1; 32]), PresharedKey::from([2; 32]));
        let with = |it: &PresharedKey| Some(BTreeMap::from([(us.clone(), it.clone())]));
        assert_eq!(
            files.read(&clusters),
            (Some(BTreeMap::new()), BTreeSet::new())
        );

        write(&path, &first.to_base64(), 0o600);
        assert_eq!(files.read(&clusters), (with(&first), BTreeSet::new()));
        for (text, mode) in [(second.to_base64().as_str(), 0o644), ("5ec4e7", 0o600)] {
            write(&path, text, mode);
            let (secrets, problems) = files.read(&clusters);
            assert_eq!((secrets, problems.len()), (with(&first), 1));
            assert!(!format!("{problems:?}").contains("5ec4e7"));
        }
        write(&path, &second.to_base64(), 0o600);
        assert_eq!(files.read(&clusters), (with(&second), BTreeSet::new()));
        fs::remove_file(&path).unwrap();
        assert_eq!(files.read(&clusters).0, Some(BTreeMap::new()));
        assert_eq!(SecretFiles::new(None).read(&clusters).0, None);
    }

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
}
