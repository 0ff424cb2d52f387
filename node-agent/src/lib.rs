//! Programs one node: eBPF tables, tunnels and routes that follow the mesh.
