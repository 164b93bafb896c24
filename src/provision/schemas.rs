//! What is inside a customer's database: schemas from the template files, and the customer's own first rows.
//!
//! Always holds: all template files of one run are applied in one transaction, as the customer's role; a file is
//! applied again only when its text changed. Refuses to know what the files say, except for the table
//! `util.template_r` and the hubs of `auth`, which the base makes.

use std::fs;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};

use super::client::Sql;
use super::{Outcome, Plan};

/// The folder of the templates that every customer gets.
const BASE: &str = "base";
/// What stands in the column `record_source` of the rows made here.
const RECORD_SOURCE: &str = "onevault";

/// One template file.
pub(super) struct Template {
    /// Folder and file, for example `base/20_util.sql`.
    pub(super) name: String,
    sql: String,
    /// SHA-256 of the text.
    pub(super) hash: Vec<u8>,
}

/// The base's files in the order of their names, then those of the industry, if it has any.
pub(super) fn templates(templates_dir: &Path, industry: &str) -> Result<Vec<Template>, String> {
    let mut all = folder(templates_dir, BASE)?;
    if all.is_empty() {
        return Err(format!("no templates in {}", templates_dir.join(BASE).display()));
    }
    let has_pack = industry != BASE && templates_dir.join(industry).is_dir();
    if has_pack {
        all.extend(folder(templates_dir, industry)?);
    }
    Ok(all)
}

fn folder(templates_dir: &Path, name: &str) -> Result<Vec<Template>, String> {
    let path = templates_dir.join(name);
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(&path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file.extension().is_some_and(|extension| extension == "sql") {
            files.push(file);
        }
    }
    files.sort();
    files
        .into_iter()
        .map(|file| {
            let sql = fs::read_to_string(&file)
                .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
            let base = file.file_name().unwrap_or_default().to_string_lossy();
            let hash = digest(&SHA256, sql.as_bytes()).as_ref().to_vec();
            Ok(Template { name: format!("{name}/{base}"), sql, hash })
        })
        .collect()
}

/// Whether `own` knows this template with this text.
pub(super) async fn is_applied(own: &mut Sql, template: &Template) -> Result<bool, String> {
    if !own.is("SELECT to_regclass('util.template_r') IS NOT NULL", &[]).await? {
        return Ok(false);
    }
    let sql = "SELECT content_hash = $2 FROM util.template_r WHERE template_name = $1";
    Ok(own.is(sql, &[&template.name, &template.hash]).await?)
}

/// Applies the template files whose text this database does not know, all or none.
pub(super) async fn apply(own: &mut Sql, templates_dir: &Path, industry: &str) -> Result<Outcome, String> {
    let all = templates(templates_dir, industry)?;
    let mut missing = Vec::new();
    for template in &all {
        if !is_applied(own, template).await? {
            missing.push(template);
        }
    }
    if missing.is_empty() {
        return Ok(Outcome::Present(format!("{} template files", all.len())));
    }
    own.run("BEGIN").await?;
    let applied = apply_files(own, &missing).await;
    own.run(if applied.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
    applied?;
    Ok(Outcome::Made(format!("{} of {} template files applied", missing.len(), all.len())))
}

async fn apply_files(own: &mut Sql, missing: &[&Template]) -> Result<(), String> {
    for template in missing {
        own.run(&template.sql).await.map_err(|failure| format!("{}: {}", template.name, failure.text))?;
    }
    let sql = "INSERT INTO util.template_r (template_name, content_hash) VALUES ($1, $2)
               ON CONFLICT (template_name) DO UPDATE SET content_hash = excluded.content_hash, applied_at = util.load_date()";
    for template in missing {
        own.rows(sql, &[&template.name, &template.hash]).await?;
    }
    Ok(())
}

/// The customer as the first tenant, its first login as a user of it.
pub(super) async fn enter_tenant(own: &mut Sql, plan: &Plan) -> Result<Outcome, String> {
    let (tenant, user) = (plan.id.as_str(), plan.login.as_str());
    let statements: [(&str, &[&(dyn tokio_postgres::types::ToSql + Sync)]); 5] = [
        (
            "INSERT INTO auth.tenant_h (tenant_hk, tenant_bk, record_source)
             VALUES (util.hash_binary($1::text), $1::text, $2) ON CONFLICT DO NOTHING RETURNING true",
            &[&tenant, &RECORD_SOURCE],
        ),
        (
            "INSERT INTO auth.tenant_s (tenant_hk, display_name, industry, region, record_source)
             SELECT util.hash_binary($1::text), $2, $3, $4, $5
             WHERE NOT EXISTS (SELECT FROM auth.tenant_s WHERE tenant_hk = util.hash_binary($1::text)) RETURNING true",
            &[&tenant, &plan.display_name, &plan.industry, &plan.region, &RECORD_SOURCE],
        ),
        (
            "INSERT INTO auth.user_h (user_hk, user_bk, record_source)
             VALUES (util.hash_binary($1::text), $1::text, $2) ON CONFLICT DO NOTHING RETURNING true",
            &[&user, &RECORD_SOURCE],
        ),
        (
            "INSERT INTO auth.user_s (user_hk, display_name, record_source)
             SELECT util.hash_binary($1::text), $1::text, $2
             WHERE NOT EXISTS (SELECT FROM auth.user_s WHERE user_hk = util.hash_binary($1::text)) RETURNING true",
            &[&user, &RECORD_SOURCE],
        ),
        (
            "INSERT INTO auth.tenant_user_l (tenant_user_hk, tenant_hk, user_hk, record_source)
             VALUES (util.hash_binary($1::text, $2::text), util.hash_binary($1::text), util.hash_binary($2::text), $3)
             ON CONFLICT DO NOTHING RETURNING true",
            &[&tenant, &user, &RECORD_SOURCE],
        ),
    ];
    let mut made = 0_usize;
    for (sql, parameters) in statements {
        made = made.saturating_add(own.rows(sql, parameters).await?.len());
    }
    let what = format!("tenant {tenant}, user {user}");
    Ok(if made == 0 { Outcome::Present(what) } else { Outcome::Made(what) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("customers/templates")
    }

    #[test]
    fn the_base_comes_in_order_and_an_unknown_industry_adds_nothing() {
        let names: Vec<String> =
            templates(&shipped(), "no_such_industry").unwrap().into_iter().map(|one| one.name).collect();
        assert_eq!(names.first().map(String::as_str), Some("base/10_schemas.sql"));
        assert!(names.is_sorted() && names.iter().all(|name| name.starts_with("base/")), "{names:?}");
    }

    #[test]
    fn an_empty_base_is_refused() {
        let error = templates(Path::new("/nonexistent"), "spa").map(|_| ()).unwrap_err();
        assert!(error.contains("/nonexistent/base"), "{error}");
    }
}
