//! What no single crate can test: the workspace's shape, and the whole mesh on real traffic.
