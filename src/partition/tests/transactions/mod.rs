//! Transactions in one partition, as coordinators and connection shards ask for them: the gate, markers, what readers of committed records
//! see, and what is left of it after a crash.

use crate::kit::{
    AT, Home, Machine, PRODUCER_EXPIRATION, PRODUCER_EXPIRY_INTERVAL, appended, batch_of, on_one_shard, stamped,
    transactional_at,
};
use ringlane_log::EndMarker;
use ringlane_partition::{
    AbortedTransaction, Acks, ActiveProducer, AppendReply, AppendRequest, AppendResult, Gate, Isolation, MarkerEntry,
    MarkersRequest, OffsetSpec, OffsetsEntry, OffsetsRequest, ReadRequest, ReadResult, VerificationGuard, VerifyEntry,
    VerifyRequest,
};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::records::ControlType;
use ringlane_runtime::{oneshot, sleep, spawn};
use std::time::Duration;

const PRODUCER: i64 = 7;

/// As a coordinator of version 2 sends it.
fn marker(kind: ControlType, epoch: i16) -> MarkerEntry {
    let marker = EndMarker { kind, coordinator_epoch: 3 };
    MarkerEntry { at: AT, producer_id: PRODUCER, epoch, marker, transaction_version: 2 }
}

impl Home {
    fn gate(&self, epoch: i16, base_sequence: i32) -> Result<Gate, ErrorCode> {
        let entry = VerifyEntry { at: AT, producer_id: PRODUCER, epoch, base_sequence, bumps_epoch: true };
        let mut reply = self.shard.verify(VerifyRequest { entries: vec![entry] });
        reply.results.remove(0).map_err(|failure| failure.error)
    }

    fn guard(&self, epoch: i16, base_sequence: i32) -> VerificationGuard {
        match self.gate(epoch, base_sequence) {
            Ok(Gate::Verify(guard)) => guard,
            other => panic!("{other:?}"),
        }
    }

    fn start_transactional(
        &self,
        epoch: i16,
        base_sequence: i32,
        guard: Option<VerificationGuard>,
    ) -> impl Future<Output = AppendResult> + use<> {
        let mut request: AppendRequest =
            self.append_request(Acks::All, 30_000, transactional_at(PRODUCER, epoch, base_sequence));
        request.entries[0].guard = guard;
        let reply = self.send(request);
        async { reply.await.results.remove(0) }
    }

    /// Appends as the first batch of a transaction that its coordinator knows. Its offset.
    async fn open(&self, epoch: i16) -> i64 {
        let guard = self.guard(epoch, 0);
        appended(self.start_transactional(epoch, 0, Some(guard)).await)
    }

    fn start_end(&self, entry: MarkerEntry) -> impl Future<Output = ErrorCode> + use<> {
        let (sender, reply) = oneshot();
        let request = MarkersRequest { timeout_ms: 30_000, entries: vec![entry] };
        self.shard.write_markers(request, move |reply: AppendReply| drop(sender.send(reply)));
        async { reply.await.expect("markers are answered").results[0].error() }
    }

    async fn end(&self, kind: ControlType, epoch: i16) {
        assert_eq!(self.start_end(marker(kind, epoch)).await, ErrorCode::None);
    }

    async fn read_committed(&self, from: i64) -> ReadResult {
        let request = ReadRequest { isolation: Isolation::ReadCommitted, ..self.read_request(from, 0, 1) };
        self.shard.read(request).await.results.remove(0)
    }

    async fn last_stable_offset(&self) -> i64 {
        let entry = OffsetsEntry { at: AT, current_leader_epoch: -1, wanted: OffsetSpec::Latest };
        let request = OffsetsRequest { isolation: Isolation::ReadCommitted, entries: vec![entry] };
        self.shard.offsets(request).await.results[0].offset
    }

    fn producers(&self) -> Vec<ActiveProducer> {
        self.shard.producers(&[AT]).results.remove(0).unwrap()
    }
}

