//! One producer's transactions: what may be sent, who has to know of it before, and what an error leaves possible. Pure.
//!
//! A partition's first batch of a transaction needs the coordinator to know of the partition: it is told before (KIP-98), or by the leader that
//! gets the batch, when the cluster has finalized transaction.version 2 (KIP-890). An error that a transaction does not survive can be
//! abortable, and the next transaction is a new chance, or fatal, and the producer is at its end.

use super::accumulator::Target;
use crate::ClientError;
use ringlane_protocol::ErrorCode;
use std::collections::BTreeSet;

/// What is going on.
#[derive(Debug, Clone, PartialEq)]
enum State {
    /// No producer id yet.
    New,
    Ready,
    Open,
    /// Its end was asked for.
    Ending,
    /// All that can be done is to abort.
    Abortable(ClientError),
    /// Nothing can be done.
    Fatal(ClientError),
}

/// What the end of a transaction needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Nobody knows of it.
    Nothing,
    Ask,
}

#[derive(Debug)]
pub(super) struct Transaction {
    state: State,
    /// Leaders tell the coordinator (transaction.version 2).
    is_implicit: bool,
    added: BTreeSet<Target>,
    /// To be added, or being added.
    wanted: BTreeSet<Target>,
    is_adding: bool,
    /// The coordinator may know of it.
    is_begun: bool,
    /// The sequences of this epoch have a hole, or its fate is unknown.
    needs_new_epoch: bool,
}

impl Default for Transaction {
    fn default() -> Transaction {
        Transaction {
            state: State::New,
            is_implicit: false,
            added: BTreeSet::new(),
            wanted: BTreeSet::new(),
            is_adding: false,
            is_begun: false,
            needs_new_epoch: false,
        }
    }
}

impl Transaction {
    pub(super) fn is_initialized(&self) -> bool {
        self.state != State::New
    }
    pub(super) fn is_implicit(&self) -> bool {
        self.is_implicit
    }

    pub(super) fn initialized(&mut self) {
        if self.state == State::New {
            self.state = State::Ready;
        }
    }

    pub(super) fn begin(&mut self, is_implicit: bool) -> Result<(), ClientError> {
        match &self.state {
            State::Ready => {}
            State::New => return Err(misuse("call init_transactions before a transaction is begun")),
            State::Open | State::Ending => return Err(misuse("a transaction is open: end it before the next")),
            State::Abortable(_) | State::Fatal(_) => return Err(self.error().expect("a failed state has its error")),
        }
        self.state = State::Open;
        self.is_implicit = is_implicit;
        Ok(())
    }

    /// Whether records may be put in.
    pub(super) fn check_open(&self) -> Result<(), ClientError> {
        match self.state {
            State::Open => Ok(()),
            State::Abortable(_) | State::Fatal(_) => Err(self.error().expect("a failed state has its error")),
            _ => Err(misuse("no transaction is open: begin one before records are sent")),
        }
    }

    /// Why nothing more can go into this transaction, or any.
    pub(super) fn error(&self) -> Option<ClientError> {
        match &self.state {
            State::Abortable(reason) => Some(ClientError::Abortable { reason: Box::new(reason.clone()) }),
            State::Fatal(reason) => Some(ClientError::Fatal { reason: Box::new(reason.clone()) }),
            _ => None,
        }
    }

    /// Whether a batch for `target` may go out. One that may not yet is added first.
    pub(super) fn may_send(&mut self, target: &Target) -> bool {
        if !matches!(self.state, State::Open | State::Ending) {
            return false;
        }
        if self.is_implicit {
            self.is_begun = true;
            return true;
        }
        let is_added = self.added.contains(target);
        if !is_added {
            self.wanted.insert(target.clone());
        }
        is_added
    }

    /// Partitions of which the coordinator is to be told now.
    pub(super) fn partitions_to_add(&mut self) -> Option<Vec<Target>> {
        if self.is_adding || self.wanted.is_empty() || self.error().is_some() {
            return None;
        }
        self.is_adding = true;
        Some(self.wanted.iter().cloned().collect())
    }

    pub(super) fn added(&mut self, targets: Vec<Target>, outcome: Result<(), ClientError>) {
        self.is_adding = false;
        // Even if no answer came it may know.
        self.is_begun = true;
        match outcome {
            Ok(()) => {
                for target in targets {
                    self.wanted.remove(&target);
                    self.added.insert(target);
                }
            }
            Err(error) => self.failed(error),
        }
    }

    /// Offsets are being put in.
    pub(super) fn begun(&mut self) {
        self.is_begun = true;
    }

    /// A batch will never be stored.
    pub(super) fn batch_failed(&mut self, error: ClientError) {
        self.needs_new_epoch = true;
        let is_fatal = error.code().is_some_and(|code| {
            use ErrorCode::*;
            matches!(
                code,
                ClusterAuthorizationFailed
                    | TransactionalIdAuthorizationFailed
                    | ProducerFenced
                    | UnsupportedVersion
                    | InvalidProducerIdMapping
                    | InvalidTxnState
            )
        });
        self.fail(error, is_fatal);
    }

    /// A coordinator refused. What Kafka's clients survive by an abort, and what not.
    pub(super) fn failed(&mut self, error: ClientError) {
        use ErrorCode::*;
        // Without a code it could not be reached for long: an abort may find it again.
        let is_abortable = error.code().is_none_or(|code| {
            matches!(
                code,
                TransactionAbortable
                    | UnknownProducerId
                    | InvalidProducerIdMapping
                    | TopicAuthorizationFailed
                    | GroupAuthorizationFailed
                    | UnknownTopicOrPartition
                    | OperationNotAttempted
                    | FencedInstanceId
                    | UnknownMemberId
                    | IllegalGeneration
                    | StaleMemberEpoch
                    | FencedMemberEpoch
                    | RebalanceInProgress
                    | OffsetMetadataTooLarge
            )
        });
        self.needs_new_epoch |= matches!(error.code(), Some(UnknownProducerId | InvalidProducerIdMapping));
        self.fail(error, !is_abortable);
    }

