//! A client that makes transactions, loses answers, gives up, comes back, and now and then acts for one of its earlier lives.

use super::partition::Gate;
use super::world::{PARTITIONS, World};
use crate::ReplyTo;
use crate::transaction::test_kit::{Random, TIMEOUT_MS};
use crate::transaction::*;
use ringlane_protocol::ErrorCode;
use std::sync::Arc;

pub struct Producer {
    id: Arc<str>,
    version: TransactionVersion,
    identity: Option<ProducerIdentity>,
    earlier: Vec<ProducerIdentity>,
    /// The open transaction.
    transaction: Option<u64>,
    /// Its end is asked for: until that is answered nothing else is.
    ending: Option<Outcome>,
    next_transaction: u64,
    asked: Option<(ReplyTo, Asked)>,
}

#[derive(Clone)]
enum Asked {
    Init,
    /// A partition is added (and the first protocol then verifies it).
    Add(usize),
    Verify(usize, u64),
    End(Outcome),
    /// For an earlier life: the answer interests nobody.
    Zombie,
}

impl Producer {
    pub fn new(id: Arc<str>, version: TransactionVersion) -> Producer {
        Producer {
            id,
            version,
            identity: None,
            earlier: Vec::new(),
            transaction: None,
            ending: None,
            next_transaction: 0,
            asked: None,
        }
    }

    pub fn act(&mut self, world: &mut World, random: &mut Random) {
        if let Some((to, asked)) = self.asked.take() {
            return match world.answer(to) {
                Some(reply) => self.hear(reply, asked, world),
                None if random.one_in(6) => self.ask_again(asked, world, random),
                None => self.asked = Some((to, asked)),
            };
        }
        if random.one_in(20) && !self.earlier.is_empty() {
            return self.act_as_zombie(world, random);
        }
        let Some(identity) = self.identity else {
            // Not at once: producers of one id that only shut each other out would come to nothing else.
            if random.one_in(8) {
                self.init(world, random);
            }
            return;
        };
        if random.one_in(120) {
            return self.give_up();
        }
        if let Some(outcome) = self.ending {
            return self.end(outcome, world);
        }
        match random.below(4) {
            0 if self.transaction.is_some() => self.end(Outcome::of(!random.one_in(3)), world),
            _ => self.produce(random.below(PARTITIONS), identity, world),
        }
    }

    fn init(&mut self, world: &mut World, random: &mut Random) {
        let current = self.earlier.last().copied().filter(|_| random.one_in(3));
        let request = InitProducerId { transactional_id: self.id.clone(), timeout_ms: TIMEOUT_MS, current };
        let to = world.ask(TransactionRequest::InitProducerId(request));
        self.asked = Some((to, Asked::Init));
    }

    fn end(&mut self, outcome: Outcome, world: &mut World) {
        let Some(producer) = self.identity else { return };
        self.ending = Some(outcome);
        let request = EndTxn { transactional_id: self.id.clone(), producer, outcome, version: self.version };
        let to = world.ask(TransactionRequest::EndTxn(request));
        self.asked = Some((to, Asked::End(outcome)));
    }

    /// The first protocol asks for every partition; the second when the partition wants to know.
    fn produce(&mut self, partition: usize, producer: ProducerIdentity, world: &mut World) {
        if !self.version.bumps_epoch() {
            return self.add(partition, producer, Asked::Add(partition), world);
        }
        match world.gate(partition, producer) {
            Ok(Gate::Open) => self.append(partition, producer, None, world),
            Ok(Gate::Verify(guard)) => self.add(partition, producer, Asked::Verify(partition, guard), world),
            Err(error) => self.failed(error),
        }
    }

    fn add(&mut self, partition: usize, producer: ProducerIdentity, asked: Asked, world: &mut World) {
        let to = world.ask(TransactionRequest::AddPartitions(self.adding(partition, producer)));
        self.asked = Some((to, asked));
    }

    fn adding(&self, partition: usize, producer: ProducerIdentity) -> AddPartitions {
        let partitions = [PartitionName::new("orders", partition as i32)].into();
        AddPartitions { transactional_id: self.id.clone(), producer, partitions, version: self.version }
    }

