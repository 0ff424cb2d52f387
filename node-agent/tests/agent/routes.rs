//! Somebody else's routes beside ours.

use crate::publish;
use crate::world::World;

#[test]
fn goes_past_a_route_that_the_kernel_likes_less() {
    let mut world = World::new();
    publish(&world, &["10.1.1.2"]);
    world.ip("route add 10.2.1.0/24 via 192.0.2.1 metric 50");
    world.ip("-6 route add fd00:10:2:1::/64 dev under0 metric 2000");
    world.start_device();
    world.start_agent();

    world.wait_until("the tunnel has both prefixes", || {
        world.ip("route get 10.2.1.7").contains("dev cwt")
            && world.ip("route get fd00:10:2:1::7").contains("dev cwt")
    });
    let status = world.admin("/v1/status");
    assert!(!status.contains("out of the tunnel"), "{status}");
    let theirs = world.ip("route show 10.2.1.0/24");
    assert!(
        theirs.contains("via 192.0.2.1 dev under0 metric 50"),
        "{theirs}"
    );

    world.ip("-6 route add fd00:10:2:1::/64 dev under0 metric 512");
    world.wait_until("a better one is reported", || {
        let status = world.admin("/v1/status");
        status.contains("route for fd00:10:2:1::/64, with metric 512, keeps it out of the tunnel")
    });
    world.ip("-6 route delete fd00:10:2:1::/64 metric 512");
    world.wait_until("the tunnel has it again", || {
        world.ip("route get fd00:10:2:1::7").contains("dev cwt")
            && !world.admin("/v1/status").contains("out of the tunnel")
    });
}
