//! `onevault audit reconcile`: what went around OneVault, as far as the customer's own server can tell.
//!
//! Always holds: nothing is changed at the server; what was found is in the customer's log before it is shown; the next baseline is
//! kept only then.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::{Place, keyring};
use crate::audit::acts::{Act, Ours, ask_backends, record, whoever_runs_this};
use crate::audit::history::History;
use crate::audit::keys::Keyring;
use crate::audit::reconcile::{Baseline, Baselines, Compared, Seen, calls_of, compare, executions};
use crate::cli::{Failure, Progress, serve};
use crate::config;
use crate::customers::reload::Reloader;
use crate::customers::{Customer, Server};
use crate::provision::observe::{Present, Statements, observe, sessions};
use crate::telemetry::wall_clock;

/// How long to wait for the running process.
const ANSWER_TIME: Duration = Duration::from_secs(15);
/// Who is still there after this time is no backend that was being dialled.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Arguments of `onevault audit reconcile`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    /// Whose
    #[arg(long)]
    customer: String,
    /// OneVault does not run: every session at the server goes around it
    #[arg(long)]
    not_running: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What was found in one database.
#[derive(Debug, Serialize)]
struct Report {
    host: String,
    port: u16,
    database: String,
    /// Sessions that are none of OneVault's.
    around: Vec<Around>,
    /// Nothing: there was no look before, or the server counts nothing.
    statements: Option<Compared>,
    /// What else there is to know.
    remarks: Vec<String>,
    /// Something went around OneVault, or may have.
    differs: bool,
}

/// A session that is none of OneVault's.
#[derive(Debug, Serialize)]
struct Around {
    pid: i32,
    role: String,
    address: Option<String>,
    application: Option<String>,
    since: Option<String>,
}

