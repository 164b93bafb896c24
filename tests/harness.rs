//! The tools of the tests do what the tests believe of them; without this a green test says little.

use crate::support::messages;
use crate::support::postgres::Postgres;
use crate::support::transcript::lines;
use crate::support::wire::Wire;

#[test]
fn a_conversation_with_postgres_reads_as_a_transcript() {
    for version in [15, 18] {
        let tenant = Postgres::shared(version).tenant("harness");
        let mut wire = tenant.direct();
        assert!(wire.parameters["server_version"].starts_with(&version.to_string()));
        let frames = wire.talk(&messages::extended("SELECT $1::int4 AS a, NULL AS b", &[Some("7")]));
        let expected = [
            "B ParseComplete",
            "B BindComplete",
            "B RowDescription a:23:0 b:25:0",
            "B DataRow 7|NULL",
            "B CommandComplete SELECT 1",
            "B ReadyForQuery I",
        ];
        assert_eq!(lines(&frames), expected);
        assert_eq!(wire.sqlstate("SELECT nothing"), "42703");
    }
}

#[test]
fn a_login_over_tls_is_bound_to_the_certificate() {
    let postgres = Postgres::shared(15);
    let mut wire = Wire::tls(postgres.port, "localhost", &postgres.ca).unwrap();
    wire.login(&postgres.superuser("postgres")).unwrap();
    assert_eq!(wire.value("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"), "t");
    assert!(Wire::tls(postgres.port, "elsewhere.test", &postgres.ca).is_err());
}

#[test]
fn a_wrong_password_is_told_in_the_servers_words() {
    let postgres = Postgres::shared(15);
    let mut login = postgres.superuser("postgres");
    login.password.push('x');
    let error = Wire::plain(postgres.port).login(&login).unwrap_err();
    assert_eq!((error.field('C').as_str(), error.field('S').as_str()), ("28P01", "FATAL"));
}
