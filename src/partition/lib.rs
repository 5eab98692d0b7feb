//! Ringlane: sequencing, producer state, leader epochs, high watermark, delayed produce and fetch
