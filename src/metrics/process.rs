//! Processor time, memory and files of the process, under Prometheus' standard names.

use prometheus::{
    Counter, Gauge,
    core::{Collector, Desc},
    proto::MetricFamily,
};

/// Read from /proc at scrape time; empty on other systems than Linux.
#[derive(Debug)]
pub(super) struct Process {
    cpu_seconds: Counter,
    resident_bytes: Gauge,
    open_files: Gauge,
    max_files: Gauge,
    threads: Gauge,
    started: Gauge,
}

impl Process {
    /// All values 0 until the first scrape.
    ///
    /// # Errors
    /// Invalid names, which are a mistake in this file.
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            cpu_seconds: Counter::new(
                "process_cpu_seconds_total",
                "User and system time used, in seconds.",
            )?,
            resident_bytes: Gauge::new(
                "process_resident_memory_bytes",
                "Memory that is resident, shared pages included, in bytes.",
            )?,
            open_files: Gauge::new("process_open_fds", "File descriptors that are open.")?,
            max_files: Gauge::new("process_max_fds", "File descriptors that may be open.")?,
            threads: Gauge::new("process_threads", "Threads.")?,
            started: Gauge::new(
                "process_start_time_seconds",
                "When the process began, in seconds since 1970.",
            )?,
        })
    }

    fn all(&self) -> [&dyn Collector; 6] {
        [
            &self.cpu_seconds,
            &self.resident_bytes,
            &self.open_files,
            &self.max_files,
            &self.threads,
            &self.started,
        ]
    }

    #[cfg(target_os = "linux")]
    fn read(&self) -> procfs::ProcResult<()> {
        use procfs::{CurrentSI as _, KernelStats, WithCurrentSystemInfo as _, process};

        let process = process::Process::myself()?;
        let stat = process.stat()?;
        let ticks = procfs::ticks_per_second() as f64;
        let used = (stat.utime + stat.stime) as f64 / ticks;
        // Two concurrent scrapes may read different times; a counter never decreases.
        self.cpu_seconds
            .inc_by((used - self.cpu_seconds.get()).max(0.0));
        self.resident_bytes.set(stat.rss_bytes().get() as f64);
        self.open_files.set(process.fd_count()? as f64);
        self.threads.set(stat.num_threads as f64);
        if let process::LimitValue::Value(most) = process.limits()?.max_open_files.soft_limit {
            self.max_files.set(most as f64);
        }
        let booted = KernelStats::current()?.btime as f64;
        self.started.set(booted + stat.starttime as f64 / ticks);
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn read(&self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.all()
            .into_iter()
            .flat_map(|metric| metric.desc())
            .collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        if let Err(error) = self.read() {
            log::debug!("/proc cannot be read: {error}");
        }
        self.all()
            .into_iter()
            .flat_map(|metric| metric.collect())
            .collect()
    }
}
