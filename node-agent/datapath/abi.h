/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Keys and values that the programs and the node agent share.
 *
 * The mirror is `datapath-abi/src/lib.rs`; both sides assert the same sizes and offsets, so that
 * neither can drift alone. Any change of a layout raises CAUSEWAY_ABI_VERSION on both sides: maps
 * are pinned under a directory of that name and never reused across versions.
 *
 * Addresses and ports are in network byte order everywhere in the maps; counters, cookies,
 * prefix lengths and ids are in the order of the machine.
 */
#pragma once

#include <linux/types.h>

#define CAUSEWAY_ABI_VERSION 1

/* A prime, as Maglev asks; 100 times the backends of a large service, for an even spread. */
#define MAGLEV_TABLE_SIZE 16381

/* Inner maps exist only for services that exist: 64 KiB each. */
#define SERVICES_MAX 65536
#define BACKENDS_MAX 131072
/* One entry per socket and backend it talks to; the least recently used goes first. */
#define REVERSES_MAX 131072
#define PEERED_PREFIXES_MAX 16384

/* Reasons as Cilium numbers them, so that its users recognise them. */
#define REASON_FORWARDED 0
#define REASON_NO_BACKEND 158
#define REASON_UNENCRYPTED 195
#define REASONS_MAX 256

#define DIRECTION_INGRESS 0
#define DIRECTION_EGRESS 1
#define COUNTERS_MAX (2 * REASONS_MAX)

/* A virtual address: what clients connect to. */
struct service_key {
	__be32 address;
	__be16 port;
	__u8 protocol; /* IPPROTO_TCP or IPPROTO_UDP */
	__u8 padding;
};

/* The only element of a service's inner map; 0 stands for "no backend". */
struct maglev_table {
	__u32 backend[MAGLEV_TABLE_SIZE];
};

/* A real address: where connections go. */
struct backend {
	__be32 address;
	__be16 port;
	__u8 protocol;
	__u8 padding;
	__u32 cluster;
};

/* What a socket sees as its peer, and must be told otherwise. */
struct reverse_key {
	__u64 cookie;
	__be32 address;
	__be16 port;
	__u8 protocol;
	__u8 padding;
};

struct reverse_value {
	__be32 address;
	__be16 port;
	__u16 padding;
};

/* The layout that BPF_MAP_TYPE_LPM_TRIE prescribes. */
struct prefix_key {
	__u32 length;
	__be32 address;
};

struct prefix_key_v6 {
	__u32 length;
	__u8 address[16];
};

struct prefix_value {
	__u32 cluster;
};

struct counter {
	__u64 packets;
	__u64 bytes;
};

#define ABI_SIZE(type, size) _Static_assert(sizeof(type) == (size), #type)
#define ABI_OFFSET(type, field, at) \
	_Static_assert(__builtin_offsetof(type, field) == (at), #type "." #field)

ABI_SIZE(struct service_key, 8);
ABI_OFFSET(struct service_key, address, 0);
ABI_OFFSET(struct service_key, port, 4);
ABI_OFFSET(struct service_key, protocol, 6);

ABI_SIZE(struct maglev_table, 65524);

ABI_SIZE(struct backend, 12);
ABI_OFFSET(struct backend, address, 0);
ABI_OFFSET(struct backend, port, 4);
ABI_OFFSET(struct backend, protocol, 6);
ABI_OFFSET(struct backend, cluster, 8);

ABI_SIZE(struct reverse_key, 16);
ABI_OFFSET(struct reverse_key, cookie, 0);
ABI_OFFSET(struct reverse_key, address, 8);
ABI_OFFSET(struct reverse_key, port, 12);
ABI_OFFSET(struct reverse_key, protocol, 14);

ABI_SIZE(struct reverse_value, 8);
ABI_OFFSET(struct reverse_value, address, 0);
ABI_OFFSET(struct reverse_value, port, 4);

ABI_SIZE(struct prefix_key_v6, 20);
ABI_OFFSET(struct prefix_key_v6, length, 0);
ABI_OFFSET(struct prefix_key_v6, address, 4);

ABI_SIZE(struct prefix_key, 8);
ABI_OFFSET(struct prefix_key, length, 0);
ABI_OFFSET(struct prefix_key, address, 4);

ABI_SIZE(struct prefix_value, 4);

ABI_SIZE(struct counter, 16);
ABI_OFFSET(struct counter, packets, 0);
ABI_OFFSET(struct counter, bytes, 8);
