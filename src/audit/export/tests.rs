//! What others read is what was recorded, and does nothing by being opened.

use std::collections::HashMap;

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;
use serde_json::Value as Json;

use super::super::row::{COLUMNS, Value};
use super::*;

/// One row of each kind that there is, about.
fn rows() -> Vec<Row<'static>> {
    let kinds = [
        ("statement", "query"),
        ("statement", "copy_in"),
        ("statement", "log_read"),
        ("copy", "copy_data"),
        ("session", "session_open"),
        ("session", "session_close"),
        ("event", "login_failed"),
        ("event", "connection_refused"),
        ("event", "cancel"),
        ("event", "config_reload"),
        ("event", "admin_action"),
        ("event", "log_export"),
        ("event", "hold_set"),
        ("event", "review"),
        ("log", "log_start"),
        ("log", "log_stop"),
        ("log", "log_gap"),
    ];
    let mut rows = Vec::new();
    for (class, kind) in kinds {
        for is_full in [false, true] {
            let mut row = Row::default();
            row.set(Column::Record, Value::Number(7));
            row.set(Column::Time, Value::Number(1_772_323_200_123_456_789));
            for (column, word) in [(Column::Class, class), (Column::Kind, kind), (Column::Outcome, "ok")] {
                row.set(column, Value::Bytes(word.as_bytes().into()));
            }
            let full = [
                (Column::Customer, "one_spa"),
                (Column::Login, "anna"),
                (Column::Database, "spa"),
                (Column::ClientIp, "2001:db8::7"),
                (Column::Node, "node"),
                (Column::ApplicationName, "=cmd|' /C calc'!A0"),
            ];
            for (column, word) in full.into_iter().filter(|_| is_full) {
                row.set(column, Value::Bytes(word.as_bytes().into()));
            }
            if is_full {
                row.set(Column::Session, Value::Number(3));
                row.set(Column::DurationNs, Value::Number(5_000_000));
            }
            rows.push(row);
        }
    }
    rows
}

fn whole(text: &[u8]) -> Whole<'static> {
    // One type (int4), one format (text), two values: 42 and NULL.
    let list = b"\0\x01\0\0\0\x17\0\x01\0\0\0\x02\0\0\0\x0242\xff\xff\xff\xff";
    Whole { text: text.to_vec().into(), parameters: list.to_vec().into() }
}

/// What OCSF 1.3.0 requires of the classes in use, and of the objects in them.
const REQUIRED: &[(u64, &[&str])] = &[
    (6005, &["/actor", "/src_endpoint", "/database"]),
    (3002, &["/user", "/dst_endpoint"]),
    (4001, &["/dst_endpoint"]),
    (6002, &["/app"]),
    (6003, &["/actor", "/api/operation", "/src_endpoint"]),
];
const OF_ALL: &[&str] = &[
    "/activity_id",
    "/category_uid",
    "/class_uid",
    "/severity_id",
    "/time",
    "/type_uid",
    "/metadata/version",
    "/metadata/product/vendor_name",
];
/// Activities that the classes have.
const ACTIVITIES: &[(u64, &[u64])] = &[
    (6005, &[1, 2, 3, 4, 5, 6, 7, 99]),
    (3002, &[1, 2, 99]),
    (4001, &[1, 2, 3, 4, 5, 6, 99]),
    (6002, &[3, 4, 99]),
    (6003, &[99]),
];

#[test]
fn every_ocsf_object_has_what_its_class_requires() {
    let mut classes = std::collections::BTreeSet::new();
    for row in rows() {
        let line = ocsf::line((&row, None), &whole(b"select 'a\nb'"));
        assert!(!line.contains('\n'));
        let object: Json = serde_json::from_str(&line).unwrap();
        let class = object["class_uid"].as_u64().unwrap();
        classes.insert(class);
        let of_class = REQUIRED.iter().find(|(uid, _)| *uid == class).unwrap().1;
        for path in OF_ALL.iter().chain(of_class) {
            assert!(object.pointer(path).is_some_and(|value| !value.is_null()), "{path} in {line}");
        }
        let activity = object["activity_id"].as_u64().unwrap();
        assert!(ACTIVITIES.iter().any(|(uid, all)| *uid == class && all.contains(&activity)), "{line}");
        assert_eq!(object["type_uid"].as_u64().unwrap(), class * 100 + activity);
        assert_eq!(object["category_uid"].as_u64().unwrap(), class / 1000);
        assert!(object["severity_id"].is_u64() && object["time"] == 1_772_323_200_123_u64);
        // An endpoint, a user and an actor must say at least one thing that names them.
        for (path, names) in [
            ("/src_endpoint", &["ip", "hostname"][..]),
            ("/dst_endpoint", &["hostname"]),
            ("/user", &["name"]),
            ("/actor/user", &["name"]),
            ("/database", &["name"]),
        ] {
            let Some(part) = object.pointer(path) else { continue };
            assert!(
                names.iter().any(|name| part[name].as_str().is_some_and(|text| !text.is_empty())),
                "{line}"
            );
        }
        if class == 6005 {
            assert!(object["database"]["type_id"].is_u64());
        }
        if let Some(query) = object.get("query_info") {
            assert_eq!(query["query_string"], "select 'a\nb'");
            assert_eq!(object["unmapped"]["db.query.parameter.0"], "42");
            assert!(object["unmapped"]["db.query.parameter.1"].is_null());
        }
    }
    assert_eq!(classes.len(), REQUIRED.len());
}

