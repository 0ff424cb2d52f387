//! Decides whether a password is right, without keeping it.

use std::fmt;

/// bcrypt's own default and etcd's: a tenth of a second on a small machine.
const COST: u32 = 10;

/// The hash of no password at all, to look at when a user does not exist: whoever guesses names
/// must not learn from the time that an answer takes.
const NOBODYS: &str = "$2b$10$abcdefghijklmnopqrstuuSPdjUuULmqJKcYwRBfFpCxQJkkI9dbO";

/// A password as bcrypt leaves it, salt and cost included. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Takes a tenth of a second of the processor: not for async threads. As in etcd only the first
    /// 72 bytes count.
    pub fn of(password: &str) -> Self {
        let hash = bcrypt::hash(password, COST).expect("the cost is within bcrypt's bounds");
        Self(hash)
    }

    /// As slow as [`of`](Self::of); as slow without a hash, and then the answer is no.
    pub fn verify(hash: Option<&Self>, password: &str) -> bool {
        let text = hash.map_or(NOBODYS, |it| it.0.as_str());
        let equal = bcrypt::verify(password, text).unwrap_or(false);
        equal && hash.is_some()
    }

    /// A hash that [`text`](Self::text) gave out once.
    pub(super) fn from_text(text: String) -> Self {
        Self(text)
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_a_password_again_and_no_other() {
        let hash = PasswordHash::of("secret");

        assert!(PasswordHash::verify(Some(&hash), "secret"));
        assert!(!PasswordHash::verify(Some(&hash), "Secret"));
        assert!(!PasswordHash::verify(Some(&hash), ""));
        assert!(!PasswordHash::verify(None, ""));
        assert_ne!(hash, PasswordHash::of("secret"), "salted");
        assert!(!format!("{hash:?}").contains(hash.text()));
    }

    #[test]
    fn knows_what_another_bcrypt_wrote() {
        let hash = "$2a$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW".to_owned();
        let hash = PasswordHash::from_text(hash);
        assert!(PasswordHash::verify(Some(&hash), "abc123xyz"));
        assert!(!PasswordHash::verify(Some(&hash), "abc123xy"));
    }

    #[test]
    fn takes_as_long_for_a_user_who_does_not_exist() {
        let parts: bcrypt::HashParts = NOBODYS.parse().unwrap();
        assert_eq!(parts.get_cost(), COST);
        assert_eq!(bcrypt::verify("anything", NOBODYS).ok(), Some(false));
    }
}
