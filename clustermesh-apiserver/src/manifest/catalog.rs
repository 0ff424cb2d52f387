//! Decides what changes with a manifest file: only objects that differ are handed on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{ManifestFile, in_file};
use crate::directory::FileChanges;
use crate::objects::{ObjectEvent, ObjectKey, ObjectKind};

/// What a directory of manifests says that it did not say before.
#[derive(Debug, Default, PartialEq)]
pub struct Manifests {
    pub events: Vec<ObjectEvent>,
    /// What is wrong with the directory, if that changed.
    pub problems: Option<ManifestProblems>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ManifestProblems {
    /// Why the directory cannot be read; its objects stay what they were.
    pub directory: Option<String>,
    /// What is wrong with files: `FILE:LINE:COLUMN: problem`.
    pub errors: Vec<String>,
    /// Objects that stand in several places, each with the one that counts.
    pub duplicates: Vec<String>,
}

/// All files, and which of them say something of each object.
#[derive(Debug, Default)]
pub struct Catalog {
    files: BTreeMap<Arc<str>, Arc<ManifestFile>>,
    /// The file that counts for each object: the last one that has it, in the order of names.
    winners: BTreeMap<ObjectKey, Arc<str>>,
    /// The files of each object that stands in several.
    shared: BTreeMap<ObjectKey, BTreeSet<Arc<str>>>,
    /// Files with errors.
    broken: BTreeSet<Arc<str>>,
    /// Files with an object that stands there twice.
    repeating: BTreeSet<Arc<str>>,
    problem: Option<String>,
    is_started: bool,
}

impl Catalog {
    /// Takes in files that changed. Costs what these hold, however many others there are.
    pub fn update(&mut self, changes: FileChanges<ManifestFile>) -> Manifests {
        let mut touched = BTreeSet::new();
        let mut is_other_problem = changes.problem != self.problem;
        self.problem = changes.problem;
        for (name, file) in changes.files {
            is_other_problem |= self.replace(&name.into(), file, &mut touched);
        }
        let is_first = !std::mem::replace(&mut self.is_started, true);
        let events = if is_first {
            vec![self.restart()]
        } else {
            touched.into_iter().map(|key| self.event(key)).collect()
        };
        Manifests {
            events,
            problems: (is_first || is_other_problem).then(|| self.problems()),
        }
    }

    /// Puts a file in the place of what it was, and tells whether its problems are others.
    fn replace(
        &mut self,
        name: &Arc<str>,
        file: Option<Arc<ManifestFile>>,
        touched: &mut BTreeSet<ObjectKey>,
    ) -> bool {
        let before = match &file {
            Some(file) => self.files.insert(Arc::clone(name), Arc::clone(file)),
            None => self.files.remove(name),
        };
        let before = before.unwrap_or_default();
        let after = file.unwrap_or_default();
        let shared = self.shared.len();
        for key in before.objects.keys() {
            if !after.objects.contains_key(key) {
                self.release(key, name);
                touched.insert(key.clone());
            }
        }
        for (key, object) in &after.objects {
            match before.objects.get(key) {
                Some(same) if same == object => continue,
                Some(_) => (),
                None => self.claim(key, name),
            }
            touched.insert(key.clone());
        }

        match after.errors.is_empty() {
            true => self.broken.remove(name),
            false => self.broken.insert(Arc::clone(name)),
        };
        match after.repeated.is_empty() {
            true => self.repeating.remove(name),
            false => self.repeating.insert(Arc::clone(name)),
        };
        before.errors != after.errors
            || before.repeated != after.repeated
            || self.shared.len() != shared
    }

    fn claim(&mut self, key: &ObjectKey, file: &Arc<str>) {
        let winner = self
            .winners
            .entry(key.clone())
            .or_insert_with(|| Arc::clone(file));
        if winner != file {
            let holders = self.shared.entry(key.clone()).or_default();
            holders.extend([Arc::clone(winner), Arc::clone(file)]);
            if *winner < *file {
                *winner = Arc::clone(file);
            }
        }
    }

    fn release(&mut self, key: &ObjectKey, file: &Arc<str>) {
        let Some(holders) = self.shared.get_mut(key) else {
            self.winners.remove(key);
            return;
        };
        holders.remove(file);
        if let Some(last) = holders.last() {
            self.winners.insert(key.clone(), Arc::clone(last));
        }
        if holders.len() < 2 {
            self.shared.remove(key);
        }
    }

    fn restart(&self) -> ObjectEvent {
        let objects = self.winners.iter().filter_map(|(key, file)| {
            let object = self.files.get(file)?.objects.get(key)?;
            Some((key.clone(), Arc::clone(object)))
        });
        ObjectEvent::Restarted {
            kinds: ObjectKind::ALL.to_vec(),
            objects: objects.collect(),
        }
    }

