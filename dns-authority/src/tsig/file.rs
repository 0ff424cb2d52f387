//! Reads files of keys as `tsig-keygen` writes them: `key "name" { algorithm hmac-sha256; secret "…"; };`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Algorithm, Key, Keys};
use crate::wire::name::Folded;

/// What is wrong with a file of keys. It never has any of a secret in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}: {message}")]
pub struct KeyFileError {
    pub line: usize,
    pub message: String,
}

/// Shorter secrets can be guessed.
const SECRET_BYTES_MIN: usize = 16;
/// Nobody has so many keys, or so long ones.
const KEYS_MAX: usize = 1000;

/// Reads the keys of a file.
///
/// # Errors
///
/// It has another form, a key twice, or one that is too short to be secret.
pub fn read_keys(text: &str) -> Result<Keys, KeyFileError> {
    let mut words = Words {
        words: words(text)?,
        next: 0,
    };
    let mut keys: Vec<Key> = Vec::new();
    while !words.is_at_end() {
        let line = words.line();
        words.expect("key")?;
        let key = key(&mut words)?;
        if keys.iter().any(|it| it.name() == key.name()) {
            return Err(error(line, format!("key {key:?} is here twice")));
        }
        keys.push(key);
        if KEYS_MAX < keys.len() {
            return Err(error(line, format!("more than {KEYS_MAX} keys")));
        }
    }
    Ok(Keys::new(keys))
}

fn key(words: &mut Words<'_>) -> Result<Key, KeyFileError> {
    let (line, text) = words.take("a name")?;
    let name = Folded::parse(text);
    let name = name.map_err(|it| error(line, format!("`{text}` is not a name: {it}")))?;
    words.expect("{")?;
    let (mut algorithm, mut secret) = (None, None);
    while !words.is("}") {
        let (line, word) = words.take("`algorithm` or `secret`")?;
        match word {
            "algorithm" => algorithm = Some(self::algorithm(words)?),
            "secret" => secret = Some(self::secret(words)?),
            _ => return Err(error(line, "expected `algorithm` or `secret`")),
        }
        words.expect(";")?;
    }
    words.expect("}")?;
    words.expect(";")?;
    let missing = |what: &str| error(line, format!("key {text} has no {what}"));
    let algorithm = algorithm.ok_or_else(|| missing("algorithm"))?;
    Ok(Key::new(
        name.octets(),
        algorithm,
        &secret.ok_or_else(|| missing("secret"))?,
    ))
}

fn algorithm(words: &mut Words<'_>) -> Result<Algorithm, KeyFileError> {
    let (line, text) = words.take("an algorithm")?;
    let plain = text.trim_end_matches('.').to_ascii_lowercase();
    let known = Algorithm::ALL.into_iter().find(|it| it.text() == plain);
    known.ok_or_else(|| {
        let all = Algorithm::ALL.map(Algorithm::text).join(", ");
        error(
            line,
            format!("`{text}` is none of {all}; make a key with `tsig-keygen -a hmac-sha256`"),
        )
    })
}

fn secret(words: &mut Words<'_>) -> Result<Vec<u8>, KeyFileError> {
    let (line, text) = words.take("a secret")?;
    let secret = STANDARD.decode(text);
    let secret = secret.map_err(|_| error(line, "the secret is not base64"))?;
    match secret.len() < SECRET_BYTES_MIN {
        true => Err(error(
            line,
            "the secret has fewer than 128 bits; make one with `tsig-keygen`",
        )),
        false => Ok(secret),
    }
}

struct Words<'a> {
    words: Vec<(usize, &'a str)>,
    next: usize,
}

impl<'a> Words<'a> {
    fn is_at_end(&self) -> bool {
        self.words.len() <= self.next
    }

    fn is(&self, word: &str) -> bool {
        self.words.get(self.next).is_some_and(|it| it.1 == word)
    }

