//! Where a group's or a transaction's coordinator is, and a connection to it; looked for again when it has moved.

use crate::retry::Retry;
use crate::{Client, ClientError, Connection};
use ringlane_protocol::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use ringlane_protocol::{ApiKey, ErrorCode};
use std::cell::RefCell;

/// First version of FindCoordinator that asks for several keys.
const KEYS_FROM: i16 = 4;

/// FindCoordinator's key types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CoordinatorOf {
    Group = 0,
    Transaction = 1,
}

pub(crate) struct Coordinator {
    client: Client,
    of: CoordinatorOf,
    key: String,
    place: RefCell<Option<(String, u16)>>,
    connection: RefCell<Option<Connection>>,
    /// For requests that their coordinator may hold for long (a join waits for the whole group): what came behind one would wait too.
    patient: RefCell<Option<Connection>>,
}

impl Coordinator {
    pub(crate) fn new(client: &Client, of: CoordinatorOf, key: &str) -> Coordinator {
        Coordinator {
            client: client.clone(),
            of,
            key: key.to_string(),
            place: RefCell::default(),
            connection: RefCell::default(),
            patient: RefCell::default(),
        }
    }

    /// Tries once.
    pub(crate) async fn connection(&self) -> Result<Connection, ClientError> {
        self.open(&self.connection).await
    }

    pub(crate) async fn patient_connection(&self) -> Result<Connection, ClientError> {
        self.open(&self.patient).await
    }

    async fn open(&self, kept: &RefCell<Option<Connection>>) -> Result<Connection, ClientError> {
        let open = kept.borrow().clone().filter(Connection::is_open);
        if let Some(connection) = open {
            return Ok(connection);
        }
        let known = self.place.borrow().clone();
        let (host, port) = match known {
            Some(place) => place,
            None => self.find().await?,
        };
        match self.client.open_at(&host, port).await {
            Ok(connection) => {
                *self.place.borrow_mut() = Some((host, port));
                *kept.borrow_mut() = Some(connection.clone());
                Ok(connection)
            }
            Err(error) => {
                self.moved();
                Err(error)
            }
        }
    }

    /// An answer said so, or none came: it is looked for again.
    pub(crate) fn moved(&self) {
        *self.place.borrow_mut() = None;
        *self.connection.borrow_mut() = None;
        *self.patient.borrow_mut() = None;
    }

    /// Whether `error` says that the coordinator may be elsewhere. Forgets it then.
    pub(crate) fn look_at(&self, error: &ClientError) {
        let is_elsewhere = match error.code() {
            Some(code) => matches!(
                code,
                ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable | ErrorCode::RequestTimedOut
            ),
            None => error.is_retriable(),
        };
        if is_elsewhere {
            self.moved();
        }
    }

    /// Asks until an answer is final, or the client's api timeout is over.
    pub(crate) async fn repeat<T>(
        &self,
        what: &str,
        ask: impl AsyncFn(Connection) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut retry = Retry::within(self.client.options().api_timeout);
        loop {
            let outcome = match self.connection().await {
                Ok(connection) => ask(connection).await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(value) => return Ok(value),
                Err(error) => {
                    self.look_at(&error);
                    retry.after(what, error).await?;
                }
            }
        }
    }

    async fn find(&self) -> Result<(String, u16), ClientError> {
        let connection = self.client.any().await?;
        let version = connection.version_of(ApiKey::FindCoordinator)?;
        let request = FindCoordinatorRequest {
            key: &self.key,
            key_type: self.of as i8,
            coordinator_keys: if version >= KEYS_FROM { vec![&self.key] } else { Vec::new() },
        };
        let reply = connection.call_at(version, &request).await?;
        let response: FindCoordinatorResponse = reply.body()?;
        let what = match self.of {
            CoordinatorOf::Group => format!("the coordinator of group {}", self.key),
            CoordinatorOf::Transaction => format!("the coordinator of transactional id {}", self.key),
        };
        let (code, message, host, port) = match response.coordinators.first() {
            Some(found) => (found.error_code, found.error_message, found.host, found.port),
            None => (response.error_code, response.error_message, response.host, response.port),
        };
        code.ok().map_err(|code| ClientError::refused(&what, code, message))?;
        let port = u16::try_from(port).ok().filter(|_| !host.is_empty());
        let port = port.ok_or_else(|| ClientError::refused(&what, ErrorCode::CoordinatorNotAvailable, None))?;
        Ok((host.to_string(), port))
    }
}
