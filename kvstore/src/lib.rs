//! The mesh's memory: an etcd v3 client and an embedded etcd v3 server.
