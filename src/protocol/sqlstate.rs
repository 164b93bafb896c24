//! Error codes.
//!
//! Source: errcodes-appendix

use std::fmt;

/// Five characters that say what kind of error it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState(pub [u8; 5]);

macro_rules! states {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        impl SqlState {
            $($(#[$doc])* pub const $name: Self = Self(*$code);)*
        }
    };
}

states! {
    /// successful_completion
    SUCCESSFUL_COMPLETION = b"00000";
    /// connection_exception
    CONNECTION_EXCEPTION = b"08000";
    /// connection_failure
    CONNECTION_FAILURE = b"08006";
    /// protocol_violation
    PROTOCOL_VIOLATION = b"08P01";
    /// feature_not_supported
    FEATURE_NOT_SUPPORTED = b"0A000";
    /// data_exception
    DATA_EXCEPTION = b"22000";
    /// numeric_value_out_of_range
    NUMERIC_VALUE_OUT_OF_RANGE = b"22003";
    /// invalid_datetime_format
    INVALID_DATETIME_FORMAT = b"22007";
    /// datetime_field_overflow
    DATETIME_FIELD_OVERFLOW = b"22008";
    /// invalid_time_zone_displacement_value
    INVALID_TIME_ZONE_DISPLACEMENT = b"22009";
    /// invalid_parameter_value
    INVALID_PARAMETER_VALUE = b"22023";
    /// invalid_text_representation
    INVALID_TEXT_REPRESENTATION = b"22P02";
    /// active_sql_transaction
    ACTIVE_SQL_TRANSACTION = b"25001";
    /// read_only_sql_transaction
    READ_ONLY_TRANSACTION = b"25006";
    /// no_active_sql_transaction
    NO_ACTIVE_TRANSACTION = b"25P01";
    /// in_failed_sql_transaction
    IN_FAILED_TRANSACTION = b"25P02";
    /// idle_in_transaction_session_timeout
    IDLE_IN_TRANSACTION_TIMEOUT = b"25P03";
    /// invalid_authorization_specification
    INVALID_AUTHORIZATION = b"28000";
    /// invalid_password
    INVALID_PASSWORD = b"28P01";
    /// invalid_catalog_name: the database does not exist
    INVALID_CATALOG_NAME = b"3D000";
    /// invalid_savepoint_specification
    INVALID_SAVEPOINT = b"3B001";
    /// invalid_sql_statement_name
    INVALID_STATEMENT_NAME = b"26000";
    /// invalid_cursor_name: no such portal
    INVALID_CURSOR_NAME = b"34000";
    /// syntax_error_or_access_rule_violation
    SYNTAX_ERROR_OR_ACCESS = b"42000";
    /// syntax_error
    SYNTAX_ERROR = b"42601";
    /// undefined_column
    UNDEFINED_COLUMN = b"42703";
    /// undefined_object
    UNDEFINED_OBJECT = b"42704";
    /// undefined_function
    UNDEFINED_FUNCTION = b"42883";
    /// undefined_table
    UNDEFINED_TABLE = b"42P01";
    /// duplicate_cursor
    DUPLICATE_CURSOR = b"42P03";
    /// duplicate_prepared_statement
    DUPLICATE_STATEMENT = b"42P05";
    /// insufficient_privilege
    INSUFFICIENT_PRIVILEGE = b"42501";
    /// out_of_memory
    OUT_OF_MEMORY = b"53200";
    /// too_many_connections
    TOO_MANY_CONNECTIONS = b"53300";
    /// program_limit_exceeded
    PROGRAM_LIMIT_EXCEEDED = b"54000";
    /// statement_too_complex
    STATEMENT_TOO_COMPLEX = b"54001";
    /// object_not_in_prerequisite_state: `lastval()` and `currval()` where no sequence has stepped, among others
    NOT_IN_PREREQUISITE_STATE = b"55000";
    /// query_canceled
    QUERY_CANCELED = b"57014";
    /// admin_shutdown
    ADMIN_SHUTDOWN = b"57P01";
    /// cannot_connect_now
    CANNOT_CONNECT_NOW = b"57P03";
    /// idle_session_timeout
    IDLE_SESSION_TIMEOUT = b"57P05";
    /// io_error
    IO_ERROR = b"58030";
    /// internal_error
    INTERNAL_ERROR = b"XX000";
}

impl SqlState {
    /// The code as text; a server may send what it likes, so anything but ASCII reads `?`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("?????")
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
