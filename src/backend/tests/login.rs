//! Logging in at servers that are honest, that lie and that say nothing.

use std::sync::Mutex;
use std::time::Instant;

use super::liar::{Liar, Talk};
use super::*;
use crate::auth::scram::ScramError;
use crate::backend::connect::Answer;
use crate::protocol::report::{Report, ServerReport};
use crate::protocol::sqlstate::SqlState;
use crate::protocol::write;

/// What comes of dialling a server that follows `script`.
async fn dial_liar(
    mode: SslMode,
    script: impl Fn(&mut Talk) -> Option<()> + Send + Sync + 'static,
) -> Result<Backend, ConnectError> {
    let liar = Liar::new(script);
    dial(&destination(server(liar.port, mode), "app"), &Settings::default()).await
}

/// A server that speaks well up to the end of the startup packet, and then says this.
async fn after_startup(says: impl Fn(&mut Vec<u8>) + Send + Sync + 'static) -> ConnectError {
    let result = dial_liar(SslMode::Disable, move |talk| {
        talk.startup()?;
        talk.say(&says)
    });
    result.await.unwrap_err()
}

/// A server that logs us in and then says this instead of being ready.
async fn before_ready(says: impl Fn(&mut Vec<u8>) + Send + Sync + 'static) -> ConnectError {
    let result = dial_liar(SslMode::Disable, move |talk| {
        talk.startup()?;
        talk.scram(|last| last)?;
        talk.say(write::authentication_ok)?;
        talk.say(&says)
    });
    result.await.unwrap_err()
}

#[tokio::test]
async fn an_honest_server_is_logged_in_to() {
    let liar = Liar::honest();
    let to = destination(server(liar.port, SslMode::Disable), "app");
    let backend = dial(&to, &settings(&[("application_name", "x"), ("user", "evil")])).await.unwrap();
    assert_eq!(backend.parameters.get(b"TimeZone"), Some(&b"UTC"[..]));
    assert_eq!(*backend.key.secret, backend.key.process_id.to_be_bytes());
    assert!(backend.notices.is_empty());
}

#[tokio::test]
async fn startup_settings_reach_the_server_and_never_name_the_role() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let liar = Liar::new(move |talk| {
        talk.startup()?;
        kept.lock().unwrap().clone_from(&talk.parameters);
        talk.finish_login()
    });
    let asked = [
        ("options", "-c a=b"),
        ("user", "evil"),
        ("database", "evil"),
        ("replication", "true"),
        ("_pq_.x", "1"),
        ("DateStyle", "ISO"),
    ];
    dial(&destination(server(liar.port, SslMode::Disable), "app"), &settings(&asked)).await.unwrap();
    let seen: Vec<_> = seen.lock().unwrap().clone();
    let seen: Vec<_> = seen.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(seen, [("user", "owner"), ("database", "app"), ("DateStyle", "ISO"), ("options", "-c a=b")]);
}

#[tokio::test]
async fn bytes_behind_the_answer_to_ssl_request_end_it() {
    for answer in [&b"SS"[..], b"SR\0\0\0\x08\0\0\0\0Z\0\0\0\x05I", b"SN"] {
        let error = dial_liar(SslMode::Require, move |talk| {
            talk.packet()?;
            talk.send(answer)
        });
        let error = error.await.unwrap_err();
        // When our hello was faster than the bytes, TLS itself refuses them.
        assert!(matches!(error, ConnectError::Protocol(_) | ConnectError::Tls(_)), "{error}");
    }
}

#[tokio::test]
async fn without_tls_where_tls_is_demanded_nothing_is_said() {
    let answered = |answer: &'static [u8]| {
        dial_liar(SslMode::Require, move |talk| {
            talk.packet()?;
            talk.send(answer)?;
            assert!(talk.packet().is_none(), "the startup packet came in clear text");
            None
        })
    };
    assert!(matches!(answered(b"N").await, Err(ConnectError::NoTls)));
    assert!(matches!(answered(b"E\0\0\0\x08SX\0\0").await, Err(ConnectError::Protocol(_))));
    assert!(matches!(answered(b"?").await, Err(ConnectError::Protocol(_))));
    let no_roots = dial(&destination(server(1, SslMode::VerifyFull), "app"), &Settings::default()).await;
    assert!(matches!(no_roots, Err(ConnectError::TlsSettings(_))));
}

