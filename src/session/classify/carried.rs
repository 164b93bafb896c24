//! Settings that can be carried from backend to backend by saying them again.
//!
//! Those that any user may set, of PostgreSQL 14 to 18 (`pg_settings`, context `user`), less those whose check may fail
//! when they are said again on another backend, or which change how a text is read.

/// Sorted, in lower case.
const CARRIED: [&str; 139] = [
    "application_name",
    "array_nulls",
    "backend_flush_after",
    "bytea_output",
    "check_function_bodies",
    "client_connection_check_interval",
    "client_min_messages",
    "commit_siblings",
    "constraint_exclusion",
    "cpu_index_tuple_cost",
    "cpu_operator_cost",
    "cpu_tuple_cost",
    "createrole_self_grant",
    "cursor_tuple_fraction",
    "datestyle",
    "debug_logical_replication_streaming",
    "debug_parallel_query",
    "debug_pretty_print",
    "debug_print_parse",
    "debug_print_plan",
    "debug_print_rewritten",
    "default_statistics_target",
    "default_toast_compression",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "effective_cache_size",
    "effective_io_concurrency",
    "enable_async_append",
    "enable_bitmapscan",
    "enable_distinct_reordering",
    "enable_gathermerge",
    "enable_group_by_reordering",
    "enable_hashagg",
    "enable_hashjoin",
    "enable_incremental_sort",
    "enable_indexonlyscan",
    "enable_indexscan",
    "enable_material",
    "enable_memoize",
    "enable_mergejoin",
    "enable_nestloop",
    "enable_parallel_append",
    "enable_parallel_hash",
    "enable_partition_pruning",
    "enable_partitionwise_aggregate",
    "enable_partitionwise_join",
    "enable_presorted_aggregate",
    "enable_self_join_elimination",
    "enable_seqscan",
    "enable_sort",
    "enable_tidscan",
    "exit_on_error",
    "extra_float_digits",
    "file_copy_method",
    "force_parallel_mode",
    "from_collapse_limit",
    "geqo",
    "geqo_effort",
    "geqo_generations",
    "geqo_pool_size",
    "geqo_seed",
    "geqo_selection_bias",
    "geqo_threshold",
    "gin_fuzzy_search_limit",
    "gin_pending_list_limit",
    "hash_mem_multiplier",
    "icu_validation_level",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "intervalstyle",
    "io_combine_limit",
    "jit",
    "jit_above_cost",
    "jit_expressions",
    "jit_inline_above_cost",
    "jit_optimize_above_cost",
    "jit_tuple_deforming",
    "join_collapse_limit",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "lock_timeout",
    "log_parameter_max_length_on_error",
    "logical_decoding_work_mem",
    "maintenance_io_concurrency",
    "maintenance_work_mem",
    "max_parallel_maintenance_workers",
    "max_parallel_workers",
    "max_parallel_workers_per_gather",
    "md5_password_warnings",
    "min_parallel_index_scan_size",
    "min_parallel_table_scan_size",
    "parallel_leader_participation",
    "parallel_setup_cost",
    "parallel_tuple_cost",
    "password_encryption",
    "plan_cache_mode",
    "quote_all_identifiers",
    "random_page_cost",
    "recursive_worktable_factor",
    "restrict_nonsystem_relation_kind",
    "row_security",
    "scram_iterations",
    "search_path",
    "seq_page_cost",
    "statement_timeout",
    "stats_fetch_consistency",
    "synchronize_seqscans",
    "synchronous_commit",
    "tcp_keepalives_count",
    "tcp_keepalives_idle",
    "tcp_keepalives_interval",
    "tcp_user_timeout",
    "timezone",
    "timezone_abbreviations",
    "trace_notify",
    "trace_sort",
    "transaction_timeout",
    "transform_null_equals",
    "vacuum_buffer_usage_limit",
    "vacuum_cost_delay",
    "vacuum_cost_limit",
    "vacuum_cost_page_dirty",
    "vacuum_cost_page_hit",
    "vacuum_cost_page_miss",
    "vacuum_failsafe_age",
    "vacuum_freeze_min_age",
    "vacuum_freeze_table_age",
    "vacuum_max_eager_freeze_failure_rate",
    "vacuum_multixact_failsafe_age",
    "vacuum_multixact_freeze_min_age",
    "vacuum_multixact_freeze_table_age",
    "vacuum_truncate",
    "wal_sender_timeout",
    "wal_skip_threshold",
    "work_mem",
    "xmlbinary",
    "xmloption",
];

