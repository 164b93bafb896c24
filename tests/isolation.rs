//! No byte of one customer reaches another: routes, pools, settings, errors.

use serde_json::json;

use crate::support::messages::*;
use crate::support::postgres::{ANY, Postgres, Tenant};
use crate::support::vault::{Customer, Options, Vault, through};
use crate::support::wire::{Login, Wire};

fn two() -> (Vault, Tenant, Tenant) {
    let (one, two) = (Postgres::shared(ANY).tenant("one"), Postgres::shared(ANY).tenant("two"));
    for tenant in [&one, &two] {
        tenant
            .direct()
            .rows(&format!("CREATE TABLE mine (who text); INSERT INTO mine VALUES ('{}')", tenant.role));
    }
    let domain = |tenant: &Tenant, host: &str| Customer::of(tenant).with(json!({ "domains": [host] }));
    let options = Options::new(&[domain(&one, "one.example.test"), domain(&two, "two.example.test")])
        .with(json!({ "listen": { "base_domain": "db.example.test" }, "tls": {} }));
    (Vault::start(options), one, two)
}

/// Each customer sees its own rows, over and over, with everybody connected at once and backends going round.
#[test]
fn a_client_never_sees_another_customers_rows() {
    let (vault, one, two) = two();
    std::thread::scope(|scope| {
        for tenant in [&one, &two, &one, &two] {
            let vault = &vault;
            scope.spawn(move || {
                for _ in 0..20 {
                    let mut wire = vault.enter(&through(tenant));
                    for _ in 0..5 {
                        assert_eq!(wire.value("SELECT who FROM mine"), tenant.role);
                        assert_eq!(
                            wire.value("SELECT current_user || current_database()"),
                            tenant.role.repeat(2)
                        );
                    }
                    wire.send(&terminate());
                }
            });
        }
    });
}

/// Every way to name the customer leads to it, and all that are given must agree.
#[test]
fn hints_must_agree() {
    let (vault, one, two) = two();
    let plain = one.login();
    let customer = |login: Login, id: &str| login.with("options", &format!("-c onevault.customer={id}"));
    let at = |id: &str| {
        let mut login = plain.clone();
        login.user = format!("{}@{id}", plain.user);
        login
    };
    let enters = |login: &Login| Wire::plain(vault.port).login(login);
    for login in [
        at(&one.role),
        customer(plain.clone(), &one.role),
        customer(at(&one.role), &one.role),
        plain.clone().with("onevault.customer", &one.role),
    ] {
        enters(&login).unwrap_or_else(|error| panic!("{login:?}: {}", error.line()));
    }
    for login in [
        at(&two.role),
        customer(plain.clone(), &two.role),
        customer(at(&one.role), &two.role),
        customer(at(&two.role), &one.role),
        customer(customer(plain.clone(), &one.role), &two.role),
        at(&one.role).with("onevault.customer", &two.role),
    ] {
        assert_eq!(enters(&login).unwrap_err().field('C'), "28P01", "{login:?}");
    }
    // The option itself never reaches the server.
    let mut wire = vault.enter(&customer(plain.clone(), &one.role));
    assert_eq!(wire.value("SELECT coalesce(current_setting('onevault.customer', true), '')"), "");
}

/// The second customer's login and password, whatever database and customer are asked for with them.
#[test]
fn a_customers_password_opens_its_own_databases_only() {
    let (vault, one, two) = two();
    for user in [format!("{}@{}", two.role, one.role), two.role.clone(), format!("{}@{}", one.role, two.role)]
    {
        for database in [&one.database, &two.database] {
            let let_in = Wire::plain(vault.port).login(&Login::new(&user, &two.password, database));
            // A login without a customer may be led home by its own database's name, nowhere else.
            assert!(let_in.is_err() || (user == two.role && *database == two.database), "{user} {database}");
        }
    }
}

/// Two customers with the same login, database name and statement names have nothing in common.
#[test]
fn the_same_names_are_not_the_same_things() {
    let (one, two) = (Postgres::shared(ANY).tenant("same_one"), Postgres::shared(ANY).tenant("same_two"));
    let customers = [&one, &two].map(|tenant| {
        Customer::at(
            &tenant.role,
            &Customer::server(tenant.postgres.port, &tenant.role),
            json!([{ "name": "app", "server_name": tenant.database }]),
        )
        .login("app", &tenant.verifier())
        .secret("password", &tenant.password)
    });
    let vault = Vault::start(Options::new(&customers).with(json!({ "limits": { "backends_max": 2 } })));
    for _ in 0..3 {
        let mut wires = [&one, &two].map(|tenant| {
            (tenant, vault.enter(&Login::new(&format!("app@{}", tenant.role), &tenant.password, "app")))
        });
        for (_, wire) in &mut wires {
            wire.talk(&all(&[parse("s1", "SELECT current_database()"), sync()]));
        }
        for (tenant, wire) in &mut wires {
            let frames = wire.talk(&all(&[bind("", "s1", &[]), execute("", 0), sync()]));
            assert_eq!(frames[1].values(), [Some(tenant.database.clone())]);
            wire.send(&terminate());
            wire.rest();
        }
    }
}

/// Patterns and names of databases: mapped names lead where the file says, everything else nowhere.
#[test]
fn names_are_mapped_as_the_file_says() {
    let tenant = Postgres::shared(ANY).tenant("mapped");
    let (prefix, rest) = tenant.database.split_once('_').unwrap();
    let customer = |databases| {
        let server = Customer::server(tenant.postgres.port, &tenant.role);
        Customer::at(&tenant.role, &server, databases)
            .login("app", &tenant.verifier())
            .secret("password", &tenant.password)
    };
    let vault = Vault::start(Options::new(&[customer(json!([
        { "name": "main", "server_name": tenant.database },
        { "pattern": "app_*", "server_name": format!("{prefix}_*") },
    ]))]));
    let enters = |name: &str| {
        let mut wire = Wire::plain(vault.port);
        wire.login(&Login::new(&format!("app@{}", tenant.role), &tenant.password, name))
            .map(|()| wire.value("SELECT current_database()"))
    };
    assert_eq!(enters("main").unwrap(), tenant.database);
    assert_eq!(enters(&format!("app_{rest}")).unwrap(), tenant.database);
    for name in ["other", "app", "Main", tenant.database.as_str()] {
        assert_eq!(enters(name).unwrap_err().field('C'), "3D000", "{name}");
    }
    // Covered by the pattern, and the server does not have it.
    assert_eq!(enters("app_none").unwrap_err().field('C'), "3D000");
}
