//! Records as objects of the Open Cybersecurity Schema Framework, version 1.3.0, one a line.
//!
//! What always holds: each object has what its class requires. Statements, cancels and reads of the log are Datastore Activity
//! (6005), sessions and logins Authentication (3002), refused connections Network Activity (4001), the log's own life and
//! the configuration Application Lifecycle (6002), all else API Activity (6003). What the schema has no place for is in
//! `unmapped`, under the names that `onevault audit show --json` uses. Where the schema demands somebody or some place and
//! the record knows none, it says `unknown`, or the node.
//!
//! Source: <https://schema.ocsf.io/1.3.0/>

use super::super::escape::Object;
use super::super::join::Whole;
use super::super::render::{Rated, json_column, json_parameters, rfc3339};
use super::super::row::{Column, Row, Value};
use crate::gist::Gist;

/// Version of the schema.
const VERSION: &str = "1.3.0";
/// OCSF's number for relational databases.
const RELATIONAL: u32 = 1;
/// Any other way to prove a login than those that OCSF numbers.
const OTHER_PROTOCOL: u32 = 99;

/// Columns that have a place in the schema; the others are unmapped.
const MAPPED: [Column; 16] = [
    Column::Record,
    Column::Time,
    Column::Customer,
    Column::Session,
    Column::Login,
    Column::Database,
    Column::Credential,
    Column::ClientIp,
    Column::ClientPort,
    Column::ApplicationName,
    Column::DurationNs,
    Column::BytesOut,
    Column::Sqlstate,
    Column::Message,
    Column::Program,
    Column::Node,
];

/// One record, without its newline.
#[must_use]
pub fn line((row, gist): (&Row<'_>, Option<&Gist>), whole: &Whole<'_>) -> String {
    let mut object = Object::new();
    let rated = Rated::of(row);
    base(&mut object, row, rated);
    metadata(&mut object, row);
    match rated.class {
        6005 => datastore(&mut object, row, whole),
        3002 => authentication(&mut object, row),
        4001 => {
            source(&mut object, row);
            destination(&mut object, row);
        }
        6002 => application(&mut object, row),
        _ => api(&mut object, row),
    }
    object.begin("unmapped");
    for column in Column::ALL.into_iter().filter(|column| !MAPPED.contains(column)) {
        json_column(&mut object, row, column);
    }
    some(&mut object, "ov.node", row, Column::Node);
    if let Value::Number(duration) = row.get(Column::DurationNs) {
        object.number("ov.duration_ns", *duration);
    }
    if rated.class == 6005 {
        json_parameters(&mut object, &whole.parameters);
    }
    if let Some(gist) = gist {
        if let Some(tables) = &gist.tables {
            object.texts("ov.tables", tables);
        }
        object.text("ov.fingerprint", &gist.fingerprint);
    }
    object.close();
    object.end()
}

/// What each class has.
fn base(object: &mut Object, row: &Row<'_>, rated: Rated) {
    let Rated { class, activity, severity, status } = rated;
    let time_ns = row.number_of(Column::Time);
    object.number("class_uid", class);
    object.number("category_uid", class / 1000);
    object.number("activity_id", activity);
    object.number("type_uid", u64::from(class).saturating_mul(100).saturating_add(activity.into()));
    object.number("severity_id", severity);
    object.number("status_id", status);
    object.number("time", time_ns / 1_000_000);
    object.text("time_dt", &rfc3339(time_ns));
    if let Value::Number(duration) = row.get(Column::DurationNs) {
        object.number("duration", duration / 1_000_000);
    }
    some(object, "status_code", row, Column::Sqlstate);
    some(object, "status_detail", row, Column::Message);
}

fn metadata(object: &mut Object, row: &Row<'_>) {
    object.begin("metadata");
    object.text("version", VERSION);
    product(object, "product");
    object.text("log_name", "onevault");
    some(object, "tenant_uid", row, Column::Customer);
    object.number("sequence", row.number_of(Column::Record));
    object.close();
}

fn product(object: &mut Object, key: &str) {
    object.begin(key);
    object.text("name", "OneVault");
    object.text("vendor_name", "OneVault");
    object.text("version", env!("CARGO_PKG_VERSION"));
    object.close();
}

fn datastore(object: &mut Object, row: &Row<'_>, whole: &Whole<'_>) {
    actor(object, row);
    source(object, row);
    destination(object, row);
    object.begin("database");
    named(object, "name", row, Column::Database, "onevault");
    object.number("type_id", RELATIONAL);
    object.text("type", "Relational");
    object.close();
    if row.bytes_of(Column::Class) == b"statement" {
        object.begin("query_info");
        object.bytes("query_string", &whole.text);
        object.number("bytes", row.number_of(Column::BytesOut));
        object.close();
    }
    if row.bytes_of(Column::Class) == b"copy" {
        object.bytes("raw_data", &whole.text);
    }
}

fn authentication(object: &mut Object, row: &Row<'_>) {
    user(object, row);
    session(object, row);
    source(object, row);
    destination(object, row);
    if !row.bytes_of(Column::Credential).is_empty() {
        object.number("auth_protocol_id", OTHER_PROTOCOL);
        some(object, "auth_protocol", row, Column::Credential);
    }
}

fn application(object: &mut Object, row: &Row<'_>) {
    product(object, "app");
    some(object, "message", row, Column::Program);
}

fn api(object: &mut Object, row: &Row<'_>) {
    actor(object, row);
    source(object, row);
    object.begin("api");
    named(object, "operation", row, Column::Kind, "unknown");
    object.close();
}

fn actor(object: &mut Object, row: &Row<'_>) {
    object.begin("actor");
    user(object, row);
    session(object, row);
    some(object, "app_name", row, Column::ApplicationName);
    object.close();
}

fn user(object: &mut Object, row: &Row<'_>) {
    object.begin("user");
    named(object, "name", row, Column::Login, "unknown");
    object.close();
}

fn session(object: &mut Object, row: &Row<'_>) {
    if let Value::Number(session) = row.get(Column::Session) {
        object.begin("session");
        object.text("uid", &session.to_string());
        object.close();
    }
}

fn source(object: &mut Object, row: &Row<'_>) {
    object.begin("src_endpoint");
    if row.bytes_of(Column::ClientIp).is_empty() {
        named(object, "hostname", row, Column::Node, "unknown");
    } else {
        some(object, "ip", row, Column::ClientIp);
        object.number("port", row.number_of(Column::ClientPort));
    }
    object.close();
}

fn destination(object: &mut Object, row: &Row<'_>) {
    object.begin("dst_endpoint");
    named(object, "hostname", row, Column::Node, "unknown");
    object.close();
}

/// A column's bytes; nothing where it says nothing.
fn some(object: &mut Object, key: &str, row: &Row<'_>, column: Column) {
    let bytes = row.bytes_of(column);
    if !bytes.is_empty() {
        object.bytes(key, bytes);
    }
}

/// A column's bytes, or a word in their place.
fn named(object: &mut Object, key: &str, row: &Row<'_>, column: Column, otherwise: &str) {
    match row.bytes_of(column) {
        b"" => object.text(key, otherwise),
        bytes => object.bytes(key, bytes),
    }
}
