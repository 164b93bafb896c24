//! Which server, which login, which TLS: `host=.. port=.. user=.. sslmode=..` as a type.
//!
//! Always holds: without `sslmode` the server must prove its name (`verify-full`). Refuses what libpq would
//! understand but this room would not honour, rather than leave it out in silence.
//!
//! Source: libpq-connect#LIBPQ-CONNECT-CONNSTRING

use std::fmt;
use std::path::PathBuf;

use crate::customers::SslMode;
use crate::ids::Secret;

/// A server and the login used there to make roles and databases.
#[derive(Debug, Clone)]
pub struct ServerAddress {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The role that may create roles and databases.
    pub user: String,
    /// Its password; absent: the server asks for none.
    pub password: Option<Secret>,
    /// The database it logs in to; locks are taken there.
    pub database: String,
    /// TLS towards the server, for this login and for the customer's role.
    pub ssl_mode: SslMode,
    /// Authorities (PEM) for `verify-ca` and `verify-full`.
    pub ssl_root_cert: Option<PathBuf>,
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl ServerAddress {
    /// Reads a connection string of `keyword=value` pairs, values without spaces.
    ///
    /// # Errors
    /// A sentence about the first keyword that is unknown, missing or has no sense.
    pub fn parse(text: &str, password: Option<Secret>) -> Result<Self, String> {
        let mut address = Self {
            host: String::new(),
            port: 5432,
            user: "postgres".into(),
            password,
            database: "postgres".into(),
            ssl_mode: SslMode::VerifyFull,
            ssl_root_cert: None,
        };
        for pair in text.split_whitespace() {
            let (keyword, value) =
                pair.split_once('=').ok_or_else(|| format!("\"{pair}\" is not of the form keyword=value"))?;
            address.set(keyword, value)?;
        }
        if address.host.is_empty() {
            return Err("host is missing: write host=<name> port=<number> user=<role> sslmode=<mode>".into());
        }
        if address.host.starts_with('/') || address.host.starts_with('@') {
            return Err("host must be a name or an address: Unix sockets are not supported".into());
        }
        let verifies = matches!(address.ssl_mode, SslMode::VerifyCa | SslMode::VerifyFull);
        if verifies && address.ssl_root_cert.is_none() {
            return Err(
                "sslrootcert=<file> is missing: verify-ca and verify-full (the default) need it".into()
            );
        }
        Ok(address)
    }

    fn set(&mut self, keyword: &str, value: &str) -> Result<(), String> {
        match keyword {
            "host" | "hostaddr" => value.clone_into(&mut self.host),
            "port" => self.port = value.parse().map_err(|_| format!("invalid port: \"{value}\""))?,
            "user" => value.clone_into(&mut self.user),
            "dbname" => value.clone_into(&mut self.database),
            "sslrootcert" => {
                // The customer's file names it too, and is read from another folder.
                let path =
                    std::path::absolute(value).map_err(|error| format!("invalid sslrootcert: {error}"))?;
                self.ssl_root_cert = Some(path);
            }
            "sslmode" => {
                self.ssl_mode = match value {
                    "disable" => SslMode::Disable,
                    "require" => SslMode::Require,
                    "verify-ca" => SslMode::VerifyCa,
                    "verify-full" => SslMode::VerifyFull,
                    "allow" | "prefer" => {
                        return Err(format!(
                            "sslmode={value} would accept an unprotected connection; write require or disable"
                        ));
                    }
                    _ => return Err(format!("invalid sslmode: \"{value}\"")),
                };
            }
            "password" => return Err("a password does not belong here; set provision.password".into()),
            _ => {
                return Err(format!(
                    "unknown keyword \"{keyword}\": host, port, user, dbname, sslmode and sslrootcert are known"
                ));
            }
        }
        Ok(())
    }
}

/// The word of libpq for a mode.
pub(super) const fn ssl_mode_word(mode: SslMode) -> &'static str {
    match mode {
        SslMode::Disable => "disable",
        SslMode::Require => "require",
        SslMode::VerifyCa => "verify-ca",
        SslMode::VerifyFull => "verify-full",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_must_prove_its_name_unless_told_otherwise() {
        let address = ServerAddress::parse("host=db sslrootcert=ca.pem", None).unwrap();
        assert_eq!((address.port, address.ssl_mode), (5432, SslMode::VerifyFull));
        let error = ServerAddress::parse("host=db", None).unwrap_err();
        assert!(error.contains("sslrootcert"), "{error}");
    }

    #[test]
    fn what_would_not_be_honoured_is_refused() {
        for (text, word) in [
            ("", "host is missing"),
            ("host", "keyword=value"),
            ("host=db port=x sslmode=disable", "invalid port"),
            ("host=db sslmode=prefer", "unprotected"),
            ("host=db sslmode=no", "invalid sslmode"),
            ("host=db password=x", "does not belong here"),
            ("host=db target_session_attrs=any", "unknown keyword"),
            ("host=/var/run/postgresql sslmode=disable", "Unix sockets"),
        ] {
            let error = ServerAddress::parse(text, None).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