/// Where it looks and with what.
struct Reconciler {
    audit: config::Audit,
    keyring: Arc<Keyring>,
    baselines: Baselines,
    customer: Arc<Customer>,
    runs: bool,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let audit = args.place.audit()?;
    let config = args.place.config.load()?;
    let (customers, _) = Reloader::open(config.customers.configurations_dir);
    let customer = customers.catalogues().load().customer(&args.customer).map(Arc::clone);
    let customer =
        customer.ok_or_else(|| Failure::Message(format!("there is no customer {}", args.customer)))?;
    let keyring = keyring(&audit)?;
    let baselines = Baselines::of(&audit, Arc::clone(&keyring));
    let reconciler = Reconciler { audit, keyring, baselines, customer, runs: !args.not_running };
    let progress = Progress::start("comparing the log with the server");
    let found = reconciler.all();
    drop(progress);
    let found = found?;
    reconciler.conclude(&found)?;
    let mut out = io::stdout().lock();
    let reports: Vec<&Report> = found.iter().map(|(report, _)| report).collect();
    if args.json {
        let json =
            serde_json::to_string_pretty(&reports).map_err(|error| Failure::Message(error.to_string()))?;
        writeln!(out, "{json}")?;
    } else {
        reports.iter().try_for_each(|report| show(&mut out, report))?;
    }
    out.flush()?;
    let differs = reports.iter().any(|report| report.differs);
    Ok(if differs { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Reconciler {
    /// Every database of the customer that has a name.
    fn all(&self) -> Result<Vec<(Report, Option<Baseline>)>, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::Message(error.to_string()))?;
        let mut places: BTreeMap<(String, u16, String), Arc<Server>> = BTreeMap::new();
        for rule in self.customer.databases.iter().filter(|rule| !rule.is_pattern()) {
            let database = rule.server_name.clone().unwrap_or_else(|| rule.name.clone());
            let server = &rule.server;
            places.insert((server.host.clone(), server.port, database), Arc::clone(server));
        }
        let one = |((_, _, database), server): (_, Arc<Server>)| self.one(&runtime, &server, database);
        places.into_iter().map(one).collect()
    }

    fn one(
        &self,
        runtime: &tokio::runtime::Runtime,
        server: &Server,
        database: String,
    ) -> Result<(Report, Option<Baseline>), Failure> {
        let told =
            |text: String| Failure::Message(format!("{}:{}/{database}: {text}", server.host, server.port));
        let begun_ns = now_ns();
        let mut ours = self.ours(server, &database)?;
        let observed = runtime.block_on(observe(server, &database)).map_err(told)?;
        ours.extend(self.ours(server, &database)?);
        let mut strangers: Vec<Present> =
            observed.present.into_iter().filter(|present| !ours.contains(&present.pid)).collect();
        if !strangers.is_empty() {
            std::thread::sleep(LOOK_AGAIN);
            let still = runtime.block_on(sessions(server, &database)).map_err(told)?;
            ours.extend(self.ours(server, &database)?);
            strangers.retain(|present| still.contains(present) && !ours.contains(&present.pid));
        }
        let (host, port) = (server.host.clone(), server.port);
        let around: Vec<Around> = strangers.into_iter().map(Around::from).collect();
        let differs = !around.is_empty();
        let mut report =
            Report { host, port, database, around, statements: None, remarks: Vec::new(), differs };
        if report.around.iter().any(|around| around.since.is_none()) {
            let text = "addresses of other roles' sessions are not shown to this role; GRANT pg_read_all_stats shows them";
            report.remarks.push(text.to_owned());
        }
        let baseline = self.statements(&mut report, observed.statements, begun_ns)?;
        Ok((report, baseline))
    }

    /// Processes of OneVault's own backends there.
    fn ours(&self, server: &Server, database: &str) -> Result<HashSet<i32>, Failure> {
        if !self.runs {
            return Ok(HashSet::new());
        }
        let answer = ask_backends(&self.audit, self.customer.id.as_str(), ANSWER_TIME);
        let ours =
            answer.map_err(|why| Failure::Message(format!("{why}; where none runs, say --not-running")))?;
        let is_here =
            |own: &&Ours| own.host == server.host && own.port == server.port && own.database == database;
        Ok(ours.iter().filter(is_here).map(|own| own.process_id).collect())
    }

    fn statements(
        &self,
        report: &mut Report,
        statements: Option<Statements>,
        begun_ns: u64,
    ) -> Result<Option<Baseline>, Failure> {
        let Some(statements) = statements else {
            report.remarks.push("statements cannot be compared: pg_stat_statements is not here".to_owned());
            return Ok(None);
        };
        let seen: Vec<Seen> =
            statements.own.iter().map(|own| Seen { text: own.text.clone(), calls: own.calls }).collect();
        let next = Baseline {
            time_ns: begun_ns,
            since: statements.since.clone(),
            thrown_out: statements.thrown_out,
            calls: calls_of(&seen),
            others_calls: statements.others_calls,
        };
        let customer = self.customer.id.as_str();
        let Some(last) = self.baselines.last(customer, &place_of(report))? else {
            report.remarks.push("statements are compared from now on: there was no look before".to_owned());
            return Ok(Some(next));
        };
        if last.since != next.since {
            report.remarks.push(format!("the server's counters were reset at {}", next.since));
            report.differs = true;
            return Ok(Some(next));
        }
        if last.thrown_out != next.thrown_out {
            report
                .remarks
                .push("the server threw counters out for want of room; some statements are not seen".into());
        }
        let history = History::open(&self.audit, Arc::clone(&self.keyring))?;
        let log = executions(&history, customer, (&report.database, last.time_ns))?;
        let mut compared = compare(&seen, &last.calls, &log);
        compared.others = next.others_calls.saturating_sub(last.others_calls);
        report.differs |= compared.lacks() > 0 || compared.others > 0;
        report.statements = Some(compared);
        Ok(Some(next))
    }

    /// Records what was found, and keeps what the next comparison begins with.
    fn conclude(&self, found: &[(Report, Option<Baseline>)]) -> Result<(), Failure> {
        let customer = self.customer.id.as_str();
        let said: Vec<String> = found.iter().map(|(report, _)| summary(report)).collect();
        let act = Act {
            kind: "admin_action".to_owned(),
            customer: customer.to_owned(),
            by: whoever_runs_this(),
            detail: format!("reconciled: {}", said.join("; ")),
        };
        record(&self.audit, &serve::node(), &act, ANSWER_TIME)
            .map_err(|why| Failure::Message(format!("what was found cannot be recorded: {why}")))?;
        for (report, baseline) in found {
            if let Some(baseline) = baseline {
                self.baselines.keep(customer, &place_of(report), baseline)?;
            }
        }
        Ok(())
    }
}

impl From<Present> for Around {
    fn from(present: Present) -> Self {
        let Present { pid, role, address, port, application, since } = present;
        let address = address.map(|address| match port {
            Some(port) => format!("{address}:{port}"),
            None => address,
        });
        Self { pid, role, address, application, since }
    }
}

fn now_ns() -> u64 {
    u64::try_from(wall_clock().as_nanos()).unwrap_or(u64::MAX)
}

fn place_of(report: &Report) -> String {
    format!("{}:{}/{}", report.host, report.port, report.database)
}

fn summary(report: &Report) -> String {
    let place = place_of(report);
    let around = report.around.len();
    match &report.statements {
        None => format!("{place}: {around} sessions around OneVault"),
        Some(compared) => format!(
            "{place}: {around} sessions around OneVault, the log lacks {} of {} calls",
            compared.lacks().saturating_add(compared.others),
            compared.server.saturating_add(compared.others)
        ),
    }
}

fn show(out: &mut impl Write, report: &Report) -> io::Result<()> {
    writeln!(out, "{}", summary(report))?;
    for Around { pid, role, address, application, since } in &report.around {
        let or_hidden = |text: &Option<String>| plain(text.as_deref().unwrap_or("(not shown)"));
        let (address, application, since) = (or_hidden(address), or_hidden(application), or_hidden(since));
        writeln!(out, "  session {pid} of {} from {address}, {application}, since {since}", plain(role))?;
    }
    if let Some(compared) = &report.statements {
        for missing in &compared.missing {
            let text = plain(&missing.text);
            writeln!(out, "  the server counted {}, the log has {}: {text}", missing.server, missing.log)?;
        }
        if compared.others > 0 {
            writeln!(out, "  {} calls of other roles", compared.others)?;
        }
    }
    report.remarks.iter().try_for_each(|remark| writeln!(out, "  {remark}"))
}

/// On one line and without what a terminal would act upon.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
