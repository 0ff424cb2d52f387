/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Counts verdicts by reason and direction; per CPU, so that counting needs no atomic. */
#pragma once

#include "abi.h"
#include "bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS_MAX);
	__type(key, __u32);
	__type(value, struct counter);
	__uint(pinning, PIN_BY_NAME);
} counters SEC(".maps");

ALWAYS_INLINE void count(__u32 direction, __u32 reason, __u32 bytes)
{
	__u32 index = direction * REASONS_MAX + reason;
	struct counter *counter = bpf_map_lookup_elem(&counters, &index);

	if (!counter)
		return;
	counter->packets += 1;
	counter->bytes += bytes;
}
