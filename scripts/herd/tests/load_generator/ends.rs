//! The end of a run, and runs that are too short to judge the generator:
//!
//! - connections stay open until all polls have ended: closing many of them would delay the last polls
//! - without polls, and in less than 0.2 s, there is no verdict on the generator
//! - the generator's processor time is that of the run, without making clients and threads: never more than all processors

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use herd::{run::Verdict, table::table};

use crate::{EMPTY, herd_of, stub};

/// What a server has seen.
#[derive(Default)]
struct Seen {
    asked: AtomicU64,
    /// The requests before the end of each connection that had any: the one that is opened before the run sends nothing.
    at_end: Mutex<Vec<u64>>,
}

fn serve(seen: &Arc<Seen>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let seen = Arc::clone(seen);
    thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let seen = Arc::clone(&seen);
            thread::spawn(move || -> std::io::Result<()> {
                let mut own = 0;
                for line in BufReader::new(socket.try_clone()?).lines() {
                    if line?.is_empty() {
                        seen.asked.fetch_add(1, Ordering::SeqCst);
                        own += 1;
                        socket.write_all(EMPTY)?;
                    }
                }
                if own > 0 {
                    let asked = seen.asked.load(Ordering::SeqCst);
                    seen.at_end.lock().unwrap().push(asked);
                }
                Ok(())
            });
        }
    });
    url
}

#[actix_web::test]
async fn connections_stay_open_until_all_polls_have_ended() {
    // The clients end one after the other, in the last half of the run.
    for options in ["--threads 1", "--threads 2", "--threads 2 --arrival loop"] {
        let seen = Arc::new(Seen::default());
        let url = serve(&seen);
        let options = format!(
            "--clients 8 --interval-ms 500 --jitter-percent 0 --duration-secs 1 --timeout-ms 20000 {options}"
        );
        let run = herd_of(&url, &options).await;
        assert_eq!(run.pollers.answered, 16, "{:?}", run.pollers);
        for _ in 0..4000 {
            if seen.at_end.lock().unwrap().len() >= 8 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let at_end = seen.at_end.lock().unwrap();
        assert!(at_end.len() >= 8, "{options}: {at_end:?}");
        assert!(
            at_end.iter().all(|asked| *asked == 16),
            "{options}: {at_end:?}"
        );
    }
}

#[actix_web::test]
async fn without_polls_and_in_a_moment_there_is_no_verdict() {
    let url = stub(|socket| socket.write_all(EMPTY));
    for options in [
        "-n 1 --clients 1 --interval-ms 0",
        "-n 1 --clients 1",
        "--stage hold_1s_at_0/s",
    ] {
        let options = options.replace(' ', "\n").replace('_', " ");
        let arguments: Vec<&str> = std::iter::once(url.as_str())
            .chain(options.split('\n'))
            .collect();
        let run = crate::run(&arguments).await;
        // On a busy machine one poll may take long enough.
        if run.pollers.due > 0 && run.generator.secs >= 0.2 {
            continue;
        }
        assert_eq!(run.generator.verdict, Verdict::Unknown, "{arguments:?}");
        let text = table(std::slice::from_ref(&run));
        assert!(!text.contains("bottleneck"), "{text}");
        let json = serde_json::to_value(&run).unwrap();
        assert_eq!(json["generator"]["verdict"], "unknown");
    }
}

#[actix_web::test]
async fn the_generator_never_uses_more_than_all_processors() {
    let url = stub(|socket| socket.write_all(EMPTY));
    let processors = thread::available_parallelism().unwrap().get() as f64;
    for options in [
        "-n 1 --clients 1 --interval-ms 0",
        "-n 500 --clients 250 --threads 250 --interval-ms 0 --max-rate 100000",
        "--clients 250 --threads 250 --rate 500 --duration-secs 1",
    ] {
        let run = herd_of(&url, options).await;
        let share = run.generator.cpu_secs / run.generator_secs();
        // Tests that run beside this one are in the same process, so that only the shares of threads are certain.
        let busiest = run.generator.busiest_cpu_secs / run.generator_secs();
        assert!(busiest <= 1.05, "{options}: {busiest}");
        assert!(share <= processors * 1.05, "{options}: {share}");
    }
}
