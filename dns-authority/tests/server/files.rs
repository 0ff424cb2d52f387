//! Files that change under a running authority, mistakes in them, and how it ends.

use std::fs;

use super::process::{Authority, eventually, run_to_end};
use super::zone;

#[test]
fn a_changed_file_is_taken_over_and_a_broken_one_is_not() {
    let authority = Authority::start(&zone(""), &[]);
    let ask = || authority.dig(&["new.example.test", "A", "+short"]);
    assert_eq!(ask(), "");

    fs::write(authority.zone_file(), zone("new A 192.0.2.7\n")).unwrap();
    eventually("the new record is answered", || ask() == "192.0.2.7\n");

    fs::write(authority.zone_file(), zone("new A nonsense\n")).unwrap();
    eventually("the status names the place", || {
        authority
            .get("/v1/status")
            .contains("example.zone:8:7: expected an IPv4 address")
    });
    assert_eq!(ask(), "192.0.2.7\n");

    fs::remove_file(authority.zone_file()).unwrap();
    eventually("the status says that the file is gone", || {
        authority.get("/v1/status").contains("cannot read zone")
    });
    assert_eq!(ask(), "192.0.2.7\n");

    fs::write(authority.zone_file(), zone("new A 192.0.2.8\n")).unwrap();
    eventually("the mended file is served", || ask() == "192.0.2.8\n");
    assert!(authority.get("/v1/status").contains("\"problems\":[]"));
}

#[test]
fn a_file_of_the_same_length_and_age_is_taken_over() {
    let authority = Authority::start(&zone("new A 192.0.2.7\n"), &[]);
    let ask = || authority.dig(&["new.example.test", "A", "+short"]);
    assert_eq!(ask(), "192.0.2.7\n");

    // As a tool does that copies files with their times.
    let fresh = authority.zone_file().with_extension("new");
    fs::write(&fresh, zone("new A 192.0.2.8\n")).unwrap();
    let written = fs::metadata(authority.zone_file()).unwrap().modified();
    let file = fs::File::options().write(true).open(&fresh).unwrap();
    file.set_modified(written.unwrap()).unwrap();
    fs::rename(&fresh, authority.zone_file()).unwrap();

    eventually("the copy is served", || ask() == "192.0.2.8\n");
}

#[test]
fn a_file_that_is_included_is_watched_too() {
    let authority = Authority::start(&zone("new A 192.0.2.7\n"), &[]);
    let ask = || authority.dig(&["more.example.test", "A", "+short"]);
    assert_eq!(ask(), "");

    let more = authority.zone_file().with_file_name("more");
    fs::write(authority.zone_file(), zone("$INCLUDE more\n")).unwrap();
    eventually("the status says that the file is missing", || {
        authority.get("/v1/status").contains("cannot read")
    });
    for address in ["192.0.2.8", "192.0.2.9"] {
        fs::write(&more, format!("more A {address}\n")).unwrap();
        eventually("what it says is answered", || {
            ask() == format!("{address}\n")
        });
    }
}

#[test]
fn mistakes_end_the_process_with_one_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("broken.zone");
    fs::write(&file, zone("x LUA A \"pickrandom({'192.0.2.1')\"\n")).unwrap();
    let broken = format!("example.test={}", file.display());

    let (code, _) = run_to_end(&["--zone", "nonsense"]);
    assert_eq!(code, 2);
    let (code, error) = run_to_end(&["--zone", &broken]);
    let expected = format!(
        "error: {}:8:33: expected `,` or `}}` and found `)`\n",
        file.display()
    );
    assert_eq!((code, error), (1, expected));
    let (code, error) = run_to_end(&["--zone", "example.test=/nowhere"]);
    assert_eq!(code, 1);
    assert!(
        error.starts_with("error: cannot read zone example.test. from /nowhere:"),
        "{error}"
    );

    let authority = Authority::start(&zone(""), &[]);
    let (code, error) = run_to_end(&["--listen", &format!("127.0.0.1:{}", authority.port())]);
    assert_eq!(code, 1);
    assert!(
        error.contains("already in use; stop what listens there"),
        "{error}"
    );
}

#[test]
fn a_signal_ends_it_at_once_with_code_0() {
    let authority = Authority::start(&zone(""), &[]);

    assert_eq!(authority.stop(), 0);
}
