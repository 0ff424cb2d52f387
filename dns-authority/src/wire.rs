//! Messages as they travel (RFC 1035 section 4): read and written in place, without a copy of what is
//! not needed and without memory of its own for each query.

pub mod code;
pub mod edns;
pub mod kind;
pub mod name;
pub mod query;
pub mod reply;
pub mod whole;

/// The Internet's, which is the only one that is served.
pub const CLASS_IN: u16 = 1;
