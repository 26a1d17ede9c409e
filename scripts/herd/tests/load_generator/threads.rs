//! Several threads:
//!
//! - the same seed gives the same polls at the same times, whatever the number of threads
//! - clients are dealt to the threads in turn, and what the threads counted is added
//! - the limits hold for all threads together
//! - a run that is stopped ends on all threads
//! - a server that stalls shows in every poll that was due meanwhile, on every thread

use std::{
    io::Write,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{EMPTY, herd_of, plan, stub};

#[actix_web::test]
async fn the_same_seed_gives_the_same_polls_whatever_the_number_of_threads() {
    let url = stub(|socket| socket.write_all(EMPTY));
    let options =
        "--clients 7 --interval-ms 30 --jitter-percent 50 --burst-at 0.55 --duration-secs 1";
    let mut due = Vec::new();
    for (threads, seed) in [(1, 7), (3, 7), (16, 7), (3, 8)] {
        let options = format!("{options} --threads {threads} --seed {seed}");
        let run = herd_of(&url, &options).await;
        let slices: Vec<u64> = run.slices.iter().map(|slice| slice.due).collect();
        due.push((run.pollers.due, slices));
        // No more threads than clients.
        let shards = &run.generator.shards;
        assert_eq!(run.generator.threads, threads.min(7));
        let clients: Vec<u32> = shards.iter().map(|shard| shard.clients).collect();
        let (most, least) = (clients.iter().max(), clients.iter().min());
        assert!(most.unwrap() - least.unwrap() <= 1, "{clients:?}");
        assert_eq!(clients.iter().sum::<u32>(), 7);
        let role = &run.pollers;
        assert_eq!(role.clients, 7);
        assert_eq!((role.answered, role.statuses[&200]), (role.due, role.due));
        assert_eq!(role.attempts, role.due);
    }
    assert_eq!(due[0], due[1]);
    assert_eq!(due[0], due[2]);
    assert_ne!(due[0], due[3], "another seed gives other times");
}

#[actix_web::test]
async fn the_limits_hold_for_all_threads_together() {
    static IN_FLIGHT: AtomicU64 = AtomicU64::new(0);
    static MOST: AtomicU64 = AtomicU64::new(0);
    let url = stub(|socket| {
        let now = IN_FLIGHT.fetch_add(1, Ordering::SeqCst) + 1;
        MOST.fetch_max(now, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(5));
        IN_FLIGHT.fetch_sub(1, Ordering::SeqCst);
        socket.write_all(EMPTY)
    });
    // Every poll is due long before the server can answer it.
    let options = "--clients 3 --interval-ms 4 --duration-secs 1 --max-connections 3 --threads 2";
    let run = herd_of(&url, options).await;
    assert_eq!(run.generator.threads, 2);
    assert!(MOST.load(Ordering::SeqCst) <= 3, "{MOST:?} at once");
    // Their wait is part of the latencies: the results say so.
    assert!(
        run.pollers.held_back_by.max_connections > 0,
        "{:?}",
        run.pollers
    );
    let table = herd::table::table(std::slice::from_ref(&run));
    assert!(table.contains("held back by --max-connections"), "{table}");

    let url = stub(|socket| socket.write_all(EMPTY));
    // A closed loop sends as much as the rate allows.
    let options = "--clients 5 --interval-ms 0 --duration-secs 2 --max-rate 100 --threads 2";
    let run = herd_of(&url, options).await;
    assert_eq!(run.generator.threads, 2);
    // The last request of each client may wait for its turn when the run ends.
    // One second's worth may be sent at once.
    assert!(run.pollers.attempts <= 300 + 5 + 1, "{:?}", run.pollers);
}

#[actix_web::test]
async fn a_run_that_is_stopped_ends_on_all_threads() {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let url = stub(|socket| {
        ASKED.fetch_add(1, Ordering::SeqCst);
        socket.write_all(EMPTY)
    });
    let arguments = format!("{url} --clients 4 --interval-ms 20 --duration-secs 600 --threads 2");
    let arguments: Vec<&str> = arguments.split(' ').collect();
    let plan = plan(&arguments).unwrap();
    let began = Instant::now();
    // By then both threads have sent something.
    let stop = async {
        while ASKED.load(Ordering::SeqCst) < 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let run = herd::run(plan, stop).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(300));
    assert!(run.seconds < 300.0 && run.pollers.answered > 0);
    for shard in &run.generator.shards {
        assert!(shard.delay.max_ms.is_some(), "a thread sent nothing");
    }
}

#[actix_web::test]
async fn a_stall_of_the_server_shows_in_every_poll_that_was_due_meanwhile() {
    static BEGAN: AtomicU64 = AtomicU64::new(0);
    fn now_ms() -> u64 {
        jiff::Timestamp::now().as_millisecond().unsigned_abs()
    }
    // From the 500th to the 1500th millisecond after the first request no response is sent.
    let url = stub(|socket| {
        let began = BEGAN.compare_exchange(0, now_ms(), Ordering::SeqCst, Ordering::SeqCst);
        let began = began.unwrap_or_else(|began| began);
        let since = now_ms().saturating_sub(began);
        if (500..1500).contains(&since) {
            thread::sleep(Duration::from_millis(1500 - since));
        }
        socket.write_all(EMPTY)
    });
    for arrival in ["open", "loop"] {
        BEGAN.store(0, Ordering::SeqCst);
        let options = format!(
            "--clients 10 --interval-ms 20 --duration-secs 2 --timeout-ms 20000 --arrival {arrival} --threads 2"
        );
        let run = herd_of(&url, &options).await;
        // Half of the polls were due during the stall, and those waited half a second on average.
        let latency = &run.pollers.latency;
        let within = |ms: f64| {
            let points = run.pollers.distribution.iter();
            points
                .filter(|point| point.ms <= ms)
                .map(|point| point.share)
                .fold(0.0, f64::max)
        };
        assert!(latency.p90_ms.unwrap() > 700.0, "{arrival}: {latency:?}");
        assert!(within(400.0) < 0.75, "{arrival}: {}", within(400.0));
        assert_eq!(run.pollers.due, 1000);
    }
}
