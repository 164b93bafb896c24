//! Batches of the extended protocol: what fails in their middle, what follows them, what their names and portals stand for.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-EXT-QUERY, protocol-flow#PROTOCOL-FLOW-PIPELINING

use serde_json::json;

use super::conversation::{all_hold, all_hold_in};
use crate::support::vault::House;

#[test]
fn nothing_runs_between_an_error_and_sync_and_the_log_says_skipped() {
    all_hold("skipped", include_str!("transcripts/skipped.txt"));
}

#[test]
fn each_sync_is_answered_once_in_its_turn() {
    all_hold("syncs", include_str!("transcripts/syncs.txt"));
}

#[test]
fn flush_brings_the_answers_and_no_ready_for_query() {
    all_hold("flush_only", include_str!("transcripts/flush_only.txt"));
}

#[test]
fn a_name_is_given_once_and_only_by_a_parse_that_succeeds() {
    all_hold("names_once", include_str!("transcripts/names_once.txt"));
}

#[test]
fn a_portal_resumes_in_its_transaction_and_is_34000_behind_it() {
    all_hold("portals", include_str!("transcripts/portals.txt"));
}

#[test]
fn a_changed_table_is_0a000_for_its_old_statement() {
    all_hold("reshaped", include_str!("transcripts/reshaped.txt"));
}

#[test]
fn a_function_call_is_recorded_and_answered_with_one_ready_for_query() {
    all_hold("fastpath", include_str!("transcripts/fastpath.txt"));
}

#[test]
fn several_statements_in_one_query_are_one_transaction() {
    all_hold("several", include_str!("transcripts/several.txt"));
}

#[test]
fn notices_and_parameters_reach_the_client_in_their_place() {
    all_hold("notices", include_str!("transcripts/notices.txt"));
}

/// However durable its records must be, and whatever it is wrapped in, a conversation is the same.
#[test]
fn conversations_do_not_depend_on_the_log_nor_on_tls() {
    for (mode, portals) in [
        ("write_ahead", include_str!("transcripts/portals_ahead.txt")),
        ("acknowledged", include_str!("transcripts/portals.txt")),
    ] {
        let house = House::with("modes", |options| options.with(json!({ "audit": { "mode": mode } })));
        for file in [
            include_str!("transcripts/skipped.txt"),
            include_str!("transcripts/syncs.txt"),
            portals,
            include_str!("transcripts/copy_sync.txt"),
            include_str!("transcripts/copy_late.txt"),
            include_str!("transcripts/unknown_type.txt"),
        ] {
            all_hold_in(&house, file, true);
        }
    }
}
