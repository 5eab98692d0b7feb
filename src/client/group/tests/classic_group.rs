//! A model of Kafka's classic coordinator, without time-outs of its own: the test says who dies.

use super::super::classic::{Ask, Joined};
use super::super::member::Failure;
use super::*;
use ringlane_protocol::ErrorCode;
use std::collections::BTreeMap;
use std::rc::Rc;

#[derive(Default)]
struct Coordinator {
    generation: i32,
    next_id: usize,
    members: BTreeMap<String, Joining>,
    leader: String,
    /// By member id; `None` while the leader has not told.
    assignments: Option<BTreeMap<String, Vec<u8>>>,
    is_preparing: bool,
}

#[derive(Default)]
struct Joining {
    protocols: Vec<(&'static str, Vec<u8>)>,
    is_waiting: bool,
}

impl Coordinator {
    fn prepare(&mut self) {
        self.is_preparing = true;
        self.assignments = None;
    }

    fn remove(&mut self, id: &str) {
        if self.members.remove(id).is_some() {
            self.prepare();
        }
    }

    /// All have come: the next generation begins.
    fn complete(&mut self) {
        if self.is_preparing && !self.members.is_empty() && self.members.values().all(|member| member.is_waiting) {
            self.is_preparing = false;
            self.generation += 1;
            if !self.members.contains_key(&self.leader) {
                self.leader = self.members.keys().next().expect("a member").clone();
            }
        }
    }

    fn check(&self, id: &str, generation: i32) -> Result<(), Failure> {
        match self.members.get(id) {
            None => Err(Failure::Refused(ErrorCode::UnknownMemberId)),
            Some(_) if generation != self.generation => Err(Failure::Refused(ErrorCode::IllegalGeneration)),
            Some(_) if self.is_preparing => Err(Failure::Refused(ErrorCode::RebalanceInProgress)),
            Some(_) => Ok(()),
        }
    }

    /// The answer, if it can be given now.
    fn answer(&mut self, step: &Step) -> Option<Outcome> {
        match step {
            Step::Classic(Ask::Join(join)) => self.join(join).map(Outcome::Joined),
            Step::Classic(Ask::Count(topics)) => {
                let counts = topics.iter().map(|topic| (topic.clone(), partitions_of(topic)));
                Some(Outcome::Counted(counts.collect()))
            }
            Step::Classic(Ask::Sync(sync)) => {
                let id = &sync.identity.member_id;
                if let Err(failure) = self.check(id, sync.identity.generation) {
                    return Some(Outcome::Synced(Err(failure)));
                }
                if *id == self.leader && self.assignments.is_none() {
                    self.assignments = Some(sync.assignments.iter().cloned().collect());
                }
                let assignments = self.assignments.as_ref()?;
                Some(Outcome::Synced(Ok(assignments.get(id).cloned().unwrap_or_default())))
            }
            Step::Classic(Ask::Heartbeat(identity)) => {
                Some(Outcome::Beaten(self.check(&identity.member_id, identity.generation)))
            }
            Step::Watch(topics) => {
                let counts = topics.iter().map(|topic| (topic.clone(), partitions_of(topic)));
                Some(Outcome::Watched(counts.collect()))
            }
            step => panic!("{step:?} was not expected"),
        }
    }

