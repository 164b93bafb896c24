//! Schema `pg_catalog`, as it is here: what the engine's own has, less what is not true of these tables, and what it lacks.
//!
//! What always holds: of what is not there a table is empty; the one role is the session's login; verifiers are nowhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{ArrayRef, BooleanArray, Int32Array, RecordBatch, StringArray, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::{MemTable, SchemaProvider, TableProvider};
use datafusion::common::{Column, ScalarValue};
use datafusion::datasource::{TableType, ViewTable, provider_as_source};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, lit};
use datafusion::prelude::SessionContext;

use super::dialect::ABSENT;
use super::settings::{self, Told};
use crate::customers::RESERVED_DATABASE;

/// Columns of tables that the engine does not know: `b` boolean, `i` int4, `l` int8, `t` text, `z` timestamptz.
const LACKING: [(&str, &str); 28] = [
    ("pg_seclabels", "objoid:i classoid:i objsubid:i objtype:t objnamespace:i objname:t provider:t label:t"),
    (
        "pg_stat_all_tables",
        "relid:i schemaname:t relname:t seq_scan:l seq_tup_read:l idx_scan:l idx_tup_fetch:l n_tup_ins:l n_tup_upd:l \
         n_tup_del:l n_tup_hot_upd:l n_live_tup:l n_dead_tup:l n_mod_since_analyze:l n_ins_since_vacuum:l last_vacuum:z \
         last_autovacuum:z last_analyze:z last_autoanalyze:z vacuum_count:l autovacuum_count:l analyze_count:l \
         autoanalyze_count:l last_seq_scan:z last_idx_scan:z n_tup_newpage_upd:l",
    ),
    (
        "pg_stat_all_indexes",
        "relid:i indexrelid:i schemaname:t relname:t indexrelname:t idx_scan:l idx_tup_read:l idx_tup_fetch:l last_idx_scan:z",
    ),
    (
        "pg_stat_database",
        "datid:i datname:t numbackends:i xact_commit:l xact_rollback:l blks_read:l blks_hit:l tup_returned:l tup_fetched:l \
         tup_inserted:l tup_updated:l tup_deleted:l conflicts:l temp_files:l temp_bytes:l deadlocks:l checksum_failures:l \
         blk_read_time:l blk_write_time:l session_time:l active_time:l idle_in_transaction_time:l sessions:l \
         sessions_abandoned:l sessions_fatal:l sessions_killed:l stats_reset:z",
    ),
    (
        "pg_stat_database_conflicts",
        "datid:i datname:t confl_tablespace:l confl_lock:l confl_snapshot:l confl_bufferpin:l confl_deadlock:l \
         confl_active_logicalslot:l",
    ),
    ("pg_stat_user_functions", "funcid:i schemaname:t funcname:t calls:l total_time:l self_time:l"),
    ("pg_statio_all_sequences", "relid:i schemaname:t relname:t blks_read:l blks_hit:l"),
    (
        "pg_statio_all_tables",
        "relid:i schemaname:t relname:t heap_blks_read:l heap_blks_hit:l idx_blks_read:l idx_blks_hit:l toast_blks_read:l \
         toast_blks_hit:l tidx_blks_read:l tidx_blks_hit:l",
    ),
    ("pg_available_extensions", "name:t default_version:t installed_version:t comment:t"),
    ("pg_cursors", "name:t statement:t is_holdable:b is_binary:b is_scrollable:b creation_time:z"),
    ("pg_group", "groname:t grosysid:i grolist:t"),
    ("pg_indexes", "schemaname:t tablename:t indexname:t tablespace:t indexdef:t"),
    (
        "pg_locks",
        "locktype:t database:i relation:i page:i tuple:i virtualxid:t transactionid:i classid:i objid:i objsubid:i \
         virtualtransaction:t pid:i mode:t granted:b fastpath:b waitstart:z",
    ),
    ("pg_parameter_acl", "oid:i parname:t paracl:a"),
    ("pg_policies", "schemaname:t tablename:t policyname:t permissive:t roles:t cmd:t qual:t with_check:t"),
    ("pg_prepared_statements", "name:t statement:t prepare_time:z parameter_types:t from_sql:b"),
    ("pg_prepared_xacts", "transaction:i gid:t prepared:z owner:t database:t"),
    ("pg_publication_tables", "pubname:t schemaname:t tablename:t attnames:t rowfilter:t"),
    ("pg_rules", "schemaname:t tablename:t rulename:t definition:t"),
    (
        "pg_sequences",
        "schemaname:t sequencename:t sequenceowner:t data_type:t start_value:l min_value:l max_value:l increment_by:l \
         cycle:b cache_size:l last_value:l",
    ),
    (
        "pg_stat_activity",
        "datid:i datname:t pid:i leader_pid:i usesysid:i usename:t application_name:t client_addr:t client_hostname:t \
         client_port:i backend_start:z xact_start:z query_start:z state_change:z wait_event_type:t wait_event:t state:t \
         backend_xid:i backend_xmin:i query_id:l query:t backend_type:t",
    ),
    (
        "pg_stat_subscription",
        "subid:i subname:t worker_type:t pid:i leader_pid:i relid:i received_lsn:t last_msg_send_time:z \
         last_msg_receipt_time:z latest_end_lsn:t latest_end_time:z",
    ),
    (
        "pg_stat_replication",
        "pid:i usesysid:i usename:t application_name:t client_addr:t client_hostname:t client_port:i backend_start:z \
         backend_xmin:i state:t sent_lsn:t write_lsn:t flush_lsn:t replay_lsn:t write_lag:t flush_lag:t replay_lag:t \
         sync_priority:i sync_state:t reply_time:z",
    ),
    ("pg_stat_ssl", "pid:i ssl:b version:t cipher:t bits:i client_dn:t client_serial:t issuer_dn:t"),
    ("pg_stats", "schemaname:t tablename:t attname:t inherited:b null_frac:i avg_width:i n_distinct:i"),
    ("pg_transform", "oid:i trftype:i trflang:i trffromsql:i trftosql:i"),
    ("pg_ts_config_map", "mapcfg:i maptokentype:i mapseqno:i mapdict:i"),
    ("pg_user_mappings", "umid:i srvid:i srvname:t umuser:i usename:t umoptions:t"),
];

