//! Runs the tc programs on packets in the kernel, without an interface. Needs root.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use aya::programs::{CgroupSockAddr, SchedClassifier, TestRun as _, TestRunOptions};
use datapath_abi::{Backend, BackendId, Direction, MAGLEV_TABLE_SIZE, Reason, ServiceKey, TCP};
use rustix::mount::{UnmountFlags, unmount};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

use super::*;
use crate::tables::Write;

#[test]
fn drops_plaintext_to_and_from_a_peered_prefix_and_counts_it() {
    let mut world = World::new();
    world.maps.put_prefix(PEERED.parse().unwrap(), 2).unwrap();

    for (source, destination, verdict) in [
        ("10.1.1.2", "10.2.1.7", DROP),
        ("10.2.1.7", "10.1.1.2", DROP),
        ("10.1.1.2", "10.2.2.7", NEXT),
        ("192.0.2.11", "198.51.100.11", NEXT),
    ] {
        let packet = ipv4(source, destination);
        assert_eq!(world.run("causeway_egress", &packet), verdict, "{source}");
        assert_eq!(world.run("causeway_ingress", &packet), verdict, "{source}");
    }

    let counters = world.maps.counters().unwrap();
    for direction in [Direction::Egress, Direction::Ingress] {
        assert_eq!(counters[&(direction, Reason::Unencrypted)].packets, 2);
        assert_eq!(counters[&(direction, Reason::Forwarded)].packets, 2);
        assert_eq!(counters[&(direction, Reason::Forwarded)].bytes, 2 * 34);
    }
}

#[test]
fn drops_plaintext_of_ipv6_as_well() {
    let mut world = World::new();
    world
        .maps
        .put_prefix("fd02::/64".parse().unwrap(), 2)
        .unwrap();

    for (source, destination, verdict) in [
        ("fd01::2", "fd02::7", DROP),
        ("fd02::7", "fd01::2", DROP),
        ("fd01::2", "fd02:0:0:1::7", NEXT),
        ("fe80::1", "ff02::1", NEXT),
    ] {
        let packet = ipv6(source, destination);
        assert_eq!(world.run("causeway_egress", &packet), verdict, "{source}");
        assert_eq!(world.run("causeway_ingress", &packet), verdict, "{source}");
    }
    let expected = [("fd02::/64".parse().unwrap(), 2)].into();
    assert_eq!(world.maps.read().unwrap().prefixes, expected);

    world
        .maps
        .delete_prefix("fd02::/64".parse().unwrap())
        .unwrap();
    assert_eq!(
        world.run("causeway_egress", &ipv6("fd01::2", "fd02::7")),
        NEXT
    );
}

#[test]
fn tells_the_two_kinds_of_addresses_apart() {
    let mut world = World::new();
    world
        .maps
        .put_prefix("0.0.0.0/0".parse().unwrap(), 2)
        .unwrap();

    assert_eq!(
        world.run("causeway_egress", &ipv6("fd01::2", "fd02::7")),
        NEXT
    );
    assert_eq!(
        world.run("causeway_egress", &ipv4("10.1.1.2", "10.2.1.7")),
        DROP
    );
}

#[test]
fn stops_dropping_once_a_prefix_is_deleted() {
    let mut world = World::new();
    let prefix = PEERED.parse().unwrap();
    world.maps.put_prefix(prefix, 2).unwrap();
    world.maps.delete_prefix(prefix).unwrap();
    world.maps.delete_prefix(prefix).unwrap();

    assert_eq!(
        world.run("causeway_egress", &ipv4("10.1.1.2", "10.2.1.7")),
        NEXT
    );
}

#[test]
fn reads_back_every_table_it_wrote() {
    let mut world = World::new();
    let key = ServiceKey::new("10.111.0.10:80".parse().unwrap(), TCP);
    let backend = Backend::new("10.1.1.2:8080".parse().unwrap(), TCP, 1);
    world.maps.put_backend(BackendId(1), backend).unwrap();
    let slots = [BackendId(1); MAGLEV_TABLE_SIZE];
    world.maps.put_service(key, &slots).unwrap();
    world.maps.put_prefix(PEERED.parse().unwrap(), 2).unwrap();

    let actual = world.maps.read().unwrap();
    assert_eq!(actual.backends, [(BackendId(1), backend)].into());
    assert_eq!(actual.prefixes, [(PEERED.parse().unwrap(), 2)].into());
    assert_eq!(actual.services, [(key, [BackendId(1)].into())].into());
    assert_eq!(world.maps.service(key).unwrap().unwrap(), slots);

    world.maps.delete_service(key).unwrap();
    world.maps.delete_backend(BackendId(1)).unwrap();
    assert_eq!(world.maps.service(key).unwrap(), None);
    assert!(world.maps.read().unwrap().backends.is_empty());
}

