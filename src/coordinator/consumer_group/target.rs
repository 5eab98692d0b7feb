//! The target assignment: run the assignor, write down what changed.

use super::assignor::{self, Spec, Subscriber};
use super::event::Event;
use super::group::bytes_of;
use super::{ConsumerGroup, Context, Target};
use crate::NewRecord;
use ringlane_protocol::TopicId;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

impl ConsumerGroup {
    /// Brings the target assignment up to the group's epoch, unless the last one is too young.
    pub(super) fn refresh_target(&mut self, context: &Context<'_>, records: &mut Vec<NewRecord>) {
        if self.target_epoch >= self.epoch || !self.may_assign(context) {
            return;
        }
        let named = self.preferred_assignor().and_then(|name| context.options.assignor(&name));
        let assignor = named.unwrap_or_else(|| context.options.default_assignor());

        let subscriptions = self.subscriptions(context);
        let nothing = Target::new();
        let spec = Spec {
            members: self
                .members
                .iter()
                .zip(&subscriptions)
                .map(|((id, member), topics)| Subscriber {
                    id,
                    instance_id: member.profile.instance_id.as_deref(),
                    topics,
                    owns: self.targets.get(id).unwrap_or(&nothing),
                })
                .collect(),
            homogeneous: self.is_homogeneous(),
            partition_counts: subscriptions
                .iter()
                .flat_map(|topics| topics.iter())
                .map(|topic| (*topic, context.topics.partition_count(*topic).unwrap_or(0)))
                .collect(),
        };
        let targets = assignor::assign(assignor, &spec);
        let changed: Vec<(Arc<str>, Target)> = self
            .members
            .keys()
            .zip(targets)
            .filter(|(id, target)| self.targets.get(*id) != Some(target))
            .map(|(id, target)| (id.clone(), target))
            .collect();
        let mut written_bytes = 0;
        for (id, target) in changed {
            if written_bytes > context.records_bytes_max / 4 {
                // Too many for one batch. The next heartbeat goes on: who has its new target keeps it, and the epoch comes with the last.
                return;
            }
            self.change(Event::Target(id, target), records);
            written_bytes += records.last().map_or(0, |record| bytes_of(std::slice::from_ref(record)));
        }
        self.change(Event::TargetEpoch { epoch: self.epoch, timestamp: context.now_ms }, records);
    }

    fn may_assign(&self, context: &Context<'_>) -> bool {
        let interval_ms = i64::from(context.options.assignment_interval_ms);
        let age_ms = context.now_ms - self.target_timestamp;
        // A target from the future is one from before the clock was put back.
        self.target_timestamp == 0 || age_ms >= interval_ms || age_ms < 0
    }

    /// The topics of each member, in the order of members. Members with one subscription share one set.
    fn subscriptions(&self, context: &Context<'_>) -> Vec<Rc<BTreeSet<TopicId>>> {
        let mut known: BTreeMap<(&BTreeSet<Arc<str>>, &Arc<str>), Rc<BTreeSet<TopicId>>> = BTreeMap::new();
        self.members
            .values()
            .map(|member| {
                known
                    .entry((&member.profile.topics, &member.profile.regex))
                    .or_insert_with(|| Rc::new(self.subscribed_ids(member, context.topics)))
                    .clone()
            })
            .collect()
    }
}
