//! Fetch sessions (KIP-227): what a consumer has told us, so that it need not say it again, and what we have told it.
//!
//! Owns the sessions of the connections of one shard. Pure: the caller passes time and random numbers in. A consumer keeps to one connection
//! while its session lives (a new connection begins with a full fetch), so no other shard needs to know; ids are unique over the
//! broker because each shard draws from its own residue class. Bounded in sessions and in partitions; answering "no
//! session" (id 0) is always legal.

use ringlane_protocol::{ErrorCode, TopicId};
use std::collections::BTreeMap;
use std::rc::Rc;

/// `session epoch` of a request that wants no session, or closes its own.
const FINAL_EPOCH: i32 = -1;
/// `session epoch` of a request that begins a session.
const INITIAL_EPOCH: i32 = 0;
/// A session unused for this long may be evicted for a new one (Kafka: `min.incremental.fetch.session.eviction.ms`).
const EVICTION_MS: u64 = 120_000;
/// Partitions of all sessions of a shard: about 100 bytes each.
const PARTITIONS_MAX: usize = 1 << 20;

/// A topic as the request names it: by id from version 13 on, by name before. One session uses one kind.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TopicKey {
    Id(TopicId),
    Name(Rc<str>),
}

/// One partition that a fetch wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    pub topic: TopicKey,
    pub partition: i32,
    pub fetch_offset: i64,
    pub max_bytes: i32,
    pub current_leader_epoch: i32,
    pub last_fetched_epoch: i32,
}

/// What one partition's answer looks like to its session.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    pub error: ErrorCode,
    pub high_watermark: i64,
    pub log_start_offset: i64,
    /// Records, a diverging epoch, or anything else that must reach the client.
    pub has_news: bool,
}

/// What a request means with its session taken into account.
#[derive(Debug, PartialEq, Eq)]
pub struct Begun {
    /// Goes into the answer; 0: no session.
    pub session_id: i32,
    /// Leave out partitions that have nothing new.
    pub incremental: bool,
    /// All partitions to read, in the order to read them.
    pub wanted: Vec<Wanted>,
}

pub struct FetchSessions {
    sessions: BTreeMap<i32, Session>,
    sessions_max: usize,
    partitions: usize,
    /// Ids of this shard are `residue` modulo `modulus`.
    residue: i32,
    modulus: i32,
}

struct Session {
    /// Of the next request.
    epoch: i32,
    by_id: bool,
    used_at_ms: u64,
    partitions: BTreeMap<(TopicKey, i32), Cached>,
    /// Reading order: whoever returned data goes last, so that one busy partition cannot starve the others.
    order: BTreeMap<u64, (TopicKey, i32)>,
    next_turn: u64,
}

struct Cached {
    turn: u64,
    wanted: Wanted,
    high_watermark: i64,
    log_start_offset: i64,
}

/// The session part of a fetch request.
pub struct SessionRequest {
    pub id: i32,
    pub epoch: i32,
    /// Version 13 or later.
    pub by_id: bool,
    pub wanted: Vec<Wanted>,
    pub forgotten: Vec<(TopicKey, i32)>,
}

impl FetchSessions {
    /// `sessions_max`: this shard's share of `max.incremental.fetch.session.cache.slots`.
    pub fn new(sessions_max: usize, shard: u16, shards: usize) -> FetchSessions {
        FetchSessions {
            sessions: BTreeMap::new(),
            sessions_max,
            partitions: 0,
            residue: i32::from(shard),
            modulus: shards as i32,
        }
    }

    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    pub fn begin(&mut self, request: SessionRequest, now_ms: u64, random: u64) -> Result<Begun, ErrorCode> {
        if request.epoch != INITIAL_EPOCH && request.epoch != FINAL_EPOCH {
            return self.go_on(request, now_ms);
        }
        // A full fetch that names a session ends it.
        self.remove(request.id);
        if request.epoch == FINAL_EPOCH || request.wanted.is_empty() || !self.make_room(request.wanted.len(), now_ms) {
            return Ok(Begun { session_id: 0, incremental: false, wanted: request.wanted });
        }
        let Some(session_id) = self.unused_id(random) else {
            return Ok(Begun { session_id: 0, incremental: false, wanted: request.wanted });
        };
        let mut session = Session {
            epoch: 1,
            by_id: request.by_id,
            used_at_ms: now_ms,
            partitions: BTreeMap::new(),
            order: BTreeMap::new(),
            next_turn: 0,
        };
        request.wanted.iter().for_each(|wanted| session.put(wanted.clone()));
        self.partitions += session.partitions.len();
        self.sessions.insert(session_id, session);
        Ok(Begun { session_id, incremental: false, wanted: request.wanted })
    }