    fn event(&self, key: ObjectKey) -> ObjectEvent {
        let file = self.winners.get(&key).and_then(|it| self.files.get(it));
        match file.and_then(|it| it.objects.get(&key)) {
            Some(object) => ObjectEvent::Applied(key, Arc::clone(object)),
            None => ObjectEvent::Deleted(key),
        }
    }

    fn problems(&self) -> ManifestProblems {
        let errors = self.broken.iter().flat_map(|name| {
            let errors = self.files.get(name).into_iter().flat_map(|it| &it.errors);
            errors.map(move |it| in_file(name, it))
        });
        let duplicates = self.shared.iter().filter_map(|(key, holders)| {
            let (winner, others) = (holders.last()?, holders.first()?);
            Some(format!(
                "{key} stands in {others} and in {winner}, which counts"
            ))
        });
        let repeated = self.repeating.iter().flat_map(|name| {
            let repeated = self.files.get(name).into_iter();
            let repeated = repeated.flat_map(|it| &it.repeated);
            repeated.map(move |key| format!("{key} stands in {name} twice; the last one counts"))
        });
        ManifestProblems {
            directory: self.problem.clone(),
            errors: errors.collect(),
            duplicates: duplicates.chain(repeated).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_with_everything_and_goes_on_with_what_changed() {
        let mut catalog = Catalog::default();

        let first = catalog.update(files(&[
            ("a.yaml", Some(&["n1", "n2"])),
            ("b.yaml", Some(&[])),
        ]));
        let [ObjectEvent::Restarted { objects, .. }] = &first.events[..] else {
            panic!("{first:?}");
        };
        assert_eq!(objects.len(), 2);
        assert_eq!(first.problems, Some(ManifestProblems::default()));

        let same = catalog.update(files(&[("a.yaml", Some(&["n1", "n2"]))]));
        assert_eq!(same, Manifests::default());
        let changed = catalog.update(files(&[("a.yaml", Some(&["n2", "n3"]))]));
        assert_eq!(texts(&changed), ["-Namespace n1", "+Namespace n3"]);
        let gone = catalog.update(files(&[("a.yaml", None)]));
        assert_eq!(texts(&gone), ["-Namespace n2", "-Namespace n3"]);
    }

    #[test]
    fn lets_the_last_of_two_files_count_and_falls_back_to_the_other() {
        let mut catalog = Catalog::default();
        catalog.update(files(&[
            ("a.yaml", Some(&["n1"])),
            ("b.yaml", Some(&["n1"])),
        ]));

        let problems = catalog.problems();
        assert_eq!(
            problems.duplicates,
            ["Namespace n1 stands in a.yaml and in b.yaml, which counts"]
        );

        catalog.update(files(&[("c.yaml", Some(&["n2", "n2"]))]));
        let problems = catalog.problems();
        assert_eq!(
            problems.duplicates[1],
            "Namespace n2 stands in c.yaml twice; the last one counts"
        );
        catalog.update(files(&[("c.yaml", None)]));

        let fallen_back = catalog.update(files(&[("b.yaml", None)]));
        assert_eq!(texts(&fallen_back), ["+Namespace n1"]);
        assert_eq!(fallen_back.problems, Some(ManifestProblems::default()));
        let gone = catalog.update(files(&[("a.yaml", None)]));
        assert_eq!(texts(&gone), ["-Namespace n1"]);
    }

    #[test]
    fn tells_of_problems_when_they_change() {
        let mut catalog = Catalog::default();
        catalog.update(files(&[("a.yaml", Some(&["n1"]))]));

        let mut changes = files(&[]);
        let broken = ManifestFile::read("b.yaml", Ok("kind: ["), None);
        changes
            .files
            .insert("b.yaml".to_owned(), Some(Arc::new(broken)));
        let broken = catalog.update(changes);
        let errors = broken.problems.unwrap().errors;
        assert!(errors[0].starts_with("b.yaml:1:"), "{errors:?}");
        assert_eq!(
            catalog.update(files(&[("b.yaml", None)])).problems,
            Some(ManifestProblems::default())
        );
    }

    /// Files with namespaces.
    fn files(files: &[(&str, Option<&[&str]>)]) -> FileChanges<ManifestFile> {
        let text = |names: &[&str]| -> String {
            let document = |it: &&str| {
                format!("---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {it}}}\n")
            };
            names.iter().map(document).collect()
        };
        let read = |names| Arc::new(ManifestFile::read("", Ok(&text(names)), None));
        FileChanges {
            files: files
                .iter()
                .map(|(name, names)| ((*name).to_owned(), names.map(read)))
                .collect(),
            problem: None,
        }
    }

    fn texts(manifests: &Manifests) -> Vec<String> {
        let events = manifests.events.iter().map(|it| match it {
            ObjectEvent::Applied(key, _) => format!("+{key}"),
            ObjectEvent::Deleted(key) => format!("-{key}"),
            ObjectEvent::Restarted { .. } => "all".to_owned(),
        });
        events.collect()
    }
}
