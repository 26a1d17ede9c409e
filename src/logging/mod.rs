//! Logging to stderr, one line for each event.
//!
//! | file | knows |
//! |---|---|
//! | `output` | the queue and the thread that writes to stderr |
//! | `line` | the form of a line, as text and as JSON |

mod line;
mod output;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::Write as _,
    panic::{self, PanicHookInfo},
    thread,
    time::{Duration, Instant},
};

use cathedral_publisher::{
    config::{LogFilter, LogFormat},
    throttle::Throttle,
};
use log::{Level, LevelFilter, Log, Metadata, Record};

pub(crate) use line::escaped;
pub(crate) use output::Output;

/// How long the end of the process may wait for the last lines.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);
/// Lines of one place in the code in [`LINES_PERIOD`], except for the access log.
const MAX_LINES: u32 = 10;
const LINES_PERIOD: Duration = Duration::from_secs(10);
/// The target of the access log.
const ACCESS: &str = "access";

/// Starts the thread that writes to stderr.
///
/// # Errors
/// If it cannot be started.
pub(crate) fn start() -> std::io::Result<Output> {
    Output::start(|lines| notice(LogFormat::Text, lines))
}

/// Waits a moment until everything that was logged has been written.
pub(crate) fn finish(output: &Output) {
    output.finish(FINISH_TIMEOUT);
}

/// Starts the logger, and makes panics write to the log.
pub(crate) fn init(output: &Output, filter: &LogFilter, format: LogFormat) {
    let mut builder = env_logger::Builder::new();
    // Libraries tell of their own start and stop at INFO.
    builder.filter_level(filter.level().min(LevelFilter::Warn));
    for target in [env!("CARGO_CRATE_NAME"), ACCESS] {
        builder.filter_module(target, filter.level());
    }
    for (target, level) in filter.targets() {
        builder.filter_module(target, level);
    }
    builder.format(move |out, record| out.write_all(line::of(format, record).as_bytes()));
    let pipe = Box::new(output.clone());
    let lines = builder.target(env_logger::Target::Pipe(pipe)).build();
    let max_level = lines.filter();
    let logger = Logger {
        lines,
        output: output.clone(),
        throttle: Throttle::new(MAX_LINES, LINES_PERIOD),
    };
    // Fails only if there is a logger already.
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(max_level);
    }
    output.set_notice(match format {
        LogFormat::Text => |lines| notice(LogFormat::Text, lines),
        LogFormat::Json => |lines| notice(LogFormat::Json, lines),
    });
    let output = output.clone();
    panic::set_hook(Box::new(move |info| {
        output.push(panicked(format, info).as_bytes());
    }));
}

/// A place in the code that logs.
type Place = (Option<&'static str>, Option<u32>, Level);

struct Logger {
    lines: env_logger::Logger,
    output: Output,
    throttle: Throttle<Place>,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.lines.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.lines.matches(record) {
            return;
        }
        // An operator that sets level debug wants all lines. The access log has a throttle of its own.
        let is_free = record.level() > Level::Info || record.target() == ACCESS;
        let suppressed = if is_free {
            Some(0)
        } else {
            let place = (record.module_path_static(), record.line(), record.level());
            self.throttle.admit(place, Instant::now())
        };
        let Some(suppressed) = suppressed else {
            return;
        };
        if suppressed > 0 {
            let text = format_args!("suppressed {suppressed} lines like the next one");
            let mut said = Record::builder();
            let said = said.level(record.level()).target(record.target());
            self.lines.log(&said.args(text).build());
        }
        self.lines.log(record);
    }

    /// Waits a moment until everything that was logged has been written.
    fn flush(&self) {
        finish(&self.output);
    }
}

fn notice(format: LogFormat, lines: u64) -> String {
    let text = format_args!("dropped {lines} log lines: stderr was full, slow or closed");
    let mut record = Record::builder();
    let record = record.level(Level::Warn).target(module_path!());
    line::of(format, &record.args(text).build())
}

fn panicked(format: LogFormat, info: &PanicHookInfo<'_>) -> String {
    let thread = thread::current();
    let thread = thread.name().unwrap_or("without a name");
    let place = info.location().map(ToString::to_string);
    let place = place.unwrap_or_default();
    let message = info.payload_as_str().unwrap_or("no text");
    let backtrace = Backtrace::capture();
    let backtrace = if backtrace.status() == BacktraceStatus::Captured {
        format!("\n{backtrace}")
    } else {
        String::new()
    };
    let text = format_args!("thread '{thread}' panicked at {place}: {message}{backtrace}");
    let mut record = Record::builder();
    let record = record.level(Level::Error).target("panic");
    line::of(format, &record.args(text).build())
}
