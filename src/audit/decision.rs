//! What OneVault itself decided, where it did more than pass on: whom or what it refused, what it ended, and by which rule.
//!
//! What always holds: what was let through says nothing; a rule's number and name are part of the format of records and never
//! change; new ones come behind.

use super::record::named;

/// A decision and its rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// All backends that a limit allows were in use for as long as one may wait.
    BackendLimit,
    /// The database could not be reached, or would not have its role.
    NoBackend,
    /// The session's settings could not be said to a backend in the time that it allows its statements.
    SettingsTimeout,
    /// The server refuses a setting that it took before; nothing runs without it.
    SettingsLost,
    /// It was cancelled while it waited for a backend.
    CancelledWaiting,
    /// A prepared statement would show other columns than its client knows.
    ChangedResult,
    /// The name is that of a prepared statement that lives.
    NameTaken,
    /// The name is like OneVault's own, and not one that the client has made.
    NameReserved,
    /// A limit on clients.
    ClientLimit,
    /// The login is not proven.
    Login,
    /// The customer is suspended.
    CustomerSuspended,
    /// The login is disabled, or its time is over.
    LoginNotInForce,
    /// The login may not go where it wants to, or there is no such place.
    Route,
    /// TLS is demanded.
    NoTls,
    /// What was said before or during the login breaks the protocol or was not TLS.
    Greeting,
    /// The login took too long.
    LoginTimeout,
    /// A replication connection.
    Replication,
    /// The process is ending.
    Draining,
    /// A cancel request with a key that nobody has.
    CancelKey,
    /// A cancel request while nothing of its session ran.
    CancelNothing,
    /// A read of the log that would write.
    ReadOnly,
    /// A read of the log that its login may not do.
    NotPermitted,
    /// A limit on reads of the log: time, rows, memory, length or number of them.
    ReadLimit,
    /// The log cannot take a record.
    AuditLog,
    /// The client broke the protocol.
    EndedProtocol,
    /// The database broke the protocol.
    EndedDatabaseProtocol,
    /// The log could not take a record any more.
    EndedAuditLog,
    /// The process was ending.
    EndedShutdown,
    /// The client was idle in a transaction for too long.
    EndedIdleInTransaction,
    /// The client was idle for too long.
    EndedIdleSession,
    /// The client left while it ran, and so it was stopped.
    EndedClientLeft,
}

named!(Decision {
    BackendLimit = 1 "refused:backend_limit",
    NoBackend = 2 "refused:no_backend",
    SettingsTimeout = 3 "refused:settings_timeout",
    SettingsLost = 4 "refused:settings_lost",
    CancelledWaiting = 5 "refused:cancelled_waiting",
    ChangedResult = 6 "refused:changed_result",
    NameTaken = 7 "refused:name_taken",
    NameReserved = 8 "refused:name_reserved",
    ClientLimit = 9 "refused:client_limit",
    Login = 10 "refused:login",
    CustomerSuspended = 11 "refused:customer_suspended",
    LoginNotInForce = 12 "refused:login_not_in_force",
    Route = 13 "refused:route",
    NoTls = 14 "refused:no_tls",
    Greeting = 15 "refused:greeting",
    LoginTimeout = 16 "refused:login_timeout",
    Replication = 17 "refused:replication",
    Draining = 18 "refused:draining",
    CancelKey = 19 "refused:cancel_key",
    CancelNothing = 20 "refused:cancel_nothing",
    ReadOnly = 21 "refused:read_only",
    NotPermitted = 22 "refused:not_permitted",
    ReadLimit = 23 "refused:read_limit",
    AuditLog = 24 "refused:audit_log",
    EndedProtocol = 25 "ended:protocol",
    EndedDatabaseProtocol = 26 "ended:database_protocol",
    EndedAuditLog = 27 "ended:audit_log",
    EndedShutdown = 28 "ended:shutdown",
    EndedIdleInTransaction = 29 "ended:idle_in_transaction",
    EndedIdleSession = 30 "ended:idle_session",
    EndedClientLeft = 31 "ended:client_left",
});

#[cfg(test)]
mod tests {
    use super::*;

    /// What is on disk is read with these for years.
    #[test]
    fn numbers_of_decisions_go_on_from_one_and_names_are_different() {
        for (number, decision) in Decision::ALL.iter().enumerate() {
            assert_eq!(usize::from(decision.code()), number + 1);
            assert_eq!(Decision::from_code(decision.code()), Some(*decision));
            assert!(["refused:", "ended:"].iter().any(|what| decision.name().starts_with(what)));
            let same = Decision::ALL.iter().filter(|other| other.name() == decision.name());
            assert_eq!(same.count(), 1, "{}", decision.name());
        }
        assert_eq!((Decision::from_code(0), Decision::ALL.len()), (None, 31));
    }
}
