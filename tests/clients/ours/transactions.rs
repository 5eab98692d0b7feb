//! Transactions: all or nothing, and exactly once.

use ringlane_client::ClientError;
use ringlane_protocol::ErrorCode;

use super::*;

fn transactional(client: &Client, id: &str) -> Producer {
    let options = ProducerOptions { transactional_id: Some(id.to_owned()), ..ProducerOptions::default() };
    Producer::new(client, options)
}

async fn send(producer: &Producer, topic: &str, partitions: i32, numbers: std::ops::Range<i32>) {
    for i in numbers {
        let record = ProducerRecord::to(topic).partition(i % partitions).value(i.to_string());
        // Whether it counts is told by the commit.
        drop(producer.send(record).await.expect("it is buffered"));
    }
}

/// What a group that reads committed data sees, in order of value.
async fn read(client: &Client, topic: &str, partitions: usize, count: usize) -> Vec<i32> {
    let mut reader = Reader::new(client, options(&unique("reader")), topic);
    until(&mut [&mut reader], "committed records", |readers| readers[0].values.len() >= count).await;
    for _ in 0..5 {
        reader.poll().await;
    }
    assert_eq!(reader.reads.len(), partitions);
    let mut values = reader.values.clone();
    values.sort_unstable();
    reader.member.close().await.expect("it leaves");
    values
}

/// A reader of committed data that sees half of a transaction acts on what never happened.
#[test]
fn committed_transactions_are_seen_and_aborted_ones_are_not() {
    let target = Target::start();
    story(&target, |client| async move {
        let (topic, id) = (unique("txn"), unique("id"));
        make_topic(&client, &topic, 3).await;
        let producer = transactional(&client, &id);
        producer.init_transactions().await.expect("an id");
        for (round, commits) in [(0, true), (1, false), (2, false), (3, true), (4, true)] {
            producer.begin_transaction().await.expect("it begins");
            send(&producer, &topic, 3, round * 10..round * 10 + 10).await;
            if round == 2 {
                producer.flush().await.expect("they are stored, and yet do not count");
            }
            match commits {
                true => producer.commit_transaction().await.expect("it commits"),
                false => producer.abort_transaction().await.expect("it aborts"),
            }
        }
        // Nothing in it: nobody needs to be asked.
        producer.begin_transaction().await.expect("it begins");
        producer.commit_transaction().await.expect("nothing commits");
        let expected: Vec<i32> = (0..10).chain(30..50).collect();
        assert_eq!(read(&client, &topic, 3, 30).await, expected);
    });
}

/// Two producers under one id would each believe that it is the only one.
#[test]
fn the_later_producer_fences_the_earlier() {
    let target = Target::start();
    story(&target, |client| async move {
        let (topic, id) = (unique("fenced"), unique("id"));
        make_topic(&client, &topic, 1).await;
        let old = transactional(&client, &id);
        old.init_transactions().await.expect("an id");
        old.begin_transaction().await.expect("it begins");
        send(&old, &topic, 1, 0..5).await;
        old.flush().await.expect("they are stored");
        let new = transactional(&client, &id);
        new.init_transactions().await.expect("the same id");
        new.begin_transaction().await.expect("it begins");
        send(&new, &topic, 1, 5..10).await;
        new.commit_transaction().await.expect("it commits");

        let error = old.commit_transaction().await.expect_err("it is fenced");
        assert!(matches!(error, ClientError::Fatal { .. }), "{error}");
        let codes = [Some(ErrorCode::ProducerFenced), Some(ErrorCode::InvalidProducerEpoch)];
        assert!(codes.contains(&error.code()), "{error}");
        assert!(old.begin_transaction().await.is_err());
        assert_eq!(read(&client, &topic, 1, 5).await, [5, 6, 7, 8, 9]);
    });
}

/// Read, change, write: with offsets in the transaction each record counts once, also when a transaction is taken back on the way.
#[test]
fn offsets_in_the_transaction_make_it_exactly_once() {
    let target = Target::start();
    story(&target, |client| async move {
        let (from, to, group, id) = (unique("from"), unique("to"), unique("group"), unique("id"));
        make_topic(&client, &from, 2).await;
        make_topic(&client, &to, 2).await;
        fill(&client, &from, 2, 0..60).await;
        let producer = transactional(&client, &id);
        producer.init_transactions().await.expect("an id");
        let mut done = 0;
        for attempt in 0.. {
            assert!(attempt < 50, "{done} of 60");
            let mut by_hand = options(&group);
            (by_hand.auto_commit, by_hand.consumer.max_poll_records) = (None, 7);
            let mut reader = Reader::new(&client, by_hand, &from);
            let began = now();
            while reader.values.is_empty() && began.elapsed() < Duration::from_secs(10) {
                reader.poll().await;
            }
            if reader.values.is_empty() {
                break;
            }
            producer.begin_transaction().await.expect("it begins");
            for value in &reader.values {
                let record = ProducerRecord::to(to.as_str()).partition(value % 2).value((value + 1000).to_string());
                drop(producer.send(record).await.expect("it is buffered"));
            }
            let positions = reader.reads.iter().filter_map(|at| {
                let offset = reader.member.position(at)?;
                Some((at.clone(), ringlane_client::CommittedOffset::at(offset)))
            });
            let positions = positions.collect();
            producer.send_offsets(&reader.member.group_metadata(), &positions).await.expect("they are put in");
            match attempt % 3 {
                1 => producer.abort_transaction().await.expect("it aborts"),
                _ => {
                    producer.commit_transaction().await.expect("it commits");
                    done += reader.values.len();
                }
            }
            reader.member.close().await.expect("it goes");
            if done == 60 {
                break;
            }
        }
        assert_eq!(read(&client, &to, 2, 60).await, (1000..1060).collect::<Vec<_>>());
    });
}

/// A member that is no longer one must not commit for the group: the transaction can only be aborted, and the next one goes.
#[test]
fn offsets_of_a_lost_member_spoil_the_transaction_only() {
    let target = Target::start();
    story(&target, |client| async move {
        let (topic, group, id) = (unique("lost"), unique("group"), unique("id"));
        make_topic(&client, &topic, 1).await;
        let mut reader = Reader::new(&client, options(&group), &topic);
        until(&mut [&mut reader], "a partition", |readers| readers[0].reads.len() == 1).await;
        let mut stranger = reader.member.group_metadata();
        stranger.member_id = "nobody".to_owned();
        let producer = transactional(&client, &id);
        producer.init_transactions().await.expect("an id");
        producer.begin_transaction().await.expect("it begins");
        send(&producer, &topic, 1, 0..1).await;
        let offsets = [(TopicPartition::new(&topic, 0), ringlane_client::CommittedOffset::at(1))].into();
        let error = producer.send_offsets(&stranger, &offsets).await.expect_err("nobody is no member");
        assert!(matches!(error, ClientError::Abortable { .. }), "{error}");
        assert!(producer.commit_transaction().await.is_err());
        producer.abort_transaction().await.expect("it aborts");
        producer.begin_transaction().await.expect("it begins");
        send(&producer, &topic, 1, 1..3).await;
        producer.commit_transaction().await.expect("it commits");
        until(&mut [&mut reader], "two records", |readers| readers[0].values.len() == 2).await;
        assert_eq!(reader.values, [1, 2]);
        reader.member.close().await.expect("it goes");
    });
}
