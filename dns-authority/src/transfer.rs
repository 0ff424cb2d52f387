//! Zones on their way between servers: copies given out (RFC 5936, RFC 1995), copies kept, the word that
//! something changed (RFC 1996), and changes that others are allowed to make (RFC 2136).

pub mod desk;
pub mod fetch;
pub mod incoming;
pub mod notify;
pub mod options;
pub mod outgoing;
pub mod timers;
