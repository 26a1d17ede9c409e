//! Notices what other processes write to the same file: has the board rebuilt where they changed it,
//! and pages of the feed read anew.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::handle::CacheHandle;
use crate::{
    domain::clock::Clock,
    feed::FeedHandle,
    store::{
        StoreError,
        watch::{ChangeDetector, Found},
    },
};

/// Looks every `interval`, for ever. What it costs when nothing was written: one pragma. Notices a file
/// that takes the place of the one that is there when this is called.
pub fn watch(
    path: PathBuf,
    interval: Duration,
    busy_timeout: Duration,
    clock: Arc<dyn Clock>,
    cache: CacheHandle,
    feed: FeedHandle,
) -> impl Future<Output = ()> {
    let detector = ChangeDetector::new(path.clone(), busy_timeout);
    async move {
        let mut detector = Some(detector);
        let mut failing = false;
        loop {
            clock.sleep_until(clock.now() + interval).await;
            // A panic in there loses the detector; another takes its place.
            let mut looking = detector
                .take()
                .unwrap_or_else(|| ChangeDetector::new(path.clone(), busy_timeout));
            let looked = actix_rt::task::spawn_blocking(move || {
                let found = looking.changed();
                (looking, found)
            });
            let Ok((looking, found)) = looked.await else {
                feed.lost_sight();
                continue;
            };
            detector = Some(looking);
            note(&found, &mut failing);
            match found {
                Ok(Some(found)) => {
                    feed.seen(found.feed, found.replaced).await;
                    let version = cache.board_version();
                    // Where nothing is published, the cache is trying already.
                    if version.is_some_and(|old| old != found.board_version) {
                        cache.invalidate();
                    }
                }
                Ok(None) => feed.follow_if_lacking().await,
                // Who cannot look does not know.
                Err(_) => feed.lost_sight(),
            }
        }
    }
}

fn note(found: &Result<Option<Found>, StoreError>, failing: &mut bool) {
    if let Err(error) = found {
        if !*failing {
            log::warn!("cannot see whether others write to the database: {error}");
        }
    } else if *failing {
        log::info!("watching the database again");
    }
    *failing = found.is_err();
}
