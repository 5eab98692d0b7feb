//! Drives crate `raft`: one voter's or learner's part in the agreement, without I/O, clock or randomness.
//!
//! Lives on shard 0. After any call the owner takes a [`Turn`] with [`MetaCore::take_turn`], writes its persists in order (as many
//! as there are in one write), sends its messages, and reports [`MetaCore::persisted`]. Only then are entries committed and applied.

use crate::image::{ApplyError, Delta, Image, LogPosition, SnapshotError};
use crate::quorum::journal::{self, Item, JournalError};
use crate::quorum::log::{Checkpoint, OutOfPlace, RaftLog};
use crate::quorum::{conf_change, logger};
use crate::record::batch::{self, BATCH_BYTES_MAX, BatchError};
use crate::{Record, Uuid};
use raft::eraftpb::{ConfChangeV2, Entry, EntryType, HardState, Message, MessageType, Snapshot};
use raft::{Config, RawNode, SnapshotStatus, StateRole};
use ringlane_protocol::Writer;

/// Entries of one append message; a larger entry travels alone.
const MESSAGE_BYTES_MAX: u64 = 1 << 20;
/// Proposals that are not committed yet; more are refused until they are.
pub(super) const UNCOMMITTED_BYTES_MAX: u64 = 32 << 20;
/// Entries applied in one turn: what keeps a turn of shard 0 short after a long pause.
const APPLIED_BYTES_MAX: u64 = 8 << 20;
const INFLIGHT_MESSAGES_MAX: usize = 64;
const _: () = assert!(UNCOMMITTED_BYTES_MAX >= BATCH_BYTES_MAX as u64 && UNCOMMITTED_BYTES_MAX >= MESSAGE_BYTES_MAX);

#[derive(Clone, Debug)]
pub struct CoreOptions {
    /// Given to a directory once, never again to another.
    pub raft_id: u64,
    /// What election timeouts are drawn from.
    pub seed: u64,
    pub heartbeat_ticks: usize,
    pub election_ticks: usize,
}

