//! The columns of the tables of schema `live`: names, types and order are PgBouncer's, behind a `customer` of ours.
//!
//! Source: PgBouncer's manual, "Show commands"

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

/// What a table shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::console) enum What {
    Pools,
    Clients,
    Servers,
    Stats,
    Databases,
    Lists,
    Config,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Int4,
    Numeric,
}

pub(super) type Columns = &'static [(&'static str, Kind)];

const POOLS: Columns = &[
    ("database", Kind::Text),
    ("user", Kind::Text),
    ("cl_active", Kind::Int4),
    ("cl_waiting", Kind::Int4),
    ("cl_active_cancel_req", Kind::Int4),
    ("cl_waiting_cancel_req", Kind::Int4),
    ("sv_active", Kind::Int4),
    ("sv_active_cancel", Kind::Int4),
    ("sv_being_canceled", Kind::Int4),
    ("sv_idle", Kind::Int4),
    ("sv_used", Kind::Int4),
    ("sv_tested", Kind::Int4),
    ("sv_login", Kind::Int4),
    ("maxwait", Kind::Int4),
    ("maxwait_us", Kind::Int4),
    ("pool_mode", Kind::Text),
    ("load_balance_hosts", Kind::Text),
];

const SOCKETS: Columns = &[
    ("type", Kind::Text),
    ("user", Kind::Text),
    ("database", Kind::Text),
    ("replication", Kind::Text),
    ("state", Kind::Text),
    ("addr", Kind::Text),
    ("port", Kind::Int4),
    ("local_addr", Kind::Text),
    ("local_port", Kind::Int4),
    ("connect_time", Kind::Text),
    ("request_time", Kind::Text),
    ("wait", Kind::Int4),
    ("wait_us", Kind::Int4),
    ("close_needed", Kind::Int4),
    ("ptr", Kind::Text),
    ("link", Kind::Text),
    ("remote_pid", Kind::Int4),
    ("tls", Kind::Text),
    ("application_name", Kind::Text),
    ("prepared_statements", Kind::Int4),
    ("id", Kind::Int4),
];

const STATS: Columns = &[
    ("database", Kind::Text),
    ("total_server_assignment_count", Kind::Numeric),
    ("total_xact_count", Kind::Numeric),
    ("total_query_count", Kind::Numeric),
    ("total_received", Kind::Numeric),
    ("total_sent", Kind::Numeric),
    ("total_xact_time", Kind::Numeric),
    ("total_query_time", Kind::Numeric),
    ("total_wait_time", Kind::Numeric),
    ("total_client_parse_count", Kind::Numeric),
    ("total_server_parse_count", Kind::Numeric),
    ("total_bind_count", Kind::Numeric),
    ("avg_server_assignment_count", Kind::Numeric),
    ("avg_xact_count", Kind::Numeric),
    ("avg_query_count", Kind::Numeric),
    ("avg_recv", Kind::Numeric),
    ("avg_sent", Kind::Numeric),
    ("avg_xact_time", Kind::Numeric),
    ("avg_query_time", Kind::Numeric),
    ("avg_wait_time", Kind::Numeric),
    ("avg_client_parse_count", Kind::Numeric),
    ("avg_server_parse_count", Kind::Numeric),
    ("avg_bind_count", Kind::Numeric),
];

const DATABASES: Columns = &[
    ("name", Kind::Text),
    ("host", Kind::Text),
    ("port", Kind::Int4),
    ("database", Kind::Text),
    ("force_user", Kind::Text),
    ("pool_size", Kind::Int4),
    ("min_pool_size", Kind::Int4),
    ("reserve_pool_size", Kind::Int4),
    ("server_lifetime", Kind::Int4),
    ("pool_mode", Kind::Text),
    ("load_balance_hosts", Kind::Text),
    ("max_connections", Kind::Int4),
    ("current_connections", Kind::Int4),
    ("max_client_connections", Kind::Int4),
    ("current_client_connections", Kind::Int4),
    ("paused", Kind::Int4),
    ("disabled", Kind::Int4),
];

const LISTS: Columns = &[("list", Kind::Text), ("items", Kind::Int4)];

const CONFIG: Columns =
    &[("key", Kind::Text), ("value", Kind::Text), ("default", Kind::Text), ("changeable", Kind::Text)];

impl What {
    /// The row of the console's own database in SQL; `None`: there is none.
    pub(in crate::console) fn own_row(self) -> Option<String> {
        if !matches!(self, Self::Pools | Self::Stats | Self::Databases) {
            return None;
        }
        let value = |(name, kind): &(&'static str, Kind)| match (*name, kind) {
            ("database" | "user" | "name" | "force_user", _) => "'pgbouncer'",
            ("pool_mode", _) => "'statement'",
            ("cl_active" | "current_client_connections", _) => "CAST(1 AS INT)",
            (_, Kind::Text) => "CAST(NULL AS TEXT)",
            (_, Kind::Int4) => "CAST(0 AS INT)",
            (_, Kind::Numeric) => "CAST(0 AS DECIMAL(38,0))",
        };
        Some(self.columns().iter().map(value).collect::<Vec<_>>().join(", "))
    }

    pub(in crate::console) const ALL: [Self; 7] =
        [Self::Pools, Self::Clients, Self::Servers, Self::Stats, Self::Databases, Self::Lists, Self::Config];

    /// The table's name in schema `live`, which is PgBouncer's word too.
    pub(in crate::console) const fn name(self) -> &'static str {
        match self {
            Self::Pools => "pools",
            Self::Clients => "clients",
            Self::Servers => "servers",
            Self::Stats => "stats",
            Self::Databases => "databases",
            Self::Lists => "lists",
            Self::Config => "config",
        }
    }

    pub(super) const fn columns(self) -> Columns {
        match self {
            Self::Pools => POOLS,
            Self::Clients | Self::Servers => SOCKETS,
            Self::Stats => STATS,
            Self::Databases => DATABASES,
            Self::Lists => LISTS,
            Self::Config => CONFIG,
        }
    }

    /// The names of PgBouncer's columns, in their order.
    pub(in crate::console) fn names(self) -> impl Iterator<Item = &'static str> {
        self.columns().iter().map(|(name, _)| *name)
    }

    pub(super) fn schema(self) -> SchemaRef {
        let fields = self.columns().iter().map(|(name, kind)| {
            let kind = match kind {
                Kind::Text => DataType::Utf8,
                Kind::Int4 => DataType::Int32,
                Kind::Numeric => DataType::Decimal128(38, 0),
            };
            Field::new(*name, kind, true)
        });
        let customer = Field::new("customer", DataType::Utf8, true);
        Arc::new(Schema::new(std::iter::once(customer).chain(fields).collect::<Vec<_>>()))
    }
}
