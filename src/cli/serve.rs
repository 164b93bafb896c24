//! `onevault serve`: puts the rooms together and serves until asked to end.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use super::{ConfigFile, Failure, Progress, finish};
use crate::audit::Log;
use crate::audit::acts::Ours;
use crate::audit::keeping::policies;
use crate::backend::{Cancels, Pools};
use crate::config::{Certificate, Config};
#[cfg(feature = "console")]
use crate::console::Console;
use crate::customers::reload::Reloader;
use crate::routing::Operators;
use crate::server::{self, Ended, Plan, What};
use crate::session::{Parts, Sessions, Shared};
use crate::telemetry;
use crate::telemetry::live::Board;
use crate::tls::{Certificates, Greeter, development};

/// Arguments of `onevault serve`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
}

/// Serves until asked to end: 0 when every session ended in order.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    finish(serve(args))
}

fn serve(args: &Args) -> Result<ExitCode, Failure> {
    let config = args.config.load()?;
    telemetry::start_log(&config.log)?;
    let metrics = telemetry::start_metrics()?;
    server::process::prepare(&config);

    let certificates = Arc::new(certificates(&config)?);
    let audit = audit(&config)?;
    let reading = Progress::start("reading the customers' files");
    let (customers, _) = Reloader::open(config.customers.configurations_dir.clone());
    drop(reading);
    let (catalogues, retention) = (customers.catalogues(), config.audit.retention);
    audit.start_attention(&config, customers.catalogues())?;
    audit.keep(Box::new(move || policies(&catalogues.load(), retention)));
    let watched = vec![
        (What::Customers, vec![config.customers.configurations_dir.clone()]),
        (What::Certificates, files(certificates.files())),
    ];
    let shared_config = Arc::new(config.clone());
    let parts = Parts {
        config: Arc::clone(&shared_config),
        catalogues: customers.catalogues(),
        greeter: Greeter::new(certificates, config.listen.plain_from_loopback),
        pools: Pools::new(shared_config),
        cancels: Cancels::new(config.limits.cancels_in_flight_max),
        audit: audit.clone(),
        operators: Operators::read(&config.operators).map_err(Failure::Message)?,
        #[cfg(feature = "console")]
        console: Console::start(&config, &audit).map_err(Failure::Message)?,
    };
    let board = Arc::clone(parts.pools.board());
    audit.tell_backends(move |customer| ours(&board, customer));
    let shared =
        Shared::new(parts).map_err(|_| Failure::Message("no random bytes from the system".into()))?;
    let sessions =
        Arc::new(Sessions { shared: Arc::new(shared), customers, config_path: args.config.path.clone() });
    let ended = server::run(&sessions, Plan { config, watched, metrics, ready: None });
    audit.close();
    Ok(match ended? {
        Ended::Clean => {
            tracing::info!("stopped: every session ended in order");
            ExitCode::SUCCESS
        }
        Ended::Forced { clients } => {
            tracing::warn!(clients, "stopped: sessions were cut off");
            ExitCode::FAILURE
        }
    })
}

/// The backends of a customer, as `onevault audit reconcile` asks for them.
fn ours(board: &Board, customer: &str) -> Vec<Ours> {
    let backends = board.backends().into_iter();
    let of_customer = backends.filter(|backend| backend.pool.customer.as_str() == customer);
    let own = of_customer.map(|backend| Ours {
        host: backend.host.clone(),
        port: backend.port,
        database: backend.pool.database.as_str().to_owned(),
        process_id: backend.process_id,
    });
    own.collect()
}

/// The statement log; its end is looked through first, which takes time after a crash.
fn audit(config: &Config) -> Result<Log, Failure> {
    if !config.audit.enabled {
        tracing::warn!("audit.enabled is off: nothing is recorded");
        return Ok(Log::disabled());
    }
    let _progress = Progress::start("looking through the end of the audit log");
    Log::open(&config.audit, &node()).map_err(|error| Failure::Message(error.to_string()))
}

/// The configured certificates, or the development certificate made where the configuration says so.
fn certificates(config: &Config) -> Result<Certificates, Failure> {
    let mut files = config.tls.certificates.clone();
    if let (true, Some(dir)) = (files.is_empty(), &config.tls.development_dir) {
        let made = development::ensure(dir, &development::names(&config.listen.base_domain))?;
        tracing::info!(authority = %made.authority.display(), "using a development certificate");
        files.push(made.certificate);
    }
    if files.is_empty() && !config.listen.plain_from_loopback {
        return Err(Failure::Message(
            "no client could connect: set tls.certificates or tls.development_dir, or allow \
             listen.plain_from_loopback"
                .into(),
        ));
    }
    Ok(Certificates::load(&files, config.tls.min_version)?)
}

fn files(certificates: &[Certificate]) -> Vec<PathBuf> {
    certificates.iter().flat_map(|pair| [pair.chain.clone(), pair.key.clone()]).collect()
}

/// This machine's name, for the records.
pub(super) fn node() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}