#[test]
fn writes_many_services_at_once() {
    let mut world = World::new();
    let backend = Backend::new("10.1.1.2:8080".parse().unwrap(), TCP, 1);
    let backends = [(BackendId(1), backend)].into();
    world.maps.put_backend(BackendId(1), backend).unwrap();
    let key = |last: u8| ServiceKey::new(format!("10.111.0.{last}:80").parse().unwrap(), TCP);
    let puts: Vec<Write> = (0..100)
        .map(|it| Write::PutService(key(it), [BackendId(1)].into()))
        .collect();
    let deletes: Vec<Write> = (1..100).map(|it| Write::DeleteService(key(it))).collect();

    world.maps.write_together(&puts, &backends).unwrap();
    let services = world.maps.read().unwrap().services;
    assert_eq!(services.len(), 100);
    assert!(services.values().all(|it| *it == [BackendId(1)].into()));

    world.maps.write_together(&deletes, &backends).unwrap();
    assert_eq!(world.maps.read().unwrap().services.len(), 1);
}

#[test]
fn finds_what_an_earlier_process_left() {
    let mut world = World::new();
    world.maps.put_prefix(PEERED.parse().unwrap(), 2).unwrap();

    let later = Maps::take(&mut load(&world.pins).unwrap(), &world.pins).unwrap();

    assert_eq!(
        later.read().unwrap().prefixes,
        [(PEERED.parse().unwrap(), 2)].into()
    );
}

#[test]
fn refuses_maps_of_another_layout() {
    let world = World::new();
    fs::remove_file(world.pins.join("backends")).unwrap();
    let foreign = aya::maps::HashMap::<_, u32, u32>::create(1, 0).unwrap();
    foreign.pin(world.pins.join("backends")).unwrap();

    let error = layout::check_maps(&world.pins).unwrap_err().to_string();

    assert!(error.contains("another layout"), "{error}");
    assert!(error.contains("--cleanup"), "{error}");
}

#[test]
fn refuses_to_work_beside_another_version() {
    let world = World::new();
    let base = base(world.bpffs.path());
    layout::check_version(&base).unwrap();
    fs::create_dir(base.join("v0")).unwrap();

    let error = layout::check_version(&base).unwrap_err().to_string();

    assert!(
        error.contains("/causeway/v0 was pinned by another version"),
        "{error}"
    );
}

#[test]
fn refuses_a_second_agent_at_the_same_place() {
    let world = World::new();
    let _held = lock(&world.pins).unwrap();

    let error = lock(&world.pins).unwrap_err().to_string();

    assert!(error.starts_with("another node-agent uses"), "{error}");
}

/// What kernels before 6.6 get; this one understands it as well.
#[test]
fn replaces_and_detaches_classic_filters() {
    let namespace = format!("cw-clsact-{}", std::process::id());
    ip(&["netns", "add", &namespace]);
    let outcome = thread::spawn({
        let namespace = namespace.clone();
        move || {
            let file = File::open(format!("/run/netns/{namespace}")).unwrap();
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            let mut world = World::new();
            let (name, direction) = UNDERLAY_PROGRAMS[0];
            for _first_and_second_agent in 0..2 {
                let program = world.ebpf.program_mut(name).unwrap();
                attach::attach_clsact(program.try_into().unwrap(), "lo", direction).unwrap();
            }
            let interfaces = ["lo".to_owned()];
            let filters = run(Command::new("tc").args(["filter", "show", "dev", "lo", "egress"]));
            (
                filters,
                attach::detach_clsact(&interfaces),
                attach::detach_clsact(&interfaces),
            )
        }
    })
    .join();
    ip(&["netns", "delete", &namespace]);

    let (filters, first, second) = outcome.unwrap();
    assert_eq!(filters.matches("handle").count(), 1, "{filters}");
    assert!(filters.contains("causeway_egress"), "{filters}");
    assert!(first.unwrap());
    assert!(!second.unwrap());
}

