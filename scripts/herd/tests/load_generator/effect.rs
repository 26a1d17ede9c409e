//! Options without effect:
//!
//! - each is refused before the run, with the reason
//! - a default has no effect either, and is accepted: the results of a run have all of them, and repeat it

use crate::{herd_of, plan, program, stub};
use std::{io::Write as _, time::Duration};
use tempfile::TempDir;

#[test]
fn an_option_without_effect_is_refused_with_the_reason() {
    let here = "http://127.0.0.1:9/x";
    for (options, option, reason) in [
        ("--feed-url URL", "--feed-url", "there are no --validators"),
        (
            "--feed-since 2026-01-01T00:00:00Z",
            "--feed-since",
            "there are no --validators",
        ),
        (
            "--feed-limit 5",
            "--feed-limit",
            "there are no --validators",
        ),
        (
            "--feed-accept-encoding br",
            "--feed-accept-encoding",
            "there are no --validators",
        ),
        (
            "--feed-interval-ms 5",
            "--feed-interval-ms",
            "there are no --validators",
        ),
        (
            "--validators 0 --feed-url URL",
            "--feed-url",
            "there are no --validators",
        ),
        (
            "--wait --validators 1 --feed-url URL --feed-interval-ms 5",
            "--feed-interval-ms",
            "clients that wait have no interval",
        ),
        ("--write-url URL", "--write-url", "there are no --writers"),
        ("--write-rows 5", "--write-rows", "there are no --writers"),
        (
            "--write-interval-ms 5",
            "--write-interval-ms",
            "there are no --writers",
        ),
        (
            "--change-url URL",
            "--change-url",
            "there is no --change-at",
        ),
        (
            "--rebuild-metric x",
            "--rebuild-metric",
            "there is no --metrics-url",
        ),
        (
            "--on-failure give-up --max-retries 2",
            "--max-retries",
            "sends nothing again",
        ),
        (
            "--on-failure give-up --honour-retry-after",
            "--honour-retry-after",
            "sends nothing again",
        ),
        (
            "--wait --honour-retry-after",
            "--honour-retry-after",
            "always honour it",
        ),
        ("--wait -H X:1", "--header", "clients that wait"),
        (
            "--wait --interval-ms 500 --ramp-ms 5",
            "--interval-ms",
            "have no interval",
        ),
        (
            "--wait --jitter-percent 5",
            "--jitter-percent",
            "clients that wait",
        ),
        ("--wait --arrival loop", "--arrival", "clients that wait"),
        (
            "--interval-ms 0 --burst-at 3",
            "--burst-at",
            "in a closed loop",
        ),
        (
            "--interval-ms 0 --jitter-percent 5",
            "--jitter-percent",
            "in a closed loop",
        ),
        (
            "--interval-ms 0 --arrival loop",
            "--arrival",
            "in a closed loop",
        ),
        ("--insecure", "--insecure", "no URL begins with https"),
        ("--ca-file ca.pem", "--ca-file", "no URL begins with https"),
        (
            "--resolve 127.0.0.1:10:127.0.0.1",
            "--resolve 127.0.0.1:10:127.0.0.1",
            "no URL has this host and port",
        ),
    ] {
        let options = options.replace("URL", here);
        let arguments: Vec<&str> = std::iter::once(here).chain(options.split(' ')).collect();
        let refused = plan(&arguments).unwrap_err();
        let expected = format!("{option} has no effect: ");
        assert!(
            refused.starts_with(&expected) && refused.contains(reason),
            "{options}: {refused}"
        );
    }
    for accepted in [
        "--wait --arrival open --jitter-percent 10 --feed-limit 200",
        "--wait --honour-retry-after --change-at 3 --change-url URL",
        "--interval-ms 0 --arrival open",
        "--metrics-url URL --rebuild-metric x",
        "--wait --fail-if dead-ends>0",
    ] {
        let options = accepted.replace("URL", here);
        let arguments: Vec<&str> = std::iter::once(here).chain(options.split(' ')).collect();
        assert!(
            plan(&arguments).is_ok(),
            "{options}: {:?}",
            plan(&arguments).err()
        );
    }
}

#[actix_web::test]
async fn a_run_whose_clients_wait_is_repeated_from_its_results() {
    let url = stub(|socket| {
        std::thread::sleep(Duration::from_millis(300));
        socket.write_all(b"HTTP/1.1 200 OK\r\nLink: </>; rel=\"next\"\r\nContent-Length: 0\r\n\r\n")
    });
    let run = herd_of(&url, "--wait --clients 1 --ramp-ms 0 --duration-secs 1").await;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("run.json");
    std::fs::write(&path, serde_json::to_vec(&run).unwrap()).unwrap();
    let again = program(&["--plan", path.to_str().unwrap(), "--json"]);
    assert!(again.status.success(), "{again:?}");
}
