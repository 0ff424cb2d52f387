//! Who serves an interface: a userspace device, the kernel, or nobody.

use std::error::Error as _;

use wireguard::uapi::{Backend, ClientError, Interface, KernelError, Update};

use super::pair::{Family, Pair};

#[test]
fn the_userspace_device_is_found_and_the_kernel_says_what_it_misses() {
    let Pair { mut east, west } = Pair::without_devices(Family::V4);
    east.start();
    let marked = Update {
        fwmark: Some(7),
        ..Update::default()
    };
    for interface in [
        Interface::open(&east.interface),
        served_by("userspace", &east.interface),
    ] {
        interface.set(&marked).unwrap();
        assert_eq!(interface.get().unwrap().fwmark, 7);
    }

    let error = served_by("kernel", &east.interface).get().unwrap_err();
    let ClientError::Kernel { source, .. } = &error else {
        panic!("{error:?}");
    };
    // Here there is no module; where there is, the interface is not one of the kernel's.
    let remedy = if matches!(source, KernelError::NoModule) {
        "load its module, or serve the interface with `wireguard-device`"
    } else {
        "add it with `ip link add NAME type wireguard`"
    };
    assert!(source.to_string().contains(remedy), "{source}");
    let error = served_by("kernel", &east.interface)
        .set(&marked)
        .unwrap_err();
    assert!(
        error.source().unwrap().to_string().contains(remedy),
        "{error:?}"
    );

    // Nobody serves the other: the way to a device is what helps.
    let error = Interface::open(&west.interface).get().unwrap_err();
    assert!(
        error.to_string().contains("is `wireguard-device` running"),
        "{error}"
    );
}

fn served_by(backend: &str, interface: &str) -> Interface {
    let backend: Backend = backend.parse().unwrap();
    Interface::served_by(backend, interface)
}
