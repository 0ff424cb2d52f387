//! Names as they travel: labels, each after its length, up to the empty one of the root (RFC 1035
//! section 3.1).

use std::fmt;

/// RFC 1035 section 2.3.4, the root's label included.
pub const NAME_BYTES_MAX: usize = 255;

/// The name without labels.
pub const ROOT: &[u8] = &[0];

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

    /// Reads a name as people write it, whose last dot may be missing (see [`parse`]).
    ///
    /// # Errors
    ///
    /// What is wrong, for behind a colon.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let name = parse(text, &[0])?;
        Ok(Self::read(&name).expect("just made as one"))
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

/// Reads a name as people write it (RFC 1035 section 5.1), in the case they do: `@` is `origin`, and what
/// does not end with a dot goes on with it. `\.` is a dot within a label, `\DDD` any octet.
///
/// # Errors
///
/// What is wrong, for behind a colon.
pub fn parse(text: &str, origin: &[u8]) -> Result<Vec<u8>, &'static str> {
    match text {
        "@" => return Ok(origin.to_vec()),
        "." => return Ok(vec![0]),
        "" => return Err(EMPTY_LABEL),
        _ => (),
    }
    let mut name = vec![0];
    let mut label_at = 0;
    let mut rest = text.as_bytes();
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        match octet {
            b'.' => {
                end_label(&mut name, label_at)?;
                label_at = name.len();
                name.push(0);
            }
            b'\\' => name.push(unescaped(&mut rest)?),
            other => name.push(other),
        }
    }
    let is_absolute = name.len() == label_at + 1;
    if !is_absolute {
        end_label(&mut name, label_at)?;
        name.extend_from_slice(origin);
    }
    if NAME_BYTES_MAX < name.len() {
        return Err("it is longer than 255 octets");
    }
    Ok(name)
}

const EMPTY_LABEL: &str = "a label is empty";

fn end_label(name: &mut [u8], label_at: usize) -> Result<(), &'static str> {
    let length = name.len() - label_at - 1;
    if length == 0 {
        return Err(EMPTY_LABEL);
    }
    let length = u8::try_from(length).ok();
    let length = length.filter(|it| usize::from(*it) <= LABEL_BYTES_MAX);
    name[label_at] = length.ok_or("a label is longer than 63 octets")?;
    Ok(())
}

/// The octet that follows a backslash.
fn unescaped(rest: &mut &[u8]) -> Result<u8, &'static str> {
    const WRONG: &str = "`\\` needs a character or three digits (000 to 255)";
    let (&first, after) = rest.split_first().ok_or(WRONG)?;
    if !first.is_ascii_digit() {
        *rest = after;
        return Ok(first);
    }
    let (digits, after) = rest.split_first_chunk::<3>().ok_or(WRONG)?;
    *rest = after;
    let digits = str::from_utf8(digits).ok();
    digits.and_then(|it| it.parse().ok()).ok_or(WRONG)
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

    #[test]
    fn reads_names_as_they_are_written() {
        let check = |text: &str, expected: &str| {
            let name = parse(text, b"\x01z\x00").map(|it| Shown(&it).to_string());
            assert_eq!(name.unwrap_or_else(str::to_owned), expected, "{text}");
        };
        check("Www.EU", "Www.EU.z.");
        check("a.b.", "a.b.");
        check("@", "z.");
        check(".", ".");
        check(r"a\.b\065\000", r"a\.bA\000.z.");
        check("*", "*.z.");
        check("", "a label is empty");
        check("a..b", "a label is empty");
        check(".a", "a label is empty");
        check("..", "a label is empty");
        check(&"x".repeat(64), "a label is longer than 63 octets");
        check(&"x.".repeat(128), "it is longer than 255 octets");
        check(
            r"a\25",
            r"`\` needs a character or three digits (000 to 255)",
        );
        check(r"a\", r"`\` needs a character or three digits (000 to 255)");
        check(
            r"a\256",
            r"`\` needs a character or three digits (000 to 255)",
        );
    }

    proptest! {
        #[test]
        fn reads_what_it_shows(labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 1..12)) {
            let name = Name::from_labels(labels).unwrap().to_wire();
            prop_assert_eq!(parse(&Shown(&name).to_string(), &[0]), Ok(name));
        }

        #[test]
        fn never_panics_on_text(text in r"[a-z0-9.\\@é]{0,300}") {
            let _ = parse(&text, b"\x01z\x00");
        }

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
