//! Chunks of files: read once for all that want them at the same time, checked, and cached, bounded in bytes.

use std::{
    collections::HashMap,
    io::{self, Read as _, Seek as _, SeekFrom},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hashlink::LinkedHashMap;
use tokio::sync::{Semaphore, watch};

use super::checked::Source;
use crate::{
    metrics::{Metrics, Source as From},
    outgoing::{ByteBudget, Senders, Sending},
    small_file::open_regular,
};

/// Reads that run at once.
const MAX_READS: usize = 4;
/// How long a request waits for a chunk: for room, for its turn and for the disk.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a chunk cannot be sent. The connection is cut then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ChunkError {
    /// The file has other bytes than when it was checked.
    #[error("the formula changed while it was sent")]
    Changed,
    /// The disk failed, or the file has gone.
    #[error("the formula cannot be read: {0}")]
    Unreadable(io::ErrorKind),
    /// There was no room or no turn in time, or the server stops.
    #[error("a chunk of the formula was not read in time")]
    Late,
}

/// A chunk, by the content of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    sha256: [u8; 32],
    index: u64,
}

type Answer = Option<Result<Bytes, ChunkError>>;

/// Chunks of files. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Chunks(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max_cached_bytes: usize,
    state: Mutex<State>,
    turns: Arc<Semaphore>,
    budget: ByteBudget,
    senders: Senders,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct State {
    /// The least recently used one first.
    cached: LinkedHashMap<Key, Bytes>,
    cached_bytes: usize,
    reading: HashMap<Key, watch::Receiver<Answer>>,
}

/// A read that others may wait for. Its end drops the sender.
struct Reading {
    chunks: Chunks,
    key: Key,
    answer: watch::Sender<Answer>,
}

impl Chunks {
    pub(super) fn new(
        max_cached_bytes: usize,
        max_in_flight_bytes: usize,
        metrics: Metrics,
    ) -> Self {
        let budget = ByteBudget::new(max_cached_bytes + max_in_flight_bytes);
        Self(Arc::new(Shared {
            max_cached_bytes,
            state: Mutex::default(),
            turns: Arc::new(Semaphore::new(MAX_READS)),
            senders: Senders::new(budget.clone()),
            budget,
            metrics,
        }))
    }

    /// Returns a chunk if it is cached. Costs a short lock.
    pub(super) fn cached(&self, source: &Source, index: u64) -> Option<Bytes> {
        let chunk = self.lock().cached.to_back(&key(source, index)).cloned();
        if chunk.is_some() {
            self.0.metrics.formula_chunk(From::Hit);
        }
        chunk
    }

    /// Returns a chunk for a client. It is read once for all that want it meanwhile.
    ///
    /// # Errors
    /// [`ChunkError`].
    pub(super) async fn chunk(
        &self,
        source: &Arc<Source>,
        index: u64,
        client: IpAddr,
    ) -> Result<Bytes, ChunkError> {
        if let Some(chunk) = self.cached(source, index) {
            return Ok(chunk);
        }
        let mut answer = self.start_or_join(source, index, client);
        let answered = tokio::time::timeout(CHUNK_TIMEOUT, answer.wait_for(Option::is_some));
        match answered.await {
            Ok(Ok(answer)) => answer.clone().unwrap_or(Err(ChunkError::Late)),
            Ok(Err(_)) | Err(_) => Err(ChunkError::Late),
        }
    }

    /// Notes that a part of a chunk is being sent to a client, until what is returned is dropped.
    pub(super) fn begin_sending(&self, client: IpAddr, part: &Bytes) -> Sending {
        self.0.senders.begin(client, part)
    }

    fn start_or_join(
        &self,
        source: &Arc<Source>,
        index: u64,
        client: IpAddr,
    ) -> watch::Receiver<Answer> {
        let key = key(source, index);
        let mut state = self.lock();
        if let Some(answer) = state.reading.get(&key) {
            self.0.metrics.formula_chunk(From::Join);
            return answer.clone();
        }
        self.0.metrics.formula_chunk(From::Miss);
        let (sender, answer) = watch::channel(None);
        state.reading.insert(key, answer.clone());
        drop(state);
        let reading = Reading {
            chunks: self.clone(),
            key,
            answer: sender,
        };
        // Not a part of this request: others wait for it too, and this client may go.
        let read = reading.run(Arc::clone(source), client);
        actix_rt::spawn(async move { tokio::time::timeout(CHUNK_TIMEOUT, read).await.ok() });
        answer
    }

    fn insert(&self, key: Key, chunk: &Bytes) {
        let mut state = self.lock();
        state.cached_bytes += chunk.len();
        if let Some(earlier) = state.cached.insert(key, chunk.clone()) {
            state.cached_bytes -= earlier.len();
        }
        while state.cached_bytes > self.0.max_cached_bytes && state.evict() {}
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn evict(&mut self) -> bool {
        let evicted = self.cached.pop_front();
        if let Some((_, chunk)) = &evicted {
            self.cached_bytes -= chunk.len();
        }
        evicted.is_some()
    }
}

impl Reading {
    async fn run(self, source: Arc<Source>, client: IpAddr) {
        let shared = Arc::clone(&self.chunks.0);
        let evict = || self.chunks.lock().evict();
        let release = |bytes| shared.senders.cut_off(client, bytes, Instant::now());
        let turn = loop {
            shared.budget.room(false, evict, release).await;
            let Ok(turn) = Arc::clone(&shared.turns).acquire_owned().await else {
                return;
            };
            if shared.budget.missing_bytes(false) == 0 {
                break turn;
            }
        };
        drop(actix_rt::task::spawn_blocking(move || {
            let _turn = turn;
            let read = read(&source, self.key.index);
            let read = read.map(|chunk| shared.budget.charge(chunk));
            if let Ok(chunk) = &read {
                self.chunks.insert(self.key, chunk);
            }
            self.answer.send_replace(Some(read));
        }));
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.chunks.lock().reading.remove(&self.key);
    }
}

fn key(source: &Source, index: u64) -> Key {
    Key {
        sha256: source.measured.sha256,
        index,
    }
}

/// Reads a chunk and compares it with its checksum. Blocks.
fn read(source: &Source, index: u64) -> Result<Vec<u8>, ChunkError> {
    let (start, length) = source.measured.chunk(index);
    let mut chunk = vec![0; length];
    let filled = open_regular(&source.path).and_then(|mut file| {
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut chunk)
    });
    match filled {
        Ok(()) if source.measured.has_chunk(index, &chunk) => Ok(chunk),
        Ok(()) => Err(ChunkError::Changed),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ChunkError::Changed),
        Err(error) => Err(ChunkError::Unreadable(error.kind())),
    }
}
