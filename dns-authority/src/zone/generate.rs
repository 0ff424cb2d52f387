//! What `$GENERATE` makes of a record: one for each number of a range, which stands where the record has
//! a `$` (as in BIND's administrator manual).

use super::lex::Token;
use crate::text::ParseError;

/// More records than any range of addresses that is named one by one.
const NUMBERS_MAX: usize = 1 << 20;

/// The numbers of `first-last` or `first-last/step`.
pub(super) fn range(token: &Token<'_>) -> Result<impl Iterator<Item = u32> + use<>, ParseError> {
    let error = |why: &str| ParseError::new(token.position, format!("`{}` {why}", token.raw));
    let (ends, step) = token.raw.split_once('/').unwrap_or((token.raw, "1"));
    let ends = ends.split_once('-');
    let ends = ends.and_then(|(first, last)| Some((number(first)?, number(last)?)));
    let (Some((first, last)), Some(step @ 1..)) = (ends, number(step)) else {
        return Err(error("is not a range: 1-254, 0-100/2"));
    };
    let numbers = (first..=last).step_by(usize::try_from(step).unwrap_or(usize::MAX));
    if last < first {
        return Err(error("ends before it begins"));
    }
    match numbers.size_hint() {
        (_, Some(..=NUMBERS_MAX)) => Ok(numbers),
        _ => Err(error("makes more records than a million")),
    }
}

fn number(digits: &str) -> Option<u32> {
    digits.parse().ok()
}

/// A word of a record, cut where the number goes.
#[derive(Debug)]
pub(super) struct Template<'a>(Vec<Part<'a>>);

#[derive(Debug)]
enum Part<'a> {
    Number(Format),
    Text(&'a str),
}

/// `${offset,width,base}`
#[derive(Clone, Copy, Debug)]
struct Format {
    offset: i64,
    width: usize,
    base: Base,
}

#[derive(Clone, Copy, Debug)]
enum Base {
    Decimal,
    Hexadecimal,
    HexadecimalCapital,
    Octal,
    /// Hexadecimal digits from the last on, with dots between, as names in `ip6.arpa` have them.
    Nibble,
    NibbleCapital,
}

/// A name's length: wider numbers are in nothing.
const WIDTH_MAX: usize = 255;

impl<'a> Template<'a> {
    pub(super) fn new(token: &Token<'a>) -> Result<Self, ParseError> {
        let mut parts = Vec::new();
        let mut rest = token.raw;
        while let Some(at) = rest.find(['$', '\\']) {
            let (before, from) = rest.split_at(at);
            parts.push(Part::Text(before));
            rest = if let Some(after) = from.strip_prefix("$$") {
                parts.push(Part::Text("$"));
                after
            } else if let Some(after) = from.strip_prefix("\\$") {
                parts.push(Part::Text("$"));
                after
            } else if from.starts_with('\\') {
                let length = from.chars().take(2).map(char::len_utf8).sum();
                let (escape, after) = from.split_at(length);
                parts.push(Part::Text(escape));
                after
            } else if let Some(after) = from.strip_prefix("${") {
                let parsed = after
                    .split_once('}')
                    .and_then(|(format, after)| Some((Format::new(format)?, after)));
                let wrong = || {
                    let message = format!(
                        "`{}` has no `${{offset,width,base}}` that makes sense",
                        token.raw
                    );
                    ParseError::new(token.position, message)
                };
                let (format, after) = parsed.ok_or_else(wrong)?;
                parts.push(Part::Number(format));
                after
            } else {
                parts.push(Part::Number(Format::PLAIN));
                &from[1..]
            };
        }
        parts.push(Part::Text(rest));
        Ok(Self(parts))
    }

    pub(super) fn with(&self, number: u32) -> String {
        self.0
            .iter()
            .map(|part| match part {
                Part::Number(format) => format.of(number),
                Part::Text(text) => (*text).to_owned(),
            })
            .collect()
    }
}

impl Format {
    const PLAIN: Self = Self {
        offset: 0,
        width: 0,
        base: Base::Decimal,
    };

    fn new(text: &str) -> Option<Self> {
        let mut parts = text.split(',');
        let offset = parts
            .next()?
            .parse()
            .ok()
            .filter(|it: &i64| it.abs() <= i64::from(u32::MAX))?;
        let width = parts
            .next()
            .map_or(Some(0), |it| it.parse().ok().filter(|it| *it <= WIDTH_MAX))?;
        let base = match parts.next() {
            None | Some("d") => Base::Decimal,
            Some("o") => Base::Octal,
            Some("x") => Base::Hexadecimal,
            Some("X") => Base::HexadecimalCapital,
            Some("n") => Base::Nibble,
            Some("N") => Base::NibbleCapital,
            Some(_) => return None,
        };
        parts.next().is_none().then_some(Self {
            offset,
            width,
            base,
        })
    }

    fn of(&self, number: u32) -> String {
        let Self { width, .. } = *self;
        let number = i64::from(number) + self.offset;
        match self.base {
            Base::Decimal => format!("{number:0width$}"),
            Base::Octal => format!("{number:0width$o}"),
            Base::Hexadecimal => format!("{number:0width$x}"),
            Base::HexadecimalCapital => format!("{number:0width$X}"),
            Base::Nibble => nibbles(&format!("{number:x}"), width),
            Base::NibbleCapital => nibbles(&format!("{number:X}"), width),
        }
    }
}

/// `digits` from the last to the first with dots between, so that it has `width` characters, dots included.
fn nibbles(digits: &str, width: usize) -> String {
    let count = digits.len().max(width.div_ceil(2));
    let digits: Vec<String> = digits
        .chars()
        .rev()
        .chain(std::iter::repeat('0'))
        .take(count)
        .map(String::from)
        .collect();
    digits.join(".")
}
