//! ListTransactions (66): the transactional ids that this broker coordinates. Clients ask every broker and put the lists together.

use super::Handled;
use super::request::Request;
use crate::coordinator::{TransactionCall, TransactionInput, TransactionOutput};
use crate::mesh::{ShardReply, ShardRequest};
use regex::Regex;
use ringlane_coordinator::transaction::{ListedTransaction, TransactionFilter, TransactionState as State};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::list_transactions::{ListTransactionsRequest, ListTransactionsResponse, TransactionState};

pub async fn answer(request: Request) -> Handled {
    let (filter, pattern) = {
        let body: ListTransactionsRequest = request.body()?;
        let filter = TransactionFilter {
            producer_ids: body.producer_id_filters.clone(),
            states: body.state_filters.iter().map(|name| name.to_string()).collect(),
            duration_ms: body.duration_filter,
        };
        (filter, body.transactional_id_pattern.filter(|pattern| !pattern.is_empty()).map(whole).transpose())
    };
    let found = match pattern {
        Ok(pattern) => list(&request, filter).await.map(|found| matching(found, pattern.as_ref())),
        Err(_) => Err(ErrorCode::InvalidRegularExpression),
    };
    let body: ListTransactionsRequest = request.body()?;
    let (error_code, found) = match &found {
        Ok(found) => (ErrorCode::None, &found[..]),
        Err(error) => (*error, &[][..]),
    };
    let states = found.iter().map(|listed| TransactionState {
        transactional_id: &listed.transactional_id,
        producer_id: listed.producer_id,
        transaction_state: listed.state.name(),
    });
    let unknown = body.state_filters.iter().filter(|name| !State::is_known_name(name)).copied();
    Ok(request.reply(&ListTransactionsResponse {
        throttle_time_ms: 0,
        error_code,
        unknown_state_filters: unknown.collect(),
        transaction_states: states.collect(),
    }))
}

/// A pattern must match an id from end to end.
fn whole(pattern: &str) -> Result<Regex, regex::Error> {
    Regex::new(&format!("^(?:{pattern})$"))
}

fn matching(mut found: Vec<ListedTransaction>, pattern: Option<&Regex>) -> Vec<ListedTransaction> {
    found.retain(|listed| pattern.is_none_or(|pattern| pattern.is_match(&listed.transactional_id)));
    found
}

/// All coordinators at the same time. One that still loads makes the list incomplete, and that is said; one that has just moved is another
/// broker's to list.
async fn list(request: &Request, filter: TransactionFilter) -> Result<Vec<ListedTransaction>, ErrorCode> {
    let shard = request.shard();
    let mut calls = Vec::new();
    for at in shard.coordinated_transactions() {
        let home = shard.placement.home(at.topic_id, at.partition);
        let call = TransactionCall { at, input: TransactionInput::List(filter.clone()) };
        calls.push(shard.call(home, ShardRequest::Transaction(call)).await);
    }
    let mut found = Vec::new();
    for called in calls {
        match called.await {
            Some(ShardReply::Transaction(Ok(TransactionOutput::Listed(listed)))) => found.extend(listed),
            Some(ShardReply::Transaction(Err(ErrorCode::NotCoordinator))) | None => {}
            Some(ShardReply::Transaction(Err(error))) => return Err(error),
            Some(_) => return Err(ErrorCode::UnknownServerError),
        }
    }
    Ok(found)
}
