//! Notices that files changed: reads them again and again.

use std::time::Duration;

/// How often the files are read. They are small, and a change that takes effect within seconds is early
/// enough.
const READ_INTERVAL: Duration = Duration::from_secs(1);

/// Hands what `read` gives to `take_over` when that is another than before, beginning with `known`; for
/// as long as the process runs.
pub(super) async fn follow<Content: PartialEq + Send + 'static>(
    known: Content,
    read: impl Fn() -> Content + Clone + Send + 'static,
    mut take_over: impl FnMut(&Content),
) {
    let mut changes = Changes {
        known,
        pending: None,
    };
    let mut ticks = tokio::time::interval(READ_INTERVAL);
    loop {
        ticks.tick().await;
        // Files may be on a disk that hangs.
        let Ok(content) = tokio::task::spawn_blocking(read.clone()).await else {
            return;
        };
        if let Some(content) = changes.notice(content) {
            take_over(content);
        }
    }
}

#[derive(Debug)]
struct Changes<Content> {
    known: Content,
    pending: Option<Content>,
}

impl<Content: PartialEq> Changes<Content> {
    /// What is new, once it was read twice: one of several files may be written and the next not yet.
    fn notice(&mut self, content: Content) -> Option<&Content> {
        if self.known == content {
            self.pending = None;
            return None;
        }
        if self.pending.as_ref() != Some(&content) {
            self.pending = Some(content);
            return None;
        }
        self.pending = None;
        self.known = content;
        Some(&self.known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_so_is_a_change() {
        let mut changes = Changes {
            known: 'a',
            pending: None,
        };
        let noticed: String = "aabacbbbaab"
            .chars()
            .map(|it| changes.notice(it).copied().unwrap_or('-'))
            .collect();

        assert_eq!(noticed, "------b--a-");
    }
}
