//! Random lives of a few groups against clients that behave as clients do, with lost answers, lost requests and coordinators that are replayed
//! from their log. Checks: each partition has one owner at most in a generation; offsets never go back; a replay gives the same state;
//! when all is quiet every member is assigned.

use super::tests::*;
use super::*;
use crate::NewRecord;
use std::collections::BTreeMap;

const PARTITIONS: usize = 7;
const CLIENTS: usize = 5;
const STEPS: usize = 400;
const SEEDS: u64 = 200;
const CHECK_EVERY: usize = 10;
const HEARTBEAT_MS: i64 = 3_000;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

#[derive(Clone, PartialEq, Debug)]
enum Stage {
    /// Not running.
    Away,
    /// Wants to join; with what it waits for.
    Joining(Option<ReplyTo>),
    Syncing(Option<ReplyTo>, Vec<(String, String)>),
    Working,
}

struct Client {
    name: String,
    instance_id: Option<String>,
    member_id: String,
    generation: i32,
    owned: Vec<usize>,
    stage: Stage,
    beat_ms: i64,
    asked_ms: i64,
}

struct Life {
    story: Story,
    clients: Vec<Client>,
    random: Random,
    names: u64,
    /// What the clients know to be committed.
    committed: [i64; PARTITIONS],
    owners: BTreeMap<(i32, usize), String>,
    seed: u64,
}

#[test]
fn random_lives_keep_the_promises() {
    for seed in 0..SEEDS {
        let mut life = Life::new(seed);
        for step in 0..STEPS {
            life.step();
            if step % CHECK_EVERY == 0 {
                life.check_replay();
            }
        }
        life.quieten();
    }
}

impl Life {
    fn new(seed: u64) -> Life {
        let client = |number: usize| Client {
            name: format!("c{number}"),
            instance_id: (number % 3 == 2).then(|| format!("i{number}")),
            member_id: String::new(),
            generation: -1,
            owned: Vec::new(),
            stage: Stage::Away,
            beat_ms: 0,
            asked_ms: 0,
        };
        Life {
            story: Story::new(),
            clients: (0..CLIENTS).map(client).collect(),
            random: Random(seed),
            names: 0,
            committed: [-1; PARTITIONS],
            owners: BTreeMap::new(),
            seed,
        }
    }

    fn step(&mut self) {
        let who = self.random.below(CLIENTS as u64) as usize;
        match self.random.below(40) {
            0 => self.crash(who),
            1 => self.close(who),
            2 => self.replay(),
            3 | 4 => self.start(who),
            5 => self.lose_answer(who),
            6..=9 => {
                let ms = self.random.below(2_500) as i64;
                self.story.pass(ms);
            }
            _ => self.turn(who),
        }
    }

    fn start(&mut self, who: usize) {
        if self.clients[who].stage == Stage::Away {
            self.clients[who].stage = Stage::Joining(None);
        }
    }

    /// Forgets all but its name.
    fn crash(&mut self, who: usize) {
        let client = &mut self.clients[who];
        (client.member_id, client.generation, client.stage) = (String::new(), -1, Stage::Away);
        client.owned.clear();
    }

    fn close(&mut self, who: usize) {
        if self.clients[who].instance_id.is_none() && !self.clients[who].member_id.is_empty() {
            let member_id = self.clients[who].member_id.clone();
            self.story.leave(&[(&member_id, None)]);
        }
        self.crash(who);
    }

    /// The connection breaks: the client asks again later.
    fn lose_answer(&mut self, who: usize) {
        match &mut self.clients[who].stage {
            Stage::Joining(waiting) | Stage::Syncing(waiting, _) => *waiting = None,
            Stage::Away | Stage::Working => {}
        }
    }

    /// The coordinator moves: what waited is told to ask again.
    fn replay(&mut self) {
        self.story.restart();
        for who in 0..CLIENTS {
            self.lose_answer(who);
        }
    }

    /// One step of a client, whatever it is at.
    fn turn(&mut self, who: usize) {
        match self.clients[who].stage.clone() {
            Stage::Away => {}
            Stage::Joining(None) => self.join(who),
            Stage::Joining(Some(to)) => {
                if let Some(GroupReply::Join(reply)) = self.story.answer(to) {
                    self.joined(who, reply);
                }
            }
            Stage::Syncing(None, assignments) => self.sync(who, assignments),
            Stage::Syncing(Some(to), _) => {
                if let Some(GroupReply::Sync(reply)) = self.story.answer(to) {
                    self.synced(who, reply);
                }
            }
            Stage::Working => self.work(who),
        }
    }

    fn join(&mut self, who: usize) {
        self.names += 1;
        let client = &mut self.clients[who];
        client.owned.clear();
        client.asked_ms = self.story.now_ms;
        let request = JoinGroup {
            member_id: client.member_id.clone(),
            new_member_id: format!("{}-{}", client.name, self.names),
            instance_id: client.instance_id.clone(),
            takes_member_id: true,
            can_skip_assignment: true,
            rebalance_timeout_ms: 15_000,
            ..new_member("")
        };
        let to = self.story.join(request);
        self.clients[who].stage = Stage::Joining(Some(to));
    }

