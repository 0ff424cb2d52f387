//! A door: talks to the kernel's WireGuard over netlink.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP};
use netlink_packet_generic::GenlMessage;
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_wireguard::WireguardMessage;
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_GENERIC;
use rustix::io::Errno;

use super::{query, read, requests};
use crate::netlink::{self, exchange};
use crate::uapi::{DeviceState, KernelError, Update};

/// What the family is called that serves WireGuard.
const FAMILY: &str = "wireguard";

pub(crate) fn get(interface: &str) -> Result<DeviceState, KernelError> {
    let kernel = Kernel::open()?;
    let mut state = DeviceState::default();
    kernel.ask(query(interface), NLM_F_DUMP, |answer| {
        read(&mut state, &answer).ok_or(KernelError::Malformed)
    })?;
    Ok(state)
}

pub(crate) fn set(interface: &str, update: &Update) -> Result<(), KernelError> {
    let kernel = Kernel::open()?;
    let requests = requests(interface, update).map_err(|it| KernelError::Unsupported(it.0))?;
    for request in requests {
        kernel.ask(request, NLM_F_ACK, |_| Ok(()))?;
    }
    Ok(())
}

/// A socket to the kernel, and the number that its WireGuard has.
struct Kernel {
    socket: Socket,
    family: u16,
}

impl Kernel {
    fn open() -> Result<Self, KernelError> {
        let socket = netlink::open(NETLINK_GENERIC)?;
        let family = number_of(&socket, FAMILY)?;
        Ok(Self { socket, family })
    }

    fn ask(
        &self,
        request: WireguardMessage,
        flags: u16,
        mut take: impl FnMut(WireguardMessage) -> Result<(), KernelError>,
    ) -> Result<(), KernelError> {
        let mut message = GenlMessage::from_payload(request);
        message.set_resolved_family_id(self.family);
        let take = |answer: GenlMessage<WireguardMessage>| take(answer.payload);
        match exchange(&self.socket, message, flags, take) {
            Err(KernelError::Refused(error))
                if is(&error, Errno::NODEV) || is(&error, Errno::OPNOTSUPP) =>
            {
                Err(KernelError::NoInterface)
            }
            outcome => outcome,
        }
    }
}

/// By which number the kernel knows a family.
fn number_of(socket: &Socket, family: &str) -> Result<u16, KernelError> {
    let question = GenlMessage::from_payload(GenlCtrl {
        cmd: GenlCtrlCmd::GetFamily,
        nlas: vec![GenlCtrlAttrs::FamilyName(family.to_owned())],
    });
    let mut number = None;
    let take = |answer: GenlMessage<GenlCtrl>| {
        number = answer.payload.nlas.iter().find_map(|it| match it {
            GenlCtrlAttrs::FamilyId(number) => Some(*number),
            _ => None,
        });
        Ok(())
    };
    match exchange(socket, question, NLM_F_ACK, take) {
        Err(KernelError::Refused(error)) if is(&error, Errno::NOENT) => Err(KernelError::NoModule),
        outcome => outcome.and_then(|()| number.ok_or(KernelError::Malformed)),
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The family of families, which every kernel has.
    const FAMILIES: (&str, u16) = ("nlctrl", 0x10);

    #[test]
    fn finds_families_by_their_names() {
        let socket = netlink::open(NETLINK_GENERIC).unwrap();

        let (name, number) = FAMILIES;
        assert_eq!(number_of(&socket, name).unwrap(), number);
        let error = number_of(&socket, "no such family").unwrap_err();
        assert!(matches!(error, KernelError::NoModule), "{error:?}");
        assert_eq!(
            number_of(&socket, name).unwrap(),
            number,
            "nothing is left over"
        );
    }

    #[test]
    fn takes_a_dump_to_its_end() {
        let socket = netlink::open(NETLINK_GENERIC).unwrap();
        let question = GenlMessage::from_payload(GenlCtrl {
            cmd: GenlCtrlCmd::GetFamily,
            nlas: Vec::new(),
        });
        let mut names = Vec::new();
        exchange(&socket, question, NLM_F_DUMP, |answer| {
            names.extend(answer.payload.nlas);
            Ok(())
        })
        .unwrap();

        let name = GenlCtrlAttrs::FamilyName(FAMILIES.0.to_owned());
        assert!(names.contains(&name), "{names:?}");
        assert_eq!(
            number_of(&socket, FAMILIES.0).unwrap(),
            FAMILIES.1,
            "nothing is left over"
        );
    }
}
