//! Names right beside others in the order of DNSSEC (RFC 4034 section 6.1), between which there is room
//! for no other name, or for none that anybody has.

use crate::wire::name::{LABEL_BYTES_MAX, NAME_BYTES_MAX};

/// The first name after `name`, which is in lower case: it is below it, unless there is no room below.
pub(super) fn first_below(name: &[u8], origin: &[u8]) -> Vec<u8> {
    if name.len() + 2 <= NAME_BYTES_MAX {
        [&[1, 0], name].concat()
    } else {
        after(name, origin)
    }
}

/// The first name after `name` and all below it; that of the zone, from which the order begins anew, if
/// there is none.
pub(super) fn after(name: &[u8], origin: &[u8]) -> Vec<u8> {
    if name.len() <= origin.len() {
        return origin.to_vec();
    }
    let (label, parent) = split(name);
    let mut label = label.to_vec();
    if label.len() < LABEL_BYTES_MAX && name.len() < NAME_BYTES_MAX {
        label.push(0);
        return join(&label, parent);
    }
    while let Some(octet) = label.pop() {
        if octet < u8::MAX {
            // What is above `@` is below `[`: capital letters are in the places of small ones.
            label.push(if octet == b'@' { b'[' } else { octet + 1 });
            return join(&label, parent);
        }
    }
    after(parent, origin)
}

/// The last name before `name`, which is not that of the zone, but for those that end with one of the
/// longest labels. May be the name above.
pub(super) fn before(name: &[u8]) -> Vec<u8> {
    let (label, parent) = split(name);
    let mut label = label.to_vec();
    match label.pop() {
        None | Some(0) if label.is_empty() => parent.to_vec(),
        None | Some(0) => {
            let shorter = join(&label, parent);
            join(&[u8::MAX; LABEL_BYTES_MAX][..room(&shorter)], &shorter)
        }
        Some(octet) => {
            label.push(if octet == b'[' { b'@' } else { octet - 1 });
            let length = label.len() + room(parent).saturating_sub(label.len());
            label.resize(length, u8::MAX);
            join(&label, parent)
        }
    }
}

/// How long a label may be before `parent`.
fn room(parent: &[u8]) -> usize {
    (NAME_BYTES_MAX - parent.len())
        .saturating_sub(1)
        .min(LABEL_BYTES_MAX)
}

/// The first label, and the name above.
fn split(name: &[u8]) -> (&[u8], &[u8]) {
    let (length, rest) = name.split_first().expect("names end with the root");
    rest.split_at(usize::from(*length))
}

fn join(label: &[u8], parent: &[u8]) -> Vec<u8> {
    if label.is_empty() {
        return parent.to_vec();
    }
    let length = u8::try_from(label.len()).expect("labels have at most 63 octets");
    [&[length], label, parent].concat()
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;

    const ORIGIN: &[u8] = b"\x01z\x00";

    #[test]
    fn finds_neighbors() {
        let of = |label: &[u8]| join(label, ORIGIN);
        assert_eq!(first_below(&of(b"a"), ORIGIN), b"\x01\x00\x01a\x01z\x00");
        assert_eq!(after(&of(b"a"), ORIGIN), b"\x02a\x00\x01z\x00");
        assert_eq!(after(ORIGIN, ORIGIN), ORIGIN);
        assert_eq!(before(&of(b"\x00")), ORIGIN);
        assert_eq!(before(&of(b"["))[..3], [63, b'@', 255]);
        assert_eq!(before(&of(b"a\x00"))[..2], [63, 255]);
        let full = of(&[u8::MAX; 63]);
        assert_eq!(after(&full, ORIGIN), ORIGIN);
        let last = [&[b'a'; 62][..], b"@"].concat();
        assert_eq!(after(&of(&last), ORIGIN)[63], b'[');
    }

    proptest! {
        #[test]
        fn leaves_no_room_for_others(
            name in label(), other in label(), below in prop::option::of(label())
        ) {
            let name = join(&name, ORIGIN);
            let other = join(&other, ORIGIN);
            let other = below.map_or_else(|| other.clone(), |it| join(&it, &other));

            let (before, first, after) = (before(&name), first_below(&name, ORIGIN), after(&name, ORIGIN));
            prop_assert_eq!(compare(&before, &name), Ordering::Less);
            prop_assert_eq!(compare(&name, &first), Ordering::Less);
            prop_assert_eq!(compare(&first, &after), Ordering::Less);
            if compare(&other, &name) == Ordering::Less {
                prop_assert_ne!(compare(&before, &other), Ordering::Less, "{:?} {:?}", before, other);
            }
            if compare(&name, &other) == Ordering::Less {
                prop_assert_ne!(compare(&other, &first), Ordering::Less);
                prop_assert_eq!(labels(&other).starts_with(&labels(&name)), compare(&other, &after) == Ordering::Less);
            }
        }

        #[test]
        fn makes_names_of_the_longest(count in 1_usize..4, octet in any::<u8>(), last in 1_usize..=61) {
            let mut name = vec![0];
            for _ in 0..count {
                name = join(&[octet.to_ascii_lowercase(); 63], &name);
            }
            let name = join(&vec![octet.to_ascii_lowercase(); last], &name);
            for near in [before(&name), first_below(&name, &[0]), after(&name, &[0])] {
                prop_assert!(crate::wire::name::Folded::read(&near).is_ok(), "{:?}", near);
            }
        }
    }

    /// Of few letters, so that names meet, and not so long that nobody has them.
    fn label() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(&b"\x00\x01@[_`abz{\xfe\xff"[..]), 1..4)
    }

    fn compare(a: &[u8], b: &[u8]) -> Ordering {
        labels(a).cmp(&labels(b))
    }

    fn labels(name: &[u8]) -> Vec<&[u8]> {
        let mut labels = Vec::new();
        let mut rest = name;
        while rest != [0] {
            let (label, parent) = split(rest);
            labels.push(label);
            rest = parent;
        }
        labels.reverse();
        labels
    }
}
