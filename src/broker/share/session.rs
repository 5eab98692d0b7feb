//! Share sessions: what each consumer of a share group fetches, so that it need not say it each time (KIP-932).
//!
//! Owns the sessions of the groups whose id hashes to this shard. Pure: a step takes no time and asks nobody. A session belongs to the
//! connection that it was made on, and ends with it. Bounded in sessions (`group.share.max.share.sessions`) and in partitions.

use ringlane_partition::TopicPartition;
use ringlane_protocol::ErrorCode;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// `share session epoch` of a request that begins a session.
pub const INITIAL_EPOCH: i32 = 0;
/// Of one that ends it.
pub const FINAL_EPOCH: i32 = -1;
/// Partitions of all sessions of a shard.
const PARTITIONS_MAX: usize = 1 << 20;

/// Names a connection: shard and number.
pub type ConnectionName = (u16, u64);

type SessionKey = (Arc<str>, Arc<str>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionAsked {
    Fetch {
        group: Arc<str>,
        member: Arc<str>,
        epoch: i32,
        wanted: Vec<TopicPartition>,
        forgotten: Vec<TopicPartition>,
        acknowledges: bool,
        connection: ConnectionName,
    },
    Acknowledge {
        group: Arc<str>,
        member: Arc<str>,
        epoch: i32,
    },
    /// It has said its last, or its connection, if one is named, is gone.
    End {
        group: Arc<str>,
        member: Arc<str>,
        connection: Option<ConnectionName>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionTold {
    /// What to fetch, in order; nothing when the session is about to end.
    Fetch(Result<Vec<TopicPartition>, ErrorCode>),
    Acknowledge(Result<(), ErrorCode>),
    /// What the session had, if there was one, and whether its group has no other.
    Ended(Option<(Vec<TopicPartition>, bool)>),
}

#[derive(Debug)]
pub struct ShareSessions {
    sessions: BTreeMap<SessionKey, Session>,
    sessions_max: usize,
    partitions: usize,
}

#[derive(Debug)]
struct Session {
    /// Of the next request.
    epoch: i32,
    connection: ConnectionName,
    partitions: Vec<TopicPartition>,
}

impl ShareSessions {
    /// `sessions_max`: this shard's share.
    pub fn new(sessions_max: usize) -> ShareSessions {
        ShareSessions { sessions: BTreeMap::new(), sessions_max, partitions: 0 }
    }

    pub fn ask(&mut self, asked: SessionAsked) -> SessionTold {
        match asked {
            SessionAsked::Fetch { group, member, epoch, wanted, forgotten, acknowledges, connection } => {
                let key = (group, member);
                SessionTold::Fetch(match epoch {
                    FINAL_EPOCH if self.sessions.contains_key(&key) => Ok(Vec::new()),
                    FINAL_EPOCH => Err(ErrorCode::ShareSessionNotFound),
                    INITIAL_EPOCH if acknowledges => Err(ErrorCode::InvalidRequest),
                    INITIAL_EPOCH => self.begin(key, wanted, connection),
                    epoch => self.go_on(&key, epoch, wanted, &forgotten),
                })
            }
            SessionAsked::Acknowledge { group, member, epoch } => {
                SessionTold::Acknowledge(self.acknowledge(&(group, member), epoch))
            }
            SessionAsked::End { group, member, connection } => {
                SessionTold::Ended(self.end(&(group, member), connection))
            }
        }
    }

    fn begin(
        &mut self,
        key: SessionKey,
        wanted: Vec<TopicPartition>,
        connection: ConnectionName,
    ) -> Result<Vec<TopicPartition>, ErrorCode> {
        self.remove(&key);
        let mut partitions: Vec<TopicPartition> = Vec::new();
        add(&mut partitions, wanted);
        if self.sessions.len() >= self.sessions_max || self.partitions + partitions.len() > PARTITIONS_MAX {
            return Err(ErrorCode::ShareSessionLimitReached);
        }
        self.partitions += partitions.len();
        self.sessions
            .insert(key, Session { epoch: next_epoch(INITIAL_EPOCH), connection, partitions: partitions.clone() });
        Ok(partitions)
    }

    fn go_on(
        &mut self,
        key: &SessionKey,
        epoch: i32,
        wanted: Vec<TopicPartition>,
        forgotten: &[TopicPartition],
    ) -> Result<Vec<TopicPartition>, ErrorCode> {
        let session = self.sessions.get_mut(key).ok_or(ErrorCode::ShareSessionNotFound)?;
        if session.epoch != epoch {
            return Err(ErrorCode::InvalidShareSessionEpoch);
        }
        let before = session.partitions.len();
        let forgotten: BTreeSet<TopicPartition> = forgotten.iter().copied().collect();
        session.partitions.retain(|partition| !forgotten.contains(partition));
        let mut partitions = session.partitions.clone();
        add(&mut partitions, wanted);
        if self.partitions - before + partitions.len() > PARTITIONS_MAX {
            return Err(ErrorCode::ShareSessionLimitReached);
        }
        self.partitions = self.partitions - before + partitions.len();
        session.epoch = next_epoch(epoch);
        session.partitions.clone_from(&partitions);
        // Another one goes first each time: a busy partition must not starve the others.
        let turn = epoch as usize % partitions.len().max(1);
        partitions.rotate_left(turn);
        Ok(partitions)
    }

    fn acknowledge(&mut self, key: &SessionKey, epoch: i32) -> Result<(), ErrorCode> {
        if epoch == INITIAL_EPOCH {
            return Err(ErrorCode::InvalidShareSessionEpoch);
        }
        let session = self.sessions.get_mut(key).ok_or(ErrorCode::ShareSessionNotFound)?;
        if epoch == FINAL_EPOCH {
            return Ok(());
        }
        if session.epoch != epoch {
            return Err(ErrorCode::InvalidShareSessionEpoch);
        }
        session.epoch = next_epoch(epoch);
        Ok(())
    }

    fn end(&mut self, key: &SessionKey, connection: Option<ConnectionName>) -> Option<(Vec<TopicPartition>, bool)> {
        // The consumer has come back on another connection before this one's end was seen.
        let session = self.sessions.get(key)?;
        if connection.is_some_and(|connection| connection != session.connection) {
            return None;
        }
        let partitions = self.remove(key)?;
        let next = self.sessions.range((key.0.clone(), "".into())..).next();
        let is_last = next.is_none_or(|((group, _), _)| *group != key.0);
        Some((partitions, is_last))
    }

    fn remove(&mut self, key: &SessionKey) -> Option<Vec<TopicPartition>> {
        let session = self.sessions.remove(key)?;
        self.partitions -= session.partitions.len();
        Some(session.partitions)
    }
}

fn add(partitions: &mut Vec<TopicPartition>, wanted: Vec<TopicPartition>) {
    let mut known: BTreeSet<TopicPartition> = partitions.iter().copied().collect();
    partitions.extend(wanted.into_iter().filter(|partition| known.insert(*partition)));
}

fn next_epoch(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringlane_protocol::TopicId;

    fn at(partition: i32) -> TopicPartition {
        TopicPartition { topic_id: TopicId([1; 16]), partition }
    }

    fn fetch(
        sessions: &mut ShareSessions,
        member: &str,
        epoch: i32,
        wanted: &[i32],
        forgotten: &[i32],
    ) -> Result<Vec<i32>, ErrorCode> {
        let partitions = |partitions: &[i32]| partitions.iter().copied().map(at).collect();
        let asked = SessionAsked::Fetch {
            group: "g".into(),
            member: member.into(),
            epoch,
            wanted: partitions(wanted),
            forgotten: partitions(forgotten),
            acknowledges: false,
            connection: (0, 1),
        };
        match sessions.ask(asked) {
            SessionTold::Fetch(told) => told.map(|partitions| partitions.iter().map(|at| at.partition).collect()),
            other => panic!("{other:?}"),
        }
    }

    fn end(sessions: &mut ShareSessions, member: &str, connection: Option<ConnectionName>) -> Option<bool> {
        match sessions.ask(SessionAsked::End { group: "g".into(), member: member.into(), connection }) {
            SessionTold::Ended(ended) => ended.map(|(_, is_last)| is_last),
            other => panic!("{other:?}"),
        }
    }

    /// A request that was sent twice, or got lost, must not be taken for the next one.
    #[test]
    fn epochs_go_up_one_by_one() {
        let mut sessions = ShareSessions::new(10);
        assert_eq!(fetch(&mut sessions, "a", 1, &[0], &[]), Err(ErrorCode::ShareSessionNotFound));
        assert_eq!(fetch(&mut sessions, "a", 0, &[0, 1, 1], &[]), Ok(vec![0, 1]));
        assert_eq!(fetch(&mut sessions, "a", 1, &[2], &[0]), Ok(vec![2, 1]));
        assert_eq!(fetch(&mut sessions, "a", 1, &[], &[]), Err(ErrorCode::InvalidShareSessionEpoch));
        let acknowledge = |epoch| SessionAsked::Acknowledge { group: "g".into(), member: "a".into(), epoch };
        assert_eq!(sessions.ask(acknowledge(2)), SessionTold::Acknowledge(Ok(())));
        assert_eq!(sessions.ask(acknowledge(2)), SessionTold::Acknowledge(Err(ErrorCode::InvalidShareSessionEpoch)));
        assert_eq!(sessions.ask(acknowledge(0)), SessionTold::Acknowledge(Err(ErrorCode::InvalidShareSessionEpoch)));
        assert_eq!(fetch(&mut sessions, "a", FINAL_EPOCH, &[], &[]), Ok(vec![]));
        assert_eq!(end(&mut sessions, "a", None), Some(true));
        assert_eq!(fetch(&mut sessions, "a", FINAL_EPOCH, &[], &[]), Err(ErrorCode::ShareSessionNotFound));
    }

    /// The end of an old connection must not take away what its consumer has on the new one.
    #[test]
    fn a_session_ends_with_its_own_connection() {
        let mut sessions = ShareSessions::new(2);
        fetch(&mut sessions, "a", 0, &[0], &[]).unwrap();
        fetch(&mut sessions, "b", 0, &[0], &[]).unwrap();
        assert_eq!(fetch(&mut sessions, "c", 0, &[0], &[]), Err(ErrorCode::ShareSessionLimitReached));
        assert_eq!(end(&mut sessions, "a", Some((0, 2))), None);
        assert_eq!(end(&mut sessions, "a", Some((0, 1))), Some(false));
        assert_eq!(end(&mut sessions, "b", None), Some(true));
        assert_eq!(sessions.partitions, 0);
    }
}
