use super::*;

#[test]
fn reads_no_file_that_somebody_is_writing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.yaml");
    fs::write(&path, "1").unwrap();
    let (mut scanner, first) = start(directory.path());
    assert_eq!(summary(&first), "a.yaml=1");

    fs::write(&path, "22").unwrap();
    assert_eq!(summary(&scan(&mut scanner)), "");
    fs::write(&path, "333").unwrap();
    assert_eq!(summary(&scan(&mut scanner)), "", "it changed again");
    assert_eq!(summary(&scan(&mut scanner)), "a.yaml=333");
    assert_eq!(summary(&scan(&mut scanner)), "");
}

#[test]
fn takes_nothing_back_while_another_directory_fills_up() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("objects");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("a.yaml"), "1").unwrap();
    let (mut scanner, _) = start(&directory);

    fs::create_dir(parent.path().join("other")).unwrap();
    fs::rename(&directory, parent.path().join("elsewhere")).unwrap();
    fs::rename(parent.path().join("other"), &directory).unwrap();
    let empty = scan(&mut scanner);
    assert_eq!(summary(&empty), "");
    let problem = empty.problem.unwrap();
    assert!(
        problem.ends_with("which is empty, stands in its place"),
        "{problem}"
    );

    fs::write(directory.join("b.yaml"), "1").unwrap();
    assert_eq!(summary(&scan(&mut scanner)), "");
    let filled = scan(&mut scanner);
    assert_eq!((&*summary(&filled), filled.problem), ("b.yaml=1", None));
    let gone = (0..).find_map(|_| {
        thread::sleep(Duration::from_millis(10));
        Some(summary(&scan(&mut scanner))).filter(|it| !it.is_empty())
    });
    assert_eq!(gone.as_deref(), Some("a.yaml=-"));

    fs::remove_file(directory.join("b.yaml")).unwrap();
    assert_eq!(
        summary(&scan(&mut scanner)),
        "b.yaml=-",
        "it is the same directory"
    );
}

type Read = fn(&str, Result<&str, String>, Option<&String>) -> String;

fn start(directory: &Path) -> (Scanner<String, Read>, FileChanges<String>) {
    let read: Read = |_, text, _| text.unwrap().to_owned();
    Scanner::start(directory, |name| name.ends_with(".yaml"), read).unwrap()
}

/// A look that no notification asked for.
fn scan(scanner: &mut Scanner<String, Read>) -> FileChanges<String> {
    scanner.scan(&Touched::default())
}

fn summary(changes: &FileChanges<String>) -> String {
    let files = changes.files.iter().map(|(name, said)| {
        let said = said.as_deref().map_or("-", String::as_str);
        format!("{name}={said}")
    });
    files.collect::<Vec<_>>().join(" ")
}