/// The fields of each record, as RFC 4180 has them; a field that stood between quotes begins with `"`.
fn fields(text: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), Vec::new());
    let (mut at, mut is_quoted) = (0, false);
    while at < text.len() {
        match (text[at], is_quoted) {
            (b'"', true) if text.get(at + 1) == Some(&b'"') => {
                field.push(b'"');
                at += 1;
            }
            (b'"', true) => is_quoted = false,
            (b'"', false) => {
                assert!(field.is_empty());
                field.push(b'"');
                is_quoted = true;
            }
            (b',', false) => record.push(std::mem::take(&mut field)),
            (b'\r', false) => {
                assert_eq!(text[at + 1], b'\n');
                at += 1;
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            (byte, _) => field.push(byte),
        }
        at += 1;
    }
    assert!(record.is_empty() && field.is_empty() && !is_quoted, "it ends with a line");
    records
}

fn exported(format: Format, records: &[(Row<'_>, Whole<'_>)]) -> Vec<u8> {
    let mut exporter = Exporter::begin(format, Vec::new()).unwrap();
    for (row, whole) in records {
        exporter.take(row, whole).unwrap();
    }
    let (count, bytes) = exporter.finish().unwrap();
    assert_eq!(usize::try_from(count).unwrap(), records.len());
    bytes
}

/// What a spreadsheet shows of a field, and what the text was.
fn shown_and_meant(field: &[u8]) -> (&[u8], &[u8]) {
    let shown = field.strip_prefix(b"\"").unwrap_or(field);
    (shown, shown.strip_prefix(b"'").unwrap_or(shown))
}

const FORMULAS: &str = "=+-@\t\r\n\u{ff1d}\u{ff0b}\u{ff0d}\u{ff20}";

proptest! {
    #[test]
    fn csv_keeps_every_text_and_begins_no_formula(
        text in "[=+@'\t\r\n\",;a\u{ff1d}-]{0,12}", name in prop::collection::vec(any::<u8>(), 0..12)
    ) {
        let mut row = rows().remove(1);
        row.set(Column::ApplicationName, Value::Bytes(name.clone().into()));
        let bytes = exported(Format::Csv, &[(row, whole(text.as_bytes()))]);
        let records = fields(&bytes);
        prop_assert_eq!(records.len(), 2);
        let named: HashMap<&[u8], &[u8]> =
            records[0].iter().map(Vec::as_slice).zip(records[1].iter().map(Vec::as_slice)).collect();
        prop_assert_eq!(named.len(), COLUMNS + 5);
        for field in &records[1] {
            let first = String::from_utf8_lossy(shown_and_meant(field).0).chars().next();
            let begins = first.is_some_and(|first| FORMULAS.contains(first));
            prop_assert!(!begins);
        }
        prop_assert_eq!(shown_and_meant(named[&b"text"[..]]).1, text.as_bytes());
        prop_assert_eq!(shown_and_meant(named[&b"parameters"[..]]).1, b"[\"42\",null]");
        let shown = String::from_utf8_lossy(&name);
        prop_assert_eq!(shown_and_meant(named[&b"application_name"[..]]).1, shown.as_bytes());
        let odd = String::from_utf8(shown_and_meant(named[&b"not_utf8"[..]]).1.to_vec()).unwrap();
        if let Some(base64) = odd.strip_prefix("application_name=") {
            use base64::Engine as _;
            let engine = base64::engine::general_purpose::STANDARD;
            prop_assert_eq!(engine.decode(base64).unwrap(), name);
        } else {
            prop_assert!(std::str::from_utf8(&name).is_ok());
        }
    }
}

