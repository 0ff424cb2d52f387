//! Decides what two agents that agree on a secret say to each other, byte by byte.
//!
//! ```text
//!  0        4         5      6      8         24      40     56     72          88
//!  ├─ CWPQ ─┼ version ┼ kind ┼ zero ┼ context ┼ nonce ┼ echo ┼ main ┼ alternate ┼ what the kind carries
//! ```
//!
//! Nothing in it is secret, and nothing tells of a secret to whoever does not know it.

use super::secret::{CIPHERTEXT_BYTES, Fingerprint, OFFER_BYTES};

pub const NUMBER_BYTES: usize = 16;

/// The largest datagram; it fits a tunnel of 1,420 bytes, headers included.
pub const BYTES_MAX: usize = HEADER_BYTES + OFFER_BYTES + FILES_MAX * NUMBER_BYTES;

/// Secrets from files that an offer may name: the present one and the former.
pub const FILES_MAX: usize = 2;

const HEADER_BYTES: usize = 88;
const MAGIC: [u8; 4] = *b"CWPQ";
const VERSION: u8 = 1;

/// A number that is used once, drawn by chance.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Nonce(pub [u8; NUMBER_BYTES]);

/// One datagram.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// Stands for both ends' public keys: who believes in others is not spoken with.
    pub context: Fingerprint,
    /// A question's own, which its answer repeats as `echo`; in an answer, what the next question must
    /// repeat in order to change anything.
    pub nonce: Nonce,
    pub echo: Nonce,
    /// What the sender's device has.
    pub held: Held,
    pub body: Body,
}

/// The secrets in a device, told apart without being told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Held {
    pub main: Fingerprint,
    pub alternate: Option<Fingerprint>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Body {
    /// Answers an offer: what only the holder of the offered key makes a secret of.
    Answer(Box<[u8; CIPHERTEXT_BYTES]>),
    /// Answers an offer that names no secret file's content which is known here.
    Differ,
    /// Asks what the other end has.
    Hello,
    /// Wants to be asked.
    Nudge,
    /// Asks for a secret.
    Offer {
        key: Box<[u8; OFFER_BYTES]>,
        files: [Fingerprint; FILES_MAX],
    },
    /// Asks the other end to make its alternate secret the main one.
    Promote,
    /// Answers with what there is.
    State,
}

impl Message {
    /// Reads a datagram; `None` for anything that is no message of this version.
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        let (header, rest) = datagram.split_first_chunk::<HEADER_BYTES>()?;
        let (start, numbers) = header.split_first_chunk::<8>()?;
        let [m0, m1, m2, m3, VERSION, kind, 0, 0] = *start else {
            return None;
        };
        let mut numbers = numbers.as_chunks::<NUMBER_BYTES>().0.iter().copied();
        if [m0, m1, m2, m3] != MAGIC {
            return None;
        }
        Some(Self {
            context: Fingerprint(numbers.next()?),
            nonce: Nonce(numbers.next()?),
            echo: Nonce(numbers.next()?),
            held: Held {
                main: Fingerprint(numbers.next()?),
                alternate: numbers.next().filter(|it| *it != NONE).map(Fingerprint),
            },
            body: Body::parse(kind, rest)?,
        })
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BYTES_MAX);
        bytes.extend(MAGIC);
        bytes.extend([VERSION, self.body.kind(), 0, 0]);
        bytes.extend(self.context.0);
        bytes.extend(self.nonce.0);
        bytes.extend(self.echo.0);
        bytes.extend(self.held.main.0);
        bytes.extend(self.held.alternate.map_or(NONE, |it| it.0));
        match &self.body {
            Body::Answer(ciphertext) => bytes.extend(&ciphertext[..]),
            Body::Offer { key, files } => {
                bytes.extend(&key[..]);
                bytes.extend(files.iter().flat_map(|it| it.0));
            }
            Body::Differ | Body::Hello | Body::Nudge | Body::Promote | Body::State => (),
        }
        bytes
    }
}

/// In place of an alternate secret that there is not.
const NONE: [u8; NUMBER_BYTES] = [0; NUMBER_BYTES];