/// The core cannot go on. The process must end with this message: state that was durable is gone or not understood.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    #[error("metadata log entry {index}: {source}")]
    Batch { index: u64, source: BatchError },
    #[error("metadata log entry {index} is of an unknown kind: was it written by a newer version of ringlane?")]
    UnknownEntry { index: u64 },
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("the snapshot that the leader sent does not decode: {0}")]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(
        "the metadata journal says that entry {commit} was committed, but ends at {last}: what was durable is lost. \
         Restore `metadata/` from a copy, or give this node an empty directory and a new id"
    )]
    LostEntries { commit: u64, last: u64 },
    #[error("{0}. Restore `metadata/` from a copy, or give this node an empty directory and a new id")]
    OutOfPlace(#[from] OutOfPlace),
    #[error("raft: {0}")]
    Raft(#[from] raft::Error),
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProposeError {
    #[error("this node is not the controller")]
    NotLeader,
    #[error("too much is waiting to be committed; try again")]
    Busy,
    #[error(transparent)]
    Batch(#[from] BatchError),
}

/// What the core wants done. Nothing in it may be left out.
#[derive(Default)]
pub struct Turn {
    /// To write, in this order and before anything of a later turn; any number of them in one write.
    pub persists: Vec<Persist>,
    /// May be sent at once.
    pub messages: Vec<Message>,
    /// Entries that are now part of the image.
    pub applied: Vec<Applied>,
    /// What they changed.
    pub delta: Option<Delta>,
    /// Answers to [`MetaCore::read_index`]: what must be applied before the read, and the request's context.
    pub reads: Vec<(u64, Vec<u8>)>,
}

/// One piece of journal.
pub struct Persist {
    /// For [`MetaCore::persisted`].
    pub number: u64,
    /// A snapshot that came from the leader: its file must be durable before `items` are written.
    pub snapshot: Option<Checkpoint>,
    /// For [`journal::put_write`]. Empty: nothing to write, but the order still counts.
    pub items: Vec<u8>,
    /// Whether `items` must be durable before the messages go; if not, being written in order is enough.
    pub must_sync: bool,
    /// To send once this and everything before it is durable.
    pub messages: Vec<Message>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Applied {
    pub position: LogPosition,
}

pub struct MetaCore {
    options: CoreOptions,
    node: RawNode<RaftLog>,
}

impl MetaCore {
    /// The journal of a new cluster: this node is its only voter.
    pub fn bootstrap_items(state: &Checkpoint) -> Vec<u8> {
        let LogPosition { term, index } = state.position();
        let mut w = Writer::new();
        journal::put_snapshot_mark(&mut w, state.position());
        journal::put_hard_state(&mut w, &HardState { term, commit: index, ..Default::default() });
        w.into_bytes()
    }

    /// Takes up where the journal ends. `state` is the snapshot of the journal's last mark.
    pub fn open(options: CoreOptions, state: Checkpoint, items: Vec<Item>) -> Result<MetaCore, CoreError> {
        let position = state.position();
        let log = replay(state, items)?;
        let config = Config {
            id: options.raft_id,
            election_tick: options.election_ticks,
            heartbeat_tick: options.heartbeat_ticks,
            applied: position.index,
            max_size_per_msg: MESSAGE_BYTES_MAX,
            max_inflight_msgs: INFLIGHT_MESSAGES_MAX,
            max_uncommitted_size: UNCOMMITTED_BYTES_MAX,
            max_committed_size_per_ready: APPLIED_BYTES_MAX,
            check_quorum: true,
            pre_vote: true,
            ..Default::default()
        };
        let mut core = MetaCore { node: RawNode::new(&config, log, &logger::logger())?, options };
        if core.is_only_voter() {
            // Nobody to wait for.
            core.node.campaign()?;
        }
        core.fix_timeout();
        Ok(core)
    }

    pub fn tick(&mut self) {
        self.node.tick();
        self.fix_timeout();
    }

    /// Takes a message from a peer. What does not concern this node is dropped, as is what only a node itself may say.
    pub fn step(&mut self, message: Message) {
        let from_elsewhere = !matches!(message.get_msg_type(), MessageType::MsgPropose | MessageType::MsgReadIndex);
        if from_elsewhere && message.to == self.options.raft_id {
            // Errors are stale or stray messages; raft's protocol repeats what matters.
            let _ = self.node.step(message);
        }
        self.fix_timeout();
    }

    /// Puts one batch into the log. It is committed when it appears in a turn's `applied` with the term answered here; if that index is
    /// applied with another term, it is lost.
    pub fn propose(&mut self, records: &[Record]) -> Result<LogPosition, ProposeError> {
        if !self.is_leader() {
            return Err(ProposeError::NotLeader);
        }
        let batch = batch::encode(records)?;
        self.node.propose(Vec::new(), batch).map_err(|_| ProposeError::Busy)?;
        Ok(LogPosition { term: self.node.raft.term, index: self.node.raft.raft_log.last_index() })
    }

    /// Changes who votes and who learns; one change at a time.
    pub fn propose_members(&mut self, change: ConfChangeV2) -> Result<(), ProposeError> {
        if !self.is_leader() {
            return Err(ProposeError::NotLeader);
        }
        if self.node.raft.has_pending_conf() {
            return Err(ProposeError::Busy);
        }
        self.node.propose_conf_change(Vec::new(), change).map_err(|_| ProposeError::Busy)
    }

    /// Asks how far a read must wait to see everything acknowledged before now. `context` must be unique.
    pub fn read_index(&mut self, context: Uuid) {
        self.node.read_index(context.0.to_vec());
        self.fix_timeout();
    }

    /// Every `MsgSnapshot` in a turn must be followed by this: until then the receiver is sent nothing else.
    pub fn report_snapshot(&mut self, to: u64, received: bool) {
        let status = if received { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.node.report_snapshot(to, status);
    }

    pub fn report_unreachable(&mut self, peer: u64) {
        self.node.report_unreachable(peer);
    }

    pub fn transfer_leader(&mut self, to: u64) {
        self.node.transfer_leader(to);
        self.fix_timeout();
    }

    /// Everything up to the persist of this number is durable.
    pub fn persisted(&mut self, number: u64) {
        self.node.on_persist_ready(number);
        self.report_applied();
        self.fix_timeout();
    }

    /// All that became necessary since the last call.
    pub fn take_turn(&mut self) -> Result<Turn, CoreError> {
        let mut turn = Turn::default();
        while self.node.has_ready() {
            let mut ready = self.node.ready();
            turn.messages.extend(ready.take_messages());
            turn.reads.extend(ready.take_read_states().into_iter().map(|read| (read.index, read.request_ctx)));
            let number = ready.number();
            let snapshot = match ready.snapshot().is_empty() {
                true => None,
                false => Some(self.install(ready.snapshot(), &mut turn)?),
            };
            let log = self.node.mut_store();
            log.append(ready.entries())?;
            if let Some(state) = ready.hs() {
                log.hard_state = state.clone();
            }
            let items = journal_items(snapshot.as_ref(), ready.entries(), ready.hs());
            let messages = ready.take_persisted_messages();
            turn.persists.push(Persist { number, snapshot, items, must_sync: ready.must_sync(), messages });
            let committed = ready.take_committed_entries();
            self.node.advance_append_async(ready);
            committed.into_iter().try_for_each(|entry| self.apply(entry, &mut turn))?;
            self.report_applied();
            self.fix_timeout();
        }
        Ok(turn)
    }

    /// The state as of the last applied entry.
    pub fn image(&self) -> &Image {
        &self.node.store().state.image
    }

    /// A copy to make a snapshot of, at leisure.
    pub fn checkpoint(&self) -> Checkpoint {
        self.node.store().state.clone()
    }

    /// The journal's content from a snapshot on: the first write of a new segment. `None` when the log starts behind it already.
    pub fn items_after(&self, snapshot: LogPosition) -> Option<Vec<u8>> {
        let log = self.node.store();
        log.term_at(snapshot.index)?;
        let entries: Vec<Entry> = log.entries_after(snapshot.index).cloned().collect();
        let mut w = Writer::new();
        journal::put_snapshot_mark(&mut w, snapshot);
        journal::put_entries(&mut w, &entries);
        journal::put_hard_state(&mut w, &log.hard_state);
        Some(w.into_bytes())
    }

    /// Entries up to `index` are in a snapshot and no longer in the journal. Peers that still need them get the snapshot.
    pub fn compact(&mut self, index: u64) {
        let index = index.min(self.image().applied().index);
        self.node.mut_store().compact(index);
    }

    pub fn is_leader(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    /// Whether this node leads and its image has everything that earlier leaders committed: from here on the controller may decide.
    pub fn is_active(&self) -> bool {
        self.is_leader() && self.image().applied().term == self.node.raft.term
    }

    pub fn term(&self) -> u64 {
        self.node.raft.term
    }

    /// The leader's raft id, when one is known.
    pub fn leader(&self) -> Option<u64> {
        Some(self.node.raft.leader_id).filter(|id| *id != 0)
    }

    pub fn committed(&self) -> u64 {
        self.node.raft.raft_log.committed
    }

    /// The index that the next proposal would have.
    pub fn next_index(&self) -> u64 {
        self.node.raft.raft_log.last_index() + 1
    }

    pub fn is_only_voter(&self) -> bool {
        let members = &self.node.store().state.conf_state;
        members.voters == [self.options.raft_id] && members.voters_outgoing.is_empty()
    }

    fn install(&mut self, snapshot: &Snapshot, turn: &mut Turn) -> Result<Checkpoint, CoreError> {
        let metadata = snapshot.get_metadata();
        let position = LogPosition { term: metadata.term, index: metadata.index };
        let image = Image::from_snapshot(position, &snapshot.data)?;
        let state = Checkpoint { image, conf_state: metadata.get_conf_state().clone() };
        turn.changed(&Delta::between(self.image(), &state.image));
        let log = self.node.mut_store();
        log.rebase(position);
        log.state = state.clone();
        Ok(state)
    }

    fn apply(&mut self, entry: Entry, turn: &mut Turn) -> Result<(), CoreError> {
        let position = LogPosition { term: entry.term, index: entry.index };
        let index = entry.index;
        let unknown = CoreError::UnknownEntry { index };
        let mut delta = Delta::since(self.image().applied());
        match entry.get_entry_type() {
            EntryType::EntryNormal => {
                let records = batch::decode(&entry.data).map_err(|source| CoreError::Batch { index, source })?;
                self.node.mut_store().state.image.apply(position, &records, &mut delta)?;
            }
            EntryType::EntryConfChangeV2 => {
                let change = conf_change::decode(&entry.data).ok_or(unknown)?;
                let conf_state = self.node.apply_conf_change(&change)?;
                let state = &mut self.node.mut_store().state;
                state.conf_state = conf_state;
                state.image.apply(position, &[], &mut delta)?;
                self.step_down_if_removed();
            }
            EntryType::EntryConfChange => return Err(unknown),
        }
        turn.changed(&delta);
        turn.applied.push(Applied { position });
        Ok(())
    }

    /// Contract point 2: crate `raft` keeps a removed leader in office and panics when it counts votes next (as etcd's
    /// StepDownOnRemoval would not).
    fn step_down_if_removed(&mut self) {
        let (id, members) = (self.options.raft_id, &self.node.store().state.conf_state);
        let votes = members.voters.contains(&id) || members.voters_outgoing.contains(&id);
        if self.is_leader() && !votes {
            let term = self.node.raft.term;
            self.node.raft.become_follower(term, 0);
        }
    }

    /// Contract point 3: crate `raft` panics when told of something applied that is not durable yet.
    fn report_applied(&mut self) {
        let raft_log = &self.node.raft.raft_log;
        let safe = self.image().applied().index.min(raft_log.persisted).min(raft_log.committed);
        if safe > raft_log.applied {
            self.node.advance_apply_to(safe);
        }
    }

    /// Contract point 1: crate `raft` draws election timeouts from the thread's random source, which no simulation could repeat.
    fn fix_timeout(&mut self) {
        let raft = &mut self.node.raft;
        let ticks = self.options.election_ticks;
        let drawn = mix(mix(self.options.seed, raft.id), raft.term * 4 + raft.state as u64);
        raft.set_randomized_election_timeout(ticks + (drawn % ticks as u64) as usize);
    }
}

impl Turn {
    fn changed(&mut self, delta: &Delta) {
        match &mut self.delta {
            Some(merged) => merged.merge(delta),
            None => self.delta = Some(delta.clone()),
        }
    }
}

/// Contract point 4: the hard state goes into the journal behind the entries it speaks of, whether or not it must be synced: without it
/// a restarted node could use an old membership.
fn journal_items(snapshot: Option<&Checkpoint>, entries: &[Entry], state: Option<&HardState>) -> Vec<u8> {
    let mut w = Writer::new();
    if let Some(snapshot) = snapshot {
        journal::put_snapshot_mark(&mut w, snapshot.position());
    }
    journal::put_entries(&mut w, entries);
    if let Some(state) = state {
        journal::put_hard_state(&mut w, state);
    }
    w.into_bytes()
}

fn replay(state: Checkpoint, items: Vec<Item>) -> Result<RaftLog, CoreError> {
    let Some(Item::SnapshotMark(first)) = items.first() else { return Err(JournalError::NoMark.into()) };
    let position = state.position();
    let mut log = RaftLog::new(*first, state);
    for item in items {
        match item {
            Item::Entries(entries) => log.append(&entries)?,
            Item::HardState(state) => log.hard_state = state,
            Item::SnapshotMark(position) => log.rebase(position),
        }
    }
    log.rebase(position);
    let (commit, last) = (log.hard_state.commit, log.last_index());
    // A snapshot is made of committed entries only; the hard state that says so may be a write behind.
    log.hard_state.commit = commit.max(position.index);
    match commit > last {
        true => Err(CoreError::LostEntries { commit, last }),
        false => Ok(log),
    }
}

/// A 64-bit finaliser (splitmix64): spreads (seed, id, term, role) over all timeouts.
fn mix(a: u64, b: u64) -> u64 {
    let mut z = a ^ b.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: CoreOptions = CoreOptions { raft_id: 1, seed: 1, heartbeat_ticks: 2, election_ticks: 10 };

    fn items(content: &[u8]) -> Vec<Item> {
        journal::items(content).unwrap()
    }

    fn alone() -> MetaCore {
        let state = Checkpoint::bootstrap(1);
        let first = items(&MetaCore::bootstrap_items(&state));
        MetaCore::open(OPTIONS, state, first).unwrap()
    }

    /// Says that everything is durable until nothing is due; answers what was written.
    fn settle(core: &mut MetaCore) -> Vec<u8> {
        let mut written = Vec::new();
        loop {
            let turn = core.take_turn().unwrap();
            let Some(last) = turn.persists.last() else { return written };
            let number = last.number;
            turn.persists.iter().for_each(|persist| written.extend_from_slice(&persist.items));
            core.persisted(number);
        }
    }

    /// Without it a single broker would wait for an election that nobody else takes part in.
    #[test]
    fn a_quorum_of_one_leads_at_once_but_not_before_its_vote_is_durable() {
        let mut core = alone();
        let turn = core.take_turn().unwrap();
        assert!(core.is_leader() && !core.is_active());
        assert!(turn.applied.is_empty());
        core.persisted(turn.persists.last().unwrap().number);
        core.take_turn().unwrap();
        assert!(core.is_active());
    }

    /// Contract point 7: one journal write carries whatever is due; a write per proposal would let the queue grow without end.
    #[test]
    fn many_proposals_share_one_write() {
        let mut core = alone();
        settle(&mut core);
        let positions: Vec<_> = (0..50).map(|_| core.propose(&[Record::NoOp]).unwrap()).collect();
        let turn = core.take_turn().unwrap();
        assert!(turn.applied.is_empty(), "nothing is committed before it is durable");
        core.persisted(turn.persists.last().unwrap().number);
        let applied: Vec<_> = core.take_turn().unwrap().applied.iter().map(|applied| applied.position).collect();
        assert_eq!(applied, positions);
    }

    /// Contract point 4: a hard state that says only "committed" stands in the journal behind the entries it speaks of.
    #[test]
    fn the_hard_state_keeps_its_place_in_the_journal() {
        let mut core = alone();
        let written = settle(&mut core);
        let mut last_entry = 0;
        for item in items(&written) {
            match item {
                Item::Entries(entries) => last_entry = entries.last().unwrap().index,
                Item::HardState(state) => {
                    assert!(state.commit <= last_entry.max(1), "{state:?} before entry {last_entry}")
                }
                Item::SnapshotMark(_) => panic!("no snapshot was made"),
            }
        }
        assert_eq!(last_entry, core.committed());
    }

    /// Contract point 8: a peer's proposal would be decided on nobody's image.
    #[test]
    fn proposals_of_others_are_dropped() {
        let mut core = alone();
        settle(&mut core);
        let before = core.next_index();
        let mut message = Message { to: 1, from: 2, term: core.term(), ..Default::default() };
        message.set_msg_type(MessageType::MsgPropose);
        message.mut_entries().push(Entry::default());
        core.step(message);
        assert_eq!(core.next_index(), before);
    }

    /// Contract point 9: with a disk that hangs, proposals would otherwise pile up in memory.
    #[test]
    fn what_is_uncommitted_is_bounded() {
        let mut core = alone();
        settle(&mut core);
        let name: std::sync::Arc<str> = "x".repeat(30_000).into();
        let large: Vec<_> = (0..200).map(|i| Record::Topic { name: name.clone(), id: Uuid([i; 16]) }).collect();
        let taken = (0..100).take_while(|_| core.propose(&large).is_ok()).count();
        assert!((4..=6).contains(&taken), "{taken} proposals of 6 MB were taken");
        assert_eq!(core.propose(&large), Err(ProposeError::Busy));
        let too_large = [large.clone(), large].concat();
        assert!(matches!(core.propose(&too_large), Err(ProposeError::Batch(BatchError::TooLarge { .. }))));
    }

    /// quorum.md, contract with raft-rs, point 11: crate `raft` panics on a commit index beyond the log's end; the operator must be told
    /// what it means.
    #[test]
    fn a_journal_that_lost_entries_is_refused() {
        let mut core = alone();
        core.take_turn().unwrap();
        let mut w = Writer::new();
        w.raw(&MetaCore::bootstrap_items(&Checkpoint::bootstrap(1)));
        journal::put_hard_state(&mut w, &HardState { term: 2, vote: 1, commit: 9, ..Default::default() });
        let opened = MetaCore::open(OPTIONS, Checkpoint::bootstrap(1), items(w.as_slice()));
        assert!(matches!(opened, Err(CoreError::LostEntries { commit: 9, last: 1 })));
    }

    /// The journal may forget what a snapshot holds, but nothing behind it.
    #[test]
    fn a_new_segment_holds_what_follows_the_snapshot() {
        let mut core = alone();
        settle(&mut core);
        let snapshot = core.checkpoint();
        (1..=3)
            .for_each(|id| drop(core.propose(&[Record::Topic { name: format!("t{id}").into(), id: Uuid([id; 16]) }])));
        settle(&mut core);
        let first = items(&core.items_after(snapshot.position()).unwrap());
        core.compact(u64::MAX);
        assert_eq!(core.items_after(snapshot.position()), None, "compacted entries are gone");
        let mut again = MetaCore::open(OPTIONS, snapshot, first).unwrap();
        settle(&mut again);
        assert_eq!(again.image().topic_count(), 3);
    }
}
