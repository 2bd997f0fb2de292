//! NUMA nodes: parts of the machine's memory that are closer to some cores than to others.

use std::path::Path;

/// The number of shards for each core that lets threads of one node rarely meet, and threads of several
/// nodes, to which a shard's cache line takes longer to travel.
const SHARDS_PER_CORE: [usize; 2] = [64, 128];

/// The number of the machine's nodes: 1 where the system does not tell.
pub(crate) fn count() -> usize {
    count_in(Path::new("/sys/devices/system/node"))
}

fn count_in(folder: &Path) -> usize {
    let is_node = |name: &str| {
        let number = name.strip_prefix("node");
        number.is_some_and(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()))
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let nodes = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_node)).count();
    nodes.max(1)
}

/// The number of shards to set instead of `shards`, if these are few for the machine.
pub(crate) fn better_shards(nodes: usize, cores: usize, shards: usize) -> Option<usize> {
    let wanted = (cores * SHARDS_PER_CORE[usize::from(nodes > 1)]).next_power_of_two();
    // With one core nobody meets anybody.
    (cores > 1 && shards < wanted).then_some(wanted)
}

/// The machine in a few words: its cores that this thread may use, and its nodes.
pub(crate) fn describe(nodes: usize, cores: usize) -> String {
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    format!("{cores} core{}, {nodes} NUMA node{}", plural(cores), plural(nodes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(count_in(&folder.path().join("none")), 1);
        for name in ["node0", "node1", "node12", "node", "nodes", "possible"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        assert_eq!(count_in(folder.path()), 3);
        assert_eq!(describe(3, 1), "1 core, 3 NUMA nodes");
    }

    #[test]
    fn several_nodes_want_twice_the_shards() {
        assert_eq!(better_shards(1, 2, 64), Some(128));
        assert_eq!(better_shards(1, 2, 128), None);
        assert_eq!(better_shards(2, 2, 128), Some(256));
        assert_eq!(better_shards(2, 48, 4096), Some(8192));
        assert_eq!(better_shards(2, 2, 256), None, "the default, 128 for each core");
        assert_eq!(better_shards(1, 1, 1), None);
    }
}
