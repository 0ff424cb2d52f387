//! Decides whether a client showed that it is where it says it is: DNS cookies (RFC 7873), made as
//! RFC 9018 says, so that every server with the same secret takes them.

use std::fmt;
use std::net::IpAddr;

use siphasher::sip::SipHasher24;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// A cookie as it goes back to a client: its own part, and ours.
pub type Cookie = [u8; CLIENT_BYTES + SERVER_BYTES];

/// What servers share to take each other's cookies.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<[u8; SECRET_BYTES]>);

/// The secret that cookies are made with, and one whose cookies are still taken, so that a change
/// of secrets surprises no client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secrets {
    current: Secret,
    previous: Option<Secret>,
}

/// What a client's cookie says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It came from where it says it did, lately.
    Proven,
    /// It may be anybody. The cookie tells it what to come back with.
    Unproven,
}

/// Why a text holds no secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected one secret of 32 hexadecimal digits, and on the next line the former one if there is one; \
     `openssl rand -hex 16` makes one"
)]
pub struct NoSecrets;

const SECRET_BYTES: usize = 16;
const CLIENT_BYTES: usize = 8;
const SERVER_BYTES: usize = 16;
/// RFC 9018 section 4: the version, and three octets that are 0.
const HEAD: [u8; 4] = [1, 0, 0, 0];

/// RFC 9018 section 4.3, in seconds.
const AGE_MAX: i32 = 3600;
const AHEAD_MAX: i32 = 300;

impl Secret {
    pub fn new(octets: [u8; SECRET_BYTES]) -> Self {
        Self(octets.into())
    }

    /// The server's part of a cookie that is made at `seconds`.
    fn make(&self, client_part: &[u8], seconds: u32, client: IpAddr) -> [u8; SERVER_BYTES] {
        let mut cookie = [0; SERVER_BYTES];
        cookie[..4].copy_from_slice(&HEAD);
        cookie[4..8].copy_from_slice(&seconds.to_be_bytes());
        let mut text = [0; CLIENT_BYTES + 8 + 16];
        text[..CLIENT_BYTES].copy_from_slice(client_part);
        text[CLIENT_BYTES..16].copy_from_slice(&cookie[..8]);
        let length = match client {
            IpAddr::V4(it) => {
                text[16..20].copy_from_slice(&it.octets());
                20
            }
            IpAddr::V6(it) => {
                text[16..].copy_from_slice(&it.octets());
                32
            }
        };
        let hash = SipHasher24::new_with_key(&self.0).hash(&text[..length]);
        cookie[8..].copy_from_slice(&hash.to_le_bytes());
        cookie
    }

