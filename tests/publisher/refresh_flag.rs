//! The flag that lets one expiry send one message, over all interleavings of its threads (loom):
//!
//! - exactly one reader of a stale snapshot claims the refresh
//! - after a publication, the next expiry sends its own message

mod sync {
    pub use loom::sync::atomic::{AtomicBool, Ordering};
}

#[path = "../../src/cache/refresh_flag.rs"]
mod flag;

mod model {
    use loom::{
        sync::{
            Arc, RwLock,
            atomic::{AtomicUsize, Ordering::SeqCst},
        },
        thread,
    };

    use super::flag::RefreshFlag;

    #[test]
    fn exactly_one_reader_of_a_stale_snapshot_claims_the_refresh() {
        loom::model(|| {
            let flag = Arc::new(RefreshFlag::new());
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    let flag = Arc::clone(&flag);
                    thread::spawn(move || usize::from(flag.claim()))
                })
                .collect();
            let here = usize::from(flag.claim());
            let claimed: usize = readers.into_iter().map(|it| it.join().unwrap()).sum();
            assert_eq!(claimed + here, 1);
            assert!(!flag.claim());
        });
    }

    #[test]
    fn after_a_publication_the_next_expiry_sends_its_own_message() {
        loom::model(|| {
            let published = Arc::new(RwLock::new(Arc::new(RefreshFlag::new())));
            let messages = Arc::new(AtomicUsize::new(0));
            let read = |published: &RwLock<Arc<RefreshFlag>>, messages: &AtomicUsize| {
                let flag = Arc::clone(&published.read().unwrap());
                if flag.claim() {
                    messages.fetch_add(1, SeqCst);
                }
            };
            let reader = thread::spawn({
                let (published, messages) = (Arc::clone(&published), Arc::clone(&messages));
                move || read(&published, &messages)
            });
            read(&published, &messages);
            *published.write().unwrap() = Arc::new(RefreshFlag::new());
            read(&published, &messages);
            reader.join().unwrap();
            assert_eq!(messages.load(SeqCst), 2);
        });
    }
}