/// The promise of a transaction: nobody who asks for committed records sees one before it is.
#[test]
fn readers_of_committed_records_wait_for_the_marker() {
    on_one_shard(31, |home| async move {
        assert_eq!(home.append(batch_of(2)).await, 0);
        assert_eq!(home.open(0).await, 2);
        assert_eq!(home.append(batch_of(1)).await, 3);
        let read = home.read_committed(0).await;
        assert_eq!((read.last_stable_offset, read.high_watermark), (2, 4));
        assert_eq!(crate::kit::headers(&read.slices).len(), 1);
        assert_eq!(read.aborted_transactions, Some(Vec::new()));
        assert_eq!(home.read_committed(2).await.bytes, 0);
        assert_eq!(home.last_stable_offset().await, 2);

        let shard = home.clone();
        let waiting = spawn("reader", async move {
            let request = ReadRequest { isolation: Isolation::ReadCommitted, ..shard.read_request(2, 60_000, 1) };
            shard.shard.read(request).await.results.remove(0)
        });
        sleep(Duration::from_millis(50)).await;
        home.end(ControlType::Commit, 1).await;
        let woken = waiting.await.unwrap();
        assert_eq!((woken.last_stable_offset, crate::kit::headers(&woken.slices).len()), (5, 3));
        assert_eq!(woken.aborted_transactions, Some(Vec::new()));
        assert_eq!(home.read_from(0).await.aborted_transactions, None, "not asked for");
    });
}

/// A reader that is not told of an abort shows what was taken back.
#[test]
fn readers_are_told_which_records_were_aborted() {
    on_one_shard(32, |home| async move {
        for (epoch, kind) in [(0, ControlType::Abort), (1, ControlType::Commit), (2, ControlType::Abort)] {
            home.open(epoch).await;
            home.end(kind, epoch + 1).await;
        }
        let told = |offsets: &[i64]| {
            let of = |first_offset: &i64| AbortedTransaction { producer_id: PRODUCER, first_offset: *first_offset };
            Some(offsets.iter().map(of).collect::<Vec<_>>())
        };
        assert_eq!(home.read_committed(0).await.aborted_transactions, told(&[0, 4]));
        assert_eq!(home.read_committed(2).await.aborted_transactions, told(&[4]));
        assert_eq!(home.read_committed(6).await.aborted_transactions, told(&[]));
    });
}

/// KIP-890: a batch that was held up on its way and arrives after the abort would open a transaction that nobody ever ends.
#[test]
fn a_batch_that_comes_after_its_transactions_end_is_refused() {
    on_one_shard(33, |home| async move {
        let refused = home.start_transactional(0, 0, None).await;
        assert_eq!(refused.error(), ErrorCode::InvalidTxnState, "nobody was asked");
        let late = home.guard(0, 0);
        assert_eq!(home.start_end(marker(ControlType::Abort, 1)).await, ErrorCode::None);
        let refused = home.start_transactional(0, 0, Some(late)).await;
        assert_eq!(refused.error(), ErrorCode::InvalidProducerEpoch);
        assert_eq!(home.gate(0, 0), Err(ErrorCode::InvalidProducerEpoch));

        assert_eq!(home.open(1).await, 1);
        assert_eq!(home.gate(1, 1), Ok(Gate::Open), "from now on nobody is asked");
        assert_eq!(appended(home.start_transactional(1, 1, None).await), 2);
        assert_eq!(appended(home.start_transactional(1, 1, None).await), 2, "sent again");
        let mixed = home.start_append(Acks::All, 1_000, stamped(PRODUCER, 1, 2)).await;
        assert_eq!(mixed.error(), ErrorCode::InvalidTxnState, "outside of the transaction that is open");
        home.end(ControlType::Commit, 2).await;
        let late = home.start_transactional(1, 2, None).await;
        assert_eq!(late.error(), ErrorCode::InvalidProducerEpoch);
    });
}

/// A first batch that must not be one: its forerunners are missing.
#[test]
fn a_transaction_of_an_unknown_producer_begins_at_zero_and_in_order() {
    on_one_shard(34, |home| async move {
        let guard = home.guard(0, 3);
        let gap = home.start_transactional(0, 3, Some(guard)).await;
        assert_eq!(gap.error(), ErrorCode::OutOfOrderSequenceNumber);
        assert_eq!(home.guard(0, 0), guard);
        assert_eq!(appended(home.start_transactional(0, 0, Some(guard)).await), 0);
    });
}

