//! What the results say of a server that is gone for a while:
//!
//! - when requests failed, why, and for how long no poll was answered, even if clients that retry got every answer in the end
//! - requests that fail now and then are no outage
//! - a watched process that ends is named, and there is no processor time per request

use std::{
    io::{self, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use herd::{report, run::Run, table::table};
use tempfile::TempDir;

use crate::{EMPTY, herd_of, respond_to_all, stub};

/// Starts a server that answers so many requests, is gone for a second, and answers again; returns its address.
fn restarting(requests: u64) -> SocketAddr {
    static ANSWERED: AtomicU64 = AtomicU64::new(0);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = |socket: &mut TcpStream| {
        ANSWERED.fetch_add(1, Ordering::SeqCst);
        socket.write_all(EMPTY)
    };
    thread::spawn(move || -> io::Result<()> {
        let mut sockets = Vec::new();
        listener.set_nonblocking(true)?;
        while ANSWERED.load(Ordering::SeqCst) < requests {
            match listener.accept() {
                Ok((socket, _)) => {
                    socket.set_nonblocking(false)?;
                    sockets.push(socket.try_clone()?);
                    thread::spawn(move || respond_to_all(socket, answer));
                }
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        }
        drop(listener);
        for socket in sockets {
            let _ = socket.shutdown(Shutdown::Both);
        }
        thread::sleep(Duration::from_secs(1));
        let listener = TcpListener::bind(address)?;
        for socket in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || respond_to_all(socket, answer));
        }
        Ok(())
    });
    address
}

fn page(run: &Run) -> String {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("run.html");
    report::write(std::slice::from_ref(run), &path).unwrap();
    let page = std::fs::read_to_string(path).unwrap();
    page.replace('\u{a0}', " ")
}

#[actix_web::test]
async fn an_outage_is_told_even_if_every_poll_got_an_answer_in_the_end() {
    let url = format!("http://{}/", restarting(50));
    let options = "--clients 5 --rate 100 --duration-secs 4 --timeout-ms 20000 --on-failure retry --max-rate 3000";
    let run = herd_of(&url, options).await;
    assert_eq!(run.pollers.answered, run.pollers.due, "{:?}", run.pollers);
    assert!(run.pollers.lost() > 100, "{:?}", run.pollers);
    let table = table(std::slice::from_ref(&run));
    let said = table
        .lines()
        .find(|line| line.contains("requests failed from "))
        .unwrap_or_else(|| panic!("{table}"));
    assert!(said.contains(" refused"), "{said}");
    assert!(
        said.contains("no poll was answered; the polls due then took up to"),
        "{said}"
    );
    let page = page(&run);
    for text in [
        "No answers from ",
        "; in the end every poll got an answer",
        " no poll was answered; the polls due then took up to ",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let only = page.contains("(refused), from ");
    assert!(only || page.contains("most often “refused” ("), "{page}");
}

#[actix_web::test]
async fn requests_that_fail_now_and_then_are_no_outage() {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let url = stub(|socket| match ASKED.fetch_add(1, Ordering::SeqCst) % 5 {
        0 => socket.write_all(b"HTTP/1.1 500 Fault\r\nContent-Length: 0\r\n\r\n"),
        _ => socket.write_all(EMPTY),
    });
    let options = "--clients 5 --rate 200 --duration-secs 1 --on-failure give-up";
    let run = herd_of(&url, options).await;
    let table = table(std::slice::from_ref(&run));
    assert!(table.contains("requests failed from 0 s to "), "{table}");
    assert!(!table.contains("no poll was answered"), "{table}");
    let page = page(&run);
    assert!(page.contains("80.0 % of the polls got an answer"), "{page}");
    assert!(page.contains("Failed requests: 40 (500), from 0 s to "));
}

#[cfg(target_os = "linux")]
#[actix_web::test]
async fn a_watched_process_that_ends_is_named_and_has_no_figure_per_request() {
    static WATCHED: Mutex<Option<Child>> = Mutex::new(None);
    let child = Command::new("sleep").arg("60").spawn().unwrap();
    let pid = child.id();
    *WATCHED.lock().unwrap() = Some(child);
    let url = stub(|socket| {
        // It stays a zombie: nobody waits for it before the end of the test.
        if let Some(child) = WATCHED.lock().unwrap().as_mut() {
            child.kill()?;
        }
        socket.write_all(EMPTY)
    });
    let options = format!("--clients 2 --rate 50 --duration-secs 1 --server-pid {pid}");
    let run = herd_of(&url, &options).await;
    WATCHED.lock().unwrap().take().unwrap().wait().unwrap();
    let server = run.server.as_ref().unwrap();
    assert_eq!(server.gone.len(), 1, "{server:?}");
    assert_eq!(u32::try_from(server.gone[0].pid), Ok(pid));
    assert_eq!(run.cpu_us_per_request(), None);
    let table = table(std::slice::from_ref(&run));
    let said = format!("process {pid} of --server-pid was gone after");
    assert!(table.contains(&said), "{table}");
    let cell = table
        .lines()
        .find(|line| line.starts_with("server CPU per request"));
    assert!(cell.unwrap().trim_end().ends_with('-'), "{table}");
    let json = serde_json::to_value(&run).unwrap();
    assert_eq!(json["server"]["gone"][0]["pid"], pid);
    assert!(page(&run).contains(&said));
}
