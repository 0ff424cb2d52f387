/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Strict mode on the underlay: a packet that names an address of a peered cluster outside the
 * tunnel is plaintext by definition and goes nowhere, in either direction. The tunnel's own
 * packets carry node addresses only and never match.
 */
#pragma once

#include "abi.h"
#include "bpf.h"
#include "counters.h"

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86dd
#define ETHERTYPE_VLAN 0x8100
#define ETHERTYPE_VLAN_OUTER 0x88a8
/* Where source and destination start in an IPv4 header; options come later. */
#define IPV4_SOURCE_OFFSET 12
/* The same in an IPv6 header. */
#define IPV6_SOURCE_OFFSET 8

/* Leaves the verdict to whatever else is attached. */
#define VERDICT_NEXT (-1)
#define VERDICT_DROP 2

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, PEERED_PREFIXES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_key);
	__type(value, struct prefix_value);
	__uint(pinning, PIN_BY_NAME);
} peered_prefixes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, PEERED_PREFIXES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_key_v6);
	__type(value, struct prefix_value);
	__uint(pinning, PIN_BY_NAME);
} peered_v6 SEC(".maps");

ALWAYS_INLINE int is_peered(__be32 address)
{
	struct prefix_key key = { .length = 32, .address = address };

	return bpf_map_lookup_elem(&peered_prefixes, &key) != 0;
}

ALWAYS_INLINE int may_be_ip(__u32 ethertype)
{
	return ethertype == HOST_TO_NETWORK_16(ETHERTYPE_IPV4) ||
	       ethertype == HOST_TO_NETWORK_16(ETHERTYPE_IPV6) ||
	       ethertype == HOST_TO_NETWORK_16(ETHERTYPE_VLAN) ||
	       ethertype == HOST_TO_NETWORK_16(ETHERTYPE_VLAN_OUTER);
}

ALWAYS_INLINE int names_a_peer_v4(struct __sk_buff *skb)
{
	struct {
		__be32 source;
		__be32 destination;
	} addresses;

	if (bpf_skb_load_bytes_relative(skb, IPV4_SOURCE_OFFSET, &addresses, sizeof(addresses),
					BPF_HDR_START_NET))
		return 0;
	return is_peered(addresses.source) || is_peered(addresses.destination);
}

/* Whether the address at an offset is one of a peer. */
ALWAYS_INLINE int names_a_peer_v6(struct __sk_buff *skb, __u32 offset)
{
	struct prefix_key_v6 key = { .length = 128 };

	if (bpf_skb_load_bytes_relative(skb, offset, key.address, sizeof(key.address),
					BPF_HDR_START_NET))
		return 0;
	return bpf_map_lookup_elem(&peered_v6, &key) != 0;
}

/*
 * Reads relative to the network header: the same program serves interfaces with and without an
 * Ethernet header, packets whose first bytes are not linear, and a VLAN tag kept in the frame.
 */
ALWAYS_INLINE int names_a_peer(struct __sk_buff *skb)
{
	__u8 version;

	if (!may_be_ip(skb->protocol))
		return 0;
	if (bpf_skb_load_bytes_relative(skb, 0, &version, sizeof(version), BPF_HDR_START_NET))
		return 0;
	if (version >> 4 == 4)
		return names_a_peer_v4(skb);
	if (version >> 4 == 6)
		return names_a_peer_v6(skb, IPV6_SOURCE_OFFSET) ||
		       names_a_peer_v6(skb, IPV6_SOURCE_OFFSET + 16);
	return 0;
}

ALWAYS_INLINE int guard(struct __sk_buff *skb, __u32 direction)
{
	if (names_a_peer(skb)) {
		count(direction, REASON_UNENCRYPTED, skb->len);
		return VERDICT_DROP;
	}
	count(direction, REASON_FORWARDED, skb->len);
	return VERDICT_NEXT;
}

SEC("classifier")
int causeway_egress(struct __sk_buff *skb)
{
	return guard(skb, DIRECTION_EGRESS);
}

SEC("classifier")
int causeway_ingress(struct __sk_buff *skb)
{
	return guard(skb, DIRECTION_INGRESS);
}