    fn join(&mut self, join: &super::super::classic::Join) -> Option<Result<Joined, Failure>> {
        if join.member_id.is_empty() {
            self.next_id += 1;
            return Some(Err(Failure::IdGiven(format!("m{}", self.next_id))));
        }
        // The second look at a parked join finds itself waiting, or the round complete.
        let member = self.members.entry(join.member_id.clone()).or_default();
        if !member.is_waiting {
            (member.protocols, member.is_waiting) = (join.protocols.clone(), true);
            self.prepare();
        }
        self.complete();
        if self.is_preparing {
            return None;
        }
        let is_leader = join.member_id == self.leader;
        let members = self.members.iter().map(|(id, member)| (id.clone(), None, member.protocols[0].1.clone()));
        let joined = Joined {
            member_id: join.member_id.clone(),
            generation: self.generation,
            protocol: join.protocols[0].0.to_string(),
            leader: self.leader.clone(),
            skip_assignment: false,
            members: if is_leader { members.collect() } else { Vec::new() },
        };
        self.members.get_mut(&join.member_id).expect("it was entered").is_waiting = false;
        Some(Ok(joined))
    }
}

fn partitions_of(topic: &Rc<str>) -> usize {
    if &**topic == "a" { 5 } else { 3 }
}

/// Gives how often somebody came or went.
fn run(seed: u64, assignor: Assignor) -> usize {
    let mut dice = Dice(seed);
    let mut coordinator = Coordinator::default();
    let topics: BTreeSet<Rc<str>> = ["a".into(), "b".into()].into();
    let new_app = || {
        let mut member = Member::classic(settings(&[assignor]));
        member.subscribe(topics.clone(), None, at(0));
        App::new(member)
    };
    let mut apps: Vec<App> = (0..3).map(|_| new_app()).collect();
    let mut rebalances = 0;
    for tick in 0..6000u64 {
        let now = at(tick);
        let is_calm = tick > 4000;
        let i = dice.roll(apps.len());
        apps[i].step(now);
        if dice.roll(2) == 0
            && let Some(step) = apps[i].asked.take()
        {
            let is_lost = !is_calm && dice.roll(60) == 0;
            match coordinator.answer(&step) {
                Some(_) if is_lost => apps[i].member.performed(unanswered(&step), now),
                Some(outcome) => apps[i].member.performed(outcome, now),
                None => apps[i].asked = Some(step),
            }
        }
        if dice.roll(3) == 0 {
            apps[i].poll(now);
        }
        if !is_calm && dice.roll(300) == 0 {
            rebalances += 1;
            match dice.roll(3) {
                // Its session ends; it may not know yet.
                0 => coordinator.remove(&apps[i].member.metadata().member_id),
                // It dies and another comes.
                1 => {
                    coordinator.remove(&apps[i].member.metadata().member_id);
                    apps[i] = new_app();
                }
                _ if apps.len() < 5 => apps.push(new_app()),
                _ => {}
            }
        }
        check_disjoint(seed, tick, &coordinator, &apps);
    }
    let read: Vec<&TopicPartition> = apps.iter().flat_map(|app| &app.reads).collect();
    assert_eq!(read.len(), 8, "seed {seed} {}: {read:?}", assignor.name());
    assert_eq!(read.iter().collect::<BTreeSet<_>>().len(), 8, "seed {seed}");
    rebalances
}

fn unanswered(step: &Step) -> Outcome {
    match step {
        Step::Classic(Ask::Join(_)) => Outcome::Joined(Err(Failure::Unanswered(lost()))),
        Step::Classic(Ask::Sync(_)) => Outcome::Synced(Err(Failure::Unanswered(lost()))),
        Step::Classic(Ask::Heartbeat(_)) => Outcome::Beaten(Err(Failure::Unanswered(lost()))),
        Step::Classic(Ask::Count(_)) => Outcome::Counted(BTreeMap::new()),
        _ => Outcome::Watched(BTreeMap::new()),
    }
}

/// Members that the coordinator has put out may read on until they hear of it; the others never two of one partition.
fn check_disjoint(seed: u64, tick: u64, coordinator: &Coordinator, apps: &[App]) {
    let mut seen: BTreeSet<&TopicPartition> = BTreeSet::new();
    for app in apps {
        let identity = app.member.metadata();
        let is_in = coordinator.members.contains_key(&identity.member_id) && identity.generation >= 0;
        for partition in app.reads.iter().filter(|_| is_in) {
            assert!(seen.insert(partition), "seed {seed} tick {tick}: {partition} is read by two");
        }
    }
}

/// Two members that read one partition process every record twice, and their commits undo each other.
#[test]
fn no_partition_has_two_readers_whatever_happens() {
    let all = || Assignor::ALL.into_iter().flat_map(|assignor| (0..30).map(move |seed| (seed, assignor)));
    let rebalances: usize = all().map(|(seed, assignor)| run(seed, assignor)).sum();
    assert!(rebalances > 1000, "too little happened: {rebalances}");
}

/// A group of one: what is asked, in which order, and what the application hears of it.
#[test]
fn a_member_joins_syncs_and_beats() {
    let mut coordinator = Coordinator::default();
    let mut member = Member::classic(settings(&[Assignor::Range]));
    member.subscribe(["b".into()].into(), None, at(0));
    let mut app = App::new(member);
    let mut asked = Vec::new();
    for _ in 0..5 {
        app.step(at(1));
        let Some(step) = app.asked.take() else { break };
        asked.push(format!("{step:?}").split(['(', '{']).nth(1).unwrap_or_default().trim().to_string());
        let outcome = coordinator.answer(&step).expect("nothing waits in a group of one");
        app.member.performed(outcome, at(1));
    }
    assert_eq!(asked, ["Join", "Join", "Count", "Sync"], "the first join only brings the id");
    app.poll(at(2));
    assert_eq!(app.reads, [partition("b", 0), partition("b", 1), partition("b", 2)].into());
    app.step(at(40));
    assert!(matches!(app.asked, Some(Step::Classic(Ask::Heartbeat(_)))), "{:?}", app.asked);
}

/// An application that hangs must not hold its partitions for ever; when it comes back it hears that they are gone.
#[test]
fn who_does_not_poll_leaves_and_comes_back() {
    let mut coordinator = Coordinator::default();
    let mut member = Member::classic(settings(&[Assignor::Range]));
    member.subscribe(["b".into()].into(), None, at(0));
    let mut app = App::new(member);
    let drive = |app: &mut App, coordinator: &mut Coordinator, now: Instant| {
        for _ in 0..6 {
            app.step(now);
            match app.asked.take() {
                Some(Step::Leave(_)) => {
                    coordinator.members.clear();
                    app.member.performed(Outcome::Left, now);
                }
                Some(step) => app.member.performed(coordinator.answer(&step).expect("alone"), now),
                None => {}
            }
        }
    };
    drive(&mut app, &mut coordinator, at(1));
    app.poll(at(2));
    app.poll(at(3));
    assert_eq!(app.reads.len(), 3);
    drive(&mut app, &mut coordinator, at(3 + 3001));
    assert!(coordinator.members.is_empty(), "it left");
    app.poll(at(4000));
    assert!(app.reads.is_empty(), "the first poll tells what was lost");
    app.poll(at(4001));
    drive(&mut app, &mut coordinator, at(4002));
    app.poll(at(4003));
    assert_eq!(app.reads.len(), 3, "and it is in again");
}

/// What was read would be read again by the next reader.
#[test]
fn what_was_read_is_committed_before_it_is_given_up() {
    let mut coordinator = Coordinator::default();
    let mut member = Member::classic(settings(&[Assignor::Range]));
    member.subscribe(["b".into()].into(), None, at(0));
    let mut app = App::new(member);
    for _ in 0..5 {
        app.step(at(1));
        if let Some(step) = app.asked.take() {
            app.member.performed(coordinator.answer(&step).expect("alone"), at(1));
        }
    }
    app.poll(at(2));
    app.poll(at(3));
    coordinator.prepare();
    app.step(at(40));
    let heartbeat = app.asked.take().expect("a heartbeat is due");
    app.member.performed(coordinator.answer(&heartbeat).expect("an answer"), at(40));

    // The poll that tells of the revocation says with it that the records before were worked on.
    let read: Offsets = [(partition("b", 1), super::super::CommittedOffset::at(17))].into();
    app.member.poll_begins(read.clone());
    assert!(matches!(app.member.hand_out(), Some(Notice::Revoked(gone)) if gone.len() == 3));
    app.member.poll_ends(at(41));
    app.step(at(41));
    assert_eq!(app.asked, None, "it does not join before the application has let go");
    app.member.poll_begins(Offsets::new());
    app.member.poll_ends(at(42));
    match app.member.step(at(42)) {
        Step::Commit(who, offsets) => {
            assert_eq!((who.generation, &offsets), (1, &read));
            app.member.performed(Outcome::Committed(offsets, Ok(())), at(42));
        }
        step => panic!("{step:?}"),
    }
    assert!(matches!(app.member.step(at(42)), Step::Classic(Ask::Join(_))));
}
