//! The codecs of record batches. Pure functions, used on every shard; output is capped by the caller, whatever the input claims.
//!
//! Every decoder is streamed: memory grows with what was really unpacked, up to the cap, so neither a forged length nor a bomb of a few
//! kilobytes takes more than its caller allows.

mod gzip;
mod lz4;
mod snappy;
mod zstandard;

use std::io::{self, Read};

/// How the records of a batch are compressed. The numbers are those of the attribute bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum Compression {
    #[default]
    None = 0,
    Gzip = 1,
    /// Written in xerial's framing as Java does; read in that and raw.
    Snappy = 2,
    /// The LZ4 frame format.
    Lz4 = 3,
    Zstd = 4,
}

impl Compression {
    pub const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    pub fn from_number(number: u8) -> Option<Compression> {
        Compression::ALL.get(usize::from(number)).copied()
    }

    /// Kafka's name, as in `compression.type`; "uncompressed" is only an alias there.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    pub fn from_name(name: &str) -> Option<Compression> {
        Compression::ALL.into_iter().find(|codec| codec.name() == name)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    #[error("the {codec} data of a batch is damaged: {reason}", codec = codec.name())]
    Damaged { codec: Compression, reason: String },
    #[error("the {codec} data of a batch unpacks to more than the allowed {limit} bytes", codec = codec.name())]
    TooLarge { codec: Compression, limit: usize },
    #[error("the batch names a codec that does not exist")]
    UnknownCodec,
    #[error("compressing with {codec} failed: {reason}", codec = codec.name())]
    Failed { codec: Compression, reason: String },
}

/// Appends the compressed form of `plain` to `out`, at the codec's usual level.
pub fn compress(codec: Compression, plain: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let packed = match codec {
        Compression::None => {
            out.extend_from_slice(plain);
            Ok(())
        }
        Compression::Gzip => gzip::compress(plain, out),
        Compression::Snappy => snappy::compress(plain, out),
        Compression::Lz4 => lz4::compress(plain, out),
        Compression::Zstd => zstandard::compress(plain, out),
    };
    packed.map_err(|error| CompressionError::Failed { codec, reason: error.to_string() })
}

/// The plain form of `packed`; an error as soon as it grows past `limit`.
pub fn decompress(codec: Compression, packed: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
    match codec {
        Compression::None if packed.len() > limit => Err(CompressionError::TooLarge { codec, limit }),
        Compression::None => Ok(packed.to_vec()),
        Compression::Gzip => read_all(codec, gzip::reader(packed), packed.len(), limit),
        Compression::Snappy => snappy::decompress(packed, limit),
        Compression::Lz4 => read_all(codec, lz4::reader(packed), packed.len(), limit),
        Compression::Zstd => {
            let reader = zstandard::reader(packed).map_err(|error| damaged(codec, error))?;
            read_all(codec, reader, packed.len(), limit)
        }
    }
}

/// First guess for the plain size: batches of text and JSON shrink to a quarter or so.
const USUAL_RATIO: usize = 4;

fn read_all(
    codec: Compression,
    reader: impl Read,
    packed_bytes: usize,
    limit: usize,
) -> Result<Vec<u8>, CompressionError> {
    let mut plain = Vec::with_capacity(packed_bytes.saturating_mul(USUAL_RATIO).min(limit));
    // One byte past the limit tells "too large" from "just fits".
    let read = reader.take(limit as u64 + 1).read_to_end(&mut plain);
    if plain.len() > limit {
        return Err(CompressionError::TooLarge { codec, limit });
    }
    match read {
        Ok(_) => Ok(plain),
        Err(error) => Err(damaged(codec, error)),
    }
}

fn damaged(codec: Compression, error: io::Error) -> CompressionError {
    CompressionError::Damaged { codec, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(codec: Compression, plain: &[u8]) -> Vec<u8> {
        let mut out = b"header stays".to_vec();
        compress(codec, plain, &mut out).unwrap();
        assert!(out.starts_with(b"header stays"));
        out.split_off(12)
    }

    fn texts() -> Vec<Vec<u8>> {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let noise: Vec<u8> = (0..200_000)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect();
        vec![vec![], b"a".to_vec(), b"all work and no play makes jack a dull boy ".repeat(5_000), noise]
    }

    /// A codec that loses a byte at a block boundary loses records silently: 200 kB crosses every block size in use.
    #[test]
    fn what_was_packed_unpacks_to_the_same_bytes() {
        for codec in Compression::ALL {
            for plain in texts() {
                let packed = packed(codec, &plain);
                assert_eq!(decompress(codec, &packed, plain.len()).unwrap(), plain, "{codec:?}");
            }
        }
    }

    /// Ten kilobytes of zeros at a ratio of 1000 would otherwise take ten megabytes a batch, from anyone who can connect.
    #[test]
    fn a_bomb_ends_in_an_error_and_takes_no_more_than_the_cap() {
        let zeros = vec![0u8; 20 << 20];
        for codec in Compression::ALL {
            let bomb = packed(codec, &zeros);
            let limit = 1 << 20;
            assert_eq!(decompress(codec, &bomb, limit), Err(CompressionError::TooLarge { codec, limit }));
            assert!(decompress(codec, &bomb, zeros.len()).is_ok());
        }
    }

    /// Damage must end in an error or in other bytes, never in a panic; cuts must never pass for whole.
    #[test]
    fn damaged_and_cut_data_is_survived() {
        let plain = &texts()[2];
        for codec in Compression::ALL.into_iter().skip(1) {
            let packed = packed(codec, plain);
            for at in (0..packed.len()).step_by(1 + packed.len() / 97) {
                let mut damaged = packed.clone();
                damaged[at] ^= 0x55;
                let _ = decompress(codec, &damaged, 1 << 20);
                let cut = decompress(codec, &packed[..at], 1 << 20);
                assert!(cut.is_err() || cut.as_ref().is_ok_and(|bytes| bytes != plain), "{codec:?} cut at {at}");
            }
        }
    }

    /// Config values and `kafka-topics --config compression.type=` use these names.
    #[test]
    fn names_and_numbers_are_kafkas() {
        let names: Vec<_> = Compression::ALL.iter().map(|codec| (*codec as u8, codec.name())).collect();
        assert_eq!(names, [(0, "none"), (1, "gzip"), (2, "snappy"), (3, "lz4"), (4, "zstd")]);
        assert_eq!(Compression::from_name("zstd"), Some(Compression::Zstd));
        assert_eq!(Compression::from_number(5), None);
    }
}