/// Two coordinators that both believe, and markers that come twice or too late: one outcome only.
#[test]
fn markers_that_come_late_again_or_from_an_old_coordinator_end_nothing() {
    on_one_shard(35, |home| async move {
        home.open(0).await;
        assert_eq!(home.start_end(marker(ControlType::Commit, 0)).await, ErrorCode::InvalidProducerEpoch);
        home.end(ControlType::Commit, 1).await;
        home.end(ControlType::Commit, 1).await;
        assert_eq!(home.read_from(0).await.high_watermark, 3, "repeated: written again, and it ends nothing");
        home.open(1).await;
        assert_eq!(home.start_end(marker(ControlType::Abort, 1)).await, ErrorCode::InvalidProducerEpoch, "of the last");
        let old = EndMarker { kind: ControlType::Abort, coordinator_epoch: 2 };
        let old = MarkerEntry { marker: old, ..marker(ControlType::Abort, 2) };
        assert_eq!(home.start_end(old).await, ErrorCode::TransactionCoordinatorFenced);
        assert_eq!(home.last_stable_offset().await, 3);

        let first_protocol = MarkerEntry { transaction_version: 0, ..marker(ControlType::Commit, 1) };
        assert_eq!(home.start_end(first_protocol).await, ErrorCode::None, "there the epoch stays");
        assert_eq!(home.last_stable_offset().await, 5);
    });
}

/// An operator who looks for the transaction that holds readers asks who writes here.
#[test]
fn producers_are_described_with_their_open_transactions() {
    on_one_shard(36, |home| async move {
        home.append(batch_of(1)).await;
        home.open(0).await;
        let open = ActiveProducer {
            producer_id: PRODUCER,
            epoch: 0,
            last_sequence: 0,
            last_timestamp: 1_000,
            coordinator_epoch: -1,
            transaction_start_offset: 1,
        };
        assert_eq!(home.producers(), [open]);
        home.end(ControlType::Abort, 1).await;
        let producer = home.producers()[0];
        let known = (producer.epoch, producer.last_sequence, producer.coordinator_epoch);
        assert_eq!((known, producer.transaction_start_offset), ((1, -1, 3), -1));
    });
}

/// With the interval fixed at Kafka's ten minutes, an operator who shortened both would see producers stay ten minutes longer.
#[test]
fn silent_producers_are_looked_for_as_often_as_the_configuration_says() {
    on_one_shard(37, |home| async move {
        home.open(0).await;
        home.end(ControlType::Commit, 1).await;
        sleep(PRODUCER_EXPIRATION - Duration::from_secs(1)).await;
        assert_eq!(home.producers().len(), 1, "not yet silent for long enough");
        sleep(Duration::from_secs(1) + PRODUCER_EXPIRY_INTERVAL).await;
        assert_eq!(home.producers(), []);
    });
}

/// A broker that forgets what was aborted shows it; one that forgets what is open lets readers pass it.
#[test]
fn open_and_aborted_transactions_survive_crashes() {
    for seed in 40..60 {
        let mut machine = Machine::new(seed);
        machine.run_until_crash(move |home| async move {
            home.open(0).await;
            home.end(ControlType::Abort, 1).await;
            home.open(1).await;
            // Enough to be checkpointed in between, in some of the runs.
            for _ in 0..seed {
                home.append(crate::kit::large_batch(40 << 10)).await;
            }
            std::future::pending::<()>().await;
        });
        machine.run(move |home| async move {
            let producers = home.producers();
            let Some(producer) = producers.first() else { return };
            let aborted = home.read_committed(0).await.aborted_transactions.unwrap();
            match (producer.epoch, producer.transaction_start_offset) {
                (0, _) => assert!(aborted.is_empty()),
                (1, -1) => assert_eq!(aborted.len(), 1),
                (1, start) => {
                    assert_eq!((start, aborted.len()), (2, 1));
                    assert_eq!(home.last_stable_offset().await, 2);
                    assert_eq!(producer.coordinator_epoch, 3);
                    home.end(ControlType::Commit, 2).await;
                    assert_eq!(home.last_stable_offset().await, home.read_from(0).await.high_watermark);
                }
                other => panic!("seed {seed}: {other:?}"),
            }
        });
    }
}
