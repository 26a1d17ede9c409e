//! The signals of the process.
//!
//! | signal | what it does |
//! |---|---|
//! | SIGTERM, SIGINT, SIGQUIT | stop gracefully; the second one ends the process at once |
//! | SIGHUP | reload |
//! | SIGUSR1, SIGUSR2 | nothing: other servers reopen their logs on them, so scripts send them |
//! | SIGXFSZ | nothing: the write beyond the limit of file sizes fails instead |
//! | SIGPIPE | nothing: the standard library ignores it |

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGXFSZ, the same number on all platforms but MIPS and PA-RISC.
const SIGXFSZ: i32 = 25;

/// The signals of the process. From its making on, none of them kills it.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    /// Takes over the signals. Needs a tokio runtime.
    ///
    /// # Errors
    /// If they cannot be waited for.
    pub fn new() -> io::Result<Self> {
        for ignored in [
            SignalKind::user_defined1(),
            SignalKind::user_defined2(),
            SignalKind::from_raw(SIGXFSZ),
        ] {
            // The handler stays when this is dropped, and does nothing.
            drop(signal(ignored)?);
        }
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
            hangup: Some(signal(SignalKind::hangup())?),
        })
    }

    /// As [`Signals::stop`], and ignores SIGHUP: there is nothing to reload yet.
    pub async fn stop_at_start(&mut self) -> &'static str {
        loop {
            match self.stop().await {
                "SIGHUP" => {}
                name => return name,
            }
        }
    }

    /// Waits for a signal to stop, and returns its name. SIGHUP is one unless it was taken.
    pub async fn stop(&mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.quit.recv() => "SIGQUIT",
            _ = hangup => "SIGHUP",
        }
    }

    /// Takes SIGHUP for another use.
    pub(super) fn take_hangup(&mut self) -> Option<Signal> {
        self.hangup.take()
    }
}
