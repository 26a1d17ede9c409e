//! Which client a request comes from, and how often it may ask:
//!
//! - a client above its rate gets 429 and is told when to come back
//! - without trusted proxies no field names the client
//! - only the configured field names the client, and the other one is never read
//! - the field is read from the right, over all its lines
//! - the networks of one IPv6 site share a larger limit
//! - sources and proxies that make no sense are refused, with what is wrong
//! - the access log names the same client

use std::{process::Stdio, time::Duration};

use tempfile::TempDir;

use crate::{
    app::{App, BOARD, Data},
    client::Connection,
    process::{Service, run, serve},
};

const TRUSTED: &str = "127.0.0.1,10.0.0.0/8,fd00::/8";

/// Starts a server that admits one request per client and minute.
async fn start(options: &[&str]) -> App {
    let limit = ["--rate-limit", "1"];
    App::start_with_options(Data::sample(), &[&limit[..], options].concat()).await
}

async fn behind(source: &str) -> App {
    let options = [
        "--trusted-proxies",
        TRUSTED,
        "--client-address-from",
        source,
    ];
    start(&options).await
}

/// Returns the status of a request with these lines of one field.
async fn ask(app: &App, field: &str, lines: &[&str]) -> u16 {
    let lines: Vec<_> = lines.iter().map(|line| (field, *line)).collect();
    app.get_with(BOARD, &lines).await.status.as_u16()
}

#[actix_web::test]
async fn a_client_above_its_rate_gets_429_and_is_told_when_to_come_back() {
    let options = ["--rate-limit", "60", "--rate-limit-burst", "3"];
    let options = [
        &options[..],
        &[
            "--trusted-proxies",
            TRUSTED,
            "--admin-address",
            "127.0.0.1:0",
        ],
    ];
    let app = App::start_with_options(Data::sample(), &options.concat()).await;
    let client = async || {
        app.get_with(BOARD, &[("x-forwarded-for", "192.0.2.1")])
            .await
    };
    for _ in 0..3 {
        assert_eq!(client().await.status, 200);
    }
    let rejected = client().await;
    rejected.assert_error(429, "too many requests from this address, try again");
    assert_eq!(rejected.header("retry-after"), "1");
    assert_eq!(ask(&app, "x-forwarded-for", &["192.0.2.2"]).await, 200);
    assert_eq!(app.get("/health").await.status, 200);
    let counted = r#"publisher_http_requests_total{route="active-challenges",status="429"}"#;
    assert_eq!(app.metric(counted).await, 1);
    app.clock.advance(Duration::from_secs(1));
    assert_eq!(client().await.status, 200);
    assert_eq!(client().await.status, 429);
    app.stop().await;
}

#[actix_web::test]
async fn without_trusted_proxies_no_field_names_the_client() {
    for options in [&[][..], &["--client-address-from", "peer"]] {
        let app = start(options).await;
        assert_eq!(ask(&app, "x-forwarded-for", &["192.0.2.1"]).await, 200);
        assert_eq!(ask(&app, "x-forwarded-for", &["192.0.2.2"]).await, 429);
        assert_eq!(ask(&app, "forwarded", &["for=192.0.2.3"]).await, 429);
        assert_eq!(ask(&app, "x-real-ip", &["192.0.2.4"]).await, 429);
        app.stop().await;
    }
}

#[actix_web::test]
async fn only_the_configured_field_names_the_client() {
    for (source, other) in [
        ("x-forwarded-for", "forwarded"),
        ("forwarded", "x-forwarded-for"),
    ] {
        let app = behind(source).await;
        let named = |field: &str, address: &str| match field {
            "forwarded" => format!("for={address}"),
            _ => address.to_owned(),
        };
        let client = named(source, "192.0.2.1");
        for (number, status) in [(1, 200), (2, 429), (3, 429)] {
            let forged = named(other, &format!("198.51.100.{number}"));
            let fields = [(source, client.as_str()), (other, forged.as_str())];
            let answer = app.get_with(BOARD, &fields).await;
            assert_eq!(answer.status, status, "{fields:?}");
        }
        // Without its field the proxy itself is the client.
        for (number, status) in [(1, 200), (2, 429)] {
            let forged = named(other, &format!("198.51.100.{number}"));
            assert_eq!(ask(&app, other, &[&forged]).await, status, "{forged}");
        }
        app.stop().await;
    }
}

