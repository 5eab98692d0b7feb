//! Members of groups, by both protocols.

use ringlane_client::{Assignor, ClientError};

use super::*;

fn of(protocol: GroupProtocol, assignors: &[Assignor], group: &str) -> GroupOptions {
    GroupOptions { protocol, assignors: assignors.to_vec(), ..options(group) }
}

/// Two members that come and go: every record is read, none twice, and who comes later goes on where the first has stopped.
async fn share_and_hand_over(client: Client, protocol: GroupProtocol, assignors: Vec<Assignor>) {
    let (topic, group) = (unique("shared"), unique("group"));
    make_topic(&client, &topic, 4).await;
    fill(&client, &topic, 4, 0..40).await;
    let mut first = Reader::new(&client, of(protocol, &assignors, &group), &topic);
    until(&mut [&mut first], "the first 40", |readers| readers[0].values.len() == 40).await;
    assert_eq!(first.reads.len(), 4);

    let mut second = Reader::new(&client, of(protocol, &assignors, &group), &topic);
    let is_shared = |readers: &[&mut Reader]| readers.iter().all(|reader| reader.reads.len() == 2);
    until(&mut [&mut first, &mut second], "an even share", is_shared).await;
    assert!(second.values.is_empty(), "what the first has read is committed: {:?}", second.values);
    fill(&client, &topic, 4, 40..80).await;
    let is_read = |readers: &[&mut Reader]| readers.iter().map(|reader| reader.values.len()).sum::<usize>() == 80;
    until(&mut [&mut first, &mut second], "the next 40", is_read).await;

    first.member.close().await.expect("it leaves");
    until(&mut [&mut second], "all partitions", |readers| readers[0].reads.len() == 4).await;
    fill(&client, &topic, 4, 80..100).await;
    let expected = 100 - first.values.len();
    until(&mut [&mut second], "the rest", |readers| readers[0].values.len() == expected).await;
    let mut all: Vec<i32> = first.values.iter().chain(&second.values).copied().collect();
    all.sort_unstable();
    assert_eq!(all, (0..100).collect::<Vec<_>>());
    second.member.close().await.expect("it leaves");
}

/// A group that loses its place reads everything again, or never.
#[test]
fn classic_members_share_and_hand_over_with_every_assignor() {
    let target = Target::start();
    for assignor in Assignor::ALL {
        story(&target, move |client| share_and_hand_over(client, GroupProtocol::Classic, vec![assignor]));
    }
    // As Kafka's own consumer comes: two to choose from.
    let both = vec![Assignor::Range, Assignor::CooperativeSticky];
    story(&target, move |client| share_and_hand_over(client, GroupProtocol::Classic, both));
}

/// The same where the coordinator decides (KIP-848).
#[test]
fn members_of_the_consumer_protocol_share_and_hand_over() {
    let target = Target::start();
    story(&target, |client| share_and_hand_over(client, GroupProtocol::Consumer, vec![]));
}

/// A restart of a static member must not move anything: its partitions wait for it (KIP-345).
#[test]
fn a_static_member_comes_back_to_what_it_had() {
    let target = Target::start();
    for &protocol in PROTOCOLS {
        story(&target, move |client| async move {
            let (topic, group) = (unique("static"), unique("group"));
            make_topic(&client, &topic, 4).await;
            let named = |name: &str| GroupOptions {
                instance: Some(name.to_owned()),
                ..of(protocol, &[Assignor::CooperativeSticky], &group)
            };
            let mut one = Reader::new(&client, named("one"), &topic);
            let mut two = Reader::new(&client, named("two"), &topic);
            let is_shared = |readers: &[&mut Reader]| readers.iter().all(|reader| reader.reads.len() == 2);
            until(&mut [&mut one, &mut two], "an even share", is_shared).await;
            let (had, stays) = (one.reads.clone(), two.reads.clone());
            one.member.close().await.expect("it goes for now");
            let mut again = Reader::new(&client, named("one"), &topic);
            until(&mut [&mut again, &mut two], "what it had", |readers| readers[0].reads.len() == 2).await;
            assert_eq!((again.reads.clone(), two.reads.clone()), (had, stays), "{protocol:?}");

            // Another under the same name: one of the two has to go, and says why.
            if protocol == GroupProtocol::Classic {
                let mut usurper = Reader::new(&client, named("one"), &topic);
                until(&mut [&mut usurper], "the place of the other", |readers| readers[0].reads.len() == 2).await;
                let began = now();
                let error = loop {
                    match again.member.poll(Duration::from_millis(100)).await {
                        Err(error) => break error,
                        Ok(_) => assert!(began.elapsed() < PATIENCE, "it is never fenced"),
                    }
                };
                assert!(error.to_string().contains("FENCED_INSTANCE_ID"), "{error}");
                usurper.member.close().await.expect("it goes");
            }
            again.member.unsubscribe().await.ok();
            two.member.close().await.expect("it goes");
        });
    }
}

/// Commits by hand: what was committed counts, what was only read does not.
#[test]
fn only_what_is_committed_is_read() {
    let target = Target::start();
    for &protocol in PROTOCOLS {
        story(&target, move |client| async move {
            let (topic, group) = (unique("by-hand"), unique("group"));
            make_topic(&client, &topic, 1).await;
            fill(&client, &topic, 1, 0..10).await;
            let by_hand = || GroupOptions { auto_commit: None, ..of(protocol, &[Assignor::Range], &group) };
            let at = TopicPartition::new(&topic, 0);
            let mut first = Reader::new(&client, by_hand(), &topic);
            until(&mut [&mut first], "ten records", |readers| readers[0].values.len() == 10).await;
            let mut place = ringlane_client::CommittedOffset::at(6);
            place.metadata = "half way".to_owned();
            first.member.commit_offsets([(at.clone(), place.clone())].into()).await.expect("it commits");
            let committed = first.member.committed(std::slice::from_ref(&at)).await.expect("it is told");
            assert_eq!(committed.get(&at), Some(&place));
            first.member.close().await.expect("it goes");

            let mut second = Reader::new(&client, by_hand(), &topic);
            until(&mut [&mut second], "four records", |readers| readers[0].values.len() == 4).await;
            assert_eq!(second.values, [6, 7, 8, 9]);
            second.member.seek(&at, StartAt::Offset(8)).expect("it is assigned");
            until(&mut [&mut second], "two again", |readers| readers[0].values.len() == 6).await;
            second.member.commit_soon().await.expect("it commits");
            assert_eq!(second.member.committed(std::slice::from_ref(&at)).await.expect("told")[&at].offset, 10);
            second.member.close().await.expect("it goes");
        });
    }
}

/// Without a place and without a rule for that, silence would look like an empty topic.
#[test]
fn no_offset_and_no_reset_is_an_error() {
    let target = Target::start();
    story(&target, |client| async move {
        let (topic, group) = (unique("no-reset"), unique("group"));
        make_topic(&client, &topic, 1).await;
        let mut options = options(&group);
        options.consumer.reset = None;
        let member = GroupConsumer::new(&client, options);
        member.subscribe(&[&topic]);
        let began = now();
        let error = loop {
            match member.records(Duration::from_millis(200)).await {
                Err(error) => break error,
                Ok(_) => assert!(began.elapsed() < PATIENCE, "no error came"),
            }
        };
        assert!(matches!(error, ClientError::NoOffset { .. }), "{error}");
    });
}
