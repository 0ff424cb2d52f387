/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The few kernel helpers and declaration macros that the programs need, by their stable numbers. */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>

#define SEC(name) __attribute__((section(name), used))
#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* How a map's type, sizes and flags are written into BTF, where the loader reads them. */
#define __uint(name, value) int(*name)[value]
#define __type(name, type) typeof(type) *name
#define __array(name, type) typeof(type) *name[]

/* Pinned under the map's own name, in the directory that the loader chooses. */
#define PIN_BY_NAME 1

static void *(*bpf_map_lookup_elem)(void *map, const void *key) =
	(void *)BPF_FUNC_map_lookup_elem;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, __u64 flags) =
	(void *)BPF_FUNC_map_update_elem;
static __u64 (*bpf_get_socket_cookie)(void *context) = (void *)BPF_FUNC_get_socket_cookie;
static long (*bpf_set_retval)(int value) = (void *)BPF_FUNC_set_retval;
static long (*bpf_skb_load_bytes_relative)(const void *skb, __u32 offset, void *to, __u32 length,
					   __u32 start) = (void *)BPF_FUNC_skb_load_bytes_relative;

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define HOST_TO_NETWORK_16(value) ((__be16)__builtin_bswap16(value))
#define HOST_TO_NETWORK_32(value) ((__be32)__builtin_bswap32(value))
#else
#define HOST_TO_NETWORK_16(value) ((__be16)(value))
#define HOST_TO_NETWORK_32(value) ((__be32)(value))
#endif
