//! A door: the few commands of bpf(2) that the loader library lacks: swapping the program of a
//! cgroup link, ending a link, and writing many entries at once.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Commands of bpf(2), as in the kernel's `enum bpf_cmd`.
const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_MAP_UPDATE_BATCH: libc::c_int = 26;
const BPF_MAP_DELETE_BATCH: libc::c_int = 27;
const BPF_LINK_UPDATE: libc::c_int = 29;
const BPF_LINK_DETACH: libc::c_int = 34;

const BPF_MAP_TYPE_ARRAY: u32 = 2;

/// Opens what is pinned at `path`: a map or a link.
pub(super) fn open(path: &Path) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        pathname: u64,
        file_descriptor: u32,
        flags: u32,
    }

    let path = CString::new(path.as_os_str().as_bytes())?;
    let attributes = Attributes {
        pathname: path.as_ptr() as u64,
        file_descriptor: 0,
        flags: 0,
    };
    own(bpf(BPF_OBJ_GET, &attributes)?)
}

/// Swaps the program behind a link atomically. ENOLINK says that what it was attached to is gone.
pub(super) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        link: i32,
        new_program: i32,
        flags: u32,
        old_program: i32,
    }

    let attributes = Attributes {
        link: link.as_raw_fd(),
        new_program: program.as_raw_fd(),
        flags: 0,
        old_program: 0,
    };
    bpf(BPF_LINK_UPDATE, &attributes).map(|_| ())
}

/// Takes the program away from what the link attached it to; once this returns, it does not run any
/// more.
pub(super) fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        link: i32,
    }

    let attributes = Attributes {
        link: link.as_raw_fd(),
    };
    bpf(BPF_LINK_DETACH, &attributes).map(|_| ())
}

/// An array map whose only element is `value`.
pub(super) fn create_array_of_one(value: &[u8]) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Create {
        map_type: u32,
        key_bytes: u32,
        value_bytes: u32,
        entries: u32,
    }
    #[repr(C)]
    struct Update {
        map: i32,
        padding: u32,
        key: u64,
        value: u64,
        flags: u64,
    }

    let create = Create {
        map_type: BPF_MAP_TYPE_ARRAY,
        key_bytes: 4,
        value_bytes: u32::try_from(value.len()).map_err(io::Error::other)?,
        entries: 1,
    };
    let map = own(bpf(BPF_MAP_CREATE, &create)?)?;
    let first = [0_u8; 4];
    let update = Update {
        map: map.as_raw_fd(),
        padding: 0,
        key: first.as_ptr() as u64,
        value: value.as_ptr() as u64,
        flags: 0,
    };
    bpf(BPF_MAP_UPDATE_ELEM, &update)?;
    Ok(map)
}

/// Sets `entries` of a map of maps, waiting only once for the connections that still read the old
/// ones. After an error some entries may be set.
pub(super) fn update_batch<const N: usize>(
    map: BorrowedFd<'_>,
    entries: &[([u8; N], OwnedFd)],
) -> io::Result<()> {
    let keys: Vec<[u8; N]> = entries.iter().map(|(key, _)| *key).collect();
    let values: Vec<i32> = entries.iter().map(|(_, value)| value.as_raw_fd()).collect();
    batch(BPF_MAP_UPDATE_BATCH, map, &keys, values.as_ptr() as u64)
}

/// Deletes `keys`. After an error, such as an absent key, some may be deleted.
pub(super) fn delete_batch<const N: usize>(
    map: BorrowedFd<'_>,
    keys: &[[u8; N]],
) -> io::Result<()> {
    batch(BPF_MAP_DELETE_BATCH, map, keys, 0)
}

fn batch<const N: usize>(
    command: libc::c_int,
    map: BorrowedFd<'_>,
    keys: &[[u8; N]],
    values: u64,
) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        in_batch: u64,
        out_batch: u64,
        keys: u64,
        values: u64,
        count: u32,
        map: i32,
        element_flags: u64,
        flags: u64,
    }

    let attributes = Attributes {
        in_batch: 0,
        out_batch: 0,
        keys: keys.as_ptr() as u64,
        values,
        count: u32::try_from(keys.len()).map_err(io::Error::other)?,
        map: map.as_raw_fd(),
        element_flags: 0,
        flags: 0,
    };
    bpf(command, &attributes).map(|_| ())
}

fn own(descriptor: i32) -> io::Result<OwnedFd> {
    if descriptor < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    #[expect(unsafe_code, reason = "the kernel hands out descriptors as numbers")]
    // SAFETY: the caller has just got the descriptor from the kernel, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn bpf<A>(command: libc::c_int, attributes: &A) -> io::Result<i32> {
    #[expect(unsafe_code, reason = "libc wraps no bpf(2)")]
    // SAFETY: `attributes` is a live `repr(C)` structure without padding, of the length given and
    // laid out as `command` reads it; whatever its pointers name outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<A>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(io::Error::other)
}