    fn line(&self) -> usize {
        let last = self.words.get(self.next).or_else(|| self.words.last());
        last.map_or(1, |it| it.0)
    }

    fn take(&mut self, what: &str) -> Result<(usize, &'a str), KeyFileError> {
        let word = self.words.get(self.next).copied();
        let word = word.filter(|it| !["{", "}", ";"].contains(&it.1));
        let word = word.ok_or_else(|| error(self.line(), format!("expected {what}")))?;
        self.next += 1;
        Ok(word)
    }

    fn expect(&mut self, word: &str) -> Result<(), KeyFileError> {
        if !self.is(word) {
            return Err(error(self.line(), format!("expected `{word}`")));
        }
        self.next += 1;
        Ok(())
    }
}

/// The words of a text with their lines; comments as in C, C++ and the shell are none.
fn words(text: &str) -> Result<Vec<(usize, &str)>, KeyFileError> {
    let mut words = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let (length, word) = match first {
            _ if first.is_whitespace() => (first.len_utf8(), None),
            '#' => (rest.find('\n').unwrap_or(rest.len()), None),
            _ if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), None),
            _ if rest.starts_with("/*") => {
                let end = rest.find("*/");
                (
                    end.ok_or_else(|| error(line, "the comment has no end"))? + 2,
                    None,
                )
            }
            '{' | '}' | ';' => (1, Some(&rest[..1])),
            '"' => {
                let end = rest[1..].find(['"', '\n']);
                let end = end.filter(|it| rest[1 + it..].starts_with('"'));
                let end = end.ok_or_else(|| error(line, "the string has no end"))?;
                (end + 2, Some(&rest[1..=end]))
            }
            _ => {
                let is_end = |it: char| it.is_whitespace() || "{};\"#".contains(it);
                let end = rest.find(is_end).unwrap_or(rest.len());
                (end, Some(&rest[..end]))
            }
        };
        words.extend(word.map(|it| (line, it)));
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    Ok(words)
}

fn error(line: usize, message: impl Into<String>) -> KeyFileError {
    KeyFileError {
        line,
        message: message.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_tsig_keygen_writes() {
        let text = "
# two keys
key \"Transfer.example\" {
\talgorithm hmac-sha256;
\tsecret \"MDEyMzQ1Njc4OWFiY2RlZg==\"; // sixteen octets
};
key other { secret MDEyMzQ1Njc4OWFiY2RlZg==; algorithm HMAC-SHA512.; }; /* the
end */";
        let keys = read_keys(text).unwrap();

        let shown: Vec<String> = keys.0.values().map(|it| format!("{it:?}")).collect();
        assert_eq!(
            shown,
            ["other. (hmac-sha512)", "transfer.example. (hmac-sha256)"]
        );
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        let check = |text: &str, expected: &str| {
            let shown = read_keys(text).unwrap_err().to_string();
            assert!(shown.starts_with(expected), "{text}: {shown}");
            assert!(!shown.contains("c2VjcmV0"), "{shown}");
        };
        check("key", "1: expected a name");
        check("zone x {};", "1: expected `key`");
        check("key a..b {", "1: `a..b` is not a name");
        check(
            "key a {\nsecret c2VjcmV0;\n};",
            "2: the secret has fewer than 128 bits",
        );
        check(
            "key a {\nsecret \"c2VjcmV0\n\";",
            "2: the string has no end",
        );
        check(
            "key a {\n\nalgorithm hmac-md5; };",
            "3: `hmac-md5` is none of hmac-sha1, ",
        );
        check(
            "key a { algorithm hmac-sha256; };",
            "1: key a has no secret",
        );
        check("/* \n", "1: the comment has no end");
        let one = "key a { algorithm hmac-sha1; secret MDEyMzQ1Njc4OWFiY2RlZg==; };\n";
        check(&one.repeat(2), "2: key a. (hmac-sha1) is here twice");
    }
}
