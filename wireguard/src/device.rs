//! A door: a running device, from its first file descriptor to its last.
//!
//! Four kinds of thread share one [`Configuration`] by snapshot: one carries packets from the
//! interface to the network, one per socket carries datagrams back, one keeps time, and one serves
//! the configuration socket and is the only one to make a new configuration.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::{self, JoinHandle};

use anyhow::Context as _;
use arc_swap::{ArcSwap, ArcSwapOption};
use tun_rs::{DeviceBuilder, SyncDevice};

use crate::configuration::Configuration;
use drops::Drops;
use sockets::Sockets;

mod clock;
mod control;
mod drops;
mod receive;
mod server;
mod sockets;
mod timekeeping;
mod transmit;

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

/// A running device. Dropping it removes its socket; the interface goes with the process.
#[derive(Debug)]
pub struct Device {
    socket: PathBuf,
    shared: Arc<Shared>,
}

/// What the threads share.
struct Shared {
    interface: String,
    tun: SyncDevice,
    /// The interface takes UDP packets as segments of one; TCP's it always takes.
    takes_udp_segments: bool,
    /// The interface's maximum packet size in bytes, refreshed by the timekeeper.
    mtu: AtomicUsize,
    configuration: ArcSwap<Configuration>,
    sockets: ArcSwapOption<Sockets>,
    drops: Drops,
    end: SyncSender<End>,
}

/// Leaves room for WireGuard over IPv6 on an Ethernet path of 1500 bytes.
const MTU_INITIAL: u16 = 1420;

/// Linux's limit on the names of interfaces.
const NAME_BYTES_MAX: usize = 15;

impl Device {
    /// Creates the interface and its configuration socket in `directory`, and starts to serve.
    ///
    /// The first reason to stop is sent on `end`, which must have room for it.
    ///
    /// # Errors
    ///
    /// Says in one sentence what is missing: a usable name, privileges, `/dev/net/tun`, or another
    /// device's end.
    pub fn start(interface: &str, directory: &Path, end: SyncSender<End>) -> anyhow::Result<Self> {
        check_name(interface)?;
        server::make_way(interface, directory)?;
        // The socket comes last: whoever can reach it finds an interface that nobody sets up any
        // more, so that bringing it up at once is not undone.
        let tun = open_tun(interface)?;
        let (listener, socket) = server::listen(interface, directory)?;
        let device = Self {
            socket,
            shared: Arc::new(Shared {
                interface: interface.to_owned(),
                takes_udp_segments: tun.udp_gso(),
                tun,
                mtu: AtomicUsize::new(MTU_INITIAL.into()),
                configuration: ArcSwap::default(),
                sockets: ArcSwapOption::empty(),
                drops: Drops::default(),
                end,
            }),
        };

        device.shared.spawn("transmit", transmit::run)?;
        device.shared.spawn("time", timekeeping::run)?;
        device
            .shared
            .spawn("uapi", move |shared| server::run(shared, &listener))?;
        tracing::info!(interface, "device started");
        Ok(device)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        server::remove(&self.socket);
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

fn open_tun(interface: &str) -> anyhow::Result<SyncDevice> {
    DeviceBuilder::new()
        .name(interface)
        .mtu(MTU_INITIAL)
        .enable(false)
        .offload(true)
        .build_sync()
        .and_then(|tun| tun.set_nonblocking(true).map(|()| tun))
        .map_err(|error| {
            let advice = tun_advice(error.kind());
            anyhow::anyhow!("cannot create interface {interface}: {error}; {advice}")
        })
}

fn tun_advice(kind: io::ErrorKind) -> &'static str {
    if kind == io::ErrorKind::PermissionDenied {
        "run as root or with CAP_NET_ADMIN"
    } else if kind == io::ErrorKind::ResourceBusy {
        "choose another name, or delete that interface"
    } else {
        "check that the tun module is loaded and /dev/net/tun exists"
    }
}
