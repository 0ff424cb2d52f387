//! Watches a directory of small text files, and hands out what they say whenever it changes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};

mod scan;

use scan::Scanner;

/// Changes on their way. While they wait, the kernel collects what happens to the files.
const CHANGES_MAX: usize = 1;

/// What the files of a directory say, by file name.
#[derive(Clone, Debug)]
pub struct Listing<T> {
    /// Unchanged files keep their `Arc` from one listing to the next.
    pub files: BTreeMap<String, Arc<T>>,
    /// Why the directory could not be read; `files` is then what it said last.
    pub problem: Option<String>,
}

/// The files that changed since the changes before, by file name.
#[derive(Clone, Debug)]
pub struct FileChanges<T> {
    /// `None` for a file that is gone.
    pub files: BTreeMap<String, Option<Arc<T>>>,
    /// Why the directory cannot be read now; files are then what they were last.
    pub problem: Option<String>,
}

/// Reads `directory` now and then watches it for as long as somebody receives.
///
/// Files whose names begin with a dot are passed over, and so is what `is_wanted` refuses. `read`
/// turns a file's text, or the reason why there is none, into what is handed out; it is given what
/// the file said before.
pub fn watch<T, R>(
    directory: &Path,
    is_wanted: fn(&str) -> bool,
    read: R,
) -> anyhow::Result<watch::Receiver<Listing<T>>>
where
    T: Send + Sync + 'static,
    R: Fn(&str, Result<&str, String>, Option<&T>) -> T + Send + Sync + 'static,
{
    let (mut scanner, _) = Scanner::start(directory, is_wanted, read)?;
    let (sender, receiver) = watch::channel(scanner.listing());
    spawn(move || {
        while !sender.is_closed() {
            if scanner.next().is_some() {
                sender.send_replace(scanner.listing());
            }
        }
    })?;
    Ok(receiver)
}

/// Like [`watch`], for directories of many files: hands out what `fold` makes of those that
/// changed, in order, and first what it makes of all.
pub fn follow<T, R, O>(
    directory: &Path,
    is_wanted: fn(&str) -> bool,
    read: R,
    mut fold: impl FnMut(FileChanges<T>) -> O + Send + 'static,
) -> anyhow::Result<mpsc::Receiver<O>>
where
    T: Send + Sync + 'static,
    R: Fn(&str, Result<&str, String>, Option<&T>) -> T + Send + Sync + 'static,
    O: Send + 'static,
{
    let (mut scanner, first) = Scanner::start(directory, is_wanted, read)?;
    let (sender, receiver) = mpsc::channel(CHANGES_MAX);
    spawn(move || {
        let mut changes = Some(first);
        while !sender.is_closed() {
            if let Some(changes) = changes
                && sender.blocking_send(fold(changes)).is_err()
            {
                return;
            }
            changes = scanner.next();
        }
    })?;
    Ok(receiver)
}

fn spawn(run: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    std::thread::Builder::new()
        .name("directory".to_owned())
        .spawn(run)
        .context("cannot start a thread")?;
    Ok(())
}