#[test]
fn csv_tells_an_empty_text_from_none() {
    let mut row = rows().remove(1);
    row.set(Column::Portal, Value::Bytes(b"".into()));
    let bytes = exported(Format::Csv, &[(row, Whole::default())]);
    let records = fields(&bytes);
    let of = |name: &[u8]| records[1][records[0].iter().position(|found| found == name).unwrap()].clone();
    assert_eq!((of(b"portal"), of(b"statement_name")), (b"\"".to_vec(), Vec::new()));
    assert_eq!(of(b"time"), b"2026-03-01T00:00:00.123456Z");
}

#[test]
fn parquet_has_a_row_for_each_record_however_long_its_text() {
    let long = vec![b'x'; 9 << 20];
    let mut records: Vec<_> = rows().into_iter().map(|row| (row, whole(b"select 1"))).collect();
    records.push((rows().remove(1), whole(&long)));
    records.push((rows().remove(1), whole(b"\xff")));
    let bytes = exported(Format::Parquet, &records);
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap();
    assert_eq!(reader.schema().fields().len(), COLUMNS + 5);
    let batches: Vec<_> = reader.build().unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(batches.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>(), records.len());
    let mut texts = Vec::new();
    for batch in &batches {
        let column = batch.column_by_name("text").unwrap();
        let column: &arrow::array::StringArray = column.as_any().downcast_ref().unwrap();
        texts.extend(column.iter().map(|text| text.map(str::len)));
    }
    assert_eq!(texts.iter().filter(|text| text.is_none()).count(), 26, "no statements");
    assert_eq!(texts[records.len() - 2], Some(long.len()));
    assert_eq!(texts[records.len() - 1], Some('\u{fffd}'.len_utf8()));
}

#[test]
#[cfg(feature = "console")]
fn every_form_says_which_relations_a_statement_names_and_its_fingerprint() {
    let text = b"SELECT 1 FROM business.patients, \"Odd, name\"";
    let records = || {
        let of = |text: &[u8]| (rows().remove(1), whole(text));
        vec![of(text), of(b"SELECT 2"), of(b"no sql"), (rows().remove(7), whole(text))]
    };
    let print = crate::gist::of(text).unwrap().unwrap().fingerprint.clone();
    let named = r#"["\"Odd, name\"","business.patients"]"#;

    let csv = exported(Format::Csv, &records());
    let lines = fields(&csv);
    let of = |line: usize, name: &[u8]| {
        lines[line][lines[0].iter().position(|found| found == name).unwrap()].clone()
    };
    assert_eq!(of(1, b"tables"), [b"\"", named.as_bytes()].concat());
    assert_eq!(of(1, b"fingerprint"), [b"\"", print.as_bytes()].concat());
    assert_eq!(
        (of(2, b"tables"), of(3, b"tables"), of(4, b"tables")),
        (b"\"[]".to_vec(), Vec::new(), Vec::new())
    );
    assert_eq!((of(3, b"fingerprint"), of(4, b"fingerprint")), (Vec::new(), Vec::new()));

    let ocsf = String::from_utf8(exported(Format::Ocsf, &records())).unwrap();
    let objects: Vec<Json> = ocsf.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects[0]["unmapped"]["ov.tables"].to_string(), named);
    assert_eq!(objects[0]["unmapped"]["ov.fingerprint"], print);
    assert_eq!(objects[1]["unmapped"]["ov.tables"].to_string(), "[]");
    assert!(objects[2..].iter().all(|object| object["unmapped"].get("ov.fingerprint").is_none()));

    let parquet = bytes::Bytes::from(exported(Format::Parquet, &records()));
    let mut reader = ParquetRecordBatchReaderBuilder::try_new(parquet).unwrap().build().unwrap();
    let batch = reader.next().unwrap().unwrap();
    let shown = |name: &str, at: usize| {
        let column = batch.column_by_name(name).unwrap();
        arrow::util::display::array_value_to_string(column, at).unwrap()
    };
    assert_eq!(shown("tables", 0), "[\"Odd, name\", business.patients]");
    assert_eq!((shown("fingerprint", 0), shown("tables", 1)), (print, "[]".to_owned()));
    assert_eq!((shown("tables", 2), shown("fingerprint", 3)), (String::new(), String::new()));
}
