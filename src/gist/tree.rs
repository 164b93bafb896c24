//! The relations that a parsed text names: every one, whatever the statement, but names that a `WITH` gives to its queries.
//!
//! What always holds: a name without a schema that a `WITH` around it gives is none of a relation where rows are read; where they
//! are written it is one, and in the query that has that name, too, unless the `WITH` is recursive.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// A relation's name: a part that is not written as it is stands in double quotes.
pub(super) fn named(schema: &str, relation: &str) -> String {
    let mut name = String::new();
    for part in [schema, relation].into_iter().filter(|part| !part.is_empty()) {
        if !name.is_empty() {
            name.push('.');
        }
        let is_letter = |byte: &u8| byte.is_ascii_lowercase() || *byte == b'_';
        let is_plain = part.as_bytes().first().is_some_and(is_letter)
            && part.bytes().all(|byte| is_letter(&byte) || byte.is_ascii_digit() || byte == b'$');
        if is_plain {
            name.push_str(part);
        } else {
            name.push('"');
            name.push_str(&part.replace('"', "\"\""));
            name.push('"');
        }
    }
    name
}

/// Adds the relations that a tree names.
pub(super) fn relations(tree: &Value, found: &mut BTreeSet<String>) {
    Walk { found, given: Vec::new() }.on(tree, false);
}

struct Walk<'a> {
    found: &'a mut BTreeSet<String>,
    /// Names that the `WITH`s around give.
    given: Vec<String>,
}

impl Walk<'_> {
    /// `is_read`: it stands where rows are read from; only there a name of a `WITH` means its query.
    fn on(&mut self, tree: &Value, is_read: bool) {
        match tree {
            Value::Array(items) => items.iter().for_each(|item| self.on(item, false)),
            Value::Object(fields) => {
                self.relation(fields, is_read);
                let before = self.given.len();
                if let Some(with) = fields.get("with_clause") {
                    self.with(with);
                }
                for (name, field) in fields {
                    match name.as_str() {
                        // What is locked is named before, or is an alias.
                        "with_clause" | "locked_rels" => {}
                        "DropStmt" => self.dropped(field),
                        _ => self.on(field, name == "RangeVar"),
                    }
                }
                self.given.truncate(before);
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn relation(&mut self, fields: &Map<String, Value>, is_read: bool) {
        let text = |name| fields.get(name).and_then(Value::as_str);
        if let (Some(schema), Some(relation), Some(_)) =
            (text("schemaname"), text("relname"), text("relpersistence"))
        {
            let is_given = is_read && schema.is_empty() && self.given.iter().any(|given| given == relation);
            if !is_given && !relation.is_empty() {
                self.found.insert(named(schema, relation));
            }
        }
    }

    /// The queries of a `WITH`; their names are given behind it.
    fn with(&mut self, with: &Value) {
        let queries = with.get("ctes").and_then(Value::as_array).into_iter().flatten();
        let queries = queries.filter_map(|node| node.pointer("/node/CommonTableExpr"));
        let name = |query: &Value| query.get("ctename").and_then(Value::as_str).map(str::to_owned);
        let is_recursive = with.get("recursive").and_then(Value::as_bool).unwrap_or(false);
        if is_recursive {
            self.given.extend(queries.clone().filter_map(name));
        }
        for query in queries {
            self.on(query, false);
            self.given.extend(name(query).filter(|_| !is_recursive));
        }
    }

    /// What is dropped is named by lists of texts: of relations, the schema and the name.
    fn dropped(&mut self, statement: &Value) {
        use pg_query::protobuf::ObjectType as Kind;
        let relations = [
            Kind::ObjectTable,
            Kind::ObjectView,
            Kind::ObjectMatview,
            Kind::ObjectForeignTable,
            Kind::ObjectSequence,
        ];
        let kind = statement.get("remove_type").and_then(Value::as_i64);
        if !relations.iter().any(|relation| Some(i64::from(i32::from(*relation))) == kind) {
            return;
        }
        for object in statement.get("objects").and_then(Value::as_array).into_iter().flatten() {
            let parts = object.pointer("/node/List/items").and_then(Value::as_array).into_iter().flatten();
            let parts = parts.filter_map(|part| part.pointer("/node/String/sval").and_then(Value::as_str));
            match parts.collect::<Vec<_>>().as_slice() {
                [relation] => self.found.insert(named("", relation)),
                [.., schema, relation] => self.found.insert(named(schema, relation)),
                [] => false,
            };
        }
    }
}
