/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Which slot of a Maglev table a socket falls into. Pure: no map, no helper. */
#pragma once

#include "abi.h"

/*
 * Cookies count up; the finalizer of SplitMix64 spreads neighbours over the whole range, so that
 * a client's successive connections reach different backends.
 */
ALWAYS_INLINE __u32 slot_of_cookie(__u64 cookie)
{
	cookie ^= cookie >> 30;
	cookie *= 0xbf58476d1ce4e5b9ULL;
	cookie ^= cookie >> 27;
	cookie *= 0x94d049bb133111ebULL;
	cookie ^= cookie >> 31;
	return (__u32)(cookie % MAGLEV_TABLE_SIZE);
}
