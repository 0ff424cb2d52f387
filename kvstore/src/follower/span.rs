//! Which keys a name covers, and the range that covers some names.

use crate::mvcc::end_of_prefix;

/// Whether `name` covers `key`. One that ends with `/` covers all keys that begin so, the empty one
/// all keys, and any other is a key itself.
pub(crate) fn covers(name: &str, key: &str) -> bool {
    if is_prefix(name) {
        key.starts_with(name)
    } else {
        key == name
    }
}

/// From `start` up to and without `end`, in etcd's notation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Span {
    start: Vec<u8>,
    end: Vec<u8>,
}

impl Span {
    /// Exactly what `name` covers.
    pub(crate) fn of(name: &str) -> Self {
        Self {
            start: start(name),
            // A key alone must be asked for as such: it may be all that the store permits.
            end: if is_prefix(name) {
                end(name).unwrap_or_else(|| vec![0])
            } else {
                Vec::new()
            },
        }
    }

    /// The smallest span over all `names`, or `None` without any.
    pub(crate) fn over(names: &[String]) -> Option<Self> {
        if let [name] = names {
            return Some(Self::of(name));
        }
        let first = names.iter().min()?;
        let ends = names.iter().map(|it| end(it)).collect::<Option<Vec<_>>>();
        let last = ends.and_then(|ends| ends.into_iter().max());
        Some(Self {
            start: start(first),
            end: last.unwrap_or_else(|| vec![0]),
        })
    }

    pub(crate) fn start(&self) -> &[u8] {
        &self.start
    }

    /// One zero byte means no bound, and nothing that the span is its start alone.
    pub(crate) fn end(&self) -> &[u8] {
        &self.end
    }

    pub(crate) fn is_one_key(&self) -> bool {
        self.end.is_empty()
    }
}

fn is_prefix(name: &str) -> bool {
    name.is_empty() || name.ends_with('/')
}

/// No key at all would mean something else to etcd than the lowest.
fn start(name: &str) -> Vec<u8> {
    if name.is_empty() {
        vec![0]
    } else {
        name.into()
    }
}

/// The lowest key above all that `name` covers, or `None` if there is no such key.
fn end(name: &str) -> Option<Vec<u8>> {
    if is_prefix(name) {
        end_of_prefix(name.as_bytes())
    } else {
        Some([name.as_bytes(), &[0]].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_all_names_and_little_else() {
        check(&[], None);
        check(&["cilium/"], Some(("cilium/", "cilium0")));
        check(&["cilium/", "causeway/"], Some(("causeway/", "cilium0")));
        check(&["a/b/", "a/"], Some(("a/", "a0")));
        check(&["", "a/"], Some(("\0", "\0")));
        check(&["a/key"], Some(("a/key", "")));
        check(&["a/key", "a/b/"], Some(("a/b/", "a/key\0")));
    }

    #[test]
    fn takes_a_name_without_a_slash_for_one_key() {
        assert!(covers("a/", "a/b"));
        assert!(covers("", "a/b"));
        assert!(covers("a/b", "a/b"));
        assert!(!covers("a/b", "a/b-2"));
        assert!(!covers("a/", "a"));
    }

    #[track_caller]
    fn check(names: &[&str], expected: Option<(&str, &str)>) {
        let names: Vec<String> = names.iter().map(|it| (*it).to_owned()).collect();
        let expected = expected.map(|(start, end)| Span {
            start: start.into(),
            end: end.into(),
        });
        assert_eq!(Span::over(&names), expected);
    }
}
