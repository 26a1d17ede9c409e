//! Secrets in the parameters of URLs:
//!
//! - they are sent, and are in neither the results, nor the table, nor a report, nor an error
//! - a run that is repeated from its results says which variable is missing, and sends its value, encoded

use std::{fs, io::Write as _, net::TcpListener, process::Command, sync::mpsc, thread};

use herd::run::Run;
use tempfile::TempDir;

use crate::plans::{line, receive};

#[test]
fn secrets_in_urls_are_sent_and_never_written_and_a_repeated_run_asks_for_them() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (send, lines) = mpsc::channel();
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let mut reader = std::io::BufReader::new(&socket);
            while let Some(request) = receive(&mut reader) {
                let _ = send.send(request.line);
                // A redirect repeats what it was asked for, also under other names.
                let head = "HTTP/1.1 302 Found\r\nLocation: /?token=hunter2&x=hunter2\r\n";
                let _ = (&socket).write_all(format!("{head}Content-Length: 0\r\n\r\n").as_bytes());
            }
        }
    });
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let herd = |arguments: &[&str], variable: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
        command
            .args(arguments)
            .env_remove("TOKEN")
            .env_remove("SIG");
        let variables = variable.map(|value| [("TOKEN", value), ("SIG", "hunter4")]);
        command.envs(variables.into_iter().flatten());
        command.output().unwrap()
    };
    let target = format!("1 {url}/a?token=hunter2&since=5&sig=hunter3");
    let report = path("run.html");
    let options = ["--clients=1", "--rate=20", "-n=2", "--on-failure=give-up"];
    let all = [&["--target", &target, "--report", &report][..], &options].concat();
    let table = herd(&all, None);
    assert!(table.status.success(), "{table:?}");
    let json = herd(&[&all[..], &["--json"]].concat(), None);
    let page = fs::read_to_string(&report).unwrap();
    for text in [
        table.stdout,
        table.stderr,
        json.stdout.clone(),
        page.into_bytes(),
    ] {
        let text = String::from_utf8(text).unwrap();
        assert!(!text.contains("hunter"), "{text}");
    }
    assert_eq!(
        lines.iter().next().unwrap(),
        "GET /a?token=hunter2&since=5&sig=hunter3 HTTP/1.1"
    );
    let run: Run = serde_json::from_slice(&json.stdout).unwrap();
    let shown = format!("{url}/a?token=${{TOKEN}}&since=5&sig=${{SIG}}");
    assert_eq!(run.url, shown);
    assert_eq!(run.plan["target"][0], format!("1 {shown}"));

    let saved = path("run.json");
    fs::write(&saved, &json.stdout).unwrap();
    let refused = herd(&["--plan", &saved], None);
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(
        line(&refused),
        "the environment variable TOKEN, for the value of the parameter token, is not set"
    );
    while lines.try_recv().is_ok() {}
    let again = herd(&["--plan", &saved], Some("a&b c"));
    assert!(again.status.success(), "{again:?}");
    assert_eq!(
        lines.iter().next().unwrap(),
        "GET /a?token=a%26b+c&since=5&sig=hunter4 HTTP/1.1"
    );
    let wrong = herd(&["http://127.0.0.1:9/#x?token=hunter2"], None);
    assert_eq!(wrong.status.code(), Some(2));
    let wrong = herd(&["http://127.0.0.1:9/?token=hunter2#x"], None);
    assert!(!line(&wrong).contains("hunter"), "{wrong:?}");
}