    fn append(&mut self, partition: usize, producer: ProducerIdentity, guard: Option<u64>, world: &mut World) {
        let id_bit = if &*self.id == "tx-0" { 0 } else { 1 };
        // Unique: a transaction is one of a producer's, and producers begin with identities that nobody else has.
        let transaction = *self.transaction.get_or_insert_with(|| {
            self.next_transaction += 1;
            (producer.producer_id as u64) << 40 | (producer.epoch as u64) << 24 | self.next_transaction << 1 | id_bit
        });
        if let Err(error) = world.append(partition, producer, guard, transaction) {
            self.failed(error);
        }
    }

    fn hear(&mut self, reply: TransactionReply, asked: Asked, world: &mut World) {
        match (reply, asked) {
            (_, Asked::Zombie) => {}
            (TransactionReply::InitProducerId(Ok(identity)), Asked::Init) => {
                self.identity = Some(identity);
                self.transaction = None;
            }
            (TransactionReply::AddPartitions(ErrorCode::None), Asked::Add(partition)) => {
                let Some(producer) = self.identity else { return };
                match world.gate(partition, producer) {
                    Ok(Gate::Open) => self.append(partition, producer, None, world),
                    Ok(Gate::Verify(guard)) => {
                        let to = world.ask(TransactionRequest::VerifyPartitions(self.adding(partition, producer)));
                        self.asked = Some((to, Asked::Verify(partition, guard)));
                    }
                    Err(error) => self.failed(error),
                }
            }
            (TransactionReply::AddPartitions(ErrorCode::None), Asked::Verify(partition, guard)) => {
                let Some(producer) = self.identity else { return };
                self.append(partition, producer, Some(guard), world);
            }
            (TransactionReply::VerifyPartitions(results), Asked::Verify(partition, guard)) => {
                let Some(producer) = self.identity else { return };
                match results[0].1 {
                    ErrorCode::None => self.append(partition, producer, Some(guard), world),
                    error => self.failed(error),
                }
            }
            (TransactionReply::EndTxn(Ok(after)), Asked::End(outcome)) => {
                self.ending = None;
                if let Some(transaction) = self.transaction.take() {
                    world.was_told(transaction, outcome);
                }
                if after != ProducerIdentity::NONE {
                    let before = self.identity.replace(after);
                    self.earlier.extend(before);
                }
            }
            (TransactionReply::InitProducerId(Err(error)), _)
            | (TransactionReply::AddPartitions(error), _)
            | (TransactionReply::EndTxn(Err(error)), _) => self.failed(error),
            (reply, _) => panic!("an answer to another question: {reply:?}"),
        }
    }

    /// Waits a little on what passes; begins anew on what does not.
    fn failed(&mut self, error: ErrorCode) {
        if error != ErrorCode::ConcurrentTransactions {
            self.give_up();
        }
    }

    fn give_up(&mut self) {
        self.earlier.extend(self.identity.take());
        (self.transaction, self.ending) = (None, None);
    }

    /// No answer came.
    fn ask_again(&mut self, asked: Asked, world: &mut World, random: &mut Random) {
        match asked {
            Asked::End(outcome) => self.end(outcome, world),
            Asked::Init if random.one_in(2) => self.init(world, random),
            Asked::Add(partition) => {
                if let Some(producer) = self.identity {
                    self.produce(partition, producer, world);
                }
            }
            _ => self.give_up(),
        }
    }

    fn act_as_zombie(&mut self, world: &mut World, random: &mut Random) {
        let producer = self.earlier[random.below(self.earlier.len())];
        let partition = random.below(PARTITIONS);
        let request = match random.below(3) {
            0 => TransactionRequest::AddPartitions(self.adding(partition, producer)),
            1 => TransactionRequest::VerifyPartitions(self.adding(partition, producer)),
            _ => TransactionRequest::EndTxn(EndTxn {
                transactional_id: self.id.clone(),
                producer,
                outcome: Outcome::of(random.one_in(2)),
                version: self.version,
            }),
        };
        let to = world.ask(request);
        self.asked = Some((to, Asked::Zombie));
    }
}
