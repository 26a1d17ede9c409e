//! What is read again while the server runs, each on a thread of its own: a file that hangs delays no other one.

use std::{
    fmt,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::sync::watch;

/// How long a reload may take before the log says that it hangs.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Running,
    /// It was asked for once more while it ran.
    RunningAgain,
}

/// Something that is read again. Cheap to clone.
#[derive(Clone)]
pub struct Reload(Arc<Shared>);

struct Shared {
    name: &'static str,
    read: Box<dyn Fn() + Send + Sync>,
    state: watch::Sender<State>,
}

impl Reload {
    /// `read` reads again what `name` says in the log, and logs what came of it. It may block.
    pub fn new(name: &'static str, read: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared {
            name,
            read: Box::new(read),
            state: watch::Sender::new(State::Idle),
        }))
    }

    /// Reads on a thread that the end of the process does not wait for. If one reads already, it reads once more when
    /// it has ended.
    fn start(&self) {
        let mut is_idle = false;
        self.0.state.send_modify(|state| {
            is_idle = *state == State::Idle;
            *state = if is_idle {
                State::Running
            } else {
                State::RunningAgain
            };
        });
        if !is_idle {
            return;
        }
        let shared = Arc::clone(&self.0);
        let started = thread::Builder::new()
            .name("reload".to_owned())
            .spawn(move || {
                let _end = End(&shared);
                while shared.read_once() {}
            });
        if let Err(error) = started {
            self.0.state.send_replace(State::Idle);
            log::error!("SIGHUP: cannot reload {}: {error}", self.0.name);
        }
    }

    /// Waits until it has ended. Returns false if it has not by `deadline`.
    async fn ended(&self, deadline: Instant) -> bool {
        let mut state = self.0.state.subscribe();
        let ended = state.wait_for(|state| *state == State::Idle);
        tokio::time::timeout_at(deadline.into(), ended)
            .await
            .is_ok()
    }
}

impl Shared {
    /// Returns whether it is to be read once more.
    fn read_once(&self) -> bool {
        (self.read)();
        let mut again = false;
        self.state.send_modify(|state| {
            again = *state == State::RunningAgain;
            *state = if again { State::Running } else { State::Idle };
        });
        again
    }
}

/// The end of the thread, also by a panic.
struct End<'a>(&'a Shared);

impl Drop for End<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.state.send_replace(State::Idle);
        }
    }
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reload({})", self.0.name)
    }
}

/// Reads everything again, and waits for at most 5 s. What takes longer goes on by itself.
pub(super) async fn all(reloads: &[Reload]) {
    within(reloads, RELOAD_TIMEOUT).await;
}

async fn within(reloads: &[Reload], limit: Duration) {
    let deadline = Instant::now() + limit;
    reloads.iter().for_each(Reload::start);
    for reload in reloads {
        if !reload.ended(deadline).await {
            let (name, seconds) = (reload.0.name, limit.as_secs());
            log::error!(
                "SIGHUP: {name}: not read within {seconds} s, the file may hang: the old content stays in use meanwhile"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
        mpsc,
    };

    use super::*;

    #[actix_rt::test]
    async fn one_that_hangs_delays_no_other_and_reads_once_more_when_it_has_ended() {
        let (release, is_released) = mpsc::channel::<()>();
        let is_released = Mutex::new(is_released);
        let [slow, quick] = [(); 2].map(|()| Arc::new(AtomicU32::new(0)));
        let reloads = [
            Reload::new("slow", {
                let slow = Arc::clone(&slow);
                move || {
                    let is_released = is_released.lock().unwrap_or_else(PoisonError::into_inner);
                    let _ = is_released.recv();
                    slow.fetch_add(1, Ordering::SeqCst);
                }
            }),
            Reload::new("quick", {
                let quick = Arc::clone(&quick);
                move || {
                    quick.fetch_add(1, Ordering::SeqCst);
                }
            }),
        ];
        for turn in 1..=3 {
            within(&reloads, Duration::from_millis(1)).await;
            let deadline = Instant::now() + Duration::from_secs(60);
            assert!(reloads[1].ended(deadline).await);
            assert_eq!(quick.load(Ordering::SeqCst), turn);
            assert_eq!(slow.load(Ordering::SeqCst), 0);
        }
        // The second and the third are one.
        drop(release);
        let deadline = Instant::now() + Duration::from_secs(60);
        assert!(reloads[0].ended(deadline).await);
        assert_eq!(slow.load(Ordering::SeqCst), 2);
    }

    #[actix_rt::test]
    async fn one_that_panics_is_read_again() {
        let count = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&count);
        let reloads = [Reload::new("broken", move || {
            counted.fetch_add(1, Ordering::SeqCst);
            panic!("on purpose");
        })];
        for turn in 1..=2 {
            within(&reloads, Duration::from_secs(60)).await;
            assert_eq!(count.load(Ordering::SeqCst), turn);
        }
    }
}
