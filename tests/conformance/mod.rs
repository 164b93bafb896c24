//! What a conversation on the wire leaves in the log: each case is what a client says, and exactly the records of it.

mod corpus;
mod decisions;
mod gibibyte;
mod parameters;
mod secrets;
mod values;

use serde_json::{Value, json};

use crate::support::vault::{Customer, House, MODES};

/// Runs a case in session and in transaction pooling, in each mode of durability.
fn everywhere(word: &str, case: impl Fn(&House, &str)) {
    for pooling in MODES {
        for durability in ["buffered", "acknowledged", "write_ahead"] {
            let what = format!("{pooling}, {durability}");
            let house = house(word, pooling, durability, json!({}));
            case(&house, &what);
        }
    }
}

/// A house that pools and keeps records like this, with changes of its customer's configuration.
fn house(word: &str, pooling: &str, durability: &str, customer: Value) -> House {
    use crate::support::postgres::{ANY, Postgres};
    use crate::support::vault::{Options, Vault};
    let tenant = Postgres::shared(ANY).tenant(word);
    let options = Options::new(&[Customer::of(&tenant).pooled(pooling).with(customer)]);
    let vault = Vault::start(options.with(json!({ "audit": { "mode": durability } })));
    House { vault, tenant }
}

/// What a record says in these fields, without those it does not have.
fn said(record: &Value, fields: &[&str]) -> Value {
    let known = fields.iter().filter_map(|field| Some(((*field).to_owned(), record.get(field)?.clone())));
    Value::Object(known.collect())
}
