//! Writes to stderr without ever making the program wait for it.
//!
//! Lines go to a queue that is bounded in bytes, and one thread writes them. If nobody reads stderr, if its disk is
//! full or its pipe is closed, lines are dropped and counted, and nothing else happens. (tracing-appender has such
//! a thread; it bounds its queue in lines, not bytes, and needs the tracing crates.)

use std::{
    io::{self, ErrorKind, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use cathedral_publisher::metrics::DroppedLines;

/// Bytes that may be queued: about 15,000 lines of the access log. As many may be with the thread that writes.
const MAX_QUEUED_BYTES: usize = 4 << 20;
/// The most that is written at once, except for one longer line: a pipe does not mix such a piece with what other
/// processes write to it (PIPE_BUF of Linux).
const MAX_PIECE_BYTES: usize = 4096;
/// How long to wait if stderr is non-blocking and full.
const RETRY_FULL: Duration = Duration::from_millis(10);
/// How often to try whether stderr works again, to say how many lines were dropped.
const RETRY_NOTICE: Duration = Duration::from_secs(1);

/// The queue to stderr. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Output(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Signals that there is something to write.
    filled: Condvar,
    /// Signals that everything is written.
    emptied: Condvar,
    dropped: DroppedLines,
}

#[derive(Debug)]
struct State {
    /// Whole lines.
    queued: Vec<u8>,
    /// Lines that the queue had no room for since the thread last took what was queued.
    refused: u64,
    is_writing: bool,
    /// Makes the line that says how many lines were dropped.
    notice: fn(u64) -> String,
}

impl Output {
    /// Starts the thread that writes to stderr.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(crate) fn start(notice: fn(u64) -> String) -> io::Result<Self> {
        let output = Self(Arc::new(Shared {
            state: Mutex::new(State {
                queued: Vec::new(),
                refused: 0,
                is_writing: false,
                notice,
            }),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            dropped: DroppedLines::default(),
        }));
        let shared = Arc::clone(&output.0);
        let writer = Writer {
            sink: stderr(),
            unsaid: 0,
            is_torn: false,
            dropped: shared.dropped.clone(),
        };
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || shared.write(writer))?;
        Ok(output)
    }

    /// Returns the count of dropped lines.
    pub(crate) fn dropped(&self) -> DroppedLines {
        self.0.dropped.clone()
    }

    /// Replaces the text that says how many lines were dropped.
    pub(crate) fn set_notice(&self, notice: fn(u64) -> String) {
        self.0.lock().notice = notice;
    }

    /// Queues whole lines, or drops them. Never waits for stderr.
    pub(crate) fn push(&self, lines: &[u8]) {
        let mut state = self.0.lock();
        if state.queued.len() + lines.len() > MAX_QUEUED_BYTES {
            let count = count_lines(lines);
            state.refused += count;
            self.0.dropped.add(count);
        } else {
            state.queued.extend_from_slice(lines);
            if !state.is_writing {
                self.0.filled.notify_one();
            }
        }
    }

    /// Waits until everything that is queued has been written or dropped, but not longer than `limit`.
    pub(crate) fn finish(&self, limit: Duration) {
        let state = self.0.lock();
        let is_busy = |state: &mut State| state.is_writing || !state.queued.is_empty();
        // The same happens whether or not it was in time.
        let _ = self.0.emptied.wait_timeout_while(state, limit, is_busy);
    }
}

impl Write for Output {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.push(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, mut writer: Writer) {
        loop {
            let mut state = self.lock();
            state.is_writing = false;
            if state.queued.is_empty() {
                self.emptied.notify_all();
            }
            let is_idle = |state: &mut State| state.queued.is_empty() && state.refused == 0;
            state = if writer.unsaid == 0 {
                let waited = self.filled.wait_while(state, is_idle);
                waited.unwrap_or_else(PoisonError::into_inner)
            } else {
                let waited = self.filled.wait_timeout_while(state, RETRY_NOTICE, is_idle);
                waited.unwrap_or_else(PoisonError::into_inner).0
            };
            state.is_writing = true;
            let lines = mem::take(&mut state.queued);
            let refused = mem::take(&mut state.refused);
            let notice = state.notice;
            drop(state);
            for piece in pieces(&lines) {
                writer.say_dropped(notice);
                writer.write(piece);
            }
            // They came after what was queued.
            writer.unsaid += refused;
            writer.say_dropped(notice);
        }
    }
}

/// What the thread knows.
struct Writer {
    sink: Box<dyn Write + Send>,
    /// Dropped lines that no notice has told of.
    unsaid: u64,
    /// Whether the last line was written in part only.
    is_torn: bool,
    dropped: DroppedLines,
}

impl Writer {
    /// Writes lines. What cannot be written is dropped and counted.
    fn write(&mut self, lines: &[u8]) {
        let lost = self.try_write(lines);
        self.unsaid += lost;
        self.dropped.add(lost);
    }

    /// Says how many lines were dropped, if any were and it can be said.
    fn say_dropped(&mut self, notice: fn(u64) -> String) {
        if self.unsaid > 0 && self.try_write(notice(self.unsaid).as_bytes()) == 0 {
            self.unsaid = 0;
        }
    }

    /// Returns how many lines were not written.
    fn try_write(&mut self, lines: &[u8]) -> u64 {
        if self.is_torn && self.written(b"\n") == 0 {
            return count_lines(lines);
        }
        self.is_torn = false;
        let written = self.written(lines);
        self.is_torn = written > 0 && lines.get(written - 1) != Some(&b'\n');
        count_lines(lines.get(written..).unwrap_or_default())
    }

    /// Writes until there is an error. Returns how many bytes were written.
    fn written(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.sink.write(rest) {
                Ok(0) => break,
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY_FULL),
                Err(_) => break,
            }
        }
        written
    }
}

/// Cuts lines into pieces of whole lines, each of at most [`MAX_PIECE_BYTES`] or one line.
fn pieces(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = lines;
    std::iter::from_fn(move || {
        let is_end = |byte: &u8| *byte == b'\n';
        let most = rest.get(..MAX_PIECE_BYTES).unwrap_or(rest);
        let end = most.iter().rposition(is_end);
        let end = end.or_else(|| rest.iter().position(is_end));
        let (piece, left) = rest.split_at(end.map_or(rest.len(), |end| end + 1));
        rest = left;
        (!piece.is_empty()).then_some(piece)
    })
}

fn count_lines(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Returns stderr without the lock of the standard library, which a blocked write would hold.
fn stderr() -> Box<dyn Write + Send> {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd as _;
        if let Ok(descriptor) = io::stderr().as_fd().try_clone_to_owned() {
            return Box::new(std::fs::File::from(descriptor));
        }
    }
    Box::new(io::stderr())
}
