//! Decides which tokens stand for whom: handed out for a password, gone when nobody used them for a
//! while.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

/// As etcd: how long a token lives after it was used last.
const TTL: Duration = Duration::from_secs(300);

/// Far more than a mesh has clients; beyond it the token that would end first ends now.
const TOKENS_MAX: usize = 10_000;

/// ```text
/// insert ─▶ valid ─ user() ─▶ valid, for its whole time again
///             └─ its time is over, its user is forgotten, too many others ─▶ gone
/// ```
#[derive(Default)]
pub struct Tokens {
    by_token: BTreeMap<String, Token>,
    by_expiry: BTreeSet<(Instant, String)>,
}

struct Token {
    user: String,
    expiry: Instant,
}

impl Tokens {
    /// From now on `token`, which nobody can guess and nobody has yet, stands for `user`.
    pub fn insert(&mut self, token: String, user: String, now: Instant) {
        self.expire(now);
        while TOKENS_MAX <= self.by_token.len()
            && let Some((_, first)) = self.by_expiry.pop_first()
        {
            self.by_token.remove(&first);
        }
        let expiry = now + TTL;
        self.by_expiry.insert((expiry, token.clone()));
        self.by_token.insert(token, Token { user, expiry });
    }

    /// Whom `token` stands for; using it prolongs its life.
    pub fn user(&mut self, token: &str, now: Instant) -> Option<&str> {
        self.expire(now);
        let found = self.by_token.get_mut(token)?;
        let renewed = now + TTL;
        if found.expiry < renewed {
            self.by_expiry.remove(&(found.expiry, token.to_owned()));
            self.by_expiry.insert((renewed, token.to_owned()));
            found.expiry = renewed;
        }
        Some(&found.user)
    }

    /// Ends the tokens of a user who is no more, or whose password is another now.
    pub fn forget(&mut self, user: &str) {
        self.by_token.retain(|_, it| it.user != user);
        let by_token = &self.by_token;
        self.by_expiry.retain(|(_, it)| by_token.contains_key(it));
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn expire(&mut self, now: Instant) {
        while let Some((expiry, token)) = self.by_expiry.first()
            && *expiry <= now
        {
            self.by_token.remove(token);
            self.by_expiry.pop_first();
        }
    }
}

/// Shows no token.
impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("count", &self.by_token.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_a_token_live_as_long_as_it_is_used() {
        let start = now();
        let mut tokens = Tokens::default();
        tokens.insert("t".to_owned(), "eve".to_owned(), start);

        let late = start + TTL - Duration::from_secs(1);
        assert_eq!(tokens.user("t", late), Some("eve"));
        assert_eq!(tokens.user("u", late), None);
        assert_eq!(tokens.user("t", start + TTL), Some("eve"), "was used");
        assert_eq!(tokens.user("t", start + TTL + TTL), None, "was not");
        assert!(tokens.by_expiry.is_empty() && tokens.by_token.is_empty());
    }

    #[test]
    fn ends_all_tokens_of_one_user() {
        let mut tokens = Tokens::default();
        for (token, user) in [("1", "eve"), ("2", "bob"), ("3", "eve")] {
            tokens.insert(token.to_owned(), user.to_owned(), now());
        }

        tokens.forget("eve");

        let left = ["1", "2", "3"].map(|it| tokens.user(it, now()).is_some());
        assert_eq!(left, [false, true, false]);
        assert_eq!(tokens.by_expiry.len(), 1);
        tokens.clear();
        assert_eq!(tokens.user("2", now()), None);
    }

    #[test]
    fn never_holds_more_than_its_limit() {
        let start = now();
        let mut tokens = Tokens::default();
        for number in 0..=TOKENS_MAX {
            tokens.insert(number.to_string(), "eve".to_owned(), start);
        }

        assert_eq!(tokens.by_token.len(), TOKENS_MAX);
        assert_eq!(tokens.by_expiry.len(), TOKENS_MAX);
        let last = TOKENS_MAX.to_string();
        assert!(tokens.user(&last, start).is_some());
    }

    #[test]
    fn shows_no_token() {
        let mut tokens = Tokens::default();
        tokens.insert("secret".to_owned(), "eve".to_owned(), now());
        assert!(!format!("{tokens:?}").contains("secret"));
    }

    #[expect(clippy::disallowed_methods, reason = "any time will do")]
    fn now() -> Instant {
        Instant::now()
    }
}