/// Encodings in which no byte of ASCII is part of another character: letters and digits, in lower case, sorted.
const SAFE_ENCODINGS: [&str; 64] = [
    "abc",
    "alt",
    "euccn",
    "eucjis2004",
    "eucjp",
    "euckr",
    "euctw",
    "iso88591",
    "iso885910",
    "iso885913",
    "iso885914",
    "iso885915",
    "iso885916",
    "iso88592",
    "iso88593",
    "iso88594",
    "iso88595",
    "iso88596",
    "iso88597",
    "iso88598",
    "iso88599",
    "koi8",
    "koi8r",
    "koi8u",
    "latin1",
    "latin10",
    "latin2",
    "latin3",
    "latin4",
    "latin5",
    "latin6",
    "latin7",
    "latin8",
    "latin9",
    "muleinternal",
    "sqlascii",
    "tcvn",
    "tcvn5712",
    "unicode",
    "utf8",
    "vscii",
    "win",
    "win1250",
    "win1251",
    "win1252",
    "win1253",
    "win1254",
    "win1255",
    "win1256",
    "win1257",
    "win1258",
    "win866",
    "win874",
    "windows1250",
    "windows1251",
    "windows1252",
    "windows1253",
    "windows1254",
    "windows1255",
    "windows1256",
    "windows1257",
    "windows1258",
    "windows866",
    "windows874",
];

/// Whether a setting can be said again: one of the table, or a name with a dot, which the server keeps as it is.
pub(super) fn is_carried(name: &[u8]) -> bool {
    name.contains(&b'.') || CARRIED.binary_search_by(|carried| carried.as_bytes().cmp(name)).is_ok()
}

/// Whether a text in this encoding is read rightly byte by byte. The server compares names by their letters and digits.
pub(super) fn is_safe_encoding(name: &[u8]) -> bool {
    let name: Vec<u8> =
        name.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase).collect();
    SAFE_ENCODINGS.binary_search_by(|safe| safe.as_bytes().cmp(&name)).is_ok()
}

/// Whether `DateStyle` is given whole: its style and the order of its fields. The rest is taken from what it was before.
pub(super) fn is_whole_date_style(values: &[u8]) -> bool {
    let (mut style, mut order) = (false, false);
    for word in values.split(|byte| !byte.is_ascii_alphanumeric()).map(<[u8]>::to_ascii_lowercase) {
        match word.as_slice() {
            b"iso" | b"sql" | b"german" => style = true,
            _ if word.starts_with(b"postgres") => style = true,
            b"ymd" | b"dmy" | b"mdy" | b"us" => order = true,
            _ if word.starts_with(b"euro") || word.starts_with(b"noneuro") => order = true,
            _ => {}
        }
    }
    style && order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sorted() {
        assert!(CARRIED.is_sorted() && SAFE_ENCODINGS.is_sorted());
        assert!(is_carried(b"work_mem") && is_carried(b"app.user") && !is_carried(b"default_tablespace"));
    }

    #[test]
    fn an_encoding_is_known_by_its_letters() {
        assert!(is_safe_encoding(b"UTF-8") && is_safe_encoding(b"utf8") && is_safe_encoding(b"Iso_8859_5"));
        for unsafe_one in
            ["SJIS", "shift_jis", "Big5", "gbk", "GB18030", "uhc", "johab", "SHIFT_JIS_2004", "what"]
        {
            assert!(!is_safe_encoding(unsafe_one.as_bytes()), "{unsafe_one}");
        }
    }

    #[test]
    fn half_a_date_style_depends_on_the_other_half() {
        assert!(is_whole_date_style(b"'ISO, MDY'") && is_whole_date_style(b"German , ymd"));
        assert!(!is_whole_date_style(b"'ISO'") && !is_whole_date_style(b"dmy"));
    }
}
