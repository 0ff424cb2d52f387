//! Decides whether an endpoint slice keeps to the peer's contract. Its bytes are mirrored as they
//! came; they are only read where the contract says which addresses pods may have.
//!
//! A slice is upstream's `ClusterEndpointSlice`, a protocol buffer in a zstd frame. It is read field
//! by field where it lies: nothing in it can make us take more memory than it unpacks to.

use std::net::IpAddr;

use topology::id::{ClusterName, ServiceName};

use super::contract::{Breach, Contract, breach};

/// Kubernetes stores no object beyond 1.5 MiB, and a slice says little more than its object does.
const MESSAGE_BYTES_MAX: usize = 2 << 20;

const CLUSTER: u64 = 1;
const NAMESPACE: u64 = 3;
const NAME: u64 = 4;
const ENDPOINT: u64 = 8;
/// Of an endpoint.
const ADDRESS: u64 = 1;

impl Contract {
    /// Whether the slice is about what its key says, and all its addresses are permitted.
    pub(super) fn check_endpoint_slice(
        &self,
        cluster: &ClusterName,
        name: &ServiceName,
        frame: &[u8],
    ) -> Result<(), Breach> {
        if self.pod_prefixes.is_none() {
            return Ok(());
        }
        let message = zstd::bulk::decompress(frame, MESSAGE_BYTES_MAX).map_err(|problem| {
            let what =
                format!("it unpacks to no slice of at most {MESSAGE_BYTES_MAX} bytes: {problem}");
            breach(UNREADABLE, what)
        })?;
        for field in Fields(&message) {
            match field? {
                (CLUSTER, value) => expect("cluster name", value, cluster.as_str())?,
                (NAMESPACE, value) => expect("namespace", value, name.namespace())?,
                (NAME, value) => expect("name", value, name.name())?,
                (ENDPOINT, value) => self.check_endpoint(value)?,
                _ => (),
            }
        }
        Ok(())
    }

    fn check_endpoint(&self, value: Value<'_>) -> Result<(), Breach> {
        for field in Fields(value.bytes()?) {
            if let (ADDRESS, value) = field? {
                let text = value.text()?;
                let address: IpAddr = text
                    .parse()
                    .map_err(|_| breach(UNREADABLE, format!("{text:?} is no address")))?;
                self.check_backend(address)?;
            }
        }
        Ok(())
    }
}

const UNREADABLE: &str = "no-slice";

fn expect(field: &str, value: Value<'_>, expected: &str) -> Result<(), Breach> {
    let got = value.text()?;
    if got == expected {
        return Ok(());
    }
    let what = format!("{field} does not match the key: got {got:?}, expected {expected:?}");
    Err(breach("mismatch", what))
}

/// The fields of a message in their order, by number, up to the first that cannot be read.
struct Fields<'a>(&'a [u8]);

#[derive(Clone, Copy)]
enum Value<'a> {
    Bytes(&'a [u8]),
    /// Of a fixed or a variable size, and of no interest.
    Number,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Breach>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.take_field().ok_or_else(malformed);
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn take_field(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.take_varint()?;
        let value = match tag & 7 {
            0 => {
                self.take_varint()?;
                Value::Number
            }
            1 => self.0.split_off(..8).map(|_| Value::Number)?,
            2 => {
                let length = usize::try_from(self.take_varint()?).ok()?;
                Value::Bytes(self.0.split_off(..length)?)
            }
            5 => self.0.split_off(..4).map(|_| Value::Number)?,
            _ => return None,
        };
        // A reader that cuts a larger number off would take the field for another one.
        (1..FIELDS_END)
            .contains(&(tag >> 3))
            .then_some((tag >> 3, value))
    }

    /// Seven bits per byte, lowest first; the top bit says that more follow.
    fn take_varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = *self.0.split_off_first()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

/// Protocol buffers number no field beyond.
const FIELDS_END: u64 = 1 << 29;

impl<'a> Value<'a> {
    fn bytes(self) -> Result<&'a [u8], Breach> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Number => Err(malformed()),
        }
    }

    fn text(self) -> Result<&'a str, Breach> {
        std::str::from_utf8(self.bytes()?).map_err(|_| malformed())
    }
}

