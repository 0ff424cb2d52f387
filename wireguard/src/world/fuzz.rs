//! The fuzz targets' entries that need the crate's inside, on mutated samples.

use lab::mutate;

use super::{World, packet};

#[path = "../../fuzz/handshake.rs"]
mod handshake;
#[path = "../../fuzz/message.rs"]
mod message;
#[path = "../../fuzz/uapi.rs"]
mod uapi;

#[test]
fn reads_any_datagram() {
    let mut world = World::pair();
    let initiation = world.seal(0, &packet(1, 2, 40)).remove(0);
    let response = world.receive(1, &initiation).remove(0);
    let data = world.receive(0, &response).remove(0);
    let mut cookie_reply = vec![3; 64];
    cookie_reply[1..4].fill(0);

    let data = data.payload;
    for message in [initiation.payload, response.payload, cookie_reply, data] {
        mutate(&message, 5_000, message::parse);
    }
}

#[test]
fn takes_of_any_handshake_what_counts() {
    for which in 0..4 {
        for choices in [0, 1, 2, 4, 5] {
            // The second place lies in the sender's index, which nothing but the first MAC protects.
            mutate(&[which, choices, 90, 1], 60, handshake::tamper);
            mutate(&[which, choices, 5, 1], 60, handshake::tamper);
        }
    }
}

#[test]
fn reads_any_configuration() {
    let key = |digit: &str| digit.repeat(64);
    let (one, other) = (key("a"), key("7"));
    let request = format!(
        "set=1\nprivate_key={one}\nlisten_port=51871\nfwmark=7\nreplace_peers=true\n\
         public_key={one}\npreshared_key={other}\nalternate_preshared_key={one}\nendpoint=[2001:db8::1]:7\n\
         persistent_keepalive_interval=25\nreplace_allowed_ips=true\nallowed_ip=10.1.2.3/24\n\
         allowed_ip=-::/0\nallowed_ip=::/0\npublic_key={other}\nupdate_only=true\n\
         allowed_ip=10.1.2.0/24\npublic_key={other}\nshared_allowed_ip=10.1.2.0/24\n\
         accepted_ip=::/0\npublic_key={one}\nremove=true\n\n"
    );
    let description = format!(
        "private_key={one}\nlisten_port=51871\nfwmark=7\npublic_key={other}\n\
         preshared_key={one}\nalternate_preshared_key=none\npreshared_key_in_use=true\nprotocol_version=1\nendpoint=192.0.2.1:9\n\
         last_handshake_time_sec=5\nlast_handshake_time_nsec=7\ntx_bytes=1\nrx_bytes=2\n\
         persistent_keepalive_interval=3\n\
         dropped_replayed=2\ndropped_otherwise=1\nallowed_ip=10.0.0.0/8\naccepted_ip=::/0\nerrno=0\n\n"
    );
    for sample in [request, description] {
        mutate(sample.as_bytes(), 10_000, uapi::read);
    }
}
