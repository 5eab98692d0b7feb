//! Zstandard frames.

use std::io::{self, Read};

/// What zstd itself calls its default; Kafka's too.
const LEVEL: i32 = 3;
/// Largest window that a frame may ask for: 128 MiB, what levels up to 22 write and zstd itself reads by default. The library reserves it
/// as address space; pages are touched only as far as plain bytes are written, so memory follows the caller's cap.
const WINDOW_LOG_MAX: u32 = 27;

pub(super) fn compress(plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    zstd::stream::copy_encode(plain, out, LEVEL)
}

pub(super) fn reader(packed: &[u8]) -> io::Result<impl Read> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    Ok(decoder)
}
