use std::fs;

use super::*;
use crate::check::Checks;
use crate::geo::Atlas;
use crate::plan::Compiler;
use crate::wire::kind;
use crate::wire::name::Folded;
use crate::wire::whole::Entry;
use crate::{update, zone};

fn files(serial: u32, records: &str) -> Zones {
    let text = format!("$TTL 60\n@ SOA ns h {serial} 1 2 3 4\n@ NS ns\n{records}");
    let atlas = Atlas::default();
    let mut compiler = Compiler {
        atlas: &atlas,
        checks: Checks::default(),
    };
    let origin = Folded::parse("z").unwrap();
    let mut zones = Zones::default();
    zones.insert(Arc::new(zone::zone(&origin, &text, &mut compiler).unwrap()));
    zones
}

/// Adds an address at a name, or takes it away.
fn change(name: &str, class: u16) -> Change {
    let entry = Entry {
        owner: crate::wire::name::parse(name, b"\x01z\0").unwrap(),
        kind: kind::A,
        class,
        ttl: if class == 1 { 60 } else { 0 },
        data: vec![192, 0, 2, 1],
    };
    Box::new(move |zone| Ok(update::apply(zone.store(), zone.origin(), &[], &[entry])?))
}

/// The serial, and which of `names` are there.
fn shown(zones: &Zones, names: &[&str]) -> String {
    let zone = zones.iter().next().unwrap();
    let has = |name: &&&str| {
        let name = crate::wire::name::parse(name, b"\x01z\0").unwrap();
        zone.store().find(&name).is_some()
    };
    let names: Vec<&str> = names.iter().filter(has).copied().collect();
    format!("{} {}", zone.serial(), names.join(" "))
}

const ZONE: &[u8] = b"\x01z\0";
const NAMES: [&str; 4] = ["f", "g", "a", "b"];

#[test]
fn changes_outlive_the_process_and_stay_on_top_of_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let kept = || Keeper::new(Some(directory.path().to_owned()));
    let mut keeper = kept();
    keeper.load(&files(7, "f A 192.0.2.9"));
    assert_eq!(
        keeper
            .change(ZONE, change("a", 1))
            .unwrap()
            .unwrap()
            .serial(),
        8
    );
    assert!(keeper.change(ZONE, change("a", 1)).unwrap().is_none());
    assert_eq!(
        keeper
            .change(ZONE, change("b", 1))
            .unwrap()
            .unwrap()
            .serial(),
        9
    );
    assert_eq!(shown(&keeper.zones(), &NAMES), "9 f a b");
    assert_eq!(keeper.histories().load()[ZONE].since(7).unwrap().len(), 2);

    // The file was only compiled anew, or edited without a word.
    assert_eq!(
        shown(&keeper.load(&files(7, "g A 192.0.2.9")), &NAMES),
        "9 g a b"
    );

    // Another life.
    let mut keeper = kept();
    assert_eq!(
        shown(&keeper.load(&files(7, "f A 192.0.2.9")), &NAMES),
        "9 f a b"
    );
    assert_eq!(keeper.histories().load()[ZONE].since(8).unwrap().len(), 1);
    assert_eq!(
        keeper
            .change(ZONE, change("b", 254))
            .unwrap()
            .unwrap()
            .serial(),
        10
    );
    let mut keeper = kept();
    assert_eq!(
        shown(&keeper.load(&files(7, "f A 192.0.2.9")), &NAMES),
        "10 f a"
    );
}

#[test]
fn a_file_takes_its_zone_back_with_a_higher_serial_alone() {
    let directory = tempfile::tempdir().unwrap();
    let kept = || Keeper::new(Some(directory.path().to_owned()));
    let mut keeper = kept();
    keeper.load(&files(7, ""));
    keeper.change(ZONE, change("a", 1)).unwrap();
    keeper.change(ZONE, change("b", 1)).unwrap();

    assert_eq!(
        shown(&keeper.load(&files(8, "f A 192.0.2.9")), &NAMES),
        "9 a b"
    );
    let problems: Vec<String> = keeper.problems().collect();
    let expected = "the file of z. has serial 8 and was changed up to 9 since; raise it above 9 to take the zone back";
    assert_eq!(problems, [expected]);

    assert_eq!(
        shown(&keeper.load(&files(10, "f A 192.0.2.9")), &NAMES),
        "10 f"
    );
    assert_eq!(keeper.problems().count(), 0);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    let steps = keeper.histories().load()[ZONE].since(9).unwrap();
    assert_eq!((steps[0].removed.len(), steps[0].added.len()), (3, 2));

    // The same after a restart.
    keeper.change(ZONE, change("a", 1)).unwrap();
    assert_eq!(
        shown(&kept().load(&files(12, "g A 192.0.2.9")), &NAMES),
        "12 g"
    );
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn says_when_a_file_changed_without_a_new_serial() {
    let mut keeper = Keeper::new(None);
    keeper.mind_serials();
    keeper.load(&files(7, ""));
    keeper.load(&files(8, "f A 192.0.2.9"));
    assert_eq!(
        (
            keeper.problems().count(),
            keeper.histories().load()[ZONE].last()
        ),
        (0, Some(8))
    );
    keeper.load(&files(8, "f A 192.0.2.9"));
    assert_eq!(
        (
            keeper.problems().count(),
            keeper.histories().load()[ZONE].last()
        ),
        (0, Some(8))
    );

    assert_eq!(
        shown(&keeper.load(&files(8, "g A 192.0.2.9")), &NAMES),
        "8 g"
    );
    assert_eq!(
        (
            keeper.problems().count(),
            keeper.histories().load()[ZONE].last()
        ),
        (1, None)
    );
    keeper.load(&files(9, "g A 192.0.2.9"));
    assert_eq!(keeper.problems().count(), 0);
}

#[test]
fn a_change_that_cannot_be_kept_is_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let mut keeper = Keeper::new(Some(directory.path().join("gone")));
    keeper.load(&files(7, ""));
    let outcome = keeper.change(ZONE, change("a", 1));
    assert_eq!(outcome.map(|_| ()), Err(code::SERVER_FAILURE.into()));
    assert_eq!(shown(&keeper.zones(), &NAMES), "7 ");
    assert_eq!(
        keeper
            .change(b"\x01y\0", change("a", 1))
            .map(|_| ())
            .map_err(|it| it.code),
        Err(code::NOT_AUTHORITATIVE)
    );
}

#[test]
fn names_of_files_are_harmless() {
    let shown = |origin: &[u8]| path(Path::new("/d"), "zone", origin).display().to_string();
    assert_eq!(shown(b"\x01z\0"), "/d/zone-z.journal");
    assert_eq!(shown(b"\0"), "/d/zone-.journal");
    assert_eq!(
        shown(b"\x08../../.x\x01*\0"),
        "/d/zone-%5c.%5c.%2f%5c.%5c.%2f%5c.x.%2a.journal"
    );
}
