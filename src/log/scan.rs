//! Checks stored bytes batch by batch, and looks for good batches behind bad ones.
//!
//! [`Scanner`] is pure and keeps no body: the CRC is computed as the bytes pass, so that a length field that lies costs no memory. The
//! functions below feed it from a file. Used by `recovery`, and by `truncate` to rebuild an index.

use crate::mutants::{Mutant, is_on};
use crate::visitor::EndMarker;
use ringlane_protocol::records::{BatchHeader, HEADER_BYTES};
use ringlane_runtime::{BLOCK_BYTES, Buffer, File, give_way};
use std::io;

/// One read of a scan.
const SCAN_READ_BYTES: usize = 1 << 20;
/// First byte under the CRC: attributes.
const CRC_FROM: usize = 21;
const MAGIC_AT: usize = 16;
/// A marker's record, with room for what a later version adds to it. Of larger control batches only the header counts.
const MARKER_BYTES_MAX: usize = 256;

/// Where and why good bytes end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Bad {
    pub position: u64,
    pub found: String,
}

/// Is told of a good batch and, if it ends a transaction, how.
pub(crate) type FoundBatch<'a> = &'a mut dyn FnMut(&BatchHeader, Option<EndMarker>);

/// Follows the batches of one segment.
pub(crate) struct Scanner {
    /// Of the current batch.
    position: u64,
    expected_offset: i64,
    base_offset: i64,
    file_bytes: u64,
    head: [u8; HEADER_BYTES],
    head_bytes: usize,
    body: Option<Body>,
    /// The body so far, of a batch that may be a marker.
    marker: Vec<u8>,
}

struct Body {
    header: BatchHeader,
    crc: u32,
    left: usize,
}

impl Scanner {
    /// Starts at `position` of a segment of `file_bytes` whose name is `base_offset`.
    pub fn new(position: u64, expected_offset: i64, base_offset: i64, file_bytes: u64) -> Scanner {
        Scanner {
            position,
            expected_offset,
            base_offset,
            file_bytes,
            head: [0; HEADER_BYTES],
            head_bytes: 0,
            body: None,
            marker: Vec::new(),
        }
    }

    /// End of the good batches so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    pub fn expected_offset(&self) -> i64 {
        self.expected_offset
    }

    /// Takes the next bytes; calls `found` for every batch that ends in them and is good.
    pub fn feed(&mut self, bytes: &[u8], found: &mut dyn FnMut(&BatchHeader)) -> Result<(), Bad> {
        self.feed_with_markers(bytes, &mut |header, _| found(header))
    }

    /// The same; also tells what a marker says.
    pub fn feed_with_markers(&mut self, mut bytes: &[u8], found: FoundBatch<'_>) -> Result<(), Bad> {
        loop {
            match &mut self.body {
                None => {
                    let take = bytes.len().min(HEADER_BYTES - self.head_bytes);
                    let (head, rest) = bytes.split_at(take);
                    self.head[self.head_bytes..][..take].copy_from_slice(head);
                    self.head_bytes += take;
                    bytes = rest;
                    if self.head_bytes < HEADER_BYTES {
                        return Ok(());
                    }
                    let header = self.check_header()?;
                    let crc = crc32c::crc32c(&self.head[CRC_FROM..]);
                    self.marker.clear();
                    self.body = Some(Body { header, crc, left: header.size() - HEADER_BYTES });
                }
                Some(body) => {
                    let (part, rest) = bytes.split_at(bytes.len().min(body.left));
                    body.crc = crc32c::crc32c_append(body.crc, part);
                    body.left -= part.len();
                    bytes = rest;
                    if body.header.is_control() && self.marker.len() + part.len() <= MARKER_BYTES_MAX {
                        self.marker.extend_from_slice(part);
                    }
                    if body.left > 0 {
                        return Ok(());
                    }
                    let Body { header, crc, .. } = *body;
                    if crc != header.crc && !is_on(Mutant::TrustTornTail) {
                        return Err(
                            self.bad(format!("its CRC32C is {crc:#010x}, its header says {:#010x}", header.crc))
                        );
                    }
                    found(&header, EndMarker::of(&header, &self.marker));
                    self.position += header.size() as u64;
                    self.expected_offset = header.next_offset();
                    self.head_bytes = 0;
                    self.body = None;
                }
            }
        }
    }

    /// The file ends here.
    pub fn finish(&self) -> Result<(), Bad> {
        if self.head_bytes == 0 {
            return Ok(());
        }
        Err(self.bad("the file ends inside of it".to_owned()))
    }

    fn check_header(&self) -> Result<BatchHeader, Bad> {
        let header = BatchHeader::parse(&self.head).map_err(|error| self.bad(error.to_string()))?;
        let last_offset_max = self.base_offset.saturating_add(i64::from(i32::MAX));
        if header.base_offset < self.expected_offset || header.base_offset > last_offset_max {
            return Err(self.bad(format!(
                "its base offset is {}, expected was {} or a little more",
                header.base_offset, self.expected_offset
            )));
        }
        if header.last_offset_delta < 0 {
            return Err(self.bad(format!("its last offset delta is {}", header.last_offset_delta)));
        }
        if self.position + header.size() as u64 > self.file_bytes {
            return Err(self.bad(format!("it has {} bytes, which is past the end of the file", header.size())));
        }
        Ok(header)
    }

    fn bad(&self, found: String) -> Bad {
        Bad { position: self.position, found }
    }
}

