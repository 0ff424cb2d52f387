//! Text on the configuration socket: what is understood is written back as it was understood, and a
//! device that was configured so describes itself so.

use ipnet::IpNet;

use crate::configuration::Configuration;
use crate::uapi::reply::{self, render as render_state};
use crate::uapi::request::render as render_request;
use crate::uapi::{AllowedIpChange, Request, Setting, Update};

/// Longer than any message that quotes a key.
const MESSAGE_BYTES_MAX: usize = 256;

pub(crate) fn read(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    read_description(text);
    match text.parse::<Request>() {
        Err(error) => {
            assert!((1..=text.lines().count().max(1)).contains(&error.line));
            let message = error.to_string();
            assert!(message.len() <= MESSAGE_BYTES_MAX, "{message}");
        }
        Ok(request) => {
            let written = render_request(&request);
            assert_eq!(written.parse().as_ref(), Ok(&request), "{written}");
            if let Request::Set(update) = request {
                configure(&update);
            }
        }
    }
}

/// What a device answers is read back as it was meant, whatever of it there is.
fn read_description(text: &str) {
    if let Ok(state) = reply::parse(text) {
        let written = render_state(&state);
        let read = reply::parse(&written);
        assert_eq!(read.as_ref(), Ok(&state), "{written}");
    }
}

fn configure(update: &Update) {
    let configuration = Configuration::default();
    let Ok(change) = configuration.plan(update) else {
        return;
    };
    let configuration = change.apply();
    let state = configuration.state(update.listen_port.unwrap_or(0));
    let text = render_state(&state);
    assert_eq!(reply::parse(&text).as_ref(), Ok(&state), "{text}");

    assert_eq!(state.fwmark, update.fwmark.unwrap_or(0));
    let private_key = match &update.private_key {
        Some(Setting::To(key)) => Some(key),
        Some(Setting::Clear) | None => None,
    };
    assert_eq!(state.private_key.as_ref(), private_key);
    for (key, peer) in &state.peers {
        let named = update.peers.iter().filter(|it| it.public_key == *key);
        let changes: Vec<_> = named.flat_map(|it| &it.allowed_ips).collect();
        for prefix in &peer.allowed_ips {
            let is_shared = changes.contains(&&AllowedIpChange::Share(*prefix));
            assert!(is_shared || changes.contains(&&AllowedIpChange::Add(*prefix)));
            let owners = state.peers.values();
            let owners = owners.filter(|it| it.allowed_ips.contains(prefix));
            assert!(shares(update, *prefix) || owners.count() == 1, "{prefix}");
        }
        for prefix in &peer.accepted_ips {
            assert!(changes.contains(&&AllowedIpChange::Accept(*prefix)));
            assert!(!peer.allowed_ips.contains(prefix), "{prefix}");
        }
    }
    let nothing = Update::default();
    let Ok(change) = configuration.plan(&nothing) else {
        panic!("nothing is always possible");
    };
    let again = change.apply();
    assert_eq!(again.state(state.listen_port), state);
}

fn shares(update: &Update, prefix: IpNet) -> bool {
    let changes = update.peers.iter().flat_map(|it| &it.allowed_ips);
    changes
        .into_iter()
        .any(|it| *it == AllowedIpChange::Share(prefix))
}
