//! A door: asks the kernel over netlink, one request at a time.

use std::io;

use netlink_packet_core::{
    NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};
use zeroize::Zeroizing;

use crate::uapi::KernelError;

/// A socket to what the kernel calls `protocol`.
pub(crate) fn open(protocol: isize) -> Result<Socket, KernelError> {
    let connected = || {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(socket)
    };
    connected().map_err(KernelError::Socket)
}

/// Sends a request and takes its answers up to the last. The kernel has answered when sending
/// returns, so that nothing here waits.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what a message may be grows with the kernel; what is new is passed over"
)]
pub(crate) fn exchange<M>(
    socket: &Socket,
    request: M,
    flags: u16,
    mut take: impl FnMut(M) -> Result<(), KernelError>,
) -> Result<(), KernelError>
where
    M: NetlinkDeserializable + NetlinkSerializable,
    NetlinkPayload<M>: From<M>,
{
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    let mut message = NetlinkMessage::new(header, request.into());
    message.finalize();
    let mut bytes = Zeroizing::new(vec![0; message.buffer_len()]);
    message.serialize(&mut bytes);
    socket.send(&bytes, 0).map_err(KernelError::Socket)?;

    loop {
        let (datagram, _) = socket.recv_from_full().map_err(KernelError::Socket)?;
        let datagram = Zeroizing::new(datagram);
        let mut rest = &datagram[..];
        while !rest.is_empty() {
            let message = NetlinkMessage::<M>::deserialize(rest);
            let message = message.map_err(|_| KernelError::Malformed)?;
            let length =
                usize::try_from(message.header.length).map_err(|_| KernelError::Malformed)?;
            // Messages begin at multiples of four.
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            match message.payload {
                NetlinkPayload::Done(done) => return outcome(done.code),
                NetlinkPayload::Error(error) => return outcome(error.raw_code()),
                NetlinkPayload::InnerMessage(answer) => take(answer)?,
                NetlinkPayload::Overrun(_) => return Err(KernelError::Malformed),
                _ => (),
            }
        }
    }
}

/// What a negative error number, or 0, says.
fn outcome(code: i32) -> Result<(), KernelError> {
    match code {
        0 => Ok(()),
        _ => Err(KernelError::Refused(io::Error::from_raw_os_error(
            code.saturating_neg(),
        ))),
    }
}
