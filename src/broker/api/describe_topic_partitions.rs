//! DescribeTopicPartitions (75): topics page by page (KIP-966).

use super::Handled;
use super::auto_create::check_name;
use super::metadata::{TOPIC_OPERATIONS, is_internal, offline_replicas};
use super::request::Request;
use ringlane_metadata::{Image, NO_LEADER, Partition, Topic};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic, ResponseCursor,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the page holds, and where the next one begins.
#[derive(Debug, PartialEq)]
struct Page<'a> {
    /// Topic and its partitions on this page; `None`: no such topic.
    topics: Vec<(&'a str, Option<(Arc<Topic>, std::ops::Range<usize>)>)>,
    next: Option<(&'a str, i32)>,
}

pub fn answer(request: &Request) -> Handled {
    let body: DescribeTopicPartitionsRequest = request.body()?;
    let image = request.shard().image();
    let limit_max = request.shard().config.broker.max_request_partition_size_limit;
    let limit = usize::try_from(body.response_partition_limit).unwrap_or(0).clamp(1, limit_max.max(1));
    let cursor = body.cursor.as_ref().map(|cursor| (cursor.topic_name, cursor.partition_index.max(0)));
    let asked: BTreeSet<&str> = body.topics.iter().map(|topic| topic.name).collect();
    let page = match asked.is_empty() {
        true => page(image.topics().map(|topic| (&*topic.name, Some(topic.clone()))), cursor, limit),
        false => page(asked.iter().map(|name| (*name, image.topic_by_name(name).cloned())), cursor, limit),
    };
    let topics = page.topics.iter().map(|(name, found)| match found {
        Some((topic, range)) => described(&image, topic, range.clone()),
        None => DescribeTopicPartitionsResponseTopic {
            error_code: check_name(name).err().unwrap_or(ErrorCode::UnknownTopicOrPartition),
            name: Some(name),
            is_internal: is_internal(name),
            ..Default::default()
        },
    });
    Ok(request.reply(&DescribeTopicPartitionsResponse {
        throttle_time_ms: 0,
        topics: topics.collect(),
        next_cursor: page.next.map(|(topic_name, partition_index)| ResponseCursor { topic_name, partition_index }),
    }))
}

/// Takes topics, which come in order of their names, from the cursor on until `limit` partitions are together.
fn page<'a>(
    topics: impl Iterator<Item = (&'a str, Option<Arc<Topic>>)>,
    cursor: Option<(&str, i32)>,
    limit: usize,
) -> Page<'a> {
    let mut page = Page { topics: Vec::new(), next: None };
    let mut left = limit;
    for (name, topic) in topics.skip_while(|(name, _)| cursor.is_some_and(|(from, _)| *name < from)) {
        if left == 0 {
            page.next = Some((name, 0));
            break;
        }
        let Some(topic) = topic else {
            page.topics.push((name, None));
            continue;
        };
        let count = topic.partitions.len();
        let from = cursor.filter(|(cursor, _)| *cursor == name).map_or(0, |(_, partition)| partition as usize);
        let from = from.min(count);
        let to = count.min(from + left);
        left -= to - from;
        page.topics.push((name, Some((topic, from..to))));
        if to < count {
            page.next = Some((name, to as i32));
            break;
        }
    }
    page
}

fn described<'a>(
    image: &Image,
    topic: &'a Topic,
    range: std::ops::Range<usize>,
) -> DescribeTopicPartitionsResponseTopic<'a> {
    let partitions = range.filter_map(|index| Some((index, topic.partitions.get(index)?)));
    DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::None,
        name: Some(&topic.name),
        topic_id: topic.id,
        is_internal: is_internal(&topic.name),
        partitions: partitions.map(|(index, partition)| described_partition(image, index, partition)).collect(),
        topic_authorized_operations: TOPIC_OPERATIONS,
    }
}

fn described_partition(image: &Image, index: usize, partition: &Partition) -> DescribeTopicPartitionsResponsePartition {
    DescribeTopicPartitionsResponsePartition {
        error_code: if partition.leader == NO_LEADER { ErrorCode::LeaderNotAvailable } else { ErrorCode::None },
        partition_index: index as i32,
        leader_id: partition.leader,
        leader_epoch: partition.leader_epoch,
        replica_nodes: partition.replicas.to_vec(),
        isr_nodes: partition.isr.to_vec(),
        eligible_leader_replicas: Some(partition.elr.to_vec()),
        last_known_elr: Some(partition.last_known_elr.to_vec()),
        offline_replicas: offline_replicas(image, partition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringlane_metadata::RecoveryState;
    use ringlane_protocol::TopicId;

    fn topic(name: &'static str, partitions: usize) -> (&'static str, Option<Arc<Topic>>) {
        let none: Arc<[i32]> = Arc::from([]);
        let partition = Partition {
            replicas: none.clone(),
            directories: Arc::from([]),
            isr: none.clone(),
            elr: none.clone(),
            last_known_elr: none.clone(),
            adding: none.clone(),
            removing: none,
            leader: 1,
            leader_epoch: 0,
            partition_epoch: 0,
            recovery: RecoveryState::Recovered,
        };
        let partitions = std::iter::repeat_n(partition, partitions).collect();
        (name, Some(Arc::new(Topic { id: TopicId::ZERO, name: name.into(), partitions })))
    }

    fn ranges(page: &Page<'_>) -> Vec<(String, usize, usize)> {
        let range = |(name, found): &(&str, Option<(Arc<Topic>, std::ops::Range<usize>)>)| {
            let range = found.as_ref().map_or(0..0, |(_, range)| range.clone());
            (name.to_string(), range.start, range.end)
        };
        page.topics.iter().map(range).collect()
    }

    /// A tool that follows the cursor must see each partition once: one lost and a topic looks smaller, one doubled and it looks larger.
    #[test]
    fn pages_cover_everything_once() {
        let all = || [topic("a", 3), topic("b", 4), ("c", None), topic("d", 1)].into_iter();
        for limit in 1..10 {
            let mut seen = Vec::new();
            let mut cursor = None;
            loop {
                let page = page(all(), cursor, limit);
                let on_page = ranges(&page);
                assert!(on_page.iter().map(|(_, from, to)| to - from).sum::<usize>() <= limit);
                seen.extend(
                    on_page.into_iter().flat_map(|(name, from, to)| (from..to).map(move |at| (name.clone(), at))),
                );
                let Some(next) = page.next else { break };
                cursor = Some(next);
            }
            let expected = [("a", 3), ("b", 4), ("d", 1)];
            let expected: Vec<_> =
                expected.iter().flat_map(|(name, count)| (0..*count).map(|at| (name.to_string(), at))).collect();
            assert_eq!(seen, expected, "limit {limit}");
        }
    }

    /// A topic deleted between two pages must not stop the walk.
    #[test]
    fn a_cursor_at_a_topic_that_is_gone_goes_on_with_the_next() {
        let page = page([topic("a", 2), topic("c", 2)].into_iter(), Some(("b", 1)), 10);
        assert_eq!(ranges(&page), [("c".to_string(), 0, 2)]);
    }
}
