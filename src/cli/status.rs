//! `onevault status`: asks a running OneVault for its health and figures and prints them as a table.
//!
//! It speaks the little HTTP/1.1 this needs itself and believes no answer larger than 8 MiB.
//! Refuses to know the process other than through its HTTP address.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::{ConfigFile, Failure, Progress, finish};

/// Waiting for the connection, and for each part of the answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer taken.
const ANSWER_BYTES_MAX: u64 = 8 << 20;

/// Arguments of `onevault status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// Print /health and every figure as they are
    #[arg(long)]
    all: bool,
}

/// Prints health and figures; fails when OneVault is not reachable or not healthy.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    finish(show(args))
}

fn show(args: &Args) -> Result<ExitCode, Failure> {
    let config = args.config.load()?;
    let Some(address) = config.http.address else {
        return Err(Failure::Message(format!("http.address is not set in {}", args.config.path.display())));
    };
    let address = reachable(address);
    let progress = Progress::start(&format!("asking {address}"));
    let health = get(address, "/health")?;
    let metrics = get(address, "/metrics")?;
    drop(progress);

    let mut out = io::stdout().lock();
    match serde_json::from_str::<Value>(&health.body) {
        Ok(value) => write_health(&mut out, &value, "")?,
        Err(_) => writeln!(out, "{}", health.body)?,
    }
    writeln!(out)?;
    write_metrics(&mut out, &metrics.body, args.all)?;
    out.flush()?;
    Ok(if health.status == 200 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A listener on every address is asked through the loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, address.port()).into(),
        IpAddr::V4(_) | IpAddr::V6(_) => address,
    }
}

struct Answer {
    status: u16,
    body: String,
}

/// One GET; the server is asked to close, so the body ends with the stream.
fn get(address: SocketAddr, path: &str) -> Result<Answer, Failure> {
    let failed =
        |error: io::Error| Failure::Message(format!("onevault does not answer at {address}: {error}"));
    let mut tcp = TcpStream::connect_timeout(&address, TIMEOUT).map_err(failed)?;
    tcp.set_read_timeout(Some(TIMEOUT)).map_err(failed)?;
    tcp.set_write_timeout(Some(TIMEOUT)).map_err(failed)?;
    tcp.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())
        .map_err(failed)?;
    let mut raw = Vec::new();
    tcp.take(ANSWER_BYTES_MAX).read_to_end(&mut raw).map_err(failed)?;
    parse(&String::from_utf8_lossy(&raw))
        .ok_or_else(|| Failure::Message(format!("what answers at {address} does not speak HTTP")))
}

fn parse(raw: &str) -> Option<Answer> {
    let (head, body) = raw.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

/// One line per member, nested members with their path.
fn write_health(out: &mut impl Write, value: &Value, path: &str) -> io::Result<()> {
    if let Value::Object(members) = value {
        for (name, member) in members {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            write_health(out, member, &path)?;
        }
        return Ok(());
    }
    let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    writeln!(out, "{path:<24} {text}")
}

/// The Prometheus text as a table: figure, labels, value. Buckets are left out unless `all` is wanted.
fn write_metrics(out: &mut impl Write, text: &str, all: bool) -> io::Result<()> {
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.rsplit_once(' ') else { continue };
        let (name, labels) = name.split_once('{').unwrap_or((name, ""));
        if all || !name.ends_with("_bucket") {
            writeln!(out, "{name:<32} {:<48} {value:>12}", labels.trim_end_matches('}'))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_split_into_status_and_body() {
        let answer = parse("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (503, "{}"));
        assert!(parse("SSH-2.0-x\r\n\r\n").is_none());
        assert!(parse("").is_none());
    }

    #[test]
    fn figures_become_a_table() {
        let mut out = Vec::new();
        let text = "# TYPE a gauge\na 3\nb{customer=\"one_spa\"} 4\nc_bucket{le=\"1\"} 2\n";
        write_metrics(&mut out, text, false).unwrap();
        let lines: Vec<Vec<String>> = String::from_utf8(out)
            .unwrap()
            .lines()
            .map(|line| line.split_whitespace().map(ToOwned::to_owned).collect())
            .collect();
        assert_eq!(lines, [vec!["a", "3"], vec!["b", "customer=\"one_spa\"", "4"]]);
    }

    #[test]
    fn nested_health_is_flat_on_paper() {
        let mut out = Vec::new();
        write_health(&mut out, &serde_json::json!({"status": "ok", "audit": {"writable": true}}), "")
            .unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("audit.writable           true"), "{text}");
    }
}
