//! A door: gives up what the device does not need once it is set up.

use anyhow::Context as _;
use rustix::process::{
    DumpableBehavior, Gid, Resource, Rlimit, Uid, set_dumpable_behavior, setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_keep_capabilities,
    set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

/// Marks of datagrams, and ports below 1024.
const KEPT: CapabilitySet = CapabilitySet::NET_ADMIN.union(CapabilitySet::NET_BIND_SERVICE);

/// Lets no other user see the keys: not in a core dump, not through the socket's file, not as a
/// debugger.
pub(crate) fn keep_keys_private() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none)
        .and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable))
    {
        tracing::warn!(%error, "core dumps may contain keys");
    }
}

/// Becomes `user` and keeps no capability but those that changes of the configuration may need, and lets no program
/// that is executed have more. Threads that are started later have no more either, so call it before.
///
/// # Errors
///
/// The system refuses, which it has no reason to.
pub(crate) fn drop_them(user: Option<u32>) -> anyhow::Result<()> {
    let advice = "cannot give up privileges; start it with --keep-privileges";
    let kept = capabilities(None).context(advice)?.permitted & KEPT;
    if let Some(user) = user {
        become_user(user)
            .with_context(|| format!("cannot become user {user}; choose another --user"))?;
    }
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).context(advice)?;
    set_no_new_privs(true).context(advice)
}

/// Only for the calling thread, which is the only one yet.
fn become_user(user: u32) -> rustix::io::Result<()> {
    let (group, user) = (Gid::from_raw(user), Uid::from_raw(user));
    set_keep_capabilities(true)?;
    set_thread_groups(&[])?;
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)?;
    // The system may have changed it with the user.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}
