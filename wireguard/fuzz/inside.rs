//! The crate's inside, compiled into the targets that need it: it is the crate's own business
//! otherwise. Devices without a system come with it; those with one need none of this.

#[path = "../src"]
mod source {
    pub(crate) mod admission;
    pub(crate) mod allowed_ips;
    pub(crate) mod cipher;
    pub(crate) mod configuration;
    pub(crate) mod congestion;
    pub(crate) mod cookie;
    pub(crate) mod dropped;
    pub(crate) mod egress;
    pub(crate) mod flow;
    pub(crate) mod inbox;
    pub(crate) mod ingress;
    pub(crate) mod kernel;
    pub(crate) mod key;
    pub(crate) mod message;
    pub(crate) mod netlink;
    pub(crate) mod noise;
    pub(crate) mod offload;
    pub(crate) mod outbox;
    pub(crate) mod packet;
    pub(crate) mod padding;
    pub(crate) mod replay;
    pub(crate) mod session;
    pub(crate) mod stamper;
    pub(crate) mod tunnel;
    pub(crate) mod uapi;
    pub(crate) mod world;
}

pub(crate) use source::key::{KeyError, PresharedKey, PrivateKey, PublicKey};
pub(crate) use source::*;
