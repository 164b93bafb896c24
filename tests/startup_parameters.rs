//! Whatever a client asks for at the start reaches the server, and what the server reports reaches the client.

use crate::support::vault::House;
use crate::support::wire::{Login, PROTOCOL_3_2, Wire};

/// Settings given one by one and through `options` hold from the first statement on and survive RESET, as directly.
#[test]
fn startup_settings_reach_the_server() {
    let house = House::new("settings");
    let with = |login: Login| {
        login
            .with("application_name", "it's \"me\"")
            .with("DateStyle", "german")
            .with("TimeZone", "Asia/Tokyo")
            .with("extra_float_digits", "1")
            .with("options", "-c work_mem=5MB -c search_path=\"a\\ b\",public --statement-timeout=12345")
    };
    let mut direct = Wire::plain(house.tenant.postgres.port);
    direct.login(&with(house.tenant.login())).unwrap();
    let mut through = house.vault.enter(&with(house.login()));
    let names = ["application_name", "DateStyle", "TimeZone", "work_mem", "search_path", "statement_timeout"];
    for name in names {
        let (left, right) = (through.value(&format!("SHOW {name}")), direct.value(&format!("SHOW {name}")));
        assert_eq!(left, right, "{name}");
        let changed = format!("SET {name} TO DEFAULT; RESET {name}; SHOW {name}");
        assert_eq!(through.value(&changed), right, "{name} after RESET");
    }
    through.rows("DISCARD ALL");
    assert_eq!(through.value("SHOW work_mem"), "5MB");
    assert_eq!(through.value("SHOW DateStyle"), direct.value("SHOW DateStyle"));
}

/// `ParameterStatus` is the server's own, in its own spelling, at the start and after every change.
#[test]
fn parameters_are_reported_as_the_server_reports_them() {
    let house = House::new("status");
    let with = |login: Login| login.with("DateStyle", "sql, dmy").with("client_encoding", "utf-8");
    let mut direct = Wire::plain(house.tenant.postgres.port);
    direct.login(&with(house.tenant.login())).unwrap();
    let mut through = house.vault.enter(&with(house.login()));
    for wire in [&mut direct, &mut through] {
        wire.parameters.clear();
    }
    let reported = |wire: &Wire| -> Vec<_> {
        let mut all: Vec<_> =
            wire.greeting.iter().filter(|frame| frame.tag == b'S').map(|frame| frame.line()).collect();
        all.sort();
        all
    };
    assert_eq!(reported(&through), reported(&direct));
    for sql in ["SET DateStyle = iso", "SET application_name = 'x'", "BEGIN; SET TimeZone = 'UTC'; ROLLBACK"]
    {
        direct.rows(sql);
        through.rows(sql);
        assert_eq!(through.parameters, direct.parameters, "{sql}");
    }
}

/// A setting the server refuses is refused in its words, and the next client does not notice.
#[test]
fn a_bad_setting_hurts_its_sender_only() {
    let house = House::new("bad");
    let mut neighbour = house.enter();
    for (name, value) in [
        ("no_such_setting", "1"),
        ("work_mem", "lots"),
        ("options", "-c"),
        ("options", "-c work_mem"),
        ("options", "--no-such-switch"),
        ("client_encoding", "klingon"),
        ("DateStyle", "never"),
    ] {
        let mut wire = Wire::plain(house.tenant.postgres.port);
        let direct = wire.login(&house.tenant.login().with(name, value));
        let mut wire = Wire::plain(house.vault.port);
        let through = wire.login(&house.login().with(name, value));
        assert_eq!(through.map_err(|e| e.line()), direct.map_err(|e| e.line()), "{name}={value}");
        assert_eq!(neighbour.value("SELECT 'well'"), "well");
        assert_eq!(house.enter().value("SELECT 'well too'"), "well too");
    }
}

/// A client that asked for a setting leaves nothing of it to the next one.
#[test]
fn startup_settings_do_not_stay_behind() {
    let house = House::new("behind");
    let normal = house.enter().value("SHOW work_mem");
    for _ in 0..3 {
        let mut wire = house.vault.enter(&house.login().with("work_mem", "7MB"));
        assert_eq!(wire.value("SHOW work_mem"), "7MB");
        drop(wire);
        assert_eq!(house.enter().value("SHOW work_mem"), normal);
    }
}

/// Replication would go around the log: refused, and the refusal is this client's alone.
#[test]
fn replication_is_refused() {
    let house = House::new("replication");
    for value in ["true", "database", "on", "1"] {
        let error =
            Wire::plain(house.vault.port).login(&house.login().with("replication", value)).unwrap_err();
        assert_eq!(error.field('C'), "0A000", "{value}: {}", error.line());
    }
    assert_eq!(house.enter().value("SELECT 1"), "1");
    house.vault.enter(&house.login().with("replication", "false"));
}

/// A newer protocol or unknown options are negotiated once; 3.2 brings a longer cancel key.
#[test]
fn the_protocol_version_is_negotiated_once() {
    let house = House::new("version");
    for (version, options, told) in
        [(PROTOCOL_3_2, false, 0), (PROTOCOL_3_2, true, 1), (196_617, false, 1), (196_608, true, 1)]
    {
        let mut login = house.login();
        login.version = version;
        if options {
            login = login.with("_pq_.unknown", "1");
        }
        let mut wire = Wire::plain(house.vault.port);
        wire.send(&login.startup());
        let frames = wire.until(|frame| frame.tag == b'R');
        let negotiated = frames.iter().filter(|frame| frame.tag == b'v').count();
        assert_eq!(negotiated, told, "version {version}, options {options}");
    }
    let mut login = house.login();
    login.version = PROTOCOL_3_2;
    assert_eq!(house.vault.enter(&login).key.1.len(), 32);
    assert_eq!(house.enter().key.1.len(), 4);
}

/// Protocol 2 and nonsense are told so, or at least end the connection.
#[test]
fn other_protocols_are_refused() {
    let house = House::new("old");
    for version in [131_072, 262_144, 1, 0] {
        let mut login = house.login();
        login.version = version;
        let error = Wire::plain(house.vault.port).login(&login).unwrap_err();
        assert!(["0A000", "08P01"].contains(&error.field('C').as_str()), "{version}: {}", error.line());
    }
    let error = Wire::plain(house.vault.port).login(&Login::new("", "", "x")).unwrap_err();
    assert_eq!(error.field('C'), "28000");
}