/// What a scan found.
pub(crate) struct Scanned {
    /// End of the good batches.
    pub bytes: u64,
    pub end_offset: i64,
    pub bad: Option<Bad>,
}

/// Verifies `file` from `position` on (a batch's start) up to `file_bytes`.
pub(crate) async fn scan(file: &File, scanner: Scanner, found: &mut dyn FnMut(&BatchHeader)) -> io::Result<Scanned> {
    scan_with_markers(file, scanner, &mut |header, _| found(header)).await
}

/// The same; also tells what markers say.
pub(crate) async fn scan_with_markers(file: &File, mut scanner: Scanner, found: FoundBatch<'_>) -> io::Result<Scanned> {
    let mut at = scanner.position;
    let mut buffer = Buffer::take(SCAN_READ_BYTES);
    let mut bad = None;
    while at < scanner.file_bytes && bad.is_none() {
        let aligned = at - at % BLOCK_BYTES as u64;
        let (read, returned) = file.read_at(buffer, aligned).await;
        buffer = returned;
        let have = (read? as u64).min(scanner.file_bytes - aligned) as usize;
        let skip = (at - aligned) as usize;
        if have <= skip {
            break;
        }
        bad = scanner.feed_with_markers(&buffer[skip..have], found).err();
        at = aligned + have as u64;
        give_way().await;
    }
    let bad = bad.or_else(|| scanner.finish().err());
    Ok(Scanned { bytes: scanner.position(), end_offset: scanner.expected_offset(), bad })
}

/// The bytes of the block in which `end` lies, up to `end`: what the next write has to repeat.
pub(crate) async fn partial_block(file: &File, end: u64) -> io::Result<Vec<u8>> {
    let partial = (end % BLOCK_BYTES as u64) as usize;
    if partial == 0 {
        return Ok(Vec::new());
    }
    let (read, block) = file.read_at(Buffer::take(BLOCK_BYTES), end - partial as u64).await;
    match read? {
        bytes if bytes >= partial => Ok(block[..partial].to_vec()),
        bytes => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{bytes} bytes are left in the last block, {partial} were there before"),
        )),
    }
}

/// Position of the first good batch at or after `from`, with an offset of `expected` or more.
pub(crate) async fn find_good(file: &File, from: u64, file_bytes: u64, expected: i64) -> io::Result<Option<u64>> {
    let mut at = from;
    let mut buffer = Buffer::take(SCAN_READ_BYTES);
    while at + (HEADER_BYTES as u64) <= file_bytes {
        let aligned = at - at % BLOCK_BYTES as u64;
        let (read, returned) = file.read_at(buffer, aligned).await;
        buffer = returned;
        let have = (read? as u64).min(file_bytes - aligned) as usize;
        let start = (at - aligned) as usize;
        let Some(window) = buffer.get(start..have).filter(|window| window.len() >= HEADER_BYTES) else { break };
        for candidate in candidates(window, expected) {
            if good_at(file, at + candidate as u64, file_bytes, expected).await?.is_some() {
                return Ok(Some(at + candidate as u64));
            }
        }
        // A header may begin in the last bytes of this window.
        at += (window.len() - HEADER_BYTES + 1) as u64;
        give_way().await;
    }
    Ok(None)
}

/// Where in `window` a batch header could begin.
fn candidates(window: &[u8], expected: i64) -> impl Iterator<Item = usize> {
    let plausible = move |head: &[u8]| {
        head[MAGIC_AT] == 2
            && BatchHeader::parse(head).is_ok_and(|header| {
                header.base_offset >= expected
                    && header.base_offset - expected <= i64::from(i32::MAX)
                    && header.last_offset_delta >= 0
            })
    };
    window.windows(HEADER_BYTES).enumerate().filter(move |(_, head)| plausible(head)).map(|(at, _)| at)
}

