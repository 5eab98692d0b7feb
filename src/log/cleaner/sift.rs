//! Takes one batch through the filter without holding the shard up, however large it is.
//!
//! Part of a round of `clean`, in the cleaner's task. Between steps of a few thousand records the shard does other things. What unpacks to
//! more than a little is unpacked, and packed again, on a helper thread: a megabyte of zstd can be a quarter of a gigabyte, which takes most
//! of a second.

use super::filter::{self, Choice, FilterError, Glance, MapStep, Round, Settled, Verdict};
use super::key_map::KeyMap;
use super::transactions::Transactions;
use ringlane_protocol::compression;
use ringlane_protocol::records::{Batch, Compression, CompressionError, Records, RetainedBatch};
use ringlane_runtime::{TaskFailed, blocking, give_way};
use std::borrow::Cow;

/// A batch is opened up to this size: larger ones were never accepted.
const UNCOMPRESSED_BYTES_MAX: usize = 256 << 20;
/// Up to here a body is unpacked and packed on the shard: 2 ms with the slowest codec, gzip. Handing it over costs some 50 us.
const ON_SHARD_BYTES_MAX: usize = 256 << 10;
/// Records in one step. Each costs a hash and two cache misses: 0.2 us, a millisecond in all.
const STEP_RECORDS: usize = 4096;

/// Notes the newest offset of the keys in `batch`, from offset `from` on. Answers the offset at which the map was full.
pub(super) async fn map_batch(
    newest: &mut KeyMap,
    transactions: &mut Transactions,
    batch: &Batch<'_>,
    from: i64,
) -> Result<Option<i64>, FilterError> {
    if !filter::has_keys(transactions, batch, from)? {
        return Ok(None);
    }
    let body = unpack(batch).await?;
    let mut records = Records::new(&batch.header, &body);
    loop {
        match filter::map_keys(newest, &batch.header, &mut records, from, STEP_RECORDS)? {
            MapStep::More => give_way().await,
            MapStep::All => return Ok(None),
            MapStep::Full(offset) => return Ok(Some(offset)),
        }
    }
}

/// Decides about one batch. Batches come in offset order.
pub(super) async fn judge(
    round: &Round<'_>,
    transactions: &mut Transactions,
    batch: &Batch<'_>,
) -> Result<Verdict, FilterError> {
    let data_is_void = match filter::glance(round, transactions, batch)? {
        Glance::Decided(verdict) => return Ok(verdict),
        Glance::Records { data_is_void } => data_is_void,
    };
    let (header, body) = (&batch.header, unpack(batch).await?);
    let (mut choice, mut records) = (Choice::default(), Records::new(header, &body));
    while filter::choose(round, header, &mut records, &mut choice, STEP_RECORDS)? {
        give_way().await;
    }
    let mut retained = match filter::settle(round, header, choice, data_is_void)? {
        Settled::Verdict(verdict) => return Ok(verdict),
        Settled::Rewrite(retained) => retained,
    };
    // Gone through once more: to remember what was chosen would take more memory than the records.
    let mut records = Records::new(header, &body);
    while filter::retain(round, header, &mut records, &mut retained, STEP_RECORDS)? {
        give_way().await;
    }
    Ok(Verdict::Rewrite(pack(retained).await?))
}

async fn unpack<'a>(batch: &Batch<'a>) -> Result<Cow<'a, [u8]>, FilterError> {
    match batch.uncompressed_body(ON_SHARD_BYTES_MAX) {
        Err(CompressionError::TooLarge { codec, .. }) => {
            let packed = batch.body().to_vec();
            let plain = move || compression::decompress(codec, &packed, UNCOMPRESSED_BYTES_MAX);
            Ok(Cow::Owned(blocking("cleaner-unpack", plain).await.map_err(panicked)??))
        }
        unpacked => Ok(unpacked?),
    }
}

async fn pack(retained: RetainedBatch) -> Result<Vec<u8>, FilterError> {
    match retained.plain_bytes() > ON_SHARD_BYTES_MAX && retained.codec() != Some(Compression::None) {
        true => Ok(blocking("cleaner-pack", move || retained.finish()).await.map_err(panicked)??),
        false => Ok(retained.finish()?),
    }
}

fn panicked(failed: TaskFailed) -> FilterError {
    FilterError::Panicked(failed.message)
}
