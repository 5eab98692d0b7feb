//! gzip (RFC 1952), several members in a row included.

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use std::io::{self, Read, Write};

pub(super) fn compress(plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = GzEncoder::new(out, Compression::default());
    encoder.write_all(plain)?;
    encoder.finish()?;
    Ok(())
}

pub(super) fn reader(packed: &[u8]) -> impl Read {
    MultiGzDecoder::new(packed)
}
