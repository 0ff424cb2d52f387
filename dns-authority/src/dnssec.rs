//! Signs answers when they are given (RFC 4033 to 4035): what a zone says of a name depends on who asks,
//! so that no signature can be made before somebody does.
//!
//! In reading order: a zone's [`keys`] come from files and go through the stages of a [`roll`]-over; each
//! set of records is brought into its [`canonical`] form and signed once, for the [`cache`] keeps what
//! was signed; [`denial`] proves what is not there.

pub mod algorithm;
pub mod attach;
pub mod cache;
pub mod canonical;
pub(crate) mod delegation;
pub mod denial;
pub mod directory;
pub mod keys;
mod near;
pub mod parent;
pub mod records;
pub mod roll;
pub mod signer;
