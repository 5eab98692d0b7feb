//! A model of KIP-848's coordinator: it moves a partition only when its holder has said that it is given up.

use super::super::member::Failure;
use super::super::modern::{Ask, Heartbeat, Told};
use super::*;
use ringlane_protocol::{ErrorCode, TopicId};
use std::collections::BTreeMap;

const ID: TopicId = TopicId([7; 16]);
const PARTITIONS: i32 = 7;

#[derive(Default)]
struct Coordinator {
    epoch: i32,
    members: BTreeMap<String, Model>,
}

#[derive(Default)]
struct Model {
    epoch: i32,
    target: BTreeSet<i32>,
    /// What it may be reading: what it was given and did not say that it gave up.
    holds: BTreeSet<i32>,
    /// What the last answer with an assignment gave it.
    given: Option<BTreeSet<i32>>,
}

impl Coordinator {
    /// Somebody came or went: partitions are dealt out anew.
    fn rebalance(&mut self) {
        self.epoch += 1;
        let count = self.members.len() as i32;
        for (at, member) in self.members.values_mut().enumerate() {
            member.target = (0..PARTITIONS).filter(|partition| (partition + self.epoch) % count == at as i32).collect();
        }
    }

    fn remove(&mut self, id: &str) {
        if self.members.remove(id).is_some() && !self.members.is_empty() {
            self.rebalance();
        }
    }

    fn heartbeat(&mut self, heartbeat: &Heartbeat) -> Result<Told, Failure> {
        let id = heartbeat.identity.member_id.clone();
        if heartbeat.identity.generation == 0 {
            assert_eq!(heartbeat.owned, Some(BTreeMap::new()), "who joins has nothing");
            assert!(heartbeat.topics.is_some() && heartbeat.is_full);
            self.members.insert(id.clone(), Model::default());
            self.rebalance();
        }
        let known = self.members.get(&id).ok_or(Failure::Refused(ErrorCode::UnknownMemberId))?;
        if heartbeat.identity.generation != 0 && heartbeat.identity.generation > known.epoch {
            return Err(Failure::Refused(ErrorCode::FencedMemberEpoch));
        }
        let others: BTreeSet<i32> =
            self.members.iter().filter(|(other, _)| **other != id).flat_map(|(_, other)| other.holds.clone()).collect();
        let epoch = self.epoch;
        let member = self.members.get_mut(&id).expect("it is known");
        if let Some(owned) = &heartbeat.owned {
            let owned: BTreeSet<i32> = owned.values().flatten().copied().collect();
            assert!(owned.is_subset(&member.holds), "it has what it was not given");
            let given = member.given.clone().unwrap_or_default();
            member.holds = member.holds.iter().filter(|p| owned.contains(p) || given.contains(p)).copied().collect();
        }
        let may_have: BTreeSet<i32> = member.target.difference(&others).copied().collect();
        let is_full = heartbeat.is_full;
        let assignment = (member.given.as_ref() != Some(&may_have) || is_full).then(|| may_have.clone());
        member.holds.extend(&may_have);
        member.given = Some(may_have);
        // The epoch moves on when nothing is left to give up.
        if member.holds.is_subset(&member.target) {
            member.epoch = epoch;
        }
        Ok(Told {
            member_id: None,
            epoch: member.epoch.max(1),
            interval: Duration::from_secs(2),
            assignment: assignment.map(|partitions| [(ID, partitions)].into()),
        })
    }
}

fn perform(coordinator: &mut Coordinator, step: &Step) -> Outcome {
    match step {
        Step::Modern(Ask::Heartbeat(heartbeat)) => Outcome::Told(coordinator.heartbeat(heartbeat)),
        Step::Modern(Ask::Resolve(ids)) => {
            assert_eq!(ids, &[ID].into());
            Outcome::Resolved([(ID, "t".into())].into())
        }
        Step::Leave(_) => Outcome::Left,
        step => panic!("{step:?} was not expected"),
    }
}

fn new_app(name: &str) -> App {
    let mut member = Member::modern(settings(&[]), name.to_string());
    member.subscribe(["t".into()].into(), None, at(0));
    App::new(member)
}

