//! What a member is at, and what the coordinator's answers make of it. No socket, no clock.

use ringlane_protocol::ErrorCode;
use std::collections::BTreeMap;

/// "No generation."
const NO_GENERATION: i32 = -1;

/// How a member names itself to its coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// "" before the first join.
    pub member_id: String,
    pub generation: i32,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Join,
    Sync { is_leader: bool },
    Work,
}

/// The answer to a JoinGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joined {
    /// Come again with this id (KIP-394).
    Named(String),
    Member {
        member_id: String,
        generation: i32,
        is_leader: bool,
        /// The topics of every member; of the leader only.
        members: BTreeMap<String, Vec<String>>,
    },
}

pub struct Membership {
    topics: Vec<String>,
    identity: Identity,
    next: Next,
    members: BTreeMap<String, Vec<String>>,
    assignment: Vec<(String, i32)>,
}

impl Membership {
    pub fn new(topics: Vec<String>) -> Membership {
        let identity = Identity { member_id: String::new(), generation: NO_GENERATION };
        Membership { topics, identity, next: Next::Join, members: BTreeMap::new(), assignment: Vec::new() }
    }

    pub fn topics(&self) -> &[String] {
        &self.topics
    }

    pub fn identity(&self) -> Identity {
        self.identity.clone()
    }

    pub fn next(&self) -> Next {
        self.next
    }

    pub fn members(&self) -> &BTreeMap<String, Vec<String>> {
        &self.members
    }

    /// Kept until the next generation, so that it can be given back.
    pub fn assignment(&self) -> Vec<(String, i32)> {
        self.assignment.clone()
    }

    pub fn joined(&mut self, joined: Joined) {
        match joined {
            Joined::Named(member_id) => self.identity.member_id = member_id,
            Joined::Member { member_id, generation, is_leader, members } => {
                self.identity = Identity { member_id, generation };
                self.members = members;
                self.assignment.clear();
                self.next = Next::Sync { is_leader };
            }
        }
    }

    pub fn synced(&mut self, assignment: Vec<(String, i32)>) {
        self.assignment = assignment;
        self.next = Next::Work;
    }

    /// Whether the code speaks of this membership; if so, the member has to join again, under its id or as a new one.
    pub fn refused(&mut self, code: ErrorCode) -> bool {
        if !Membership::is_about_membership(code) {
            return false;
        }
        if code != ErrorCode::RebalanceInProgress {
            self.identity.generation = NO_GENERATION;
        }
        if code == ErrorCode::UnknownMemberId {
            self.identity.member_id.clear();
        }
        self.next = Next::Join;
        true
    }

    pub fn is_about_membership(code: ErrorCode) -> bool {
        use ErrorCode::{IllegalGeneration, RebalanceInProgress, UnknownMemberId};
        matches!(code, RebalanceInProgress | IllegalGeneration | UnknownMemberId)
    }

    /// Of some generation, maybe not of the latest: it sends heartbeats.
    pub fn is_member(&self) -> bool {
        self.identity.generation != NO_GENERATION
    }

    /// It has left, or was thrown out.
    pub fn lost(&mut self) {
        self.refused(ErrorCode::UnknownMemberId);
    }

    /// Who has to tell the coordinator that it goes.
    pub fn leave(&mut self) -> Identity {
        let identity = self.identity();
        self.lost();
        identity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(generation: i32) -> Joined {
        Joined::Member { member_id: "m".into(), generation, is_leader: false, members: BTreeMap::new() }
    }

    /// A member that took an error for another would either loop with an id that nobody knows or leave members behind that nobody is.
    #[test]
    fn each_refusal_says_what_is_forgotten() {
        let mut membership = Membership::new(vec!["t".into()]);
        membership.joined(Joined::Named("m".into()));
        assert_eq!((membership.next(), &*membership.identity().member_id), (Next::Join, "m"));
        membership.joined(member(3));
        assert_eq!(membership.next(), Next::Sync { is_leader: false });
        membership.synced(vec![("t".into(), 1)]);
        assert_eq!(membership.next(), Next::Work);
        assert!(!membership.refused(ErrorCode::NotCoordinator), "the coordinator moved; the membership did not");
        assert_eq!(membership.next(), Next::Work);
        for (code, member_id, generation) in [
            (ErrorCode::RebalanceInProgress, "m", 3),
            (ErrorCode::IllegalGeneration, "m", NO_GENERATION),
            (ErrorCode::UnknownMemberId, "", NO_GENERATION),
        ] {
            assert!(membership.refused(code));
            assert_eq!(membership.next(), Next::Join);
            assert_eq!(membership.identity(), Identity { member_id: member_id.into(), generation });
            assert_eq!(membership.assignment().len(), 1, "it is still to be given back");
        }
        membership.joined(member(4));
        assert!(membership.assignment().is_empty());
    }
}
