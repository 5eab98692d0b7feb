//! What the small files of a folder must say after its log was cut to an earlier end. Decides only.

use super::kind::{FileKind, offset_in_name};
use super::repair::Action;
use super::{OfflineError, failed};
use ringlane_protocol::storage::{checkpoint, txn_index};
use ringlane_runtime::fs;
use std::path::{Path, PathBuf};

/// Steps after which nothing in `entries` speaks of offsets from `end_offset` on. Files that cannot be read are removed: all of them can be
/// made anew from the log.
pub(super) async fn to_end(entries: &[PathBuf], end_offset: i64) -> Result<Vec<Action>, OfflineError> {
    let mut actions = Vec::new();
    for path in entries {
        let offset = offset_in_name(path);
        let action = match FileKind::of(path) {
            FileKind::ProducerSnapshot if offset.is_some_and(|taken_at| taken_at > end_offset) => {
                Some(Action::Remove { path: path.clone() })
            }
            FileKind::TxnIndex | FileKind::LeaderEpochs => {
                let content = fs::read(path).await.map_err(failed(path, "reading"))?;
                shortened(path, &content, end_offset)
            }
            _ => None,
        };
        actions.extend(action);
    }
    Ok(actions)
}

/// `None` when the file may stay as it is.
fn shortened(path: &Path, content: &[u8], end_offset: i64) -> Option<Action> {
    let shorter = match FileKind::of(path) {
        FileKind::TxnIndex => txn_index::decode(content).ok().map(|mut transactions| {
            transactions.retain(|transaction| transaction.last_offset < end_offset);
            txn_index::encode(&transactions)
        }),
        FileKind::LeaderEpochs => checkpoint::decode_leader_epochs(content).ok().map(|mut epochs| {
            epochs.retain(|epoch| epoch.start_offset < end_offset);
            checkpoint::encode_leader_epochs(&epochs).into_bytes()
        }),
        _ => return None,
    };
    match shorter {
        Some(shorter) if shorter == content => None,
        Some(shorter) if !shorter.is_empty() => Some(Action::Write { path: path.to_owned(), content: shorter }),
        _ => Some(Action::Remove { path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringlane_protocol::storage::txn_index::AbortedTransaction;

    fn aborted(last_offset: i64) -> AbortedTransaction {
        AbortedTransaction { producer_id: 1, first_offset: 0, last_offset, last_stable_offset: last_offset + 1 }
    }

    /// An epoch behind the end would make followers diverge.
    #[test]
    fn nothing_speaks_of_what_was_cut() {
        let write = |name: &str, content: &[u8]| match shortened(Path::new(name), content, 100) {
            Some(Action::Write { content, .. }) => String::from_utf8(content).unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!(write("leader-epoch-checkpoint", b"0\n3\n0 0\n1 99\n2 100\n"), "0\n2\n0 0\n1 99\n");
        let path = Path::new("00000000000000000000.txnindex");
        let both = txn_index::encode(&[aborted(50), aborted(100)]);
        let one = txn_index::encode(&[aborted(50)]);
        assert_eq!(shortened(path, &both, 100), Some(Action::Write { path: path.into(), content: one }));
        let removed = Some(Action::Remove { path: path.into() });
        assert_eq!(shortened(path, &both, 10), removed);
        assert_eq!(shortened(path, &both[..20], 100), removed, "unreadable");
    }
}