    fn joined(&mut self, who: usize, reply: JoinReply) {
        let client = &mut self.clients[who];
        client.beat_ms = self.story.now_ms;
        client.stage = Stage::Joining(None);
        match reply.error {
            ErrorCode::None => {
                client.member_id = reply.member_id.to_string();
                client.generation = reply.generation;
                let deal = |(at, member): (usize, &JoinedMember)| {
                    let partitions = (0..PARTITIONS).filter(|partition| partition % reply.members.len() == at);
                    let text: Vec<String> = partitions.map(|partition| partition.to_string()).collect();
                    (member.member_id.to_string(), text.join(","))
                };
                let assignments = match reply.skip_assignment {
                    true => Vec::new(),
                    false => reply.members.iter().enumerate().map(deal).collect(),
                };
                client.stage = Stage::Syncing(None, assignments);
            }
            ErrorCode::MemberIdRequired => client.member_id = reply.member_id.to_string(),
            ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => client.member_id.clear(),
            ErrorCode::RebalanceInProgress => {}
            other => panic!("seed {}: JoinGroup said {other:?}", self.seed),
        }
    }

    fn sync(&mut self, who: usize, assignments: Vec<(String, String)>) {
        let client = &mut self.clients[who];
        let borrowed: Vec<(&str, &str)> = assignments.iter().map(|(id, text)| (id.as_str(), text.as_str())).collect();
        let to = self.story.sync(&client.member_id, client.generation, &borrowed);
        client.stage = Stage::Syncing(Some(to), assignments);
    }

    fn synced(&mut self, who: usize, reply: SyncReply) {
        let client = &mut self.clients[who];
        client.beat_ms = self.story.now_ms;
        match reply.error {
            ErrorCode::None => {
                let text = std::str::from_utf8(&reply.assignment).unwrap();
                client.owned = text.split(',').filter_map(|number| number.parse().ok()).collect();
                client.stage = Stage::Working;
                let holder = client.instance_id.clone().unwrap_or_else(|| client.member_id.clone());
                for &partition in &client.owned {
                    let owner = self.owners.entry((client.generation, partition)).or_insert_with(|| holder.clone());
                    assert_eq!(*owner, holder, "seed {}: two own partition {partition}", self.seed);
                }
            }
            error => self.step_back(who, error),
        }
    }

    fn work(&mut self, who: usize) {
        let (member_id, generation) = (self.clients[who].member_id.clone(), self.clients[who].generation);
        let partition = self.clients[who].owned.first().copied();
        if let Some(partition) = partition.filter(|_| self.random.below(2) == 0) {
            let offset = self.committed[partition] + 1 + self.random.below(5) as i64;
            let request = CommitOffsets { member_id, generation, ..commit_of("t", partition as i32, offset) };
            match self.story.commit_all(request) {
                ErrorCode::None => self.committed[partition] = offset,
                error => self.step_back(who, error),
            }
        } else {
            match self.story.heartbeat(&member_id, generation) {
                ErrorCode::None => {}
                error => self.step_back(who, error),
            }
        }
        self.clients[who].beat_ms = self.story.now_ms;
        for partition in 0..PARTITIONS {
            let fetched = self.story.committed("t", partition as i32, true).offset;
            assert_eq!(fetched, self.committed[partition], "seed {}: partition {partition}", self.seed);
        }
    }

    fn step_back(&mut self, who: usize, error: ErrorCode) {
        let client = &mut self.clients[who];
        client.owned.clear();
        client.stage = Stage::Joining(None);
        match error {
            ErrorCode::RebalanceInProgress => {}
            ErrorCode::IllegalGeneration => client.generation = -1,
            ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId | ErrorCode::GroupIdNotFound => {
                client.member_id.clear()
            }
            other => panic!("seed {}: a member was told {other:?}", self.seed),
        }
    }

    /// A machine from the log, compacted or not, has what the living one has.
    fn check_replay(&self) {
        let mut latest: BTreeMap<&[u8], usize> = BTreeMap::new();
        for (at, (record, _)) in self.story.log.iter().enumerate() {
            latest.insert(&record.key, at);
        }
        let kept = |at: &usize, record: &NewRecord| latest.get(record.key.as_slice()) == Some(at);
        let compacted: Vec<_> = (0..).zip(&self.story.log).filter(|(at, (record, _))| kept(at, record)).collect();
        let compacted: Vec<_> = compacted.into_iter().map(|(_, entry)| entry.clone()).collect();
        for log in [&self.story.log, &compacted] {
            let replayed = replayed(log, &self.story.options);
            assert_eq!(replayed.offsets().dump(), self.story.machine.offsets().dump(), "seed {}", self.seed);
            for (id, group) in self.story.machine.groups() {
                let Group::Classic(live) = group else { panic!("seed {}: {id} is of another kind", self.seed) };
                let Some(Group::Classic(read)) = replayed.groups().get(id) else {
                    panic!("seed {}: group {id} is not in the log", self.seed)
                };
                if live.state() == read.state() {
                    assert_eq!(live.describe(), read.describe(), "seed {}", self.seed);
                }
            }
        }
    }

    /// No more trouble: all clients start, and a minute later all have their part.
    fn quieten(&mut self) {
        for who in 0..CLIENTS {
            self.start(who);
        }
        for _ in 0..60_000 / HEARTBEAT_MS * 10 {
            for who in 0..CLIENTS {
                for _ in 0..3 {
                    self.turn(who);
                }
            }
            self.story.pass(HEARTBEAT_MS / 3);
        }
        let mut owned: Vec<usize> = self.clients.iter().flat_map(|client| client.owned.clone()).collect();
        owned.sort();
        assert_eq!(owned, (0..PARTITIONS).collect::<Vec<_>>(), "seed {}", self.seed);
        assert!(self.clients.iter().all(|client| client.stage == Stage::Working), "seed {}", self.seed);
        assert_eq!(self.story.state(), "Stable", "seed {}", self.seed);
    }
}
