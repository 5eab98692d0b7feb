//! The simulated machine: N nodes with S shards each in one thread, virtual clock, network and disks with faults, all from a seed.
