//! Watches a store, to see when something becomes visible in it.

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use etcd_client::{Client, Event, EventType, WatchOptions, WatchStream};
use lab::now;

use crate::deadline::PATIENCE;

/// A watch of a prefix, from the moment it is opened.
#[derive(Debug)]
pub(crate) struct Visible {
    stream: WatchStream,
}

impl Visible {
    /// # Errors
    ///
    /// If the store refuses.
    pub(crate) async fn under(client: &Client, prefix: &str) -> Result<Self> {
        let mut watches = client
            .watch_client()
            .max_decoding_message_size(MESSAGE_BYTES_MAX);
        let options = WatchOptions::new().with_prefix();
        let mut stream = watches.watch(prefix, Some(options)).await?;
        let created = stream.message().await?.context("no watch")?;
        if !created.created() {
            bail!("the first message of a watch does not say that it is there");
        }
        Ok(Self { stream })
    }

    /// Hands every value that is put to `see` until that is content, and returns when it was.
    ///
    /// # Errors
    ///
    /// If the watch ends, or what is awaited never comes.
    pub(crate) async fn until(&mut self, mut see: impl FnMut(&[u8]) -> bool) -> Result<Instant> {
        let search = async {
            while let Some(message) = self.stream.message().await? {
                if message.canceled() {
                    bail!("the watch was canceled: {}", message.cancel_reason());
                }
                for value in message.events().iter().filter_map(value) {
                    if see(value) {
                        return Ok(now());
                    }
                }
            }
            bail!("the watch ended")
        };
        let found = tokio::time::timeout(PATIENCE, search).await;
        found.with_context(|| format!("not within {} s", PATIENCE.as_secs()))?
    }
}

/// A revision of many records is one message.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

fn value(event: &Event) -> Option<&[u8]> {
    let put = event.event_type() == EventType::Put;
    event.kv().filter(|_| put).map(|it| it.value())
}

/// Whether `text` stands in `value`.
pub(crate) fn holds(value: &[u8], text: &str) -> bool {
    value
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}