/// Where PostgreSQL has the tables of [`INFORMATION`]; the engine has a schema of that name, without them.
pub(super) const INFORMATION_SCHEMA: &str = "information_schema";

/// Empty tables of `information_schema`, with their columns in the same letters: there are no keys, triggers and privileges.
const INFORMATION: [(&str, &str); 14] = [
    ("check_constraints", "constraint_catalog constraint_schema constraint_name check_clause"),
    (
        "column_privileges",
        "grantor grantee table_catalog table_schema table_name column_name privilege_type is_grantable",
    ),
    (
        "constraint_column_usage",
        "table_catalog table_schema table_name column_name constraint_catalog constraint_schema constraint_name",
    ),
    (
        "key_column_usage",
        "constraint_catalog constraint_schema constraint_name table_catalog table_schema table_name column_name \
         ordinal_position:i position_in_unique_constraint:i",
    ),
    (
        "referential_constraints",
        "constraint_catalog constraint_schema constraint_name unique_constraint_catalog unique_constraint_schema \
         unique_constraint_name match_option update_rule delete_rule",
    ),
    (
        "role_column_grants",
        "grantor grantee table_catalog table_schema table_name column_name privilege_type is_grantable",
    ),
    (
        "role_table_grants",
        "grantor grantee table_catalog table_schema table_name privilege_type is_grantable with_hierarchy",
    ),
    (
        "routine_privileges",
        "grantor grantee specific_catalog specific_schema specific_name routine_catalog routine_schema routine_name \
         privilege_type is_grantable",
    ),
    (
        "sequences",
        "sequence_catalog sequence_schema sequence_name data_type numeric_precision:i numeric_precision_radix:i \
         numeric_scale:i start_value minimum_value maximum_value increment cycle_option",
    ),
    (
        "table_constraints",
        "constraint_catalog constraint_schema constraint_name table_catalog table_schema table_name constraint_type \
         is_deferrable initially_deferred enforced nulls_distinct",
    ),
    (
        "table_privileges",
        "grantor grantee table_catalog table_schema table_name privilege_type is_grantable with_hierarchy",
    ),
    (
        "triggers",
        "trigger_catalog trigger_schema trigger_name event_manipulation event_object_catalog event_object_schema \
         event_object_table action_order:i action_condition action_statement action_orientation action_timing \
         action_reference_old_table action_reference_new_table created:z",
    ),
    (
        "usage_privileges",
        "grantor grantee object_catalog object_schema object_name object_type privilege_type is_grantable",
    ),
    ("view_table_usage", "view_catalog view_schema view_name table_catalog table_schema table_name"),
];

/// Under which name this schema has a table that the engine's `information_schema` lacks.
pub(super) fn place_of(table: &str) -> Option<String> {
    let is_known = INFORMATION.iter().any(|(known, _)| *known == table);
    is_known.then(|| format!("{INFORMATION_SCHEMA}.{table}"))
}

/// The columns of an empty table that the engine lacks, by the name that it has in this schema.
fn columns_of_lacking(name: &str) -> Option<&'static str> {
    let of_information = name.strip_prefix(INFORMATION_SCHEMA).and_then(|rest| rest.strip_prefix('.'));
    let (tables, name) =
        of_information.map_or((LACKING.as_slice(), name), |table| (INFORMATION.as_slice(), table));
    tables.iter().find(|(lacking, _)| *lacking == name).map(|(_, columns)| *columns)
}