/// The batch that begins at `position`, if it is good and has an offset of `expected` or more.
pub(crate) async fn good_at(
    file: &File,
    position: u64,
    file_bytes: u64,
    expected: i64,
) -> io::Result<Option<BatchHeader>> {
    let mut scanner = Scanner::new(position, expected, expected, file_bytes);
    let mut at = position;
    let mut good = None;
    while at < file_bytes && good.is_none() {
        let aligned = at - at % BLOCK_BYTES as u64;
        let (read, buffer) = file.read_at(Buffer::take(SCAN_READ_BYTES), aligned).await;
        let have = (read? as u64).min(file_bytes - aligned) as usize;
        let skip = (at - aligned) as usize;
        if have <= skip || scanner.feed(&buffer[skip..have], &mut |header| _ = good.get_or_insert(*header)).is_err() {
            break;
        }
        at = aligned + have as u64;
        give_way().await;
    }
    Ok(good)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringlane_protocol::records::{BatchBuilder, Compression, ControlType, marker_batch, patch_base_offset};

    fn batch(base_offset: i64, records: usize, value_bytes: usize) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::None).base_offset(base_offset);
        for n in 0..records {
            builder.push(1_000 + n as i64, None, Some(&vec![n as u8; value_bytes]), &[]);
        }
        builder.finish().unwrap()
    }

    /// Feeds `bytes` in pieces of `step`; offsets of the batches found, and what was bad.
    fn scan_bytes(bytes: &[u8], step: usize) -> (Vec<i64>, Option<Bad>) {
        let mut scanner = Scanner::new(0, 0, 0, bytes.len() as u64);
        let mut found = Vec::new();
        for piece in bytes.chunks(step) {
            if let Err(bad) = scanner.feed(piece, &mut |header| found.push(header.base_offset)) {
                return (found, Some(bad));
            }
        }
        (found, scanner.finish().err())
    }

    /// Batches lie across the scan's reads in every way; one missed or seen twice would break offsets for ever.
    #[test]
    fn every_batch_is_found_however_the_reads_fall() {
        let bytes = [batch(0, 3, 10), batch(3, 1, 0), batch(4, 20, 100), batch(30, 2, 5)].concat();
        for step in [1, 7, 60, 61, 62, 200, bytes.len()] {
            assert_eq!(scan_bytes(&bytes, step), (vec![0, 3, 4, 30], None), "step {step}");
        }
    }

    /// Whether a transaction was committed or aborted stands in the body of its marker, which a read may cut anywhere.
    #[test]
    fn markers_are_read_however_the_reads_fall() {
        let marker = |offset: i64, kind, coordinator_epoch| {
            let mut bytes = marker_batch(kind, 7, 0, coordinator_epoch, 1_000);
            patch_base_offset(&mut bytes, offset);
            bytes
        };
        let committed = marker(3, ControlType::Commit, 5);
        let bytes = [batch(0, 3, 10), committed, batch(4, 1, 2_000), marker(5, ControlType::Abort, 6)].concat();
        for step in [1, 7, 61, 62, 70, bytes.len()] {
            let mut scanner = Scanner::new(0, 0, 0, bytes.len() as u64);
            let mut found = Vec::new();
            for piece in bytes.chunks(step) {
                scanner
                    .feed_with_markers(piece, &mut |header, marker| found.push((header.base_offset, marker)))
                    .unwrap();
            }
            let is = |kind, coordinator_epoch| Some(EndMarker { kind, coordinator_epoch });
            let expected = [(0, None), (3, is(ControlType::Commit, 5)), (4, None), (5, is(ControlType::Abort, 6))];
            assert_eq!(found, expected, "step {step}");
        }
    }

    /// Each kind of damage ends the good part exactly before the batch it is in.
    #[test]
    fn damage_ends_the_good_part_before_its_batch() {
        let first = batch(0, 3, 10);
        let good = [first.clone(), batch(3, 1, 50)].concat();
        for damaged in first.len()..good.len() {
            let mut bytes = good.clone();
            bytes[damaged] ^= 0x10;
            let (found, bad) = scan_bytes(&bytes, 100);
            let in_leader_epoch = (12..16).contains(&(damaged - first.len()));
            let moved_up = (0..8).contains(&(damaged - first.len())) && found.len() == 2;
            if in_leader_epoch || moved_up {
                continue; // Neither lies under the CRC; offsets are still in order.
            }
            assert_eq!((found, bad.unwrap().position), (vec![0], first.len() as u64), "byte {damaged}");
        }
        let (found, bad) = scan_bytes(&good[..good.len() - 1], 100);
        assert_eq!((found, bad.unwrap().position), (vec![0], first.len() as u64));
        let (found, bad) = scan_bytes(&[first.clone(), vec![0; 4096]].concat(), 100);
        assert_eq!((found, bad.unwrap().position), (vec![0], first.len() as u64));
        let (found, bad) = scan_bytes(&[first.clone(), batch(1, 1, 1)].concat(), 100);
        assert!(bad.unwrap().found.contains("base offset is 1"));
        assert_eq!(found, [0]);
    }

    /// Recovery asks this to tell a torn tail from damage: a header must be seen wherever it begins.
    #[test]
    fn a_header_is_a_candidate_wherever_it_begins() {
        for lead in [0, 1, 11, 300] {
            let mut window = vec![2u8; lead];
            window.extend(batch(50, 2, 20));
            assert!(candidates(&window, 40).any(|at| at == lead), "lead {lead}");
            assert!(!candidates(&window, 51).any(|at| at == lead), "offsets before the expected one do not count");
        }
        assert_eq!(candidates(&[0; 5000], 0).count(), 0);
    }
}
