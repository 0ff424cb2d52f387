//! A message between two live ends that is changed on its way: it counts only if nothing that
//! matters was changed, and whatever it was, the two find together afterwards.

use std::collections::BTreeMap;

use crate::PresharedKey;
use crate::cookie::MacKeys;
use crate::dropped::Dropped;
use crate::message::{MAC_BYTES, Message, NONCE_BYTES};
use crate::uapi::{PeerState, PeerUpdate, Setting};
use crate::world::{Datagram, End, World, packet};

/// Somebody on the path can change an index, which only the first MAC protects: who sends and hears
/// nothing asks for another session after 15 s.
const RECOVERY_MILLISECONDS: u64 = 20_000;

const CHANGES_BYTES: usize = 2;

/// Behind a byte that names the message and one of choices: what to change, as pairs of a place and
/// the bits to turn over there; or, by choice, a datagram in its place. By choice, what the first end
/// takes is answered with its alternate secret.
pub(crate) fn tamper(bytes: &[u8]) {
    let [which, choices, rest @ ..] = bytes else {
        return;
    };
    let mut world = World::pair();
    if choices & 4 != 0 {
        give_secrets(&mut world);
    }
    let (genuine, to) = genuine(&mut world, which % 4);
    let recipient = MacKeys::of(&world.ends[to].public_key());
    let mut payload = changed(&genuine.payload, *choices, rest);
    if choices & 1 != 0 && 2 * MAC_BYTES <= payload.len() {
        recipient.sign(&mut payload, None);
    }
    let counts = counts(&payload, &genuine.payload, &recipient);
    let from = if counts {
        genuine.from
    } else {
        ([203, 0, 113, 9], 9).into()
    };
    let tampered = Datagram {
        payload,
        from,
        to: genuine.to,
        ecn: genuine.ecn,
    };

    let before = trace(&world.ends[to]);
    let answers = world.receive(to, &tampered);
    let after = trace(&world.ends[to]);
    if counts {
        assert_eq!(after.0, before.0, "dropped");
    } else {
        assert!(after.0 != before.0 || tampered.payload.is_empty());
        assert_eq!((after.1, answers.len()), (before.1, 0));
    }
    world.carry(answers);
    world.carry(vec![genuine]);
    world.pass(RECOVERY_MILLISECONDS);
    for (from, to) in [(0, 1), (1, 0)] {
        world.ends[to].delivered.clear();
        world.send(from, to);
        let (from, to) = (&world.ends[from], &world.ends[to]);
        assert_eq!(to.delivered, [packet(from.number, to.number, 40)]);
    }
}

fn give_secrets(world: &mut World) {
    let [main, alternate] = [5, 6].map(|it| Some(Setting::To(PresharedKey::from([it; 32]))));
    let secrets = [(main, alternate.clone()), (alternate, None)];
    for (end, (preshared_key, alternate_preshared_key)) in secrets.into_iter().enumerate() {
        let update = PeerUpdate {
            preshared_key,
            alternate_preshared_key,
            ..PeerUpdate::new(world.ends[1 - end].public_key())
        };
        world.ends[end].update(update);
    }
}

/// A message on its way, and the end that it goes to.
fn genuine(world: &mut World, which: u8) -> (Datagram, usize) {
    let initiation = world.seal(0, &packet(1, 2, 40)).remove(0);
    if which == 0 {
        return (initiation, 1);
    }
    if which == 1 {
        let sender = MacKeys::of(&world.ends[1].public_key());
        let Some(Message::Initiation(message)) = Message::parse(&initiation.payload) else {
            panic!("not an initiation");
        };
        let nonce = [which; NONCE_BYTES];
        let reply = sender.reply(&initiation.payload, message.sender, [7; MAC_BYTES], &nonce);
        let reply = Datagram {
            payload: reply.to_vec(),
            from: initiation.to,
            to: initiation.from,
            ecn: initiation.ecn,
        };
        return (reply, 0);
    }
    let response = world.receive(1, &initiation).remove(0);
    if which == 2 {
        return (response, 0);
    }
    (world.receive(0, &response).remove(0), 1)
}

fn changed(genuine: &[u8], choices: u8, rest: &[u8]) -> Vec<u8> {
    if choices & 2 != 0 {
        return rest.to_vec();
    }
    let mut payload = genuine.to_vec();
    for change in rest.chunks_exact(CHANGES_BYTES) {
        let place = usize::from(change[0]) % payload.len();
        payload[place] ^= change[1];
    }
    payload
}

/// Whether a message is as good as the genuine one: what no key protects may differ.
fn counts(payload: &[u8], genuine: &[u8], recipient: &MacKeys) -> bool {
    match (Message::parse(payload), Message::parse(genuine)) {
        (Some(Message::Initiation(one)), Some(Message::Initiation(other))) => {
            one.handshake == other.handshake && recipient.knows_us(payload)
        }
        (Some(Message::Response(one)), Some(Message::Response(other))) => {
            (one.receiver, one.handshake) == (other.receiver, other.handshake)
                && recipient.knows_us(payload)
        }
        (Some(Message::CookieReply(one)), Some(Message::CookieReply(other))) => {
            // The last byte of an index tells sessions apart, and a cookie is for all of them.
            (one.receiver | 0xff, one.nonce, one.cookie)
                == (other.receiver | 0xff, other.nonce, other.cookie)
        }
        _ => payload == genuine,
    }
}

/// What an end dropped, and what a message that it does not drop can bring about.
fn trace(end: &End) -> (Dropped, (PeerState, usize)) {
    let state = PeerState {
        dropped: BTreeMap::new(),
        ..end.peer_state()
    };
    (end.dropped, (state, end.delivered.len()))
}
