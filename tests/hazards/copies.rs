//! COPY, whose messages the server swallows, ignores or answers by rules of their own.
//!
//! Source: protocol-flow#PROTOCOL-COPY

use super::conversation::all_hold;

#[test]
fn a_copy_goes_in_and_out_and_is_one_record() {
    all_hold("copy_plain", include_str!("transcripts/copy_plain.txt"));
}

#[test]
fn a_failed_copy_eats_late_data_and_stays_in_step() {
    all_hold("copy_late", include_str!("transcripts/copy_late.txt"));
}

#[test]
fn a_copy_swallows_sync_and_flush_up_to_its_end() {
    all_hold("copy_sync", include_str!("transcripts/copy_sync.txt"));
}

#[test]
fn an_extended_copy_out_streams_and_fails_in_its_place() {
    all_hold("copy_out", include_str!("transcripts/copy_out.txt"));
}

#[test]
fn a_query_inside_a_copy_fails_the_copy_and_nothing_else() {
    all_hold("copy_query", include_str!("transcripts/copy_query.txt"));
}

#[test]
fn copy_messages_outside_a_copy_are_ignored() {
    all_hold("copy_stray", include_str!("transcripts/copy_stray.txt"));
}
