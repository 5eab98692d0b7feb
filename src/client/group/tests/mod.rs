//! Members against model coordinators: random orders, lost answers, members that die and come back. No partition may ever be read by two
//! members of one group, and when the faults end each has to be read by one.

mod classic_group;
mod modern_group;

use super::TopicPartition;
use super::assignor::Assignor;
use super::member::{Member, Outcome, Step};
use super::offsets::Offsets;
use super::ownership::Notice;
use super::settings::{GroupOptions, Settings};
use crate::ClientError;
use ringlane_runtime::Instant;
use std::collections::BTreeSet;
use std::time::Duration;

/// Small, fast, the same on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) % below as u64) as usize
    }
}

fn at(seconds_tenths: u64) -> Instant {
    Instant::default() + Duration::from_millis(100 * seconds_tenths)
}

fn settings(assignors: &[Assignor]) -> Settings {
    let options = GroupOptions { assignors: assignors.to_vec(), ..GroupOptions::of("g") };
    Settings::from(&options)
}

fn partition(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.into(), partition }
}

fn lost() -> ClientError {
    ClientError::Connection { peer: "the coordinator".into(), reason: "lost".into() }
}

/// A member and the application above it.
struct App {
    member: Member,
    /// What it asked and has no answer to.
    asked: Option<Step>,
    /// What the application believes that it reads.
    reads: BTreeSet<TopicPartition>,
}

impl App {
    fn new(member: Member) -> App {
        App { member, asked: None, reads: BTreeSet::new() }
    }

    /// One poll, as `GroupConsumer` does it.
    fn poll(&mut self, now: Instant) {
        assert_eq!(self.member.failure(), None);
        self.member.poll_begins(Offsets::new());
        match self.member.hand_out() {
            Some(Notice::Assigned(places)) => self.reads.extend(places.into_keys()),
            Some(Notice::Revoked(gone) | Notice::Lost(gone)) => {
                assert!(gone.is_subset(&self.reads), "it was never told of {gone:?}");
                self.reads.retain(|partition| !gone.contains(partition));
            }
            None => {}
        }
        self.member.poll_ends(now);
    }

    /// Asks what is to be asked, if nothing is under way.
    fn step(&mut self, now: Instant) {
        while self.asked.is_none() {
            match self.member.step(now) {
                Step::Wait(_) => return,
                Step::Place(_, partitions) => {
                    let places = partitions.into_iter().map(|partition| (partition, None)).collect();
                    self.member.performed(Outcome::Placed(Ok(places)), now);
                }
                Step::Commit(_, offsets) => self.member.performed(Outcome::Committed(offsets, Ok(())), now),
                step => self.asked = Some(step),
            }
        }
    }
}
