/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Services at the socket: a client that connects or sends to a virtual address talks to a backend
 * from its first packet on, and is shown the virtual address whenever it asks who its peer is.
 * Nothing is translated per packet.
 */
#pragma once

#include "abi.h"
#include "bpf.h"
#include "counters.h"
#include "spread.h"

#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_MPTCP 262
#define ERROR_CONNECTION_REFUSED 111

#define PROCEED 1
#define REJECT 0

/*
 * Virtual address to Maglev table. A service changes by swapping its inner map, which is atomic:
 * a connection sees the old set of backends or the new one, never a mixture.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, SERVICES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct service_key);
	__uint(value_size, sizeof(__u32));
	__uint(pinning, PIN_BY_NAME);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_ARRAY);
		__uint(max_entries, 1);
		__uint(key_size, sizeof(__u32));
		__uint(value_size, sizeof(struct maglev_table));
	});
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BACKENDS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct backend);
	__uint(pinning, PIN_BY_NAME);
} backends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, REVERSES_MAX);
	__type(key, struct reverse_key);
	__type(value, struct reverse_value);
	__uint(pinning, PIN_BY_NAME);
} reverses SEC(".maps");

/* The transport a service would be defined for, or 0 when none could be. */
ALWAYS_INLINE __u8 transport_of(struct bpf_sock_addr *context)
{
	switch (context->protocol) {
	case PROTOCOL_TCP:
	case PROTOCOL_MPTCP:
		return PROTOCOL_TCP;
	case PROTOCOL_UDP:
		return PROTOCOL_UDP;
	default:
		return 0;
	}
}

/* The backend of `table` for this socket, or NULL when the service has none. */
ALWAYS_INLINE struct backend *choose(void *table, __u64 cookie)
{
	__u32 first = 0;
	__u32 slot = slot_of_cookie(cookie);
	struct maglev_table *maglev = bpf_map_lookup_elem(table, &first);

	if (!maglev)
		return 0;
	/* The verifier derives no bound from a modulo, and the compiler would drop the check. */
	asm volatile("" : "+r"(slot));
	if (slot >= MAGLEV_TABLE_SIZE)
		return 0;

	__u32 id = maglev->backend[slot];

	return id ? bpf_map_lookup_elem(&backends, &id) : 0;
}

/* One end of a conversation. */
struct endpoint {
	__be32 address;
	__be16 port;
};

/* Makes `peer` a backend when it is a service, and remembers the translation. */
ALWAYS_INLINE int translate(struct bpf_sock_addr *context, struct endpoint *peer)
{
	struct service_key service = {
		.address = peer->address,
		.port = peer->port,
		.protocol = transport_of(context),
	};
	void *table = service.protocol ? bpf_map_lookup_elem(&services, &service) : 0;

	if (!table)
		return PROCEED;

	__u64 cookie = bpf_get_socket_cookie(context);
	struct backend *backend = choose(table, cookie);

	if (!backend) {
		count(DIRECTION_EGRESS, REASON_NO_BACKEND, 0);
		bpf_set_retval(-ERROR_CONNECTION_REFUSED);
		return REJECT;
	}

	struct reverse_key key = {
		.cookie = cookie,
		.address = backend->address,
		.port = backend->port,
		.protocol = service.protocol,
	};
	struct reverse_value value = {
		.address = service.address,
		.port = service.port,
	};

	bpf_map_update_elem(&reverses, &key, &value, BPF_ANY);
	peer->address = backend->address;
	peer->port = backend->port;
	return PROCEED;
}

/* Makes `peer` the virtual address again, if this socket was translated. */
ALWAYS_INLINE void translate_back(struct bpf_sock_addr *context, struct endpoint *peer)
{
	struct reverse_key key = {
		.cookie = bpf_get_socket_cookie(context),
		.address = peer->address,
		.port = peer->port,
		.protocol = transport_of(context),
	};
	struct reverse_value *service = bpf_map_lookup_elem(&reverses, &key);

	if (!service)
		return;
	peer->address = service->address;
	peer->port = service->port;
}

ALWAYS_INLINE int translate_v4(struct bpf_sock_addr *context)
{
	struct endpoint peer = { context->user_ip4, (__be16)context->user_port };
	int verdict = translate(context, &peer);

	context->user_ip4 = peer.address;
	context->user_port = peer.port;
	return verdict;
}

ALWAYS_INLINE int translate_back_v4(struct bpf_sock_addr *context)
{
	struct endpoint peer = { context->user_ip4, (__be16)context->user_port };

	translate_back(context, &peer);
	context->user_ip4 = peer.address;
	context->user_port = peer.port;
	return PROCEED;
}

/*
 * Whether an IPv6 socket talks IPv4 (RFC 4291, section 2.5.5.2), as those of dual-stack programs
 * do. What such a socket sends without being connected passes the hook for IPv4.
 */
ALWAYS_INLINE int is_mapped_v4(struct bpf_sock_addr *context)
{
	return context->user_ip6[0] == 0 && context->user_ip6[1] == 0 &&
	       context->user_ip6[2] == HOST_TO_NETWORK_32(0xffff);
}

ALWAYS_INLINE int translate_mapped(struct bpf_sock_addr *context)
{
	if (!is_mapped_v4(context))
		return PROCEED;

	struct endpoint peer = { context->user_ip6[3], (__be16)context->user_port };
	int verdict = translate(context, &peer);

	context->user_ip6[3] = peer.address;
	context->user_port = peer.port;
	return verdict;
}

ALWAYS_INLINE int translate_back_mapped(struct bpf_sock_addr *context)
{
	if (!is_mapped_v4(context))
		return PROCEED;

	struct endpoint peer = { context->user_ip6[3], (__be16)context->user_port };

	translate_back(context, &peer);
	context->user_ip6[3] = peer.address;
	context->user_port = peer.port;
	return PROCEED;
}

SEC("cgroup/connect4")
int causeway_connect4(struct bpf_sock_addr *context)
{
	return translate_v4(context);
}

SEC("cgroup/sendmsg4")
int causeway_sendmsg4(struct bpf_sock_addr *context)
{
	return translate_v4(context);
}

SEC("cgroup/recvmsg4")
int causeway_recvmsg4(struct bpf_sock_addr *context)
{
	return translate_back_v4(context);
}

SEC("cgroup/getpeername4")
int causeway_getpeername4(struct bpf_sock_addr *context)
{
	return translate_back_v4(context);
}

SEC("cgroup/connect6")
int causeway_connect6(struct bpf_sock_addr *context)
{
	return translate_mapped(context);
}

SEC("cgroup/recvmsg6")
int causeway_recvmsg6(struct bpf_sock_addr *context)
{
	return translate_back_mapped(context);
}

SEC("cgroup/getpeername6")
int causeway_getpeername6(struct bpf_sock_addr *context)
{
	return translate_back_mapped(context);
}