impl Body {
    fn parse(kind: u8, rest: &[u8]) -> Option<Self> {
        let is_empty = rest.is_empty();
        match kind {
            1 => is_empty.then_some(Self::Hello),
            2 => {
                let (key, files) = rest.split_first_chunk::<OFFER_BYTES>()?;
                let (files, over) = files.as_chunks::<NUMBER_BYTES>();
                let files: [[u8; NUMBER_BYTES]; FILES_MAX] = files.try_into().ok()?;
                over.is_empty().then(|| Self::Offer {
                    key: Box::new(*key),
                    files: files.map(Fingerprint),
                })
            }
            3 => is_empty.then_some(Self::Promote),
            4 => is_empty.then_some(Self::State),
            5 => Some(Self::Answer(Box::new(rest.try_into().ok()?))),
            6 => is_empty.then_some(Self::Differ),
            7 => is_empty.then_some(Self::Nudge),
            _ => None,
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Hello => 1,
            Self::Offer { .. } => 2,
            Self::Promote => 3,
            Self::State => 4,
            Self::Answer(_) => 5,
            Self::Differ => 6,
            Self::Nudge => 7,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fits_a_tunnel() {
        let headers = 28;
        assert!(BYTES_MAX + headers <= 1_420, "{BYTES_MAX}");
    }

    #[test]
    fn is_the_same_on_every_version_of_the_wire() {
        let message = Message {
            context: Fingerprint([1; NUMBER_BYTES]),
            nonce: Nonce([2; NUMBER_BYTES]),
            echo: Nonce([3; NUMBER_BYTES]),
            held: Held {
                main: Fingerprint([4; NUMBER_BYTES]),
                alternate: None,
            },
            body: Body::Promote,
        };

        let numbers: Vec<u8> = [1, 2, 3, 4, 0].map(|it| [it; NUMBER_BYTES]).concat();
        assert_eq!(
            message.to_bytes(),
            [b"CWPQ\x01\x03\0\0", &numbers[..]].concat()
        );
    }

    #[test]
    fn refuses_what_is_longer_shorter_or_of_another_kind() {
        let bytes = hello().to_bytes();
        assert_eq!(Message::parse(&bytes), Some(hello()));
        assert_eq!(Message::parse(&bytes[..87]), None);
        assert_eq!(Message::parse(&[&bytes[..], b"x"].concat()), None);
        for (place, byte) in [(0, b'c'), (4, 2), (5, 2), (5, 5), (5, 8), (6, 1)] {
            let mut other = bytes.clone();
            other[place] = byte;
            assert_eq!(Message::parse(&other), None, "{place}");
        }
    }

    proptest! {
        #[test]
        fn reads_back_what_it_writes(message in message()) {
            let bytes = message.to_bytes();
            prop_assert!(bytes.len() <= BYTES_MAX);
            prop_assert_eq!(Message::parse(&bytes), Some(message));
        }

        #[test]
        fn takes_any_bytes_without_a_panic(kind in 0..9_u8, rest in prop::collection::vec(any::<u8>(), 0..2_000)) {
            let mut bytes = hello().to_bytes();
            bytes[5] = kind;
            bytes.extend(&rest);
            let _ = Message::parse(&bytes);
            let _ = Message::parse(&rest);
        }
    }

    fn hello() -> Message {
        Message {
            context: Fingerprint([7; NUMBER_BYTES]),
            nonce: Nonce::default(),
            echo: Nonce::default(),
            held: Held {
                main: Fingerprint([0; NUMBER_BYTES]),
                alternate: Some(Fingerprint([9; NUMBER_BYTES])),
            },
            body: Body::Hello,
        }
    }

    fn message() -> impl Strategy<Value = Message> {
        let fingerprint = || any::<[u8; NUMBER_BYTES]>().prop_map(Fingerprint);
        let body = prop_oneof![
            any::<u8>().prop_map(|it| Body::Answer(Box::new([it; CIPHERTEXT_BYTES]))),
            Just(Body::Differ),
            Just(Body::Hello),
            Just(Body::Nudge),
            (any::<u8>(), [fingerprint(), fingerprint()]).prop_map(|(it, files)| Body::Offer {
                key: Box::new([it; OFFER_BYTES]),
                files,
            }),
            Just(Body::Promote),
            Just(Body::State),
        ];
        let held = (
            fingerprint(),
            prop::option::of(prop::array::uniform16(1..u8::MAX)),
        );
        (fingerprint(), any::<[[u8; NUMBER_BYTES]; 2]>(), held, body).prop_map(
            |(context, [nonce, echo], (main, alternate), body)| Message {
                context,
                nonce: Nonce(nonce),
                echo: Nonce(echo),
                held: Held {
                    main,
                    alternate: alternate.map(Fingerprint),
                },
                body,
            },
        )
    }
}
