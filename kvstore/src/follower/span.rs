//! The range of keys that covers some prefixes.

/// From `start` up to and without `end`, in etcd's notation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Span {
    start: Vec<u8>,
    end: Vec<u8>,
}

impl Span {
    /// The smallest span over all `prefixes`, or `None` without any.
    pub(crate) fn over(prefixes: &[String]) -> Option<Self> {
        let first = prefixes.iter().min()?;
        let ends = prefixes.iter().map(|it| end_of_prefix(it.as_bytes()));
        let end = ends
            .collect::<Option<Vec<_>>>()
            .and_then(|ends| ends.into_iter().max());
        Some(Self {
            start: if first.is_empty() {
                vec![0]
            } else {
                first.as_bytes().to_vec()
            },
            end: end.unwrap_or_else(|| vec![0]),
        })
    }

    pub(crate) fn start(&self) -> &[u8] {
        &self.start
    }

    /// One zero byte means no bound.
    pub(crate) fn end(&self) -> &[u8] {
        &self.end
    }
}

/// The lowest key above all that start with `prefix`, or `None` if there is no such key.
fn end_of_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|it| *it < u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_all_prefixes_and_little_else() {
        check(&[], None);
        check(&["cilium/"], Some(("cilium/", "cilium0")));
        check(&["cilium/", "causeway/"], Some(("causeway/", "cilium0")));
        check(&["a/b/", "a/"], Some(("a/", "a0")));
        check(&["", "a/"], Some(("\0", "\0")));
    }

    #[track_caller]
    fn check(prefixes: &[&str], expected: Option<(&str, &str)>) {
        let prefixes: Vec<String> = prefixes.iter().map(|it| (*it).to_owned()).collect();
        let expected = expected.map(|(start, end)| Span {
            start: start.into(),
            end: end.into(),
        });
        assert_eq!(Span::over(&prefixes), expected);
    }
}
