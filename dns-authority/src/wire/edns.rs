//! What a client says of itself and wants beside the answer: EDNS (RFC 6891) and its options.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// An OPT record of a query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edns<'a> {
    /// Octets that the client takes over UDP. Less than 512 means 512 (section 6.2.5).
    pub payload: u16,
    pub version: u8,
    pub dnssec_ok: bool,
    /// The client knows that a name does not exist by a proof that says so of its records
    /// (RFC 9824 section 5.1).
    pub compact_ok: bool,
    /// Whom a resolver asks for (RFC 7871).
    pub subnet: Option<IpNet>,
    /// The client's part, and the server's if the client has one (RFC 7873): 8 or 16 to 40 octets.
    pub cookie: Option<&'a [u8]>,
    /// Which server is it? (RFC 5001)
    pub wants_name: bool,
    /// Answers may be made longer, against those who guess by their length (RFC 7830).
    pub is_padded: bool,
    /// How long may the connection idle? (RFC 7828)
    pub wants_patience: bool,
}

/// The OPT record's options break a rule of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an EDNS option is malformed")]
pub struct Malformed;

pub const OPTION_NAME: u16 = 3;
pub const OPTION_SUBNET: u16 = 8;
pub const OPTION_COOKIE: u16 = 10;
pub const OPTION_PATIENCE: u16 = 11;
pub const OPTION_PADDING: u16 = 12;
pub const OPTION_ERROR: u16 = 15;

/// RFC 6891 section 6.1.4: the bit of the flags that asks for DNSSEC (RFC 3225).
const DNSSEC_OK: u8 = 0x80;
const COMPACT_OK: u8 = 0x40;

/// Address families of RFC 7871, as IANA numbers them.
const FAMILY_V4: u16 = 1;
const FAMILY_V6: u16 = 2;

impl<'a> Edns<'a> {
    /// Reads an OPT record by its class, its time to live and its data (section 6.1.2).
    ///
    /// # Errors
    ///
    /// A client that cannot spell an option gets FORMERR, not a guess.
    pub(super) fn read(class: u16, ttl: [u8; 4], data: &'a [u8]) -> Result<Self, Malformed> {
        let [_, version, flags, _] = ttl;
        let mut edns = Self {
            payload: class,
            version,
            dnssec_ok: flags & DNSSEC_OK != 0,
            compact_ok: flags & COMPACT_OK != 0,
            ..Self::default()
        };
        let mut rest = data;
        while let Some((head, after)) = rest.split_first_chunk::<4>() {
            let [code_high, code_low, length_high, length_low] = *head;
            let length = u16::from_be_bytes([length_high, length_low]);
            let (value, after) = after
                .split_at_checked(usize::from(length))
                .ok_or(Malformed)?;
            edns.take(u16::from_be_bytes([code_high, code_low]), value)?;
            rest = after;
        }
        if rest.is_empty() {
            Ok(edns)
        } else {
            Err(Malformed)
        }
    }

    fn take(&mut self, code: u16, value: &'a [u8]) -> Result<(), Malformed> {
        match code {
            OPTION_NAME => self.wants_name = true,
            OPTION_SUBNET => self.subnet = Some(subnet(value).ok_or(Malformed)?),
            OPTION_COOKIE => match value.len() {
                8 | 16..=40 => self.cookie = Some(value),
                _ => return Err(Malformed),
            },
            // The value is the server's to give.
            OPTION_PATIENCE if value.is_empty() => self.wants_patience = true,
            OPTION_PATIENCE => return Err(Malformed),
            OPTION_PADDING => self.is_padded = true,
            // What we do not know is passed over (RFC 6891 section 6.1.2).
            _ => (),
        }
        Ok(())
    }
}

/// The network of a client-subnet option, unless it breaks RFC 7871 section 6 or 7.1.2: more or fewer
/// octets than the prefix has, bits beyond it, or a scope, which is the server's to say.
fn subnet(value: &[u8]) -> Option<IpNet> {
    let (&[family_high, family_low, source, scope], octets) = value.split_first_chunk::<4>()?;
    let address: IpAddr = match u16::from_be_bytes([family_high, family_low]) {
        FAMILY_V4 => Ipv4Addr::from(filled::<4>(octets)?).into(),
        FAMILY_V6 => Ipv6Addr::from(filled::<16>(octets)?).into(),
        _ => return None,
    };
    let network = IpNet::new(address, source).ok()?;
    let is_exact = octets.len() == usize::from(source.div_ceil(8)) && network.trunc() == network;
    (is_exact && scope == 0).then_some(network)
}

/// The octets with zeros behind them.
fn filled<const LENGTH: usize>(octets: &[u8]) -> Option<[u8; LENGTH]> {
    let mut filled = [0; LENGTH];
    filled.get_mut(..octets.len())?.copy_from_slice(octets);
    Some(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_clients_send() {
        let options: Vec<u8> = [
            &[0, 3, 0, 0][..],
            &[0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2],
            &[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8],
            &[0, 11, 0, 0],
            &[0, 12, 0, 2, 0, 0],
            &[0xff, 0xf0, 0, 1, 7],
        ]
        .concat();
        let edns = Edns::read(1232, [0, 0, 0xc0, 0], &options);

        let expected = Edns {
            payload: 1232,
            version: 0,
            dnssec_ok: true,
            compact_ok: true,
            subnet: Some("192.0.2.0/24".parse().unwrap()),
            cookie: Some(&[1, 2, 3, 4, 5, 6, 7, 8]),
            wants_name: true,
            is_padded: true,
            wants_patience: true,
        };
        assert_eq!(edns, Ok(expected));
        let plain = Edns::read(4096, [0, 1, 0, 0], &[]);
        assert_eq!(
            plain.map(|it| (it.payload, it.version, it.dnssec_ok)),
            Ok((4096, 1, false))
        );
    }

    #[test]
    fn refuses_what_breaks_a_rule() {
        for bad in [
            &[0][..],
            &[0, 8, 0],
            &[0, 8, 0, 1],
            &[0, 10, 0, 7, 1, 2, 3, 4, 5, 6, 7],
            &[0, 10, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9],
            &[0, 11, 0, 2, 0, 1],
        ] {
            assert_eq!(Edns::read(512, [0; 4], bad), Err(Malformed), "{bad:?}");
        }
    }

    #[test]
    fn knows_networks_by_their_rules() {
        let read = |octets: &[u8]| subnet(octets).map(|it| it.to_string());
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(read(&[0, 1, 0, 0]), some("0.0.0.0/0"));
        assert_eq!(read(&[0, 1, 20, 0, 192, 0, 16]), some("192.0.16.0/20"));
        assert_eq!(read(&[0, 1, 32, 0, 192, 0, 2, 1]), some("192.0.2.1/32"));
        assert_eq!(
            read(&[0, 2, 33, 0, 0x20, 1, 0xd, 0xb8, 0x80]),
            some("2001:db8:8000::/33")
        );

        for bad in [
            &[0, 1, 20][..],
            &[0, 3, 0, 0],
            &[0, 1, 33, 0, 1, 2, 3, 4, 5],
            &[0, 1, 24, 0, 192, 0],
            &[0, 1, 24, 0, 192, 0, 2, 0],
            &[0, 1, 20, 0, 192, 0, 17],
            &[0, 1, 24, 24, 192, 0, 2],
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