/// Gives how often somebody came or went.
fn run(seed: u64) -> usize {
    let mut dice = Dice(seed);
    let mut coordinator = Coordinator::default();
    let mut apps: Vec<App> = (0..3).map(|i| new_app(&format!("first {i}"))).collect();
    let mut changes = 0;
    for tick in 0..5000u64 {
        let now = at(tick);
        let is_calm = tick > 3500;
        let i = dice.roll(apps.len());
        apps[i].step(now);
        if dice.roll(2) == 0
            && let Some(step) = apps[i].asked.take()
        {
            let outcome = perform(&mut coordinator, &step);
            let is_lost = !is_calm && dice.roll(40) == 0 && matches!(outcome, Outcome::Told(_));
            let outcome = if is_lost { Outcome::Told(Err(Failure::Unanswered(lost()))) } else { outcome };
            apps[i].member.performed(outcome, now);
        }
        if dice.roll(3) == 0 {
            apps[i].poll(now);
        }
        if !is_calm && dice.roll(250) == 0 {
            changes += 1;
            let id = apps[i].member.metadata().member_id;
            match dice.roll(3) {
                0 => coordinator.remove(&id),
                1 => {
                    coordinator.remove(&id);
                    apps[i] = new_app(&format!("at {tick}"));
                }
                _ if apps.len() < 5 => apps.push(new_app(&format!("at {tick}"))),
                _ => {}
            }
        }
        let mut seen = BTreeSet::new();
        for app in &apps {
            let identity = app.member.metadata();
            let is_in = coordinator.members.contains_key(&identity.member_id) && identity.generation > 0;
            for partition in app.reads.iter().filter(|_| is_in) {
                assert!(seen.insert(partition.clone()), "seed {seed} tick {tick}: {partition} is read by two");
            }
        }
    }
    let read: Vec<&TopicPartition> = apps.iter().flat_map(|app| &app.reads).collect();
    assert_eq!(read.len(), PARTITIONS as usize, "seed {seed}: {read:?}");
    changes
}

/// The coordinator believes what a heartbeat says: said too early, a partition has two readers; said too late or never, none.
#[test]
fn no_partition_has_two_readers_whatever_happens() {
    let changes: usize = (0..100).map(run).sum();
    assert!(changes > 500, "too little happened: {changes}");
}

/// A heartbeat that repeats everything costs the coordinator a new target each time; one that leaves out too much loses the subscription.
#[test]
fn heartbeats_say_what_changed_and_all_after_a_loss() {
    let mut coordinator = Coordinator::default();
    let mut app = new_app("m");
    let next = |app: &mut App, now: Instant| {
        app.step(now);
        app.asked.take()
    };
    let of = |step: &Option<Step>| match step {
        Some(Step::Modern(Ask::Heartbeat(heartbeat))) => heartbeat.clone(),
        step => panic!("{step:?}"),
    };
    let join = next(&mut app, at(1));
    assert!(of(&join).is_full);
    app.member.performed(perform(&mut coordinator, join.as_ref().unwrap()), at(1));
    let resolve = next(&mut app, at(1)).expect("the topic's name is asked for");
    app.member.performed(perform(&mut coordinator, &resolve), at(1));
    let ack = next(&mut app, at(1));
    assert_eq!(of(&ack).owned, Some([(ID, (0..PARTITIONS).collect())].into()));
    assert!(of(&ack).topics.is_none());
    app.member.performed(perform(&mut coordinator, ack.as_ref().unwrap()), at(1));
    assert_eq!(next(&mut app, at(1)), None, "it only asks where to begin");
    app.poll(at(2));
    assert_eq!(next(&mut app, at(10)), None, "the interval is the coordinator's");

    let quiet = next(&mut app, at(30));
    assert_eq!((of(&quiet).topics, of(&quiet).owned), (None, None));
    app.member.performed(Outcome::Told(Err(Failure::Unanswered(lost()))), at(30));
    let again = of(&next(&mut app, at(32)));
    assert!(again.is_full && again.topics.is_some() && again.owned.is_some());
    app.member.performed(Outcome::Told(Err(Failure::Refused(ErrorCode::FencedMemberEpoch))), at(32));
    assert_eq!(next(&mut app, at(33)), None, "it joins anew when the application has let go");
    app.poll(at(34));
    assert!(app.reads.is_empty());
    app.poll(at(35));
    assert_eq!(of(&next(&mut app, at(36))).identity.generation, 0);
}