/// Columns that the engine's tables lack, in the same letters, `a` for a list of texts.
const LACKING_COLUMNS: [(&str, &str); 9] = [
    ("pg_cast", "tableoid:i"),
    ("pg_class", "reloptions:a tableoid:i xmin:i"),
    ("pg_collation", "colliculocale:t"),
    ("pg_conversion", "tableoid:i"),
    ("pg_database", "datcollversion:t"),
    ("pg_language", "tableoid:i"),
    ("pg_namespace", "tableoid:i"),
    ("pg_proc", "tableoid:i"),
    ("pg_type", "tableoid:i"),
];

/// The session's login, as a role: the tables that show it, their columns, and what is in them.
const OWNER_OID: i32 = 10;

/// The schema of one session.
#[derive(Debug)]
pub(super) struct Catalogue {
    engines: Arc<dyn SchemaProvider>,
    login: String,
    told: Told,
    /// Whether all objects have their numbers, or are about to get them.
    numbered: AtomicBool,
}

fn schema(columns: &str) -> SchemaRef {
    let field = |column: &str| {
        let (name, letter) = column.split_once(':').unwrap_or((column, "t"));
        let kind = match letter {
            "b" => DataType::Boolean,
            "i" => DataType::Int32,
            "l" => DataType::Int64,
            "a" => DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
            "z" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            _ => DataType::Utf8,
        };
        Field::new(name, kind, true)
    };
    Arc::new(Schema::new(columns.split_whitespace().map(field).collect::<Vec<_>>()))
}

fn table(schema: SchemaRef, rows: Vec<RecordBatch>) -> Result<Option<Arc<dyn TableProvider>>> {
    Ok(Some(Arc::new(MemTable::try_new(schema, vec![rows])?)))
}

/// A table of one row.
fn one(schema: SchemaRef, values: &[(&str, ArrayRef)]) -> Result<Option<Arc<dyn TableProvider>>> {
    let arrays = schema.fields().iter().map(|field| {
        let known = values
            .iter()
            .find(|(name, array)| name == field.name() && array.data_type() == field.data_type());
        known.map_or_else(|| new_null_array(field.data_type(), 1), |(_, array)| Arc::clone(array))
    });
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays.collect())?;
    table(schema, vec![batch])
}

/// Gives all objects their numbers, in the order of their names, so that they are the same in each session.
async fn number(engines: &dyn SchemaProvider) -> Result<()> {
    if let Some(classes) = engines.table("pg_class").await? {
        SessionContext::new().read_table(classes)?.collect().await?;
    }
    Ok(())
}

fn has_privileges(table: &Arc<dyn TableProvider>) -> bool {
    let schema = table.schema();
    schema.fields().iter().any(|field| field.name().ends_with("acl") && *field.data_type() == DataType::Utf8)
}

impl Catalogue {
    pub(super) fn new(engines: Arc<dyn SchemaProvider>, login: &str, told: &Told) -> Self {
        Self { engines, login: login.to_owned(), told: told.clone(), numbered: AtomicBool::new(false) }
    }

    fn name(&self) -> ArrayRef {
        Arc::new(StringArray::from(vec![self.login.as_str()]))
    }

    /// `pg_roles`, with the columns that the engine's has; settings of a role are a list.
    fn roles(&self, engines: &Schema) -> Result<Option<Arc<dyn TableProvider>>> {
        let list = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
        let field = |field: &Arc<Field>| match field.name().as_str() {
            "rolconfig" => Field::new("rolconfig", list.clone(), true),
            _ => field.as_ref().clone(),
        };
        let schema = Arc::new(Schema::new(engines.fields().iter().map(field).collect::<Vec<_>>()));
        let flag = |is: bool| -> ArrayRef { Arc::new(BooleanArray::from(vec![is])) };
        let number = |number: i32| -> ArrayRef { Arc::new(Int32Array::from(vec![number])) };
        let values = [
            ("rolname", self.name()),
            ("rolsuper", flag(false)),
            ("rolinherit", flag(true)),
            ("rolcreaterole", flag(false)),
            ("rolcreatedb", flag(false)),
            ("rolcanlogin", flag(true)),
            ("rolreplication", flag(false)),
            ("rolbypassrls", flag(false)),
            ("rolconnlimit", number(-1)),
            ("oid", number(OWNER_OID)),
        ];
        one(schema, &values)
    }

