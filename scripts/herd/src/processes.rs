//! Processor time and memory of other processes on this machine, from /proc.

use crate::{HerdError, run::ServerUse};

/// Returns the processor time since their start and the current proportional set size of these processes
/// and their children, also those that have ended. The processes themselves count nothing when they have ended.
#[cfg(target_os = "linux")]
pub fn used(pids: &[i32]) -> ServerUse {
    use procfs::process::{Process, all_processes};

    let mut wanted = pids.to_vec();
    let all: Vec<_> = all_processes()
        .into_iter()
        .flatten()
        .filter_map(|process| process.ok()?.stat().ok())
        .collect();
    // Until all children are included.
    loop {
        let known = wanted.len();
        let children = all.iter().filter(|stat| wanted.contains(&stat.ppid));
        let children: Vec<i32> = children.map(|stat| stat.pid).collect();
        wanted.extend(children);
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.len() == known {
            break;
        }
    }
    let ticks = procfs::ticks_per_second() as f64;
    let mut used = ServerUse {
        cpu_secs: 0.0,
        pss_bytes: 0,
        gone: Vec::new(),
    };
    for stat in all.iter().filter(|stat| wanted.contains(&stat.pid)) {
        // Its children that have ended, if it has waited for them.
        let of_children = (stat.cutime + stat.cstime).max(0) as f64;
        used.cpu_secs += ((stat.utime + stat.stime) as f64 + of_children) / ticks;
        let rollup = Process::new(stat.pid).and_then(|process| process.smaps_rollup());
        let maps = rollup.map(|rollup| rollup.memory_map_rollup.0);
        let pss = maps.into_iter().flatten().filter_map(|map| {
            let extension = map.extension;
            extension.map.get("Pss").copied()
        });
        used.pss_bytes += pss.sum::<u64>();
    }
    used
}

/// Returns whether this process ignores SIGHUP, as `nohup` makes it.
#[cfg(target_os = "linux")]
pub fn ignores_hangup() -> bool {
    // The first signal (signal(7)).
    let status = procfs::process::Process::myself().and_then(|process| process.status());
    status.is_ok_and(|status| status.sigign & 1 == 1)
}

/// Returns false: only Linux has the figure.
#[cfg(not(target_os = "linux"))]
pub fn ignores_hangup() -> bool {
    false
}

/// Checks that these processes are there.
///
/// # Errors
/// [`HerdError::NoProcess`] for the first one that is not.
#[cfg(target_os = "linux")]
pub(super) fn are_there(pids: &[i32]) -> Result<(), HerdError> {
    match gone(pids).first() {
        Some(pid) => Err(HerdError::NoProcess(*pid)),
        None => Ok(()),
    }
}

/// Returns which of these processes have ended, whether or not their parents have noticed it (zombies).
#[cfg(target_os = "linux")]
pub(super) fn gone(pids: &[i32]) -> Vec<i32> {
    let is_there = |pid: i32| {
        let process = procfs::process::Process::new(pid);
        let stat = process.and_then(|process| process.stat());
        stat.is_ok_and(|stat| !matches!(stat.state, 'Z' | 'X'))
    };
    let gone = pids.iter().copied().filter(|pid| !is_there(*pid));
    gone.collect()
}

/// Returns none: only Linux has the figures.
#[cfg(not(target_os = "linux"))]
pub(super) fn gone(_: &[i32]) -> Vec<i32> {
    Vec::new()
}

/// Checks nothing: only Linux has the figures.
#[cfg(not(target_os = "linux"))]
pub(super) fn are_there(_: &[i32]) -> Result<(), HerdError> {
    Ok(())
}

/// Returns zeros: only Linux has the figures.
#[cfg(not(target_os = "linux"))]
pub fn used(_: &[i32]) -> ServerUse {
    ServerUse {
        cpu_secs: 0.0,
        pss_bytes: 0,
        gone: Vec::new(),
    }
}
