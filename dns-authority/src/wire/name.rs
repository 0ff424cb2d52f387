//! Names as they travel: labels, each after its length, up to the empty one of the root (RFC 1035
//! section 3.1).

use std::fmt;

/// RFC 1035 section 2.3.4, the root's label included.
pub const NAME_BYTES_MAX: usize = 255;

/// Labels of one octet each, and the root.
pub const LABELS_MAX: usize = 128;

/// The longest label.
pub const LABEL_BYTES_MAX: usize = 63;

/// A name in lower case, and where its labels begin, for lookups: DNS compares names without regard to
/// the case of ASCII letters (RFC 4343).
#[derive(Clone)]
pub struct Folded {
    octets: [u8; NAME_BYTES_MAX],
    /// Where each label begins; the root's is the last.
    starts: [u8; LABELS_MAX],
    /// Without the root's.
    labels: u8,
}

/// Why octets are no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a domain name")]
pub struct NotAName;

impl Folded {
    /// Reads the name that `bytes` begin with. How many octets it takes is its
    /// [`length`](Self::length).
    ///
    /// # Errors
    ///
    /// The octets end before the name does, it is longer than a name may be, or it goes on elsewhere:
    /// what is asked for stands at the beginning of a message, where there is nothing to point at.
    pub fn read(bytes: &[u8]) -> Result<Self, NotAName> {
        let mut name = Self {
            octets: [0; NAME_BYTES_MAX],
            starts: [0; LABELS_MAX],
            labels: 0,
        };
        let mut at = 0;
        loop {
            let length = usize::from(*bytes.get(at).ok_or(NotAName)?);
            if LABEL_BYTES_MAX < length {
                return Err(NotAName);
            }
            let end = at + 1 + length;
            let label = bytes.get(at..end).ok_or(NotAName)?;
            let place = name.octets.get_mut(at..end).ok_or(NotAName)?;
            place.copy_from_slice(label);
            // A length is below every letter.
            place.make_ascii_lowercase();
            let start = u8::try_from(at).map_err(|_| NotAName)?;
            *name
                .starts
                .get_mut(usize::from(name.labels))
                .ok_or(NotAName)? = start;
            if length == 0 {
                return Ok(name);
            }
            name.labels += 1;
            at = end;
        }
    }

    /// How many labels it has, without the root's.
    pub fn labels(&self) -> usize {
        usize::from(self.labels)
    }

    /// How many octets it takes.
    pub fn length(&self) -> usize {
        self.start(self.labels()) + 1
    }

    /// The name without its first `skipped` labels, of which it must have so many.
    pub fn suffix(&self, skipped: usize) -> &[u8] {
        &self.octets[self.start(skipped)..self.length()]
    }

    pub fn octets(&self) -> &[u8] {
        self.suffix(0)
    }

    /// Where the label with this number begins, the root's being the last.
    fn start(&self, label: usize) -> usize {
        usize::from(self.starts[label])
    }
}

impl fmt::Debug for Folded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", Shown(self.octets()))
    }
}

/// How many octets the name takes that `bytes` begin with, which must be one.
pub fn length(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(length @ 1..) = bytes.get(at) {
        at += 1 + usize::from(*length);
    }
    at + 1
}

/// A name as people read it, what is no printable ASCII as `\DDD` (RFC 4343 section 2.1).
#[derive(Clone, Copy)]
pub struct Shown<'a>(pub &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == [0] {
            return formatter.write_str(".");
        }
        let mut rest = self.0;
        while let Some((length @ 1.., after)) = rest.split_first() {
            let Some((label, after)) = after.split_at_checked(usize::from(*length)) else {
                return Ok(());
            };
            for octet in label {
                match octet {
                    b'.' | b'\\' => write!(formatter, "\\{}", char::from(*octet))?,
                    b'!'..=b'~' => write!(formatter, "{}", char::from(*octet))?,
                    _ => write!(formatter, "\\{octet:03}")?,
                }
            }
            formatter.write_str(".")?;
            rest = after;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Name;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn folds_letters_and_nothing_else() {
        let name = Folded::read(b"\x03WwW\x05b[\x41\xc9.\x00rest").unwrap();

        assert_eq!(name.octets(), b"\x03www\x05b[\x61\xc9.\x00");
        assert_eq!((name.labels(), name.length()), (2, 11));
        assert_eq!(name.suffix(1), b"\x05b[\x61\xc9.\x00");
        assert_eq!(name.suffix(2), [0]);
        assert_eq!(format!("{name:?}"), "www.b[a\\201\\..");
        assert_eq!(format!("{:?}", Folded::read(&[0]).unwrap()), ".");
    }

    #[test]
    fn takes_the_longest_names_and_no_longer_ones() {
        let longest = [[1, b'a']; 127].concat();
        let read = |labels: &[u8]| Folded::read(&[labels, &[0]].concat()).map(|it| it.length());
        assert_eq!(read(&longest), Ok(255));
        assert_eq!(read(&[&longest[..], &[1, b'a']].concat()), Err(NotAName));

        let label = [&[63][..], &[b'x'; 63]].concat();
        assert_eq!(read(&[&label[..], &label, &label].concat()), Ok(193));
        assert_eq!(read(&label.repeat(4)), Err(NotAName));
    }

    #[test]
    fn refuses_what_is_no_name() {
        for bad in [
            &b""[..],
            b"\x03ww",
            b"\x03www",
            b"\x40",
            b"\xc0\x00",
            b"\x80a\x00",
        ] {
            assert_eq!(
                Folded::read(bad).map(|it| it.length()),
                Err(NotAName),
                "{bad:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn reads_what_others_write(labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..12)) {
            let name = Name::from_labels(labels).unwrap();
            let bytes = name.to_lowercase().to_wire();
            let read = Folded::read(&name.to_wire()).unwrap();
            prop_assert_eq!(read.octets(), &bytes[..]);
            prop_assert_eq!(length(&bytes), bytes.len());
            prop_assert_eq!(read.labels(), usize::from(name.num_labels()) + usize::from(name.is_wildcard()));
        }
    }

    trait ToWire {
        fn to_wire(&self) -> Vec<u8>;
    }

    impl ToWire for Name {
        fn to_wire(&self) -> Vec<u8> {
            let mut bytes = Vec::new();
            for label in self.iter() {
                bytes.push(u8::try_from(label.len()).unwrap());
                bytes.extend_from_slice(label);
            }
            bytes.push(0);
            bytes
        }
    }
}
