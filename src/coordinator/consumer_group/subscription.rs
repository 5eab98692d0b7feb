//! What all members together subscribe to, and whether they all subscribe to the same.

use super::event::Event;
use super::hash::metadata_hash;
use super::{ConsumerGroup, Context};
use crate::NewRecord;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl ConsumerGroup {
    /// Members that subscribe by this regular expression.
    pub(super) fn regex_subscribers(&self, regex: &str) -> usize {
        self.members.values().filter(|member| &*member.profile.regex == regex).count()
    }

    /// Every topic that a member subscribes to, by name or by a regular expression that matched it.
    pub(super) fn subscribed_topics(&self) -> BTreeSet<&Arc<str>> {
        let by_name = self.members.values().flat_map(|member| &member.profile.topics);
        by_name.chain(self.regexes.values().flat_map(|resolved| &resolved.topics)).collect()
    }

    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        self.members.values().any(|member| member.profile.topics.contains(topic))
            || self.regexes.values().any(|resolved| resolved.topics.contains(topic))
    }

    /// Whether all members subscribe to the same topics: the assignors have a simpler way then.
    pub(super) fn is_homogeneous(&self) -> bool {
        let mut profiles = self.members.values().map(|member| &member.profile);
        let Some(first) = profiles.next() else { return true };
        if !first.regex.is_empty() && !first.topics.is_empty() {
            return false;
        }
        profiles.all(|other| other.regex == first.regex && other.topics == first.topics)
    }

    /// Compares the topics with those that the group was last assigned for, and starts a new epoch if they differ, or if `members_changed`.
    pub(super) fn refresh_epoch(&mut self, members_changed: bool, context: &Context<'_>, records: &mut Vec<NewRecord>) {
        let version = context.topics.version();
        if !members_changed && self.soft.topics_version == Some(version) {
            return;
        }
        let metadata_hash = metadata_hash(self.subscribed_topics().into_iter(), context.topics);
        if members_changed || metadata_hash != self.metadata_hash {
            self.change(Event::Epoch { epoch: self.epoch + 1, metadata_hash }, records);
        }
        self.soft.topics_version = Some(version);
        self.tidy(records);
    }

    /// The assignor that most members ask for.
    pub(super) fn preferred_assignor(&self) -> Option<Arc<str>> {
        let mut votes: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        for name in self.members.values().filter_map(|member| member.profile.assignor.as_ref()) {
            *votes.entry(name).or_default() += 1;
        }
        votes.into_iter().max_by_key(|(_, count)| *count).map(|(name, _)| name.clone())
    }
}
