//! Response codes (RFC 6895 section 2.3), and why an answer is what it is (RFC 8914).

use std::fmt;

pub const NO_ERROR: u16 = 0;
pub const FORMAT_ERROR: u16 = 1;
pub const SERVER_FAILURE: u16 = 2;
pub const NO_NAME: u16 = 3;
pub const NOT_IMPLEMENTED: u16 = 4;
pub const REFUSED: u16 = 5;
/// A DNAME leads to a name that is too long (RFC 6672 section 2.2).
pub const NAME_TOO_LONG: u16 = 6;
/// The same number, of an update's prerequisite (RFC 2136 section 2.2), as are the next four.
pub const NAME_EXISTS: u16 = 6;
pub const SET_EXISTS: u16 = 7;
pub const NO_SET: u16 = 8;
/// The server is not responsible, or the signature proves nothing (RFC 8945 section 3).
pub const NOT_AUTHORITATIVE: u16 = 9;
pub const NOT_OF_ZONE: u16 = 10;
pub const BAD_VERSION: u16 = 16;
/// The client shall come back with the cookie beside it (RFC 7873).
pub const BAD_COOKIE: u16 = 23;

/// A response code as `dig` writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown(pub u16);

impl fmt::Display for Shown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            NO_ERROR => "NOERROR",
            FORMAT_ERROR => "FORMERR",
            SERVER_FAILURE => "SERVFAIL",
            NO_NAME => "NXDOMAIN",
            NOT_IMPLEMENTED => "NOTIMP",
            REFUSED => "REFUSED",
            NAME_TOO_LONG => "YXDOMAIN",
            SET_EXISTS => "YXRRSET",
            NO_SET => "NXRRSET",
            NOT_AUTHORITATIVE => "NOTAUTH",
            NOT_OF_ZONE => "NOTZONE",
            BAD_VERSION => "BADVERS",
            BAD_COOKIE => "BADCOOKIE",
            other => return write!(formatter, "RCODE{other}"),
        };
        formatter.write_str(name)
    }
}

/// What is said beside the code (RFC 8914 section 4): its number, and a text for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remark {
    pub number: u16,
    pub text: &'static str,
}

/// Nothing that has a number of its own.
pub const REMARK_OTHER: u16 = 0;
/// The answer holds no more, as far as is known, and is better than none.
pub const REMARK_STALE: u16 = 3;
pub const REMARK_NOT_READY: u16 = 14;
/// The server is not responsible for the name.
pub const REMARK_NOT_AUTHORITATIVE: u16 = 20;
/// The zone cannot be answered from: it was not received yet, or has expired.
pub const REMARK_INVALID_DATA: u16 = 24;
