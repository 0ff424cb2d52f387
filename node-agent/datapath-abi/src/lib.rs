//! Keys and values that the eBPF programs and the node agent agree on.