    fn fail(&mut self, error: ClientError, is_fatal: bool) {
        match (&self.state, is_fatal) {
            (State::Fatal(_), _) | (State::Abortable(_), false) => {}
            (_, true) => self.state = State::Fatal(error),
            (_, false) => self.state = State::Abortable(error),
        }
    }

    pub(super) fn begin_commit(&mut self) -> Result<(), ClientError> {
        self.check_open()?;
        self.state = State::Ending;
        Ok(())
    }

    /// Allowed wherever a transaction is, whatever became of it, if the producer can go on.
    pub(super) fn begin_abort(&self) -> Result<(), ClientError> {
        match &self.state {
            State::Open | State::Ending | State::Abortable(_) => Ok(()),
            State::Fatal(_) => Err(self.error().expect("a failed state has its error")),
            State::New | State::Ready => Err(misuse("no transaction is open: there is nothing to abort")),
        }
    }

    pub(super) fn end(&self) -> End {
        if self.is_begun { End::Ask } else { End::Nothing }
    }

    /// The coordinator has decided, or had nothing to decide. `has_new_epoch`: its answer gave one. True if one is to be asked for.
    pub(super) fn ended(&mut self, has_new_epoch: bool) -> bool {
        let needs_new_epoch = self.needs_new_epoch && !has_new_epoch;
        *self = Transaction { state: State::Ready, needs_new_epoch, ..Transaction::default() };
        needs_new_epoch
    }

    pub(super) fn has_new_epoch(&mut self) {
        self.needs_new_epoch = false;
    }
}

fn misuse(what: &str) -> ClientError {
    ClientError::Misuse { what: what.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(partition: i32) -> Target {
        Target { topic: "t".into(), partition }
    }

    fn open(is_implicit: bool) -> Transaction {
        let mut transaction = Transaction::default();
        transaction.initialized();
        transaction.begin(is_implicit).unwrap();
        transaction
    }

    fn refused(code: ErrorCode) -> ClientError {
        ClientError::refused("test", code, None)
    }

    /// A batch in a partition that the coordinator does not know of gets no marker: readers of committed data would stop there for ever.
    #[test]
    fn a_partition_is_added_before_its_first_batch() {
        let mut transaction = open(false);
        assert!(!transaction.may_send(&target(0)));
        assert!(!transaction.may_send(&target(1)));
        let asked = transaction.partitions_to_add().expect("two are wanted");
        assert_eq!(asked, [target(0), target(1)]);
        assert_eq!(transaction.partitions_to_add(), None, "one request at a time");
        assert!(!transaction.may_send(&target(2)));
        transaction.added(asked, Ok(()));
        assert!(transaction.may_send(&target(0)) && !transaction.may_send(&target(2)));
        assert_eq!(transaction.partitions_to_add(), Some(vec![target(2)]));

        let mut implicit = open(true);
        assert!(implicit.may_send(&target(0)) && implicit.partitions_to_add().is_none());
        assert_eq!(implicit.end(), End::Ask);
        assert_eq!(open(true).end(), End::Nothing, "nothing was sent");
    }

    /// Going on after an error would commit half of the work.
    #[test]
    fn after_an_error_only_an_abort_goes() {
        let mut transaction = open(false);
        transaction.batch_failed(refused(ErrorCode::MessageTooLarge));
        assert!(matches!(transaction.check_open(), Err(ClientError::Abortable { .. })));
        assert!(matches!(transaction.begin_commit(), Err(ClientError::Abortable { .. })));
        assert!(!transaction.may_send(&target(0)));
        transaction.begin_abort().unwrap();
        assert!(transaction.ended(false), "the lost batch left a hole in the sequences");
        transaction.begin(false).unwrap();
        assert!(transaction.check_open().is_ok());
    }

    /// A producer that another has fenced would write into the other's transactions.
    #[test]
    fn who_is_fenced_does_nothing_more() {
        for code in [ErrorCode::ProducerFenced, ErrorCode::InvalidProducerEpoch, ErrorCode::InvalidTxnState] {
            let mut transaction = open(false);
            transaction.failed(refused(code));
            transaction.batch_failed(refused(ErrorCode::MessageTooLarge));
            for outcome in [transaction.check_open(), transaction.begin_abort(), transaction.begin(false)] {
                assert!(matches!(outcome, Err(ClientError::Fatal { .. })), "{code}");
            }
        }
    }

    /// A new epoch is asked for only where the coordinator's answer did not bring one.
    #[test]
    fn an_epoch_is_renewed_once() {
        let mut transaction = open(true);
        assert!(transaction.may_send(&target(0)));
        transaction.batch_failed(refused(ErrorCode::OutOfOrderSequenceNumber));
        transaction.begin_abort().unwrap();
        assert!(!transaction.ended(true));
        let mut transaction = open(false);
        transaction.begin_commit().unwrap();
        assert!(!transaction.ended(false), "a commit leaves no hole");
    }

    /// Calls in the wrong order must say what is missing.
    #[test]
    fn calls_in_the_wrong_order_are_told() {
        let mut transaction = Transaction::default();
        assert!(transaction.begin(false).unwrap_err().to_string().contains("init_transactions"));
        assert!(transaction.check_open().is_err());
        transaction.initialized();
        assert!(transaction.begin_abort().is_err());
        transaction.begin(false).unwrap();
        assert!(transaction.begin(false).unwrap_err().to_string().contains("open"));
    }
}
