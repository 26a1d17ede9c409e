//! What containers and platforms expect of a program:
//!
//! - `health` says in one line, and by its exit code, whether a server is ready
//! - `health` finds the server by PUBLISHER_ADDRESS or PORT
//! - PORT names a port on all addresses, unless an address is given
//! - a port that is taken on one of all addresses is an error
//! - every switch is read from its variable in each of the usual forms, and nothing else is taken
//! - an empty variable is as if unset, for every option
//! - an inherited pair of sockets is served, with and without names
//! - the service manager is reached at an abstract socket

use std::{
    net::{TcpListener, TcpStream},
    os::{fd::OwnedFd, linux::net::SocketAddrExt as _, unix::net},
    process::{Command, Output, Stdio},
    time::Duration,
};

use cathedral_publisher::config::Cli;
use clap::{Arg, ArgAction};
use tempfile::TempDir;

use crate::{
    app::{BOARD, TOKENS},
    ports::free_port,
    process::{Service, get, in_shell, publisher, serve},
};

/// The exit code and the only line of a command that ends by itself.
fn line(command: &mut Command) -> (Option<i32>, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let said = String::from_utf8([stdout, stderr].concat()).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    (status.code(), said)
}

#[test]
fn health_says_in_one_line_and_by_its_exit_code_whether_a_server_is_ready() {
    let folder = TempDir::new().unwrap();
    let delay = ["--shutdown-delay-ms", "600000"];
    let service = Service::start(serve(&folder.path().join("a.db"), &delay));
    let base = format!("http://{}", service.address);
    let health = |arguments: &[&str]| line(publisher(&["health"]).args(arguments));
    for url in ["", "/", "/health/ready"] {
        let (code, said) = health(&[&format!("{base}{url}")]);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(said, format!("{base}/health/ready: 200\n"));
    }
    assert_eq!(health(&[&format!("{base}/health/live")]).0, Some(0));
    let (code, said) = health(&[&format!("{base}/nope")]);
    assert!(code == Some(1) && said.contains("/nope: 404 {"), "{said}");
    service.signal("-TERM");
    crate::app::eventually("readiness off", || health(&[&base]).0 == Some(1));
    let (code, said) = health(&[&base]);
    assert_eq!(code, Some(1));
    assert!(said.contains(r#": 503 {"status":"#), "{said}");
    assert!(said.contains(r#""process":"stopping""#), "{said}");
    service.signal("-TERM");
    service.ended();
    let (code, said) = health(&[&base]);
    assert!(code == Some(1) && said.contains("refused"), "{said}");
    // A server that accepts and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let (code, said) = health(&[&url, "--timeout-secs", "1"]);
    assert!(code == Some(1) && said.contains("no complete answer"));
    for url in ["nonsense", "ftp://a/", "http://"] {
        assert_eq!(health(&[url]).0, Some(1), "{url}");
    }
}

#[test]
fn health_finds_the_server_by_publisher_address_or_port() {
    let folder = TempDir::new().unwrap();
    let service = Service::start(serve(&folder.path().join("a.db"), &[]));
    let port = service.address.rsplit_once(':').unwrap().1;
    let health = |variables: &[(&str, &str)]| {
        let mut command = publisher(&["health"]);
        line(command.envs(variables.iter().copied())).0
    };
    assert_eq!(health(&[("PORT", port)]), Some(0));
    let everywhere = format!("0.0.0.0:{port}");
    let address = ("PUBLISHER_ADDRESS", everywhere.as_str());
    assert_eq!(health(&[address, ("PORT", "1")]), Some(0));
    let empty = ("PUBLISHER_ADDRESS", "");
    assert_eq!(health(&[empty, ("PORT", port)]), Some(0));
    assert_eq!(health(&[("PORT", "1")]), Some(1));
    assert_eq!(health(&[("PORT", "x")]), Some(1));
}

#[test]
fn port_names_a_port_on_all_addresses_unless_an_address_is_given() {
    let folder = TempDir::new().unwrap();
    let database = folder.path().join("a.db");
    let start = |variables: &[(&str, &str)], options: &[&str]| {
        let mut command = publisher(&["serve", "--database"]);
        command.arg(&database).args(options);
        Service::start({
            command.envs(variables.iter().copied());
            command
        })
    };
    let port = free_port().to_string();
    let service = start(&[("PORT", &port)], &[]);
    assert_eq!(service.address, format!("0.0.0.0:{port}"));
    let here = format!("127.0.0.1:{port}");
    assert!(get(&here, BOARD, "").starts_with("HTTP/1.1 200 "));
    let there = format!("[::1]:{port}");
    if TcpListener::bind("[::1]:0").is_ok() {
        assert!(get(&there, BOARD, "").starts_with("HTTP/1.1 200 "));
    }
    service.signal("-TERM");
    assert_eq!(service.ended().0, Some(0));
    // An address wins, by option or by variable, also over a PORT that is none.
    let service = start(&[("PORT", "x")], &["--address", "127.0.0.1:0"]);
    assert!(service.address.starts_with("127.0.0.1:"));
    drop(service);
    let variables = [("PORT", "x"), ("PUBLISHER_ADDRESS", "127.0.0.1:0")];
    assert!(start(&variables, &[]).address.starts_with("127.0.0.1:"));
    let refused = line(publisher(&["serve"]).env("PORT", "65536"));
    assert_eq!(refused.0, Some(1));
    assert!(refused.1.contains("PORT must be a number"), "{}", refused.1);
}

#[test]
fn a_port_that_is_taken_on_one_of_all_addresses_is_an_error() {
    let folder = TempDir::new().unwrap();
    for taken in ["0.0.0.0:0", "[::]:0"] {
        let Ok(taken) = TcpListener::bind(taken) else {
            continue;
        };
        let port = taken.local_addr().unwrap().port().to_string();
        let mut command = publisher(&["serve", "--log-level", "off", "--database"]);
        command.arg(folder.path().join("a.db")).env("PORT", &port);
        let (code, said) = line(&mut command);
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.contains(&format!("cannot listen on port {port}: ")),
            "{said}"
        );
    }
}

/// The options of a subcommand that have a variable.
fn with_variable(subcommand: &str) -> Vec<(String, Arg)> {
    let mut cli = Cli::definition();
    cli.build();
    let subcommand = cli.find_subcommand(subcommand).unwrap();
    let arguments = subcommand.get_arguments();
    let named = arguments.filter_map(|option| {
        let name = option.get_env()?.to_str().unwrap().to_owned();
        Some((name, option.clone()))
    });
    named.collect()
}

/// What a start that fails says: the database's folder does not exist, which is found after all options are read.
fn start_fails(variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = publisher(&["serve", "--log-level", "off", "--address", "127.0.0.1:0"]);
    command.args(["--database", "/nowhere/a.db"]);
    let output = command.envs(variables.iter().copied()).output().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn every_switch_is_read_from_its_variable_in_each_of_the_usual_forms() {
    let options = with_variable("serve");
    let is_switch = |option: &Arg| matches!(option.get_action(), ArgAction::SetTrue);
    let switches: Vec<&str> = options
        .iter()
        .filter(|(_, option)| is_switch(option))
        .map(|(name, _)| name.as_str())
        .collect();
    assert!(switches.len() >= 4, "{switches:?}");
    let start = |value| {
        let variables: Vec<_> = switches.iter().map(|name| (*name, value)).collect();
        start_fails(&variables)
    };
    for value in ["0", "no", "off", "false", "NO", "Off", "n", "F", ""] {
        let (code, said) = start(value);
        assert_eq!(code, Some(1), "{value:?}: {said}");
        assert!(said.contains("/nowhere/a.db"), "{value:?}: {said}");
    }
    for value in ["1", "yes", "on", "true", "YES", "On", "True", "y", "T"] {
        let (_, said) = start(value);
        // A switch may require another option, which is not there.
        assert!(!said.contains("invalid value"), "{value:?}: {said}");
    }
    for switch in &switches {
        for value in ["maybe", "2", " ", "yes please"] {
            let (code, said) = start_fails(&[(switch, value)]);
            assert_eq!(code, Some(2), "{switch}={value:?}: {said}");
        }
    }
    // They also take effect.
    let folder = TempDir::new().unwrap();
    let cors = |value: &str| {
        let mut command = serve(&folder.path().join("a.db"), &[]);
        command.env("PUBLISHER_CORS", value);
        let service = Service::start(command);
        get(&service.address, BOARD, "").contains("access-control-allow-origin")
    };
    assert!(cors("Yes") && cors("1") && !cors("off") && !cors("0") && !cors(""));
}

#[test]
fn an_empty_variable_is_as_if_unset_for_every_option() {
    let names: Vec<String> = with_variable("serve")
        .into_iter()
        .chain(with_variable("demo"))
        .map(|(name, _)| name)
        .chain(
            [
                "PUBLISHER_ADMIN_TOKEN",
                "PUBLISHER_ADMIN_TOKEN_NEXT",
                "PORT",
            ]
            .map(String::from),
        )
        .collect();
    assert!(names.len() > 40);
    let folder = TempDir::new().unwrap();
    let mut command = publisher(&["serve", "--address", "127.0.0.1:0"]);
    // The database too: the default is in the current folder.
    command.envs(names.iter().map(|name| (name, "")));
    let service = Service::start({
        command.current_dir(&folder);
        command
    });
    assert!(get(&service.address, BOARD, "").starts_with("HTTP/1.1 200 "));
    assert!(folder.path().join("publisher.db").exists());
    service.signal("-TERM");
    assert_eq!(service.ended().0, Some(0));
}

#[test]
fn an_inherited_pair_of_sockets_is_served_with_and_without_names() {
    let folder = TempDir::new().unwrap();
    let database = folder.path().join("a.db");
    for names in [
        "",
        "LISTEN_FDNAMES=",
        "LISTEN_FDNAMES=unknown:unknown",
        "LISTEN_FDNAMES=cathedral-publisher.socket:cathedral-publisher.socket",
    ] {
        let pair = ["127.0.0.1:0", "[::1]:0"].map(|address| {
            TcpListener::bind(address).unwrap_or_else(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        });
        let script = format!(
            r#"LISTEN_PID=$$ LISTEN_FDS=2 {names} exec "$0" "$@" 3<&0 4<&1 </dev/null >/dev/null"#
        );
        let mut shell = in_shell(&script, &serve(&database, &[]));
        let [first, second] = &pair;
        shell
            .stdin(Stdio::from(OwnedFd::from(first.try_clone().unwrap())))
            .stdout(Stdio::from(OwnedFd::from(second.try_clone().unwrap())));
        let service = Service::start(shell);
        for listener in &pair {
            let address = listener.local_addr().unwrap().to_string();
            let answer = get(&address, BOARD, "");
            assert!(answer.starts_with("HTTP/1.1 200 "), "{names}: {answer}");
            // Without a name for them, the admin routes are there as well.
            assert!(get(&address, "/metrics", "").starts_with("HTTP/1.1 200 "));
        }
        service.signal("-TERM");
        assert_eq!(service.ended().0, Some(0), "{names}");
        // Both stay open for the next process.
        for listener in &pair {
            TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        }
    }
}

#[test]
fn the_service_manager_is_reached_at_an_abstract_socket() {
    let folder = TempDir::new().unwrap();
    let name = format!("cathedral-publisher-test-{}", std::process::id());
    let address = net::SocketAddr::from_abstract_name(&name).unwrap();
    let manager = net::UnixDatagram::bind_addr(&address).unwrap();
    let timeout = Some(Duration::from_secs(30));
    manager.set_read_timeout(timeout).unwrap();
    let notified = || {
        let mut message = [0; 100];
        let length = manager.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    };
    let mut command = serve(&folder.path().join("a.db"), &[]);
    command.env("NOTIFY_SOCKET", format!("@{name}"));
    let service = Service::start(command);
    assert_eq!(notified(), "READY=1\n");
    service.signal("-TERM");
    assert_eq!(notified(), "STOPPING=1\n");
    assert_eq!(service.ended().0, Some(0));
    // An empty one is none, and one that cannot be reached is a warning.
    for (socket, warns) in [("", false), ("@nobody-listens-there", true)] {
        let mut command = serve(&folder.path().join("a.db"), &[]);
        command.env("NOTIFY_SOCKET", socket);
        command.env("PUBLISHER_ADMIN_TOKEN", TOKENS[0]);
        let service = Service::start(command);
        service.signal("-TERM");
        let (code, said) = service.ended();
        assert_eq!(code, Some(0));
        assert_eq!(said.contains("cannot notify"), warns, "{said}");
    }
}
