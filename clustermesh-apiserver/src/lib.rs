//! Publishes this cluster to the mesh, mirrors the others, serves both over the etcd v3 API.