fn malformed() -> Breach {
    breach(
        UNREADABLE,
        "no message of a slice is in its frame".to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn permits_the_addresses_that_the_contract_names() {
        check(&slice(&["10.1.0.9", "192.0.2.7"]), None);
        check(&slice(&["fd00::1"]), Some("backend-address"));
        check(&slice(&["10.1.0.9", "10.2.0.9"]), Some("backend-address"));
        check(&slice(&["10.1.0.9", "web"]), Some("no-slice"));
        check(&[], None);
    }

    #[test]
    fn holds_what_a_slice_says_against_its_key() {
        let honest = [text(1, "eu"), text(3, "shop"), text(4, "web-1")].concat();
        check(&honest, None);
        check(&text(1, "us"), Some("mismatch"));
        check(&text(3, "bank"), Some("mismatch"));
        check(&text(4, "web-2"), Some("mismatch"));
    }

    #[test]
    fn passes_over_fields_that_it_does_not_know() {
        let fields: [&[u8]; 4] = [
            &[0x10, 0xac, 0x02],             // 2: varint 300
            &[0x79, 1, 2, 3, 4, 5, 6, 7, 8], // 15: eight bytes
            &[0x7d, 1, 2, 3, 4],             // 15: four bytes
            &[0x8a, 0x01, 2, 0xff, 0xff],    // 17: no text
        ];
        check(
            &[&fields.concat()[..], &slice(&["10.1.0.9"])].concat(),
            None,
        );
        check(
            &[&fields.concat()[..], &slice(&["10.2.0.9"])].concat(),
            Some("backend-address"),
        );
    }

    #[test]
    fn drops_what_is_no_message() {
        for broken in [
            &[0x42][..],      // a length is missing
            &[0x42, 5, 0x0a], // fewer bytes than it says
            &[
                0x42, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
            ],
            &[0xff; 11],                           // a number without an end
            &[0x40, 1],                            // an endpoint that is a number
            &[0x0a, 1, 0xff],                      // a name that is no text
            &[0x0b],                               // a group
            &[0x02, 0],                            // field 0
            &[0xc2, 0x80, 0x80, 0x80, 0x80, 1, 0], // field 8 + 2^32
        ] {
            check(broken, Some("no-slice"));
        }
        check_frame(b"no frame", Some("no-slice"));
        let mut cut = frame(&slice(&["10.1.0.9"]));
        cut.pop();
        check_frame(&cut, Some("no-slice"));
    }

    #[test]
    fn unpacks_no_more_than_a_slice_can_have() {
        let sized = |bytes: usize| text(17, &"0".repeat(bytes));
        check(&sized(MESSAGE_BYTES_MAX - 100), None);

        let bomb = frame(&sized(MESSAGE_BYTES_MAX));
        assert!(bomb.len() < 1_000);
        check_frame(&bomb, Some("no-slice"));
        // One that does not say how much is in it.
        let mut stream = zstd::stream::Encoder::new(Vec::new(), 0).unwrap();
        std::io::Write::write_all(&mut stream, &sized(MESSAGE_BYTES_MAX)).unwrap();
        check_frame(&stream.finish().unwrap(), Some("no-slice"));
    }

    #[test]
    fn reads_nothing_where_no_address_is_forbidden() {
        let contract = parse("nodeCIDRs: [192.0.2.0/24]\nnamespaces: [shop]\n");
        let (cluster, name) = names();
        let checked = contract.check_endpoint_slice(&cluster, &name, b"no frame");
        assert_eq!(checked, Ok(()));
    }

    #[track_caller]
    fn check(message: &[u8], expected: Option<&str>) {
        check_frame(&frame(message), expected);
    }

    #[track_caller]
    fn check_frame(frame: &[u8], expected: Option<&str>) {
        let contract = parse("podCIDRs: [10.1.0.0/16]\nnodeCIDRs: [192.0.2.0/24]\n");
        let (cluster, name) = names();
        let checked = contract.check_endpoint_slice(&cluster, &name, frame);
        let reason = checked.as_ref().err().map(|it| it.reason);
        assert_eq!(reason, expected, "{checked:?}");
    }

    fn parse(text: &str) -> Contract {
        Contract::parse(Path::new("/mesh/eu.contract.yaml"), "eu", text).unwrap()
    }

    fn names() -> (ClusterName, ServiceName) {
        ("eu".parse().unwrap(), "shop/web-1".parse().unwrap())
    }

    /// A message with an endpoint for each address.
    fn slice(addresses: &[&str]) -> Vec<u8> {
        let endpoints = addresses.iter().map(|it| bytes(8, &text(1, it)));
        endpoints.collect::<Vec<_>>().concat()
    }

    fn text(field: u8, text: &str) -> Vec<u8> {
        bytes(field, text.as_bytes())
    }

    fn bytes(field: u8, value: &[u8]) -> Vec<u8> {
        let (tag, length) = (usize::from(field << 3 | 2), value.len());
        let mut bytes = Vec::new();
        for mut number in [tag, length] {
            while 0x80 <= number {
                bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
                number >>= 7;
            }
            bytes.push(u8::try_from(number).unwrap());
        }
        [&bytes, value].concat()
    }

    fn frame(message: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(message, 0).unwrap()
    }
}