    fn go_on(&mut self, request: SessionRequest, now_ms: u64) -> Result<Begun, ErrorCode> {
        let session = self.sessions.get_mut(&request.id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.epoch != request.epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.by_id != request.by_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        let before = session.partitions.len();
        request.wanted.into_iter().for_each(|wanted| session.put(wanted));
        request.forgotten.iter().for_each(|key| session.forget(key));
        session.epoch = next_epoch(session.epoch);
        session.used_at_ms = now_ms;
        self.partitions = self.partitions - before + session.partitions.len();
        let wanted = session.in_order();
        if wanted.is_empty() || self.partitions > PARTITIONS_MAX {
            self.remove(request.id);
            return Ok(Begun { session_id: 0, incremental: false, wanted });
        }
        Ok(Begun { session_id: request.id, incremental: true, wanted })
    }

    /// Notes what the client is told about a partition. `false`: an incremental answer may leave it out.
    pub fn tell(&mut self, session_id: i32, wanted: &Wanted, told: Told) -> bool {
        let Some(session) = self.sessions.get_mut(&session_id) else { return true };
        let key = (wanted.topic.clone(), wanted.partition);
        let Some(cached) = session.partitions.get_mut(&key) else { return true };
        if told.error != ErrorCode::None {
            // Whatever comes after the error is news.
            cached.high_watermark = -1;
            return true;
        }
        let is_new = cached.high_watermark != told.high_watermark || cached.log_start_offset != told.log_start_offset;
        cached.high_watermark = told.high_watermark;
        cached.log_start_offset = told.log_start_offset;
        if told.has_news {
            session.move_last(&key);
        }
        is_new || told.has_news
    }

    fn remove(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.partitions -= session.partitions.len();
        }
    }

    /// Whether a session of `partitions` may be added, possibly in place of the one that has been idle longest.
    fn make_room(&mut self, partitions: usize, now_ms: u64) -> bool {
        if self.partitions + partitions > PARTITIONS_MAX || self.sessions_max == 0 {
            return false;
        }
        if self.sessions.len() < self.sessions_max {
            return true;
        }
        let idlest = self.sessions.iter().min_by_key(|(_, session)| session.used_at_ms);
        match idlest.map(|(&id, session)| (id, session.used_at_ms)) {
            Some((id, used_at_ms)) if used_at_ms + EVICTION_MS <= now_ms => {
                self.remove(id);
                true
            }
            _ => false,
        }
    }

    fn unused_id(&self, random: u64) -> Option<i32> {
        let classes = i32::MAX / self.modulus;
        let class = (random % classes as u64) as i32;
        let id = class * self.modulus + self.residue;
        (id > 0 && !self.sessions.contains_key(&id)).then_some(id)
    }
}

impl Session {
    fn put(&mut self, wanted: Wanted) {
        let key = (wanted.topic.clone(), wanted.partition);
        if let Some(cached) = self.partitions.get_mut(&key) {
            cached.wanted = wanted;
            return;
        }
        let turn = self.next_turn;
        self.next_turn += 1;
        self.order.insert(turn, key.clone());
        self.partitions.insert(key, Cached { turn, wanted, high_watermark: -1, log_start_offset: -1 });
    }

    fn forget(&mut self, key: &(TopicKey, i32)) {
        if let Some(cached) = self.partitions.remove(key) {
            self.order.remove(&cached.turn);
        }
    }

    fn move_last(&mut self, key: &(TopicKey, i32)) {
        let Some(cached) = self.partitions.get_mut(key) else { return };
        if let Some(key) = self.order.remove(&cached.turn) {
            cached.turn = self.next_turn;
            self.order.insert(cached.turn, key);
            self.next_turn += 1;
        }
    }

    fn in_order(&self) -> Vec<Wanted> {
        self.order.values().filter_map(|key| self.partitions.get(key)).map(|cached| cached.wanted.clone()).collect()
    }
}

