//! Messages as they travel (RFC 1035 section 4): read and written in place, without a copy of what is
//! not needed and without memory of its own for each query.

pub mod edns;
pub mod name;
pub mod query;
pub mod reply;