#[tokio::test]
async fn a_server_that_proves_nothing_is_left() {
    let no_final = dial_liar(SslMode::Disable, |talk| {
        talk.startup()?;
        talk.say(|out| write::authentication_sasl(out, &["SCRAM-SHA-256"]))?;
        talk.message()?;
        talk.say(write::authentication_ok)
    });
    assert!(matches!(no_final.await, Err(ConnectError::Scram(ScramError::ServerSignature))));
    let wrong = dial_liar(SslMode::Disable, |talk| {
        talk.startup()?;
        talk.scram(|_| b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_vec())
    });
    assert!(matches!(wrong.await, Err(ConnectError::Scram(ScramError::ServerSignature))));
    assert!(matches!(after_startup(write::authentication_ok).await, ConnectError::WeakLogin(_)));
    // SCRAM and then "give me the password after all".
    let both = dial_liar(SslMode::Disable, |talk| {
        talk.startup()?;
        talk.say(|out| write::authentication_sasl(out, &["SCRAM-SHA-256"]))?;
        talk.message()?;
        talk.say(write::authentication_cleartext_password)
    });
    assert!(matches!(both.await, Err(ConnectError::WeakLogin(_))));
}

#[tokio::test]
async fn the_password_is_not_given_away() {
    for request in [&b"R\0\0\0\x08\0\0\0\x03"[..], b"R\0\0\0\x0c\0\0\0\x05salt"] {
        let refused = dial_liar(SslMode::Disable, move |talk| {
            talk.startup()?;
            talk.send(request)?;
            assert!(talk.message().is_none(), "something was answered");
            None
        });
        assert!(matches!(refused.await, Err(ConnectError::WeakLogin(_))));
    }
}

#[tokio::test]
async fn a_weak_login_is_done_where_it_is_allowed() {
    for (request, answer) in [
        (&b"R\0\0\0\x08\0\0\0\x03"[..], format!("{PASSWORD}\0")),
        (
            b"R\0\0\0\x0c\0\0\0\x05salt",
            format!(
                "{}\0",
                postgres_protocol::authentication::md5_hash(b"owner", PASSWORD.as_bytes(), *b"salt")
            ),
        ),
    ] {
        let liar = Liar::new(move |talk| {
            talk.startup()?;
            talk.send(request)?;
            assert_eq!(talk.message()?.1, answer.as_bytes());
            talk.send(b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c\0\0\0\x01abcdZ\0\0\0\x05I")
        });
        let weak = Server { allow_weak_login: true, ..server(liar.port, SslMode::Disable) };
        dial(&destination(weak, "app"), &Settings::default()).await.unwrap();
    }
}

#[tokio::test]
async fn giant_challenges_are_refused_at_once() {
    let started = Instant::now();
    for change in ["i=2147483648", "i=1000001", "i=0", "nonce", "salt", "huge"] {
        let challenged = dial_liar(SslMode::Disable, move |talk| {
            talk.startup()?;
            talk.say(|out| write::authentication_sasl(out, &["SCRAM-SHA-256"]))?;
            let (_, body) = talk.message()?;
            let text = String::from_utf8_lossy(&body).into_owned();
            let mut nonce = text.split_once("r=").unwrap().1.to_owned() + "x";
            let (mut salt, mut count) = ("AAAA".to_owned(), "i=4096");
            match change {
                "nonce" => nonce += &"x".repeat(2048),
                "huge" => nonce += &"x".repeat(100 * 1024),
                "salt" => salt = "A".repeat(4096),
                other => count = other,
            }
            talk.say(|out| {
                write::authentication_sasl_continue(out, format!("r={nonce},s={salt},{count}").as_bytes());
            })
        });
        let error = challenged.await.unwrap_err();
        assert!(matches!(error, ConnectError::Scram(_) | ConnectError::Protocol(_)), "{change}: {error}");
    }
    assert!(started.elapsed().as_secs() < 5);
}

#[tokio::test]
async fn lengths_and_layouts_are_not_believed() {
    for bytes in [
        &b"R\xff\xff\xff\xff\0\0\0\0"[..],
        b"R\0\0\0\x03",
        b"R\0\0\0\x04",
        b"R\0\0\0\x06\0\0",
        b"R\x7f\xff\xff\xff\0",
        b"Z\0\0\0\x05I",
        b"S\0\0\0\x08a\0b\0",
        b"v\0\0\0\x0c\0\x03\0\0\0\0\0\0",
        b"HTTP/1.1 400 Bad Request",
    ] {
        let error = after_startup(move |out| out.extend(bytes)).await;
        assert!(matches!(error, ConnectError::Protocol(_)), "{bytes:?}: {error}");
    }
    for bytes in [
        &b"Z\0\0\0\x05T"[..],
        b"Z\0\0\0\x05I",
        b"K\0\0\0\x08\0\0\0\x01",
        b"K\0\0\0\x0c\0\0\0\x01abcdK\0\0\0\x0c\0\0\0\x01abcd",
        b"K\0\0\0\x0c\0\0\0\x01abcdZ\0\0\0\x05Imore",
        b"S\0\0\0\x06a\0",
        b"D\0\0\0\x06\0\0",
        b"R\0\0\0\x08\0\0\0\0",
        b"T\xff\xff\xff\xfe",
    ] {
        let error = before_ready(move |out| out.extend(bytes)).await;
        assert!(matches!(error, ConnectError::Protocol(_)), "{bytes:?}: {error}");
    }
}

#[tokio::test]
async fn endless_notices_end() {
    let notice = |out: &mut Vec<u8>| {
        (0..3000)
            .for_each(|_| write::notice_response(out, &Report::error(SqlState(*b"01000"), "x".repeat(100))));
    };
    assert!(matches!(before_ready(notice).await, ConnectError::Protocol(_)));
    assert!(matches!(after_startup(notice).await, ConnectError::Protocol(_)));
}

#[tokio::test]
async fn a_silent_server_is_left_in_time() {
    for mode in [SslMode::Disable, SslMode::Require] {
        let liar = Liar::new(|_| None);
        let to = destination(server(liar.port, mode), "app");
        let started = Instant::now();
        let result = Dialler::default()
            .connect(&to, &Settings::default(), (Duration::from_millis(200), &Default::default()))
            .await;
        assert!(matches!(result, Err(ConnectError::Timeout)));
        assert!(started.elapsed() < Duration::from_secs(2));
        liar.until_closed(1).await;
    }
}

#[tokio::test]
async fn a_refusal_is_shown_unless_it_is_about_our_own_role() {
    let refused = |code: &'static [u8; 5]| {
        after_startup(move |out| {
            write::error_response(out, &Report::fatal(SqlState(*code), "the server's own words"));
        })
    };
    for code in [b"3D000", b"22023", b"42704", b"53300", b"57P03"] {
        let error = refused(code).await;
        let Answer::AsSent(raw) = error.answer() else { panic!("{error}") };
        let report = ServerReport::parse(&raw[5..]);
        assert_eq!((report.code, report.message), (Some(SqlState(*code)), &b"the server's own words"[..]));
    }
    for code in [b"28P01", b"28000"] {
        let error = refused(code).await;
        let Answer::Report(report) = error.answer() else { panic!("{error}") };
        assert_eq!(
            (report.code, report.message.as_ref()),
            (SqlState::CONNECTION_FAILURE, "database login failed")
        );
        assert!(error.to_string().contains("the server's own words"), "the log says it");
    }
}

