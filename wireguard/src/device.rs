//! A door: a running device, from its first file descriptor to its last.
//!
//! Four kinds of thread share one [`Configuration`] by snapshot: one carries packets from the
//! interface to the network, one per socket carries datagrams back, one keeps time, and those that
//! serve the configuration socket make new configurations, one of them at a time.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::{self, JoinHandle};

use anyhow::Context as _;
use arc_swap::{ArcSwap, ArcSwapOption};

use crate::configuration::Configuration;
use drops::Drops;
use mark::Marks;
use readings::Readings;
use sockets::Sockets;
use tun::Tun;

mod clock;
mod control;
mod drops;
mod link;
mod mark;
mod readings;
mod receive;
mod server;
mod sockets;
mod timekeeping;
mod transmit;
mod tun;
mod wait;

/// Why a device came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Somebody deleted the network interface.
    InterfaceGone,
    /// A thread died of a bug; the others cannot go on alone.
    ThreadDied,
    /// The process was asked to stop.
    Asked,
}

/// A running device. Dropping it removes its socket, if it made it; the interface goes with the
/// process.
#[derive(Debug)]
pub struct Device {
    socket: Option<PathBuf>,
    shared: Arc<Shared>,
}

/// What the threads share.
struct Shared {
    interface: String,
    tun: Tun,
    /// The interface's maximum packet size in bytes, refreshed by the timekeeper.
    mtu: AtomicUsize,
    configuration: ArcSwap<Configuration>,
    sockets: ArcSwapOption<Sockets>,
    marks: Marks,
    drops: Drops,
    readings: Readings,
    end: SyncSender<End>,
}

/// Linux's limit on the names of interfaces.
const NAME_BYTES_MAX: usize = 15;

/// Where a device's configuration socket comes from.
#[derive(Debug)]
pub enum Uapi<'a> {
    /// It is made in this directory, and removed at the end.
    In(&'a Path),
    /// Somebody else listens already, and hands the socket over.
    Handed(UnixListener),
}

/// A device that is set up and does not serve yet: what needs privileges is done, but for marks and
/// ports below 1024. No thread runs yet.
#[derive(Debug)]
pub struct Opened {
    listener: UnixListener,
    device: Device,
}

impl Opened {
    /// Creates the interface and its configuration socket. How far timestamps went is kept in
    /// a directory of the interface's in `state`; if that is `None`, nowhere.
    ///
    /// The first reason to stop is sent on `end`, which must have room for it.
    ///
    /// # Errors
    ///
    /// Says in one sentence what is missing: a usable name, privileges, `/dev/net/tun`, or another
    /// device's end.
    pub fn open(
        interface: &str,
        uapi: Uapi<'_>,
        state: Option<&Path>,
        end: SyncSender<End>,
    ) -> anyhow::Result<Self> {
        Self::on(&Tun::create, interface, uapi, state, end)
    }

    /// The same on an interface that somebody else made: `tun` is a descriptor of `/dev/net/tun` that
    /// stands for it. Its address, its size and whether it is up stay as they are.
    ///
    /// # Errors
    ///
    /// The descriptor is of another interface, or of one that does not carry IP packets as they are.
    pub fn adopt(
        tun: &OwnedFd,
        interface: &str,
        uapi: Uapi<'_>,
        state: Option<&Path>,
        end: SyncSender<End>,
    ) -> anyhow::Result<Self> {
        let adopt = |interface: &str| Tun::adopt(interface, tun.try_clone()?);
        Self::on(&adopt, interface, uapi, state, end)
    }

    fn on(
        tun: &dyn Fn(&str) -> anyhow::Result<Tun>,
        interface: &str,
        uapi: Uapi<'_>,
        state: Option<&Path>,
        end: SyncSender<End>,
    ) -> anyhow::Result<Self> {
        check_name(interface)?;
        if let Uapi::In(directory) = &uapi {
            server::make_way(interface, directory)?;
        }
        // The socket comes last: whoever can reach it finds an interface that nobody sets up any
        // more, so that bringing it up at once is not undone.
        let tun = tun(interface)?;
        let mtu = tun.mtu().context("cannot ask for the interface's MTU")?;
        let marks = Marks::of(interface, state);
        let stamper = marks.stamper(clock::now().unix);
        let (listener, socket) = match uapi {
            Uapi::In(directory) => {
                let (listener, socket) = server::listen(interface, directory)?;
                (listener, Some(socket))
            }
            Uapi::Handed(listener) => (listener, None),
        };
        let device = Device {
            socket,
            shared: Arc::new(Shared {
                interface: interface.to_owned(),
                tun,
                mtu: AtomicUsize::new(mtu),
                configuration: ArcSwap::new(Arc::new(Configuration::new(stamper))),
                sockets: ArcSwapOption::empty(),
                marks,
                drops: Drops::default(),
                readings: Readings::new(mtu),
                end,
            }),
        };
        Ok(Self { listener, device })
    }

    /// Lets another user, and the group of the same number, go on with what the device keeps. The
    /// process may be that user's before the device serves.
    ///
    /// # Errors
    ///
    /// The process may not give files away.
    pub fn give_to(&self, user: u32) -> io::Result<()> {
        self.device.shared.marks.give_to(user)
    }

    /// Starts to serve. Threads have the privileges of the one that calls this.
    ///
    /// # Errors
    ///
    /// The system has no room for threads.
    pub fn serve(self) -> anyhow::Result<Device> {
        let Self { listener, device } = self;
        device.shared.spawn("transmit", transmit::run)?;
        device.shared.spawn("time", timekeeping::run)?;
        server::start(&device.shared, listener)?;
        tracing::info!(interface = device.shared.interface, "device started");
        Ok(device)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Some(socket) = &self.socket {
            server::remove(socket);
        }
        let configuration = self.shared.configuration.load();
        self.shared.marks.settle(configuration.stamper());
        tracing::info!(
            interface = self.shared.interface,
            drops = ?self.shared.drops,
            "device stopped"
        );
    }
}

impl Shared {
    /// Starts a thread that serves the device; if it panics, the device ends.
    fn spawn(
        self: &Arc<Self>,
        name: &str,
        body: impl FnOnce(&Arc<Self>) + Send + 'static,
    ) -> anyhow::Result<JoinHandle<()>> {
        let shared = Arc::clone(self);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _guard = EndOnPanic(Arc::clone(&shared));
                body(&shared);
            })
            .context("cannot start a thread")
    }

    /// Says that the device is over. Only the first reason counts.
    fn end(&self, why: End) {
        self.end.try_send(why).ok();
    }

    fn mtu(&self) -> usize {
        self.mtu.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("interface", &self.interface)
            .finish_non_exhaustive()
    }
}

struct EndOnPanic(Arc<Shared>);

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.end(End::ThreadDied);
        }
    }
}

fn check_name(interface: &str) -> anyhow::Result<()> {
    let usable = (1..=NAME_BYTES_MAX).contains(&interface.len())
        && interface.bytes().all(|it| it.is_ascii_graphic())
        && !interface.contains(['/', ':', '%'])
        && ![".", "..", "all", "default"].contains(&interface);
    anyhow::ensure!(
        usable,
        "interface name {interface:?} cannot be used; choose 1 to {NAME_BYTES_MAX} letters, digits or `_=+.-`"
    );
    Ok(())
}