/// The end of a pin alone ends a link only once nobody holds it any more.
#[test]
fn has_nothing_in_force_after_its_removal() {
    let mut world = World::new();
    let cgroup = cgroup2_root().join(format!("cw-detach-{}", std::process::id()));
    fs::create_dir(&cgroup).unwrap();
    let place = Place {
        bpffs: world.bpffs.path().to_owned(),
        cgroup: cgroup.clone(),
        interfaces: Vec::new(),
    };
    let links = links(&world.pins);
    fs::create_dir(&links).unwrap();
    let attached = attach::attach_all(&mut world.ebpf, &place, &links);
    let entries = fs::read_dir(&links).unwrap();
    let held: Vec<_> = entries
        .map(|it| bpf::open(&it.unwrap().path()).unwrap())
        .collect();

    let removed = Datapath::remove(world.bpffs.path(), &[]);

    let program = world.ebpf.program("causeway_connect4").unwrap();
    let program: &CgroupSockAddr = program.try_into().unwrap();
    let updates: Vec<_> = held
        .iter()
        .map(|it| bpf::update_link(it.as_fd(), program.fd().unwrap().as_fd()))
        .map(|it| it.map_err(|error| error.raw_os_error()))
        .collect();
    fs::remove_dir(&cgroup).unwrap();
    attached.unwrap();
    assert!(removed.unwrap());
    assert_eq!(updates, [Err(Some(libc::ENOLINK)); 7]);
}

const PEERED: &str = "10.2.1.0/24";
/// `TCX_NEXT` and `TC_ACT_SHOT`.
const NEXT: u32 = u32::MAX;
const DROP: u32 = 2;

/// The loaded object with its maps, in a BPF file system of its own.
struct World {
    ebpf: Ebpf,
    maps: Maps,
    pins: PathBuf,
    bpffs: TempDir,
}

impl World {
    fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test loads eBPF programs: run it as root"
        );
        let bpffs = TempDir::with_prefix("cw-bpffs").unwrap();
        ensure_bpffs(bpffs.path()).unwrap();
        let pins = pins(bpffs.path());
        fs::create_dir_all(&pins).unwrap();
        let mut ebpf = load(&pins).unwrap();
        let maps = Maps::take(&mut ebpf, &pins).unwrap();
        for (name, _) in UNDERLAY_PROGRAMS {
            let program: &mut SchedClassifier = ebpf.program_mut(name).unwrap().try_into().unwrap();
            program.load().unwrap();
        }
        Self {
            ebpf,
            maps,
            pins,
            bpffs,
        }
    }

    /// The verdict of `program` on `packet`.
    fn run(&self, program: &str, packet: &[u8]) -> u32 {
        let program: &SchedClassifier = self.ebpf.program(program).unwrap().try_into().unwrap();
        let options = TestRunOptions {
            data_in: Some(packet),
            ..TestRunOptions::new()
        };
        program.test_run(options).unwrap().return_value
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _nothing_left_to_do = unmount(self.bpffs.path(), UnmountFlags::DETACH);
    }
}

fn cgroup2_root() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mut lines = mounts.lines().map(|it| it.split(' ').collect::<Vec<_>>());
    let line = lines.find(|it| it[2] == "cgroup2");
    line.expect("cgroup2 must be mounted")[1].into()
}

fn ip(arguments: &[&str]) {
    run(Command::new("ip").args(arguments));
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// An Ethernet frame with an IPv4 header and no payload.
fn ipv4(source: &str, destination: &str) -> Vec<u8> {
    let address = |it: &str| it.parse::<Ipv4Addr>().unwrap().octets();
    let mut frame = vec![0; 34];
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame[14] = 0x45;
    frame[17] = 20;
    frame[22] = 64;
    frame[26..30].copy_from_slice(&address(source));
    frame[30..34].copy_from_slice(&address(destination));
    frame
}

/// An Ethernet frame with an IPv6 header and no payload.
fn ipv6(source: &str, destination: &str) -> Vec<u8> {
    let address = |it: &str| it.parse::<Ipv6Addr>().unwrap().octets();
    let mut frame = vec![0; 54];
    frame[12..14].copy_from_slice(&[0x86, 0xdd]);
    frame[14] = 0x60;
    frame[20] = 59; // Nothing follows.
    frame[21] = 64;
    frame[22..38].copy_from_slice(&address(source));
    frame[38..54].copy_from_slice(&address(destination));
    frame
}