#[tokio::test]
async fn an_error_without_its_fields_is_not_passed_on() {
    for body in [
        &b"\0"[..],
        b"",
        b"SFATAL\0Mx\0\0",
        b"SFATAL\0C3D000\0Mx\0",
        b"C3D000\0Mx\0\0",
        b"SFATAL\0C3D000\0\0",
    ] {
        let error = after_startup(move |out| {
            out.push(b'E');
            out.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
            out.extend(body);
        });
        let error = error.await;
        assert!(matches!(error, ConnectError::Protocol(_)), "{body:?}: {error}");
    }
}

#[tokio::test]
async fn notices_of_the_login_are_kept_for_the_client() {
    let warning = Report::error(SqlState(*b"01000"), "collation version mismatch");
    let mut expected = Vec::new();
    write::notice_response(&mut expected, &warning);
    let said = expected.clone();
    let liar = Liar::new(move |talk| {
        talk.startup()?;
        talk.scram(|last| last)?;
        talk.say(|out| {
            write::authentication_ok(out);
            out.extend(&said);
            out.extend(b"K\0\0\0\x0c\0\0\0\x01abcdZ\0\0\0\x05I");
        })
    });
    let backend =
        dial(&destination(server(liar.port, SslMode::Disable), "app"), &Settings::default()).await.unwrap();
    assert_eq!(*backend.notices, *expected);
}

#[tokio::test]
async fn keys_are_derived_once() {
    use crate::auth::scram::Verifier;
    let verifier = Verifier::from_password(PASSWORD, 1_000_000).unwrap();
    let liar = Liar::new(move |talk| {
        talk.startup()?;
        talk.scram_with(verifier.clone(), |last| last)?;
        talk.send(b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c\0\0\0\x01abcdZ\0\0\0\x05I")
    });
    let to = destination(server(liar.port, SslMode::Disable), "app");
    let dialler = Dialler::default();
    let (none, limit) = (Settings::default(), Duration::from_secs(5));
    let timed = async || {
        let started = Instant::now();
        dialler.connect(&to, &none, (limit, &Default::default())).await.unwrap();
        started.elapsed()
    };
    let first = timed().await;
    let second = timed().await;
    assert!(second * 4 < first, "{first:?} with PBKDF2, then {second:?}");
    assert_eq!(dialler.keys_kept(), 1);
}
