//! Notices what other processes write to the same file, and has the board rebuilt where they
//! changed it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::handle::CacheHandle;
use crate::{
    domain::clock::Clock,
    store::{StoreError, watch::ChangeDetector},
};

/// Looks every `interval`, for ever. What it costs when nothing was written: one pragma.
pub async fn watch(
    path: PathBuf,
    interval: Duration,
    busy_timeout: Duration,
    clock: Arc<dyn Clock>,
    cache: CacheHandle,
) {
    let mut detector = Some(ChangeDetector::new(path.clone(), busy_timeout));
    let mut failing = false;
    loop {
        clock.sleep_until(clock.now() + interval).await;
        // A panic in there loses the detector; another takes its place.
        let mut looking = detector
            .take()
            .unwrap_or_else(|| ChangeDetector::new(path.clone(), busy_timeout));
        let looked = actix_rt::task::spawn_blocking(move || {
            let found = looking.changed_board_version();
            (looking, found)
        });
        let Ok((looking, found)) = looked.await else {
            continue;
        };
        detector = Some(looking);
        note(&found, &mut failing);
        match found {
            // Where nothing is published, the cache is trying already.
            Ok(Some(version)) if cache.board_version().is_some_and(|old| old != version) => {
                cache.invalidate();
            }
            Ok(_) | Err(_) => {}
        }
    }
}

fn note(found: &Result<Option<i64>, StoreError>, failing: &mut bool) {
    if let Err(error) = found {
        if !*failing {
            log::warn!("cannot see whether others write to the database: {error}");
        }
    } else if *failing {
        log::info!("watching the database again");
    }
    *failing = found.is_err();
}
