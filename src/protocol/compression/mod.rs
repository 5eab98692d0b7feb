//! The codecs of record batches. Pure functions, used on every shard; output is capped by the caller, whatever the input claims.

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
    pub fn from_number(number: u8) -> Option<Compression> {
        Some(match number {
            0 => Compression::None,
            1 => Compression::Gzip,
            2 => Compression::Snappy,
            3 => Compression::Lz4,
            4 => Compression::Zstd,
            _ => return None,
        })
    }
    /// Kafka's name, as in `compression.type`.
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
        (0..=4).filter_map(Compression::from_number).find(|codec| codec.name() == name)
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

/// Appends the compressed form of `plain` to `out`.
pub fn compress(codec: Compression, plain: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let _ = (codec, plain, out);
    todo!()
}

/// The plain form of `packed`; an error as soon as it grows past `limit`. Memory follows what was unpacked, not what the input claims.
pub fn decompress(codec: Compression, packed: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
    let _ = (codec, packed, limit);
    todo!()
}
