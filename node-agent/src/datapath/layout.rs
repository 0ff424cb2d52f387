//! A door: refuses pinned maps that another version of the agent laid out differently.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use aya::maps::{MapInfo, MapType};

use datapath_abi as abi;

/// Every pinned map with its type, key bytes, value bytes and number of entries.
const MAPS: [(&str, MapType, usize, usize, u32); 6] = [
    (
        "services",
        MapType::HashOfMaps,
        size_of::<abi::ServiceKey>(),
        size_of::<u32>(),
        abi::SERVICES_MAX,
    ),
    (
        "backends",
        MapType::Hash,
        size_of::<abi::BackendId>(),
        size_of::<abi::Backend>(),
        abi::BACKENDS_MAX,
    ),
    (
        "reverses",
        MapType::LruHash,
        size_of::<abi::ReverseKey>(),
        size_of::<abi::ReverseValue>(),
        abi::REVERSES_MAX,
    ),
    (
        "peered_prefixes",
        MapType::LpmTrie,
        size_of::<abi::PrefixKey>(),
        size_of::<abi::PrefixValue>(),
        abi::PEERED_PREFIXES_MAX,
    ),
    (
        "peered_v6",
        MapType::LpmTrie,
        size_of::<abi::PrefixKeyV6>(),
        size_of::<abi::PrefixValue>(),
        abi::PEERED_PREFIXES_MAX,
    ),
    (
        "counters",
        MapType::PerCpuArray,
        size_of::<u32>(),
        size_of::<abi::Counter>(),
        abi::COUNTERS_MAX,
    ),
];

const REMEDY: &str = "run `node-agent --cleanup` once, and start again";

/// Refuses to work beside the pins of another layout: two datapaths would translate each other.
pub(super) fn check_version(base: &Path) -> anyhow::Result<()> {
    let Ok(entries) = fs::read_dir(base) else {
        return Ok(());
    };
    let ours = format!("v{}", abi::ABI_VERSION);
    for entry in entries {
        let name = entry
            .with_context(|| format!("cannot read {}", base.display()))?
            .file_name();
        if name != *ours {
            bail!(
                "{} was pinned by another version of the agent, whose layout this one ({ours}) does not know: {REMEDY}",
                base.join(name).display()
            );
        }
    }
    Ok(())
}

/// Refuses pinned maps of our version whose sizes are not ours, before anything is written.
pub(super) fn check_maps(pins: &Path) -> anyhow::Result<()> {
    for (name, map_type, key_bytes, value_bytes, entries) in MAPS {
        let path = pins.join(name);
        if !path.exists() {
            continue;
        }
        let info = MapInfo::from_pin(&path)
            .with_context(|| format!("cannot open the pinned map {}", path.display()))?;
        let found = (
            info.map_type().ok(),
            info.key_size() as usize,
            info.value_size() as usize,
            info.max_entries(),
        );
        if found != (Some(map_type), key_bytes, value_bytes, entries) {
            bail!(
                "the pinned map {} has another layout than this agent's: {REMEDY}",
                path.display()
            );
        }
    }
    Ok(())
}
