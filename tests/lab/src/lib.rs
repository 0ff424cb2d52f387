//! Hosts, links and pods made of network namespaces, for the example and the tests.
