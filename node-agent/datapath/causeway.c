// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Every program and map of the datapath, as one object. */
#include "abi.h"
#include "bpf.h"
#include "socket.h"
#include "underlay.h"

char causeway_license[] SEC("license") = "Dual MIT/GPL";
