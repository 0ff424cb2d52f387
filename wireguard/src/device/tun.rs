//! A door: the network interface, be it made here or handed over by whoever made it.

use std::fs;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use anyhow::Context as _;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{read, writev};
use tun_rs::{DeviceBuilder, SyncDevice};

use super::link::{self, Link};
use crate::offload::{Coalescer, Frame, Offloads, VnetHeader};

/// Leaves room for WireGuard over IPv6 on an Ethernet path of 1500 bytes.
const MTU_INITIAL: u16 = 1420;

/// An interface whose packets this process carries. It does not wait: reads that find nothing fail.
pub(super) struct Tun {
    descriptor: Descriptor,
    /// Frames have a [`VnetHeader`] in front; else they are packets.
    has_headers: bool,
    pub(super) offloads: Offloads,
}

enum Descriptor {
    Made(SyncDevice),
    Handed { descriptor: OwnedFd, index: u32 },
}

impl Tun {
    /// Makes an interface that takes large frames. It is down.
    pub(super) fn create(interface: &str) -> anyhow::Result<Self> {
        let made = DeviceBuilder::new()
            .name(interface)
            .mtu(MTU_INITIAL)
            .enable(false)
            .offload(true)
            .build_sync()
            .and_then(|tun| tun.set_nonblocking(true).map(|()| tun))
            .map_err(|error| {
                let advice = advice(error.kind());
                anyhow::anyhow!("cannot create interface {interface}: {error}; {advice}")
            })?;
        let offloads = Offloads {
            tcp: true,
            udp: made.udp_gso(),
        };
        Ok(Self {
            descriptor: Descriptor::Made(made),
            has_headers: true,
            offloads,
        })
    }

    /// Takes over an interface as it is. What it cannot do, as frames of many packets without
    /// `IFF_VNET_HDR`, is done without.
    ///
    /// # Errors
    ///
    /// The descriptor is of another interface or of none, or of one whose packets have something
    /// else in front.
    pub(super) fn adopt(interface: &str, descriptor: OwnedFd) -> anyhow::Result<Self> {
        let name = name_of(&descriptor)?;
        anyhow::ensure!(
            name == interface,
            "the interface handed over is {name:?}, not {interface:?}; name that one on the command line"
        );
        let link = link::by_name(interface)
            .with_context(|| format!("cannot look at interface {interface}"))?;
        let tun = link.tun.with_context(|| {
            format!("the kernel does not tell what kind of interface {interface} is")
        })?;
        anyhow::ensure!(
            tun.carries_packets && !tun.has_information,
            "interface {interface} has something in front of its packets; make it with IFF_TUN and IFF_NO_PI"
        );
        let flags = fcntl_getfl(&descriptor)?;
        fcntl_setfl(&descriptor, flags | OFlags::NONBLOCK)?;
        let index = link.index;
        Ok(Self {
            descriptor: Descriptor::Handed { descriptor, index },
            has_headers: tun.has_headers,
            // With headers every kernel takes TCP's; of UDP's only who made the interface knows.
            offloads: Offloads {
                tcp: tun.has_headers,
                udp: false,
            },
        })
    }

    /// Reads a frame, with its header, and returns its length.
    pub(super) fn read(&self, frame: &mut [u8]) -> io::Result<usize> {
        if self.has_headers {
            return Ok(read(self, frame)?);
        }
        let (header, packet) = frame.split_at_mut(VnetHeader::BYTES);
        header.fill(0);
        Ok(VnetHeader::BYTES + read(self, packet)?)
    }

    /// Writes a frame, gathered from where its pieces lie in `buffer`.
    pub(super) fn write(&self, frame: &Frame<'_>, buffer: &[u8]) -> io::Result<usize> {
        let header = frame.header.encode();
        let mut slices = [IoSlice::new(&[]); 1 + Coalescer::PACKETS_MAX];
        slices[0] = IoSlice::new(&header[..VnetHeader::BYTES]);
        for (slice, piece) in slices[1..].iter_mut().zip(frame.pieces) {
            *slice = IoSlice::new(&buffer[piece.start..piece.start + piece.length]);
        }
        let start = usize::from(!self.has_headers);
        Ok(writev(self, &slices[start..=frame.pieces.len()])?)
    }

    /// The largest packet, in bytes.
    pub(super) fn mtu(&self) -> anyhow::Result<usize> {
        match &self.descriptor {
            Descriptor::Made(made) => Ok(made.mtu()?.into()),
            Descriptor::Handed { index, .. } => {
                let Link { mtu, .. } = link::by_index(*index)?;
                Ok(mtu)
            }
        }
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.descriptor {
            Descriptor::Made(made) => made.as_fd(),
            Descriptor::Handed { descriptor, .. } => descriptor.as_fd(),
        }
    }
}

fn advice(kind: io::ErrorKind) -> &'static str {
    if kind == io::ErrorKind::PermissionDenied {
        "run as root or with CAP_NET_ADMIN"
    } else if kind == io::ErrorKind::ResourceBusy {
        "choose another name, or delete that interface"
    } else {
        "check that the tun module is loaded and /dev/net/tun exists"
    }
}

/// The interface that a descriptor of `/dev/net/tun` stands for.
fn name_of(descriptor: &OwnedFd) -> anyhow::Result<String> {
    let path = format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd());
    let told = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let mut lines = told.lines();
    let name = lines.find_map(|it| it.strip_prefix("iff:"));
    let name = name.map(str::trim).filter(|it| !it.is_empty());
    let name = name.context(
        "the descriptor handed over is no interface; open /dev/net/tun and name one with TUNSETIFF",
    )?;
    Ok(name.to_owned())
}