#[actix_web::test]
async fn the_field_is_read_from_the_right_over_all_its_lines() {
    let app = behind("x-forwarded-for").await;
    assert_eq!(ask(&app, "x-forwarded-for", &["192.0.2.1"]).await, 200);
    // The same client in other notations, and behind entries that it forged.
    for lines in [
        &["8.8.8.8, 192.0.2.1, 10.0.0.1"][..],
        &["192.0.2.1:80"],
        &["::ffff:192.0.2.1"],
        &["[::ffff:192.0.2.1]:80"],
        &["8.8.8.1", "192.0.2.1"],
        &["8.8.8.2, 192.0.2.1", "10.0.0.1", "fd00::1, ,"],
        &["garbage", "\", 192.0.2.1"],
    ] {
        assert_eq!(ask(&app, "x-forwarded-for", lines).await, 429, "{lines:?}");
    }
    // Nobody vouches for what is left of an invalid entry, so the last proxy counts as the client.
    assert_eq!(
        ask(&app, "x-forwarded-for", &["8.8.8.3, unknown"]).await,
        200
    );
    for lines in [
        &["8.8.8.4, _hidden"][..],
        &["8.8.8.5", "192.0.2.300"],
        &["\"8.8.8.6\""],
        &["8.8.8.7 8.8.8.8"],
    ] {
        assert_eq!(ask(&app, "x-forwarded-for", lines).await, 429, "{lines:?}");
    }
    app.stop().await;
    let app = behind("forwarded").await;
    assert_eq!(
        ask(
            &app,
            "forwarded",
            &["for=192.0.2.1;proto=http, for=10.1.2.3"]
        )
        .await,
        200
    );
    for lines in [
        &["For=\"192.0.2.1:4711\""][..],
        &["for=8.8.8.8", "by=10.0.0.1;for=192.0.2.1"],
        &["for=192.0.2.1;host=\"a,for=8.8.8.9\""],
        &["for=\", for=192.0.2.1"],
    ] {
        assert_eq!(ask(&app, "forwarded", lines).await, 429, "{lines:?}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn the_networks_of_one_ipv6_site_share_a_larger_limit() {
    let app = behind("x-forwarded-for").await;
    let mut admitted = 0;
    for network in 0..100 {
        let client = format!("2001:db8:1:{network:x}::1");
        admitted += usize::from(ask(&app, "x-forwarded-for", &[&client]).await == 200);
        let same_network = format!("2001:db8:1:{network:x}:1:2:3:4");
        assert_eq!(ask(&app, "x-forwarded-for", &[&same_network]).await, 429);
    }
    assert_eq!(admitted, 16);
    assert_eq!(ask(&app, "x-forwarded-for", &["2001:db8:2::1"]).await, 200);
    app.stop().await;
}

#[test]
fn sources_and_proxies_that_make_no_sense_are_refused() {
    for (options, reason) in [
        (
            &["--trusted-proxies", "10.0.0.0/99"][..],
            "the mask `/99` is not a number from 1 to 32",
        ),
        (
            &["--trusted-proxies", "::1,10.0.0.1/8"],
            "the network is 10.0.0.0/8, the address alone is 10.0.0.1",
        ),
        (
            &["--trusted-proxies", "0.0.0.0/0"],
            "would trust every client",
        ),
        (
            &["--trusted-proxies", "proxy.local"],
            "`proxy.local` is not an IP address",
        ),
        (
            &["--client-address-from", "forwarded"],
            "--trusted-proxies <NETWORKS>",
        ),
        (
            &["--client-address-from", "x-real-ip"],
            "[possible values: peer, x-forwarded-for, forwarded]",
        ),
    ] {
        let refused = run(&[&["serve"], options].concat());
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{options:?}: {said}");
        assert!(said.contains(reason), "{options:?}: {said}");
    }
}

#[test]
fn the_access_log_names_the_same_client() {
    let folder = TempDir::new().unwrap();
    let options = ["--access-log", "all", "--trusted-proxies", "127.0.0.1"];
    let mut command = serve(&folder.path().join("a.db"), &options);
    command.stdout(Stdio::null());
    let service = Service::start(command);
    let mut client = Connection::open(&service.address).unwrap();
    let fields = "X-Forwarded-For: 192.0.2.66, 192.0.2.7\r\nForwarded: for=192.0.2.8\r\n";
    let (status, _) = client.request("GET", BOARD, fields, b"").unwrap();
    assert_eq!(status, 200);
    drop(client);
    service.signal("-TERM");
    let (code, said) = service.ended();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("client=192.0.2.7 "), "{said}");
    assert!(
        !said.contains("192.0.2.8") && !said.contains("192.0.2.66"),
        "{said}"
    );
}
