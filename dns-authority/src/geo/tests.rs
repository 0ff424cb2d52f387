use proptest::prelude::*;
use topology::select;

use super::*;

#[test]
fn lets_the_operator_decide_then_the_mesh_then_databases() {
    let operator = layer("[{prefix: 10.1.0.0/16, latitude: 1, longitude: 1, name: office}]");
    let mesh = layer(
        "[{prefix: 10.0.0.0/8, latitude: 2, longitude: 2, name: eu-1}, \
          {prefix: 10.1.0.0/20, latitude: 3, longitude: 3}, {prefix: 10.9.0.0/16}]",
    );
    let atlas = Atlas::of_layers(vec![operator, mesh], Vec::new());

    check_place(&atlas, "10.1.2.3", Some(1.0), 16);
    check_place(&atlas, "::ffff:10.1.2.3", Some(1.0), 16);
    check_place(&atlas, "10.2.0.1", Some(2.0), 15);
    check_place(&atlas, "10.9.0.1", None, 16);
    check_place(&atlas, "192.0.2.1", None, 1);
    let office = atlas.describe("10.1.2.3".parse().unwrap());
    assert_eq!(office.name.as_deref(), Some("office"));
    assert_eq!(office.source.as_deref(), Some("override 10.1.0.0/16"));
    assert!(16 <= office.prefix_length);
}

#[test]
fn ranks_across_the_antimeridian() {
    let atlas = atlas("[{prefix: 10.0.0.0/8, latitude: -18, longitude: 178}]");
    // From Fiji, Samoa is nearer than Sydney, though its longitude is 350° away.
    let [samoa, sydney] = [(-14.0, -172.0), (-34.0, 151.0)].map(|it| Some(place(it.0, it.1)));
    let ranking = atlas.rank([sydney, samoa, None, samoa]).unwrap();

    let ranks = |address: &str| {
        let (ranks, length) = ranking.find(address.parse().unwrap());
        ([sydney, samoa, None].map(|it| ranks.of(it)), length)
    };
    assert_eq!(ranks("10.1.2.3"), ([1, 0, 2], 8));
    assert_eq!(ranks("11.1.2.3"), ([0, 0, 0], 8));
    assert_eq!(ranks("2001:db8::1"), ([0, 0, 0], 0));
    let (ranks, _) = ranking.find("10.1.2.3".parse().unwrap());
    assert_eq!(ranks.of(Some(place(1.0, 1.0))), u8::MAX);
}

#[test]
fn shares_a_ranking_among_equal_places_in_any_order() {
    let atlas = atlas("[{prefix: 10.0.0.0/8, latitude: 1, longitude: 1}]");
    let (here, there) = (Some(place(0.0, 0.0)), Some(place(5.0, 5.0)));
    let first = atlas.rank([here, there]).unwrap();
    let second = atlas.rank([there, here, there]).unwrap();
    let other = atlas.rank([there, None]).unwrap();

    assert!(Arc::ptr_eq(&first, &second));
    assert!(!Arc::ptr_eq(&first, &other));
}

#[test]
fn leaves_more_places_than_it_compares_to_the_query() {
    let many = |count: u8| -> Vec<_> {
        (0..count)
            .map(|it| Some(place(f64::from(it), 0.0)))
            .collect()
    };
    let max = u8::try_from(ranking::PLACES_MAX).unwrap();

    assert!(Atlas::default().rank(many(max)).is_some());
    assert!(Atlas::default().rank(many(max + 1)).is_none());
}

proptest! {
    /// Against trying every address of a small universe, /8s: whichever candidates are alive, the
    /// nearest by rank are the nearest by distance, and everybody in the scope gets the same list,
    /// but not everybody in the next shorter prefix.
    #[test]
    fn ranks_as_distances_do_and_no_prefix_could_be_shorter(
        blocks in proptest::collection::btree_map(
            (any::<u8>(), 1..=8_u8).prop_map(|(bits, length)| net(bits, length)), anywhere(), 0..12),
        candidates in proptest::collection::vec(proptest::option::weighted(0.9, anywhere()), 1..6),
        alive in any::<u8>(),
    ) {
        let entries: Vec<String> = blocks.iter().map(|(prefix, (latitude, longitude))| {
            format!("{{prefix: {prefix}, latitude: {latitude}, longitude: {longitude}}}")
        }).collect();
        let atlas = atlas(&format!("[{}]", entries.join(", ")));
        let places: Vec<_> = candidates.iter()
            .map(|it| it.map(|(latitude, longitude)| place(latitude, longitude)))
            .collect();
        let ranking = atlas.rank(places.iter().copied()).unwrap();
        let list = |block: u8| ranking.find(address(block));

        for block in 0..=255 {
            let (ranks, length) = list(block);
            let client = atlas.locate(address(block));
            let pool: Vec<usize> = (0..places.len()).filter(|it| alive >> it & 1 == 1).collect();
            let (nearest, _) = select::nearest(client.location, &pool, |it| places[*it]);
            let nearest: Vec<usize> = nearest.into_iter().copied().collect();
            let rank = |it: &usize| ranks.of(places[*it]);
            let least = pool.iter().map(rank).min();
            let chosen: Vec<usize> = pool.into_iter().filter(|it| Some(rank(it)) == least).collect();
            prop_assert_eq!(chosen, nearest);

            let is_uniform = |length: u8| {
                let prefix = net(block, length);
                (0..=255).filter(|it| prefix.contains(&address(*it))).all(|it| list(it).0 == ranks)
            };
            prop_assert!(is_uniform(length));
            prop_assert!(length == 0 || !is_uniform(length - 1));
            // A location decides the list.
            prop_assert!(length <= client.prefix_length);
        }
    }
}

fn anywhere() -> impl Strategy<Value = (f64, f64)> {
    // Few, so that some are equally near.
    (-3..=3_i32, -6..=6_i32)
        .prop_map(|(latitude, longitude)| (f64::from(latitude * 30), f64::from(longitude * 30)))
}

fn net(first: u8, length: u8) -> ipnet::IpNet {
    ipnet::IpNet::new(address(first), length).unwrap().trunc()
}

fn address(first: u8) -> IpAddr {
    IpAddr::from([first, 0, 0, 0])
}

fn place(latitude: f64, longitude: f64) -> Location {
    Location::new(latitude, longitude).unwrap()
}

fn atlas(text: &str) -> Atlas {
    Atlas::new(layer(text), Vec::new())
}

fn layer(text: &str) -> Overrides {
    text.parse().unwrap()
}

#[track_caller]
fn check_place(atlas: &Atlas, address: &str, latitude: Option<f64>, length: u8) {
    let Fix {
        location,
        prefix_length,
    } = atlas.locate(address.parse().unwrap());
    assert_eq!(
        (location.map(Location::latitude), prefix_length),
        (latitude, length)
    );
}
