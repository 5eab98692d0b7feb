//! Subscriptions by pattern: the coordinator matches, so that all members see the same topics.
//!
//! Kafka takes RE2 patterns. The engine here is of the same family: it takes time linear in what it reads, whatever the pattern.

use super::event::{Event, Resolved};
use super::options::REGEX_REFRESH_MS_MIN;
use super::{ConsumerGroup, ConsumerGroupError, Context};
use crate::NewRecord;
use regex::{Regex, RegexBuilder};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Memory that a compiled pattern may take: thousands of times what a list of topic names needs.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// A pattern that must match all of a name.
pub fn compile(regex: &str) -> Result<Regex, ConsumerGroupError> {
    let build = |pattern: &str| RegexBuilder::new(pattern).size_limit(COMPILED_BYTES_MAX).build();
    let quoted = without_quotes(regex);
    // Alone first: a parenthesis that is missing must not find its fellow in the frame around it.
    build(&quoted).and_then(|_| build(&format!(r"\A(?:{quoted})\z"))).map_err(|error| {
        ConsumerGroupError::InvalidRegularExpression { regex: regex.to_owned(), reason: one_line(&error) }
    })
}

fn one_line(error: &regex::Error) -> String {
    match error {
        // The message draws the pattern over several lines and says what is wrong in the last.
        regex::Error::Syntax(text) => text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
        regex::Error::CompiledTooBig(bytes) => format!("compiled, it takes more than {bytes} bytes"),
        other => other.to_string(),
    }
}

/// RE2's `\Q...\E` (what Java's `Pattern.quote` makes), which the engine does not know, as single escapes.
fn without_quotes(regex: &str) -> String {
    let mut plain = String::with_capacity(regex.len());
    let mut rest = regex;
    while let Some(at) = rest.find('\\') {
        let (before, from) = rest.split_at(at);
        plain.push_str(before);
        if let Some(quoted) = from.strip_prefix(r"\Q") {
            let (text, after) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
            plain.push_str(&regex::escape(text));
            rest = after;
        } else {
            let end = from.char_indices().nth(2).map_or(from.len(), |(end, _)| end);
            plain.push_str(&from[..end]);
            rest = &from[end..];
        }
    }
    plain + rest
}

fn resolve(regex: &Regex, context: &Context<'_>) -> Resolved {
    let mut topics = BTreeSet::new();
    context.topics.each_name(&mut |name| {
        if regex.is_match(name) {
            topics.insert(name.clone());
        }
    });
    Resolved { topics, version: context.topics.version(), timestamp: context.now_ms }
}

impl ConsumerGroup {
    /// Follows a member from one regular expression to another, either of which may be none. The member's profile is the new one already.
    pub(super) fn change_regex(
        &mut self,
        from: &Arc<str>,
        to: &Arc<str>,
        context: &Context<'_>,
        records: &mut Vec<NewRecord>,
    ) {
        if !from.is_empty() && self.regex_subscribers(from) == 0 {
            self.change(Event::RegexGone(from.clone()), records);
        }
        if !to.is_empty()
            && !self.regexes.contains_key(to)
            && let Ok(regex) = compile(to)
        {
            if self.regexes.is_empty() {
                self.soft.regexes_refreshed = Some((context.topics.version(), context.now_ms));
            }
            self.change(Event::Regex(to.clone(), resolve(&regex, context)), records);
        }
    }

    /// Matches all regular expressions again when topics have come or gone, or when it was long ago. True if one of them matches others now.
    pub(super) fn refresh_regexes(&mut self, context: &Context<'_>, records: &mut Vec<NewRecord>) -> bool {
        if self.regexes.is_empty() {
            return false;
        }
        if let Some((version, at_ms)) = self.soft.regexes_refreshed {
            let age_ms = context.now_ms - at_ms;
            let stale = version != context.topics.version() || age_ms > context.options.regex_refresh_interval_ms;
            if !stale || age_ms <= REGEX_REFRESH_MS_MIN {
                return false;
            }
        }
        self.soft.regexes_refreshed = Some((context.topics.version(), context.now_ms));
        let mut changed = Vec::new();
        for (pattern, before) in &self.regexes {
            // It was compiled when it came; a log from elsewhere may have one that this engine does not take, and it keeps its topics.
            let Ok(regex) = compile(pattern) else { continue };
            let resolved = resolve(&regex, context);
            if resolved.topics != before.topics {
                changed.push(Event::Regex(pattern.clone(), resolved));
            }
        }
        let any = !changed.is_empty();
        changed.into_iter().for_each(|event| self.change(event, records));
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pattern that matches a part would subscribe `orders` to `reorders-dead-letter`; one with a stray parenthesis would break the frame.
    #[test]
    fn a_pattern_matches_whole_names() {
        let matches = |regex: &str, name: &str| compile(regex).unwrap().is_match(name);
        assert!(matches("orders", "orders"));
        assert!(!matches("orders", "reorders-dead-letter"));
        assert!(matches("a|ab", "ab"), "all ways to match count, not the first");
        assert!(matches(r"\Qa.b\E.*", "a.b-1"));
        assert!(!matches(r"\Qa.b\E.*", "axb-1"));
        assert!(matches(r"\Qa.b", "a.b"), "a quote that never ends goes to the end");
        assert!(matches(r"\\Q", r"\Q"));
        for bad in ["a)|(b", "(", "[a", "*", r"\", "a{100000}{100000}"] {
            assert_eq!(compile(bad).unwrap_err().code().code(), 128, "{bad}");
        }
    }
}
