//! Snappy: raw blocks, and xerial's framing of them, which Java's snappy stream writes.
//!
//! ```text
//! xerial: magic 82 'S' 'N' 'A' 'P' 'P' 'Y' 00, version i32 = 1, compatible version i32 = 1, then blocks: length i32, raw snappy
//! ```

use super::{Compression, CompressionError};
use snap::raw::{Decoder, Encoder, decompress_len};
use std::io;

const CODEC: Compression = Compression::Snappy;
const MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const FRAME_HEADER_BYTES: usize = 16;
/// Plain bytes of one block; Java's stream uses the same.
const BLOCK_BYTES: usize = 32 << 10;
/// A raw block claims its plain size in front. No snappy element yields more than 64 bytes from three, so a block that claims more
/// than this many times its own size is forged.
const RATIO_MAX: usize = 24;

pub(super) fn compress(plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
    let mut encoder = Encoder::new();
    for block in plain.chunks(BLOCK_BYTES) {
        let length_at = out.len();
        let bytes_max = snap::raw::max_compress_len(block.len());
        out.resize(length_at + 4 + bytes_max, 0);
        let bytes = encoder.compress(block, &mut out[length_at + 4..])?;
        out[length_at..length_at + 4].copy_from_slice(&(bytes as u32).to_be_bytes());
        out.truncate(length_at + 4 + bytes);
    }
    Ok(())
}

pub(super) fn decompress(packed: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
    let mut plain = Vec::new();
    if !packed.starts_with(&MAGIC) {
        unpack_block(packed, &mut plain, limit)?;
        return Ok(plain);
    }
    let mut rest = packed.get(FRAME_HEADER_BYTES..).ok_or_else(|| damaged("its frame header is cut"))?;
    while !rest.is_empty() {
        let (length, behind) = rest.split_first_chunk::<4>().ok_or_else(|| damaged("a block length is cut"))?;
        let length = u32::from_be_bytes(*length) as usize;
        let (block, behind) = behind.split_at_checked(length).ok_or_else(|| damaged("a block reaches past the end"))?;
        unpack_block(block, &mut plain, limit)?;
        rest = behind;
    }
    Ok(plain)
}

fn unpack_block(block: &[u8], plain: &mut Vec<u8>, limit: usize) -> Result<(), CompressionError> {
    let bytes = decompress_len(block).map_err(damaged)?;
    let from = plain.len();
    if bytes > limit - from {
        return Err(CompressionError::TooLarge { codec: CODEC, limit });
    }
    if bytes > block.len().saturating_mul(RATIO_MAX) {
        return Err(damaged("a block claims more than its bytes can hold"));
    }
    plain.resize(from + bytes, 0);
    Decoder::new().decompress(block, &mut plain[from..]).map_err(damaged)?;
    Ok(())
}

fn damaged(reason: impl ToString) -> CompressionError {
    CompressionError::Damaged { codec: CODEC, reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// librdkafka before 2.x and Go clients send raw blocks, Java sends frames; a broker that reads one kind fails the others on
    /// every topic that it must look into.
    #[test]
    fn raw_blocks_and_frames_are_both_read() {
        let plain = b"orders,payments,shipments;".repeat(4_000);
        let raw = Encoder::new().compress_vec(&plain).unwrap();
        assert_eq!(decompress(&raw, 1 << 20).unwrap(), plain);

        let mut framed = Vec::new();
        compress(&plain, &mut framed).unwrap();
        assert!(framed.starts_with(&MAGIC));
        assert_eq!(decompress(&framed, 1 << 20).unwrap(), plain);
    }

    /// Nine bytes that claim four gigabytes must not take four gigabytes, whatever the caller's limit.
    #[test]
    fn a_forged_block_length_is_refused_before_memory_is_taken() {
        let forged = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, 0x61];
        assert!(matches!(decompress(&forged, usize::MAX), Err(CompressionError::Damaged { .. })));
    }
}