/// What a directory says that nobody configured: nothing, for ever.
pub fn nothing<T>() -> watch::Receiver<Listing<T>> {
    let listing = Listing {
        files: BTreeMap::new(),
        problem: None,
    };
    watch::channel(listing).1
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn follows_a_directory_through_every_kind_of_change() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("a.yaml"), "1").unwrap();
        fs::write(path("notes"), "ignored").unwrap();
        let mut listings = follow(directory.path()).unwrap();
        assert_eq!(summary(&listings.borrow_and_update()), "a.yaml=1");

        fs::write(path(".b.yaml"), "2").unwrap();
        fs::rename(path(".b.yaml"), path("b.yaml")).unwrap();
        expect(&mut listings, "a.yaml=1 b.yaml=2").await;

        fs::write(path("a.yaml"), "3").unwrap();
        expect(&mut listings, "a.yaml=3<1 b.yaml=2").await;

        fs::remove_file(path("a.yaml")).unwrap();
        expect(&mut listings, "b.yaml=2").await;
    }

    #[tokio::test]
    async fn keeps_what_a_directory_said_that_is_gone() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("objects");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("a.yaml"), "1").unwrap();
        let mut listings = follow(&directory).unwrap();

        fs::rename(&directory, parent.path().join("elsewhere")).unwrap();
        let gone = listings
            .wait_for(|it| it.problem.is_some())
            .await
            .unwrap()
            .clone();
        assert_eq!(summary(&gone), "a.yaml=1");

        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("a.yaml"), "2").unwrap();
        expect(&mut listings, "a.yaml=2<1").await;
    }

    #[test]
    fn names_a_directory_that_is_not_there() {
        let error = follow(Path::new("/nowhere/objects")).unwrap_err();

        assert_eq!(
            error.to_string(),
            "/nowhere/objects: No such file or directory (os error 2)"
        );
    }

    #[tokio::test]
    async fn reports_a_file_that_is_no_text() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a.yaml"), b"a: 1\nb\xff").unwrap();

        let listings = follow(directory.path()).unwrap();

        let summary = summary(&listings.borrow());
        assert_eq!(summary, "a.yaml=!2:2: not UTF-8; save the file as text");
    }

    #[tokio::test]
    async fn hands_out_only_the_files_that_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("a.yaml"), "1").unwrap();
        fs::write(path("b.yaml"), "2").unwrap();
        let read =
            |_: &str, text: Result<&str, String>, _: Option<&String>| text.unwrap().to_owned();
        let summary = |changes: FileChanges<String>| {
            let files = changes.files.into_iter();
            let files: Vec<String> = files
                .map(|(name, said)| {
                    format!(
                        "{name}={}",
                        said.map_or_else(|| "-".to_owned(), |it| (*it).clone())
                    )
                })
                .collect();
            files.join(" ")
        };
        let wanted = |name: &str| name.ends_with(".yaml");
        let mut changes = super::follow(directory.path(), wanted, read, summary).unwrap();
        assert_eq!(changes.recv().await.unwrap(), "a.yaml=1 b.yaml=2");

        fs::write(path(".b"), "3").unwrap();
        fs::rename(path(".b"), path("b.yaml")).unwrap();
        expect_change(&mut changes, "b.yaml=3").await;
        fs::remove_file(path("a.yaml")).unwrap();
        expect_change(&mut changes, "a.yaml=-").await;
    }

    async fn expect_change(changes: &mut mpsc::Receiver<String>, expected: &str) {
        let arrived = tokio::time::timeout(Duration::from_secs(20), changes.recv()).await;
        assert_eq!(arrived.ok().flatten().as_deref(), Some(expected));
    }

    /// Each file says its text, or the problem, and what it said before.
    fn follow(directory: &Path) -> anyhow::Result<watch::Receiver<Listing<String>>> {
        watch(
            directory,
            |name| name.ends_with(".yaml"),
            |_, text, before: Option<&String>| {
                let text = text.map_or_else(|problem| format!("!{problem}"), str::to_owned);
                match before.and_then(|it| it.split('<').next()) {
                    Some(before) => format!("{text}<{before}"),
                    None => text,
                }
            },
        )
    }

    fn summary(listing: &Listing<String>) -> String {
        let files = listing.files.iter();
        let files: Vec<String> = files.map(|(name, said)| format!("{name}={said}")).collect();
        files.join(" ")
    }

    /// Waits for one of the listings to be as expected; that it never comes is a hang.
    async fn expect(listings: &mut watch::Receiver<Listing<String>>, expected: &str) {
        let arrived = listings.wait_for(|it| summary(it) == expected);
        let arrived = tokio::time::timeout(Duration::from_secs(20), arrived).await;
        assert!(arrived.is_ok(), "never {expected}");
    }
}
