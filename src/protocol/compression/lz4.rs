//! The LZ4 frame format, with the header checksum that the specification wants (Kafka's first clients had it wrong in format 0 only).

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use std::io::{self, Read, Write};

pub(super) fn compress(plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    // Independent 64 KiB blocks: what Kafka's Java client writes, and the only kind that its decoder reads.
    let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(plain)?;
    encoder.finish()?;
    Ok(())
}

pub(super) fn reader(packed: &[u8]) -> impl Read {
    FrameDecoder::new(packed)
}