    /// A table of the engine's with the columns it lacks. Privileges are lists: NULL, but for what the tables let the login do.
    fn completed(
        &self,
        name: &str,
        engines: Arc<dyn TableProvider>,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        let list = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
        let null = |kind: &DataType| ScalarValue::try_from(kind).map(lit);
        let mut columns = Vec::new();
        for field in engines.schema().fields() {
            let column = Expr::Column(Column::from_name(field.name()));
            let is_privilege = field.name().ends_with("acl") && *field.data_type() == DataType::Utf8;
            columns.push(if is_privilege { null(&list)?.alias(field.name()) } else { column });
        }
        if name == "pg_class" {
            let login = &self.login;
            let reads = [ScalarValue::Utf8(Some(format!("{login}=r/{login}")))];
            let reads = ScalarValue::List(ScalarValue::new_list_nullable(&reads, &DataType::Utf8));
            columns.push(lit(reads).alias("relacl"));
        }
        let lacking = LACKING_COLUMNS.iter().find(|(table, _)| *table == name);
        for field in schema(lacking.map_or("", |(_, columns)| columns)).fields() {
            columns.push(null(field.data_type())?.alias(field.name()));
        }
        let mut plan = LogicalPlanBuilder::scan(name, provider_as_source(engines), None)?;
        if name == "pg_database" {
            // There is this one.
            plan = plan.filter(Expr::Column(Column::from_name("datname")).eq(lit(RESERVED_DATABASE)))?;
        }
        let plan = plan.project(columns)?.build()?;
        Ok(Some(Arc::new(ViewTable::new(plan, None))))
    }

    /// `pg_settings`, with what `SHOW` says at this moment.
    fn settings(&self) -> Result<Option<Arc<dyn TableProvider>>> {
        let columns = "name:t setting:t unit:t category:t short_desc:t extra_desc:t context:t vartype:t source:t min_val:t \
                       max_val:t enumvals:a boot_val:t reset_val:t sourcefile:t sourceline:i pending_restart:b";
        let schema = schema(columns);
        let texts = |of: &dyn Fn((&'static str, &'static str)) -> &'static str| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(settings::known().map(of)))
        };
        let count = settings::known().count();
        let arrays = schema.fields().iter().map(|field| match field.name().as_str() {
            "name" => texts(&|(name, _)| name),
            "setting" => {
                let now =
                    |(name, first): (&str, &str)| self.told.of(name).unwrap_or_else(|| first.to_owned());
                Arc::new(StringArray::from_iter_values(settings::known().map(now)))
            }
            "boot_val" | "reset_val" => texts(&|(_, value)| value),
            "context" => texts(&|_| "user"),
            "vartype" => texts(&|_| "string"),
            "source" => texts(&|_| "default"),
            "pending_restart" => Arc::new(BooleanArray::from(vec![false; count])),
            _ => new_null_array(field.data_type(), count),
        });
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays.collect())?;
        table(schema, vec![batch])
    }

    fn user(&self) -> Result<Option<Arc<dyn TableProvider>>> {
        let columns = "usename:t usesysid:i usecreatedb:b usesuper:b userepl:b usebypassrls:b passwd:t valuntil:z useconfig:t";
        let number = |number: i32| -> ArrayRef { Arc::new(Int32Array::from(vec![number])) };
        let flag = |is: bool| -> ArrayRef { Arc::new(BooleanArray::from(vec![is])) };
        let values = [
            ("usename", self.name()),
            ("usesysid", number(OWNER_OID)),
            ("usecreatedb", flag(false)),
            ("usesuper", flag(false)),
            ("userepl", flag(false)),
            ("usebypassrls", flag(false)),
        ];
        one(schema(columns), &values)
    }
}

#[async_trait]
impl SchemaProvider for Catalogue {
    fn table_names(&self) -> Vec<String> {
        let mut names = self.engines.table_names();
        names.extend(LACKING.iter().map(|(name, _)| (*name).to_owned()));
        names.push("pg_user".to_owned());
        names.sort_unstable();
        names.dedup();
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let name = name.to_ascii_lowercase();
        let name = name.as_str();
        if name == "pg_user" {
            return self.user();
        }
        if let Some(columns) = columns_of_lacking(name) {
            return table(schema(columns), Vec::new());
        }
        if name == "pg_settings" {
            return self.settings();
        }
        // Numbering them asks for all tables, these among them.
        if !self.numbered.swap(true, Ordering::Relaxed) {
            number(self.engines.as_ref()).await?;
        }
        let found = self.engines.table(name).await?;
        match found {
            Some(engines) if name == "pg_roles" => self.roles(&engines.schema()),
            Some(engines) if ABSENT.contains(&name) => table(engines.schema(), Vec::new()),
            Some(engines)
                if has_privileges(&engines) || LACKING_COLUMNS.iter().any(|(table, _)| *table == name) =>
            {
                self.completed(name, engines)
            }
            other => Ok(other),
        }
    }

    /// Nothing here is a view: there are no rules.
    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        Ok(self.table_exist(name).then_some(TableType::Base))
    }

    fn table_exist(&self, name: &str) -> bool {
        name == "pg_user" || columns_of_lacking(name).is_some() || self.engines.table_exist(name)
    }
}
