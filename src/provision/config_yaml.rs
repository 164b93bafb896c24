//! The text of a new customer's `config.yaml`.
//!
//! Always holds: it holds no secret, only references, a verifier and a hash; every value is written in double quotes,
//! so that YAML can read it as nothing but a text. Refuses to know where it is kept.

use std::fmt::Write;

use crate::auth::scram::Verifier;
use crate::auth::token;
use crate::ids::Secret;

use super::address::ssl_mode_word;
use super::folder::{Names, PASSWORD_FILE, hex};
use super::{Place, Plan};

/// PostgreSQL's own default (`scram_iterations`).
pub(super) const SCRAM_ITERATIONS: u32 = 4096;

/// The text and the first token, whose hash it holds.
pub(super) fn render(
    place: &Place,
    plan: &Plan,
    names: &Names,
    password: &Secret,
) -> Result<(String, Secret), String> {
    let verifier = Verifier::from_password(password.expose(), SCRAM_ITERATIONS)
        .map_err(|error| format!("cannot make a verifier: {error}"))?;
    let fresh = token::create(&plan.environment)?;
    let mut text = String::new();
    write_all(&mut text, (place, plan, names), &verifier.to_string(), &fresh)
        .map_err(|error| format!("cannot write: {error}"))?;
    Ok((text, fresh.text))
}

fn write_all(
    text: &mut String,
    (place, plan, names): (&Place, &Plan, &Names),
    verifier: &str,
    fresh: &token::Fresh,
) -> std::fmt::Result {
    let server = &place.server;
    let compliance: Vec<String> = plan.compliance.iter().map(|one| quote(one)).collect();
    writeln!(text, "# Made by `onevault customer create`; docs/CUSTOMERS.md explains each key.")?;
    writeln!(text, "identity:")?;
    writeln!(text, "  id: {}", quote(plan.id.as_str()))?;
    writeln!(text, "  display_name: {}", quote(&plan.display_name))?;
    writeln!(text, "industry: {}", quote(&plan.industry))?;
    writeln!(text, "status: active")?;
    writeln!(text, "region: {}", quote(&plan.region))?;
    writeln!(text, "compliance: [{}]", compliance.join(", "))?;
    writeln!(text, "\nserver:")?;
    writeln!(text, "  host: {}", quote(&server.host))?;
    writeln!(text, "  port: {}", server.port)?;
    writeln!(text, "  role: {}", quote(names.role.as_str()))?;
    writeln!(text, "  password: {}", quote(&format!("file:{PASSWORD_FILE}")))?;
    writeln!(text, "  ssl_mode: {}", ssl_mode_word(server.ssl_mode))?;
    if let Some(file) = &server.ssl_root_cert {
        writeln!(text, "  ssl_root_cert: {}", quote(&file.display().to_string()))?;
    }
    writeln!(text, "\ndatabases:")?;
    writeln!(text, "  - name: {}", quote(plan.database.as_str()))?;
    writeln!(text, "    server_name: {}", quote(names.database.as_str()))?;
    writeln!(text, "\nlogins:")?;
    writeln!(text, "  {}:", quote(plan.login.as_str()))?;
    writeln!(text, "    verifier: {}", quote(verifier))?;
    writeln!(text, "\ntokens:")?;
    writeln!(text, "  - prefix: {}", quote(&fresh.prefix))?;
    writeln!(text, "    hash: {}", quote(&format!("sha256:{}", hex(&fresh.hash))))?;
    writeln!(text, "    login: {}", quote(plan.login.as_str()))
}

/// A text in double quotes, as JSON and YAML both read it.
fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
