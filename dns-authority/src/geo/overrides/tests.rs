use proptest::prelude::*;

use super::*;

#[test]
fn lets_the_longest_prefix_win_and_says_how_far_it_reaches() {
    let overrides = parse(&["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "2001:db8::/32"]);

    check(&overrides, "10.200.0.1", "10.0.0.0/8", 9);
    check(&overrides, "10.1.128.0", "10.1.0.0/16", 17);
    check(&overrides, "10.1.2.9", "10.1.2.0/24", 24);
    check(&overrides, "10.1.3.9", "10.1.0.0/16", 24);
    check(&overrides, "192.0.2.1", "-", 1);
    check(&overrides, "2001:db8::1", "2001:db8::/32", 32);
    check(&overrides, "2001:db9::1", "-", 32);

    let mapped = parse(&["::ffff:10.0.0.0/104"]);
    check(&mapped, "10.1.2.3", "10.0.0.0/8", 8);
    check(&mapped, "::1", "-", 0);
}

#[test]
fn knows_nothing_when_empty() {
    check(&Overrides::default(), "192.0.2.1", "-", 0);
}

#[test]
fn reads_a_file_and_says_what_is_wrong_with_it() {
    let text = "- prefix: 10.1.0.0/16\n  latitude: 50.11\n  longitude: 8.68\n  country: DE\n";
    let overrides: Overrides = text.parse().unwrap();
    let (place, _) = overrides.find("10.1.2.3".parse().unwrap());
    assert_eq!(place.unwrap().country.as_deref(), Some("DE"));

    check_error("- prefix: nowhere\n", "1:11: ");
    check_error("- prefix: 10.0.0.0/8\n  lattitude: 1\n", "2:3: ");
    check_error(
        "- {prefix: 10.0.0.0/8, latitude: 1}\n",
        "1:3: 10.0.0.0/8: latitude and",
    );
    check_error(
        "- {prefix: 10.0.0.0/8, latitude: 99, longitude: 0}\n",
        "1:3: 10.0.0.0/8: latitude 99, longitude 0 is no place on Earth",
    );
    check_error(
        "[{prefix: 10.0.0.0/8}, {prefix: 10.0.0.1/8}]",
        "10.0.0.0/8 is given a place twice",
    );
}

proptest! {
    #[test]
    fn agrees_with_trying_every_prefix(
        prefixes in proptest::collection::btree_map(
            (0..8_u8, 0..8_u8).prop_map(|(bits, length)| net(bits << 5, length)), 0..1, 0..12),
        probes in proptest::collection::vec((any::<u8>(), any::<u8>()), 1..8),
    ) {
        let prefixes: Vec<String> = prefixes.keys().map(ToString::to_string).collect();
        let overrides = parse(&prefixes.iter().map(String::as_str).collect::<Vec<_>>());
        let longest = |address: IpAddr| {
            let holding = overrides.places.iter().filter(|it| it.prefix.contains(&address));
            holding.max_by_key(|it| it.prefix.prefix_len())
        };

        for (first, second) in probes {
            let address = IpAddr::from([first, 0, 0, 1]);
            let (place, length) = overrides.find(address);
            prop_assert_eq!(place, longest(address));
            let block = IpNet::new(address, length).unwrap();
            let other = IpAddr::from([second, 7, 7, 7]);
            if block.contains(&other) {
                prop_assert_eq!(overrides.find(other).0, place);
            }
        }
    }
}

fn net(first: u8, length: u8) -> IpNet {
    IpNet::new(IpAddr::from([first, 0, 0, 0]), length)
        .unwrap()
        .trunc()
}

fn parse(prefixes: &[&str]) -> Overrides {
    let entries: Vec<String> = prefixes
        .iter()
        .map(|it| format!("{{prefix: '{it}'}}"))
        .collect();
    format!("[{}]", entries.join(", ")).parse().unwrap()
}

#[track_caller]
fn check(overrides: &Overrides, address: &str, prefix: &str, length: u8) {
    let (place, found) = overrides.find(address.parse().unwrap());
    let place = place.map_or_else(|| "-".to_owned(), |it| it.prefix.to_string());
    assert_eq!((place.as_str(), found), (prefix, length));
}

#[track_caller]
fn check_error(text: &str, expected: &str) {
    let error = text.parse::<Overrides>().unwrap_err().to_string();
    assert!(error.starts_with(expected), "{error}");
}
