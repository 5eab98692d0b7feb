//! `ringlane group`, `ringlane txn`, and the options of `consume` and `produce` for them.

use super::*;
use crate::commands::RINGLANE;
use crate::support::{Ended, end_of, run};

fn ringlane(target: &Target, arguments: &[&str], input: &str) -> String {
    run(RINGLANE, &[arguments, &["--brokers", target.address()]].concat(), input)
}

fn fails(target: &Target, arguments: &[&str], expected: &str) {
    let Ended { code, errors, .. } = end_of(RINGLANE, &[arguments, &["--brokers", target.address()]].concat(), "");
    assert_eq!(code, Some(1), "{arguments:?}: {errors}");
    assert!(errors.contains(expected), "{expected:?} is not in {errors}");
}

fn words(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

/// Operators read these columns, and move groups by what they say.
#[test]
fn a_group_is_read_described_moved_and_deleted() {
    let target = Target::start();
    let (topic, group) = (unique("cli"), unique("cli-group"));
    let (topic, group) = (topic.as_str(), group.as_str());
    ringlane(&target, &["topic", "create", topic, "-p", "1"], "");
    ringlane(&target, &["produce", topic], &(0..10).map(|i| format!("{i}\n")).collect::<String>());
    for protocol in
        PROTOCOLS.iter().map(|protocol| if *protocol == GroupProtocol::Classic { "classic" } else { "consumer" })
    {
        let consume = |more: &[&str]| {
            let arguments = [&["consume", topic, "--group", group, "--group-protocol", protocol], more].concat();
            ringlane(&target, &arguments, "")
        };
        assert_eq!(consume(&["-n", "3"]), "0\n1\n2\n", "{protocol}");
        assert_eq!(consume(&["-n", "2"]), "3\n4\n", "goes on where the group has committed");
        assert_eq!(consume(&["-e"]), "5\n6\n7\n8\n9\n");
        assert_eq!(consume(&["-e"]), "");
        let described = ringlane(&target, &["group", "describe", group], "");
        let header = [
            "GROUP",
            "TOPIC",
            "PARTITION",
            "CURRENT-OFFSET",
            "LOG-END-OFFSET",
            "LAG",
            "CONSUMER-ID",
            "HOST",
            "CLIENT-ID",
        ];
        assert_eq!(words(&described), [&header[..], &[group, topic, "0", "10", "10", "0", "-", "-", "-"]]);

        let seek = |more: &[&str]| ringlane(&target, &[&["group", "seek", group, "--topic", topic], more].concat(), "");
        let plan = seek(&["--shift-by", "-4"]);
        assert_eq!(words(&plan)[1], [group, topic, "0", "10", "6"]);
        assert_eq!(consume(&["-e"]), "", "a dry run moves nothing");
        seek(&["--shift-by", "-4", "--apply"]);
        assert_eq!(consume(&["-e"]), "6\n7\n8\n9\n");
        seek(&["--to-earliest", "--execute"]);
        let state = ringlane(&target, &["group", "describe", group, "--state"], "");
        assert_eq!(words(&state)[1][4..], ["Empty", "0"][..].to_vec()[..], "{state}");
        let json = ringlane(&target, &["group", "describe", group, "--format", "json"], "");
        assert!(json.contains("\"current_offset\":0,\"log_end_offset\":10,\"lag\":10"), "{json}");
        assert!(ringlane(&target, &["group", "list"], "").contains(group));
        assert_eq!(words(&ringlane(&target, &["group", "delete", group], ""))[1], [group, "OK"]);
        fails(&target, &["group", "describe", group], "GROUP_ID_NOT_FOUND");
    }
}

/// Half of a file in a topic is worse than none.
#[cfg(feature = "test-transactions")]
#[test]
fn produce_in_a_transaction_is_all_or_nothing() {
    let target = Target::start();
    let (topic, id) = (unique("cli-txn"), unique("cli-id"));
    let (topic, id) = (topic.as_str(), id.as_str());
    ringlane(&target, &["topic", "create", topic, "-p", "1"], "");
    ringlane(&target, &["produce", topic, "--transactional-id", id, "-k", ":"], "a:1\nb:2\n");
    let broken = end_of(
        RINGLANE,
        &["produce", topic, "--transactional-id", id, "-k", ":", "--brokers", target.address()],
        "c:3\nno separator\n",
    );
    assert_eq!(broken.code, Some(1));
    assert!(broken.errors.contains("The transaction was aborted"), "{}", broken.errors);
    let committed = ringlane(&target, &["consume", topic, "--isolation", "committed", "-e"], "");
    assert_eq!(committed, "1\n2\n");
    let listed = ringlane(&target, &["txn", "list"], "");
    assert!(listed.lines().any(|line| line.starts_with(id)), "{listed}");
    let described = ringlane(&target, &["txn", "describe", id], "");
    assert!(words(&described)[1].iter().any(|word| word.starts_with("Complete") || *word == "Empty"), "{described}");
    assert_eq!(words(&ringlane(&target, &["txn", "abort", id], ""))[1], [id, "OK"]);
    fails(&target, &["txn", "describe", "never-used"], "TRANSACTIONAL_ID_NOT_FOUND");
}
