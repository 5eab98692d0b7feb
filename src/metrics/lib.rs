//! Ringlane: counters, gauges and histograms of one shard
