//! Processor time and memory of other processes on this machine, from /proc.

use crate::{HerdError, run::ServerUse};

/// Returns the processor time since their start and the current proportional set size of these processes
/// and their children. Processes that have ended count nothing.
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
    };
    for stat in all.iter().filter(|stat| wanted.contains(&stat.pid)) {
        used.cpu_secs += (stat.utime + stat.stime) as f64 / ticks;
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

/// Checks that these processes are there.
///
/// # Errors
/// [`HerdError::NoProcess`] for the first one that is not.
#[cfg(target_os = "linux")]
pub(super) fn are_there(pids: &[i32]) -> Result<(), HerdError> {
    let is_missing = |pid: &&i32| procfs::process::Process::new(**pid).is_err();
    match pids.iter().find(is_missing) {
        Some(pid) => Err(HerdError::NoProcess(*pid)),
        None => Ok(()),
    }
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
    }
}
