//! A door: reads the interface, and decides which thread does.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::sockets::Family;
use super::{Shared, clock};
use crate::egress::Egress;
use crate::offload::VnetHeader;

/// The largest packet, and what the interface says of it.
const FRAME_BYTES_MAX: usize = 65_536 + VnetHeader::BYTES;

/// The reading end of the interface, which one thread has at a time, so that packets keep their order.
///
/// The thread that transmits waits for it, except while a thread that receives has adopted it, as it
/// does whenever the interface is empty. That one is awake anyhow when the interface has answers to what
/// it was just given: acknowledgements, echoes. And it hears the answers to what the interface had. To
/// wake another thread for each of them costs more than to carry them.
pub(super) struct Readings {
    reader: Mutex<Reader>,
    returned: Condvar,
}

struct Reader {
    egress: Egress,
    frame: Box<[u8]>,
    adopter: Option<Family>,
}

/// What reading came to.
struct Drained {
    frames: usize,
    /// Why no more were read; `None` if there may be more.
    error: Option<io::Error>,
}

/// Frames that are read under one look at the configuration.
const FRAMES_MAX: usize = 64;

/// Bytes that an adopter carries at a time: many small answers, but no more than two full frames. Who
/// has more to say deserves a thread of his own.
const BYTES_ADOPTED_MAX: usize = 2 * FRAME_BYTES_MAX;

impl Readings {
    pub(super) fn new(mtu: usize) -> Self {
        let reader = Reader {
            egress: Egress::new(mtu),
            frame: vec![0; FRAME_BYTES_MAX].into_boxed_slice(),
            adopter: None,
        };
        Self {
            reader: Mutex::new(reader),
            returned: Condvar::new(),
        }
    }

    /// Carries what the interface has, once nobody has adopted it. `Ok` if it may have more.
    pub(super) fn carry(&self, shared: &Shared) -> io::Result<()> {
        let mut reader = self.lock();
        while reader.adopter.is_some() {
            let waited = self.returned.wait(reader);
            reader = waited.unwrap_or_else(PoisonError::into_inner);
        }
        reader.drain(shared, usize::MAX).error.map_or(Ok(()), Err)
    }

    /// Carries what the interface has for the thread that receives `family`, if nobody else does, and
    /// tells whether that thread has adopted the interface and must wait for it, too.
    pub(super) fn carry_beside(&self, shared: &Shared, family: Family, adopted: bool) -> bool {
        // Nobody holds for long what somebody has adopted.
        let reader = if adopted {
            Some(self.lock())
        } else {
            self.reader.try_lock().ok()
        };
        let Some(mut reader) = reader.filter(|it| it.adopter.is_none_or(|it| it == family)) else {
            return false;
        };
        let drained = reader.drain(shared, BYTES_ADOPTED_MAX);
        let adopts = drained.error.is_some_and(|it| is(&it, Errno::AGAIN));
        reader.adopter = adopts.then_some(family);
        if adopted && !adopts {
            self.returned.notify_one();
        }
        adopts
    }

    /// Gives the interface back, as the thread that receives `family` ends.
    pub(super) fn give_back(&self, family: Family) {
        let mut reader = self.lock();
        if reader.adopter == Some(family) {
            reader.adopter = None;
            self.returned.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Reader> {
        // A thread that panics ends the device.
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    /// Carries frames until there are none, or enough. What was read last waits for those that follow
    /// if there may be some.
    fn drain(&mut self, shared: &Shared, bytes_max: usize) -> Drained {
        let mut network = shared;
        let configuration = shared.configuration.load();
        self.egress.set_mtu(shared.mtu());
        let mut drained = Drained {
            frames: 0,
            error: None,
        };
        let mut bytes = 0;
        while drained.frames < FRAMES_MAX && bytes < bytes_max && drained.error.is_none() {
            match shared.tun.read(&mut self.frame) {
                Ok(length) => {
                    drained.frames += 1;
                    bytes += length;
                    let (frame, now) = (&mut self.frame[..length], clock::now());
                    self.egress.carry(&configuration, frame, now, &mut network);
                }
                Err(error) => drained.error = Some(error),
            }
        }
        if drained.error.is_some() && !self.egress.is_empty() {
            self.egress
                .flush(&configuration, clock::now(), &mut network);
        }
        shared.drops.count(self.egress.take_dropped());
        drained
    }
}

pub(super) fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}
