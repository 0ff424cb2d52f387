//! A door: applies updates to the running device, the system's part first.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::io::Errno as SystemErrno;
use zeroize::Zeroizing;

use super::sockets::Sockets;
use super::{Shared, receive};
use crate::uapi::{Errno, Setting, Update, render_state};

/// The one place that changes what the device's threads share.
pub(super) struct Control {
    shared: Arc<Shared>,
    /// The threads that read from the current sockets.
    readers: Vec<JoinHandle<()>>,
}

impl Control {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            readers: Vec::new(),
        }
    }

    /// The whole answer to `get=1`.
    pub(super) fn describe(&self) -> Zeroizing<String> {
        let sockets = self.shared.sockets.load();
        let port = sockets.as_ref().map_or(0, |it| it.port());
        Zeroizing::new(render_state(&self.shared.configuration.load().state(port)))
    }

    /// Applies an update: first what the system may refuse, then the rest, which cannot fail.
    pub(super) fn apply(&mut self, update: &Update) -> Result<(), Errno> {
        let current = self.shared.configuration.load_full();
        let change = current.plan(update)?;
        let mark = update.fwmark.unwrap_or_else(|| current.fwmark());
        self.prepare_sockets(update, mark)?;

        self.shared.configuration.store(Arc::new(change.apply()));
        Ok(())
    }

    /// Listens where `update` wants it, or anywhere as soon as there is a key to listen with.
    fn prepare_sockets(&mut self, update: &Update, mark: u32) -> Result<(), Errno> {
        let Some(current) = self.shared.sockets.load_full() else {
            return match (update.listen_port, &update.private_key) {
                (None, None | Some(Setting::Clear)) => Ok(()),
                (port, _) => self.replace_sockets(port.unwrap_or(0), mark),
            };
        };
        match update.listen_port {
            Some(port) if port != current.port() => self.replace_sockets(port, mark),
            _ if update.fwmark.is_some() => current.set_mark(mark).map_err(refused),
            Some(_) | None => Ok(()),
        }
    }

    /// Opens new sockets, then closes the former ones. On an error the former ones stay.
    fn replace_sockets(&mut self, port: u16, mark: u32) -> Result<(), Errno> {
        let sockets = Arc::new(Sockets::bind(port, mark).map_err(refused)?);
        let readers = self.start_readers(&sockets).map_err(|error| {
            tracing::warn!(%error, "sockets not used");
            sockets.retire();
            Errno::OutOfMemory
        })?;
        tracing::info!(
            interface = self.shared.interface,
            port = sockets.port(),
            "listening"
        );

        let former = self.shared.sockets.swap(Some(sockets));
        if let Some(former) = former {
            former.retire();
        }
        // The former port is free again only once nobody reads from it.
        for reader in std::mem::replace(&mut self.readers, readers) {
            reader.join().ok();
        }
        Ok(())
    }

    fn start_readers(&self, sockets: &Arc<Sockets>) -> anyhow::Result<Vec<JoinHandle<()>>> {
        sockets
            .families()
            .map(|family| {
                let sockets = Arc::clone(sockets);
                self.shared.spawn("receive", move |shared| {
                    receive::run(shared, &sockets, family);
                })
            })
            .collect()
    }
}

fn refused(error: io::Error) -> Errno {
    tracing::warn!(%error, "socket refused");
    let otherwise = SystemErrno::IO.raw_os_error();
    Errno::System(error.raw_os_error().unwrap_or(otherwise))
}