    fn made(&self, cookie: &[u8], seconds: u32, client: IpAddr) -> bool {
        let (client_part, server_part) = cookie.split_at(CLIENT_BYTES);
        let expected = self.make(client_part, seconds, client);
        expected.ct_eq(server_part).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

impl Secrets {
    pub fn new(current: Secret) -> Self {
        Self {
            current,
            previous: None,
        }
    }

    /// Reads a file of secrets, the current one first.
    ///
    /// # Errors
    ///
    /// It is something else.
    pub fn read(text: &str) -> Result<Self, NoSecrets> {
        let mut lines = text.lines().map(str::trim).filter(|it| !it.is_empty());
        let current = secret(lines.next().ok_or(NoSecrets)?)?;
        let previous = lines.next().map(secret).transpose()?;
        match lines.next() {
            Some(_) => Err(NoSecrets),
            None => Ok(Self { current, previous }),
        }
    }

    /// Judges what `client` sent at `seconds` of Unix time, and makes the cookie that it gets.
    ///
    /// `sent` is the client's part of 8 octets, and maybe a server's. A secret that is new on one
    /// server may be unknown on the others, which is why it takes the place of the former slowly:
    /// first as the previous one everywhere, then as the current one.
    pub fn judge(&self, sent: &[u8], client: IpAddr, seconds: u32) -> (Standing, Cookie) {
        let client_part = &sent[..CLIENT_BYTES];
        let mut cookie = [0; CLIENT_BYTES + SERVER_BYTES];
        cookie[..CLIENT_BYTES].copy_from_slice(client_part);
        let ours = self.current.make(client_part, seconds, client);
        cookie[CLIENT_BYTES..].copy_from_slice(&ours);
        let standing = match self.is_ours(sent, client, seconds) {
            true => Standing::Proven,
            false => Standing::Unproven,
        };
        (standing, cookie)
    }

    fn is_ours(&self, sent: &[u8], client: IpAddr, seconds: u32) -> bool {
        let made_at = match *sent {
            [_, _, _, _, _, _, _, _, 1, _, _, _, t0, t1, t2, t3, ..]
                if sent.len() == CLIENT_BYTES + SERVER_BYTES =>
            {
                u32::from_be_bytes([t0, t1, t2, t3])
            }
            _ => return false,
        };
        // Serial arithmetic: 32 bits of seconds end in 2106, and nothing happens then.
        let age = seconds.wrapping_sub(made_at).cast_signed();
        (-AHEAD_MAX..=AGE_MAX).contains(&age)
            && (self.current.made(sent, made_at, client)
                || self
                    .previous
                    .as_ref()
                    .is_some_and(|it| it.made(sent, made_at, client)))
    }
}

fn secret(digits: &str) -> Result<Secret, NoSecrets> {
    let digits = digits.as_bytes();
    if digits.len() != 2 * SECRET_BYTES {
        return Err(NoSecrets);
    }
    let digit = |it: u8| char::from(it).to_digit(16).ok_or(NoSecrets);
    let mut octets = [0; SECRET_BYTES];
    for (octet, pair) in octets.iter_mut().zip(digits.chunks(2)) {
        let value = digit(pair[0])? << 4 | digit(pair[1])?;
        *octet = u8::try_from(value).map_err(|_| NoSecrets)?;
    }
    Ok(Secret::new(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9018 appendix A.1.
    const SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";
    const CLIENT: &str = "198.51.100.100";
    const MADE_AT: u32 = 1_559_731_985;
    const COOKIE: &str = "2464c4abcf10c957010000005cf79f111f8130c3eee29480";

    #[test]
    fn makes_the_cookies_that_other_servers_make() {
        let (standing, cookie) = judge(SECRET, &COOKIE[..16], CLIENT, MADE_AT);
        assert_eq!((standing, &*cookie), (Standing::Unproven, COOKIE));

        // Appendix A.4.
        let secret = "445536bcd2513298075a5d379663c962";
        let client = "2001:db8:220:1:59de:d0f4:8769:82b8";
        let (_, cookie) = judge(secret, "22681ab97d52c298", client, 1_559_741_961);
        assert_eq!(cookie, "22681ab97d52c298010000005cf7c609a6bb79d16625507a");
    }

    #[test]
    fn knows_its_own_cookies_for_an_hour() {
        let standing = |seconds| judge(SECRET, COOKIE, CLIENT, seconds).0;
        for seconds in [MADE_AT, MADE_AT + 3600, MADE_AT - 300] {
            assert_eq!(standing(seconds), Standing::Proven, "{seconds}");
        }
        for seconds in [MADE_AT + 3601, MADE_AT - 301] {
            assert_eq!(standing(seconds), Standing::Unproven, "{seconds}");
        }
    }

    #[test]
    fn trusts_nothing_that_somebody_else_could_have_made() {
        let check = |cookie: &str, client: &str| {
            let (standing, _) = judge(SECRET, cookie, client, MADE_AT);
            assert_eq!(standing, Standing::Unproven, "{cookie}");
        };
        check(COOKIE, "198.51.100.101");
        for place in 0..COOKIE.len() {
            let digit = if &COOKIE[place..=place] == "0" {
                "1"
            } else {
                "0"
            };
            let mut cookie = COOKIE.to_owned();
            cookie.replace_range(place..=place, digit);
            check(&cookie, CLIENT);
        }
        check(&format!("{COOKIE}00"), CLIENT);
        check(&COOKIE[..32], CLIENT);
    }

    #[test]
    fn takes_the_former_secrets_cookies_and_makes_new_ones() {
        let new = "00000000000000000000000000000001";
        let both = format!("{new}\n{SECRET}\n");
        let (standing, cookie) = judge(&both, COOKIE, CLIENT, MADE_AT);
        assert_eq!(standing, Standing::Proven);
        assert_eq!(judge(new, &cookie, CLIENT, MADE_AT).0, Standing::Proven);
        assert_eq!(judge(new, COOKIE, CLIENT, MADE_AT).0, Standing::Unproven);
    }

    #[test]
    fn refuses_what_are_no_secrets_and_shows_none() {
        let three = format!("{SECRET}\n{SECRET}\n{SECRET}");
        for bad in ["", "\n", "e5", &SECRET.replace('e', "g"), &three] {
            assert_eq!(Secrets::read(bad), Err(NoSecrets), "{bad:?}");
        }
        let shown = format!("{:?}", Secrets::read(SECRET));
        assert!(!shown.contains("229") && !shown.contains("e5"), "{shown}");
    }

    fn judge(secrets: &str, sent: &str, client: &str, seconds: u32) -> (Standing, String) {
        let sent: Vec<u8> = (0..sent.len() / 2)
            .map(|it| u8::from_str_radix(&sent[2 * it..2 * it + 2], 16).unwrap())
            .collect();
        let secrets = Secrets::read(secrets).unwrap();
        let (standing, cookie) = secrets.judge(&sent, client.parse().unwrap(), seconds);
        let cookie = cookie.iter().map(|it| format!("{it:02x}")).collect();
        (standing, cookie)
    }
}