/// Wraps to 1: 0 and -1 mean something else.
fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(partition: i32, fetch_offset: i64) -> Wanted {
        let topic = TopicKey::Name("orders".into());
        Wanted { topic, partition, fetch_offset, max_bytes: 1024, current_leader_epoch: -1, last_fetched_epoch: -1 }
    }

    fn request(id: i32, epoch: i32, wanted: Vec<Wanted>) -> SessionRequest {
        SessionRequest { id, epoch, by_id: false, wanted, forgotten: Vec::new() }
    }

    fn told(high_watermark: i64, has_news: bool) -> Told {
        Told { error: ErrorCode::None, high_watermark, log_start_offset: 0, has_news }
    }

    fn order(begun: &Begun) -> Vec<i32> {
        begun.wanted.iter().map(|wanted| wanted.partition).collect()
    }

    /// A consumer that assigns many partitions sends them once; if the session forgot one, it would never be read again.
    #[test]
    fn an_incremental_fetch_reads_everything_that_was_said_before() {
        let mut sessions = FetchSessions::new(10, 0, 1);
        let full = sessions.begin(request(0, 0, vec![wanted(0, 5), wanted(1, 6)]), 0, 7).unwrap();
        assert!(full.session_id != 0 && !full.incremental);

        let next = sessions.begin(request(full.session_id, 1, vec![wanted(1, 9)]), 1, 0).unwrap();

        assert!(next.incremental);
        assert_eq!(next.wanted, [wanted(0, 5), wanted(1, 9)]);
    }

    /// A lost or doubled request must not be taken for the next one: the client would miss what the other one brought.
    #[test]
    fn epochs_must_follow_each_other() {
        let mut sessions = FetchSessions::new(10, 0, 1);
        let id = sessions.begin(request(0, 0, vec![wanted(0, 0)]), 0, 7).unwrap().session_id;
        assert_eq!(sessions.begin(request(id, 2, vec![]), 0, 0), Err(ErrorCode::InvalidFetchSessionEpoch));
        assert!(sessions.begin(request(id, 1, vec![]), 0, 0).is_ok());
        assert_eq!(sessions.begin(request(id, 1, vec![]), 0, 0), Err(ErrorCode::InvalidFetchSessionEpoch));
        assert_eq!(sessions.begin(request(id + 1, 1, vec![]), 0, 0), Err(ErrorCode::FetchSessionIdNotFound));
        let by_id = SessionRequest { by_id: true, ..request(id, 2, vec![]) };
        assert_eq!(sessions.begin(by_id, 0, 0), Err(ErrorCode::FetchSessionTopicIdError));
        assert_eq!(next_epoch(i32::MAX), 1);
    }

    /// Unchanged partitions are what sessions save; a changed high watermark or an error must still get through.
    #[test]
    fn only_news_is_told() {
        let mut sessions = FetchSessions::new(10, 0, 1);
        let id = sessions.begin(request(0, 0, vec![wanted(0, 0)]), 0, 7).unwrap().session_id;
        assert!(sessions.tell(id, &wanted(0, 0), told(10, false)));
        assert!(!sessions.tell(id, &wanted(0, 0), told(10, false)));
        assert!(sessions.tell(id, &wanted(0, 0), told(11, false)));
        let failed = Told { error: ErrorCode::NotLeaderOrFollower, ..told(-1, false) };
        assert!(sessions.tell(id, &wanted(0, 0), failed));
        assert!(sessions.tell(id, &wanted(0, 0), failed));
        assert!(sessions.tell(id, &wanted(0, 0), told(11, false)), "the end of an error is news");
    }

    /// Without turns the first partition, always full, would take the whole of each answer.
    #[test]
    fn who_got_data_reads_last_next_time() {
        let mut sessions = FetchSessions::new(10, 0, 1);
        let full = sessions.begin(request(0, 0, (0..3).map(|p| wanted(p, 0)).collect()), 0, 7).unwrap();
        sessions.tell(full.session_id, &wanted(0, 0), told(5, true));
        let next = sessions.begin(request(full.session_id, 1, vec![]), 0, 0).unwrap();
        assert_eq!(order(&next), [1, 2, 0]);
    }

    /// Ten thousand consumers must not fill the memory, and must not evict those that are at work.
    #[test]
    fn sessions_are_bounded_and_only_idle_ones_are_evicted() {
        let mut sessions = FetchSessions::new(2, 1, 4);
        let mut begin =
            |now_ms, random| sessions.begin(request(0, 0, vec![wanted(0, 0)]), now_ms, random).unwrap().session_id;
        let ids = [begin(0, 1), begin(1, 2)];
        assert!(ids.iter().all(|id| id % 4 == 1), "{ids:?} belong to shard 1 of 4");
        assert_eq!(begin(EVICTION_MS - 1, 3), 0);
        assert_ne!(begin(EVICTION_MS, 4), 0);
        assert_eq!(sessions.len(), 2);
        let first = sessions.begin(request(ids[0], 1, vec![]), EVICTION_MS, 0);
        assert_eq!(first, Err(ErrorCode::FetchSessionIdNotFound));
    }

    /// A closed session is memory given back at once.
    #[test]
    fn closing_and_forgetting_everything_end_a_session() {
        let mut sessions = FetchSessions::new(2, 0, 1);
        let id = sessions.begin(request(0, 0, vec![wanted(0, 0)]), 0, 1).unwrap().session_id;
        let closed = sessions.begin(request(id, FINAL_EPOCH, vec![wanted(0, 0)]), 0, 0).unwrap();
        assert_eq!((closed.session_id, sessions.len()), (0, 0));

        let id = sessions.begin(request(0, 0, vec![wanted(0, 0)]), 0, 1).unwrap().session_id;
        let forget = SessionRequest { forgotten: vec![(TopicKey::Name("orders".into()), 0)], ..request(id, 1, vec![]) };
        assert_eq!(sessions.begin(forget, 0, 0).unwrap().session_id, 0);
        assert_eq!((sessions.len(), sessions.partitions), (0, 0));
    }
}
