//! The formulas of challenges: files in `--cnf-dir` that are named for their content, served in chunks from memory.
//!
//! Nothing wrong is sent: a file is read as a whole before its first byte is served, and its SHA-256 compared with the
//! challenge's. Each chunk that is read later is compared with the checksum that was taken then.
//!
//! | file | knows |
//! |---|---|
//! | `names` | the names of files in the folder |
//! | `measured` | size, SHA-256 and checksums of a file that was read once |
//! | `checked` | a formula whose file was checked, in each coding that is made |
//! | `table` | which files were checked; one check at a time for each |
//! | `chunks` | chunks of files: each read once for all, cached, bounded in bytes |
//! | `stream` | a formula on its way to a client |
//! | `encode` | makes a coding, and checks one that is there |
//! | `codings` | the thread that makes and deletes codings |
//! | `upload` | takes a formula in: a temporary file, checked, then named |
//! | `settings` | the options of this room |

mod checked;
mod chunks;
mod codings;
mod encode;
mod measured;
mod names;
mod settings;
mod stream;
mod table;
mod upload;

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write as _},
    net::IpAddr,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use self::{
    checked::Source,
    chunks::{ChunkError, Chunks},
    measured::{Stamp, measure},
    table::{Found, Step, Table, Turn},
};
use crate::{
    domain::{
        coding::Coding,
        formula::{FileHash, Formula},
    },
    metrics::Metrics,
    outgoing::Sending,
    throttle::Throttle,
};

pub use checked::{Checked, Fault};
pub use settings::Settings;
pub use stream::FormulaStream;
pub use upload::{Complete, Upload, UploadError};

/// Files that are checked at once for requests.
const MAX_CHECKS: usize = 2;
/// How long a request waits for the check of a file, which reads all of it. The check goes on.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the log tells the same of the same formula.
const LOG_EVERY: Duration = Duration::from_secs(600);

/// Stores a file in a folder of formulas, under the name of its content. Blocks. Not durable before the system writes
/// it: for sample data.
///
/// # Errors
/// Those of the folder.
pub fn store(folder: &Path, body: &[u8]) -> io::Result<FileHash> {
    let hash = FileHash(Sha256::digest(body).into());
    let mut scratch = names::scratch(folder)?;
    scratch.write_all(body)?;
    let path = names::path(folder, &hash, Coding::Identity);
    scratch.persist(path).map_err(|error| error.error)?;
    Ok(hash)
}

/// Deletes a file of a folder of formulas. Blocks.
///
/// # Errors
/// Those of the folder; `NotFound` if there is no such file.
pub fn delete(folder: &Path, hash: &FileHash) -> io::Result<()> {
    fs::remove_file(names::path(folder, hash, Coding::Identity))
}

/// Why a formula is not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Its file is missing or wrong.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// Its file is still being checked.
    #[error("the formula is being checked")]
    Busy,
}

/// The formulas, for request handlers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CnfHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    max_upload_bytes: u64,
    max_coded_bytes: u64,
    table: Table,
    chunks: Chunks,
    checks: Arc<Semaphore>,
    /// The formulas of active challenges; `None` before the first board.
    active: Mutex<Option<BTreeSet<FileHash>>>,
    /// Tells the thread that makes codings that something may have changed.
    due: SyncSender<()>,
    /// That thread has left out a formula that a request was checking.
    was_skipped: AtomicBool,
    logged: Throttle<(FileHash, &'static str)>,
    metrics: Metrics,
}

impl CnfHandle {
    /// Opens the folder of the formulas, deletes what was left there half-written, and starts the thread that makes
    /// codings. Returns `None` without a folder. Blocks.
    ///
    /// # Errors
    /// If the folder cannot be read, or no thread can be started.
    pub fn launch(settings: &Settings, metrics: Metrics) -> io::Result<Option<Self>> {
        let Some(folder) = settings.folder.clone() else {
            return Ok(None);
        };
        let with_name = |error: io::Error| {
            let folder = folder.display();
            io::Error::new(error.kind(), format!("--cnf-dir {folder}: {error}"))
        };
        names::sweep(&folder).map_err(with_name)?;
        let (due, is_due) = sync_channel(1);
        let shared = Arc::new(Shared {
            max_upload_bytes: settings.max_upload_bytes,
            max_coded_bytes: settings.max_coded_bytes,
            table: Table::new(),
            chunks: Chunks::new(
                settings.cache_bytes,
                settings.max_in_flight_bytes,
                metrics.clone(),
            ),
            checks: Arc::new(Semaphore::new(MAX_CHECKS)),
            active: Mutex::default(),
            due,
            was_skipped: AtomicBool::new(false),
            logged: Throttle::new(1, LOG_EVERY),
            metrics,
            folder,
        });
        codings::launch(
            Arc::downgrade(&shared),
            is_due,
            settings.retry_codings_after,
        )?;
        Ok(Some(Self(shared)))
    }

    /// Notes which formulas active challenges have.
    pub fn follow(&self, active: impl Iterator<Item = FileHash>) {
        let active: BTreeSet<FileHash> = active.collect();
        let mut known = self.0.active.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref() != Some(&active) {
            *known = Some(active);
            drop(known);
            self.0.wake();
        }
    }

    /// Returns a formula whose file was checked. The first request for a file waits until all of it was read, once for
    /// all; later ones cost a short lock, and once a second a look at the file.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(&self, formula: &Formula) -> Result<Arc<Checked>, OpenError> {
        let opened = tokio::time::timeout(CHECK_TIMEOUT, self.found(formula.hash));
        let found = opened.await.map_err(|_| OpenError::Busy)?;
        Ok(fitting(formula, found)?)
    }

    /// Returns a formula that [`CnfHandle::open`] would return at once. Costs a short lock.
    pub fn opened(&self, formula: &Formula) -> Option<Arc<Checked>> {
        let found = self.0.table.known(&formula.hash, Instant::now())?;
        fitting(formula, found).ok()
    }

    /// Counts and logs that a formula could not be served.
    pub fn count_fault(&self, challenge_id: &str, formula: &Formula, fault: &Fault) {
        self.0.metrics.formula_fault(fault.kind());
        let kind = (formula.hash, fault.kind());
        if self.0.logged.admit(kind, Instant::now()).is_some() {
            let hash = formula.hash;
            log::warn!("challenge {challenge_id:?}: {fault} ({hash}.cnf)");
        }
    }

    /// Returns the bytes of a range of the formula in a coding; `None` if the coding is no longer there.
    pub fn stream(
        &self,
        checked: &Checked,
        coding: Coding,
        range: Range<u64>,
        client: IpAddr,
    ) -> Option<FormulaStream> {
        let source = checked.source(coding)?;
        Some(FormulaStream::new(self.clone(), source, client, range))
    }

    /// Notes that a part of a formula is being sent to a client, until what is returned is dropped. Costs a short lock.
    pub fn begin_sending(&self, client: IpAddr, part: &Bytes) -> Sending {
        self.0.chunks.begin_sending(client, part)
    }

    fn chunks(&self) -> &Chunks {
        &self.0.chunks
    }

    /// Notes that the rest of a formula could not be sent. All its files are looked at again.
    fn was_cut(&self, source: &Source, error: ChunkError) {
        self.0.metrics.formula_cut_off();
        self.0.table.forget(&source.hash);
        if self
            .0
            .logged
            .admit((source.hash, "cut"), Instant::now())
            .is_some()
        {
            log::warn!(
                "{}: {error}: the connection is closed",
                source.path.display()
            );
        }
    }

    async fn found(&self, hash: FileHash) -> Found {
        loop {
            match self.0.table.begin(hash, Instant::now()) {
                Step::Use(found) => return found,
                Step::Wait(mut ended) => {
                    // An error is the end: nothing is ever sent.
                    let _ = ended.changed().await;
                }
                Step::Check(turn) => {
                    let shared = Arc::clone(&self.0);
                    // Not a part of this request: others wait for it too, and this client may go.
                    actix_rt::spawn(async move {
                        if let Ok(permit) = Arc::clone(&shared.checks).acquire_owned().await {
                            drop(actix_rt::task::spawn_blocking(move || {
                                let _permit = permit;
                                // The table has it.
                                let _ = shared.check(turn);
                            }));
                        }
                    });
                }
            }
        }
    }
}

impl Shared {
    /// Looks at a file, and reads all of it if it is new. Blocks.
    fn check(&self, turn: Turn) -> Found {
        let path = names::path(&self.folder, &turn.hash, Coding::Identity);
        let found = match (&turn.before, Stamp::of(&path)) {
            (Some(before), Ok(stamp)) if before.stamp == stamp => Ok(Arc::clone(before)),
            (before, Ok(_)) => match measure(&path) {
                Ok((_, measured)) if measured.sha256 != turn.hash.0 => {
                    let found = measured.bytes;
                    Err(Fault::WrongContent { found })
                }
                Ok((stamp, measured)) => Ok(Arc::new(match before {
                    // The codings are still those of this content.
                    Some(before) => before.with_stamp(stamp),
                    None => Checked::new(
                        stamp,
                        Source {
                            hash: turn.hash,
                            coding: Coding::Identity,
                            path,
                            measured,
                        },
                    ),
                })),
                Err(error) => Err(fault(&error)),
            },
            (_, Err(error)) => Err(fault(&error)),
        };
        let is_new = found.is_ok() && turn.before.is_none();
        turn.finish(found.clone());
        if is_new || self.was_skipped.swap(false, Ordering::SeqCst) {
            self.wake();
        }
        found
    }

    /// Returns a checked formula, for the thread that makes codings; `None` if its file is missing or wrong, or if a
    /// request is checking it: then the end of that check wakes the thread. Blocks.
    fn check_here(&self, hash: FileHash) -> Option<Arc<Checked>> {
        // Twice: a check that ended before the first mark does not see it.
        for _ in 0..2 {
            match self.table.begin(hash, Instant::now()) {
                Step::Use(found) => return found.ok(),
                Step::Check(turn) => return self.check(turn).ok(),
                Step::Wait(_) => self.was_skipped.store(true, Ordering::SeqCst),
            }
        }
        None
    }

    /// Returns the formulas of active challenges; `None` before the first board.
    fn active(&self) -> Option<BTreeSet<FileHash>> {
        self.active
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Logs that the file of a coding, or without one the folder, cannot be used. The same again only after
    /// [`LOG_EVERY`].
    fn tell_coding_fault(&self, hash: FileHash, coding: Option<Coding>, error: &io::Error) {
        let kind = coding.map_or("folder", Coding::as_str);
        if self.logged.admit((hash, kind), Instant::now()).is_some() {
            let path = coding.map(|coding| names::path(&self.folder, &hash, coding));
            let path = path.as_ref().unwrap_or(&self.folder).display();
            log::warn!("{path}: this coding of a formula is left out for now: {error}");
        }
    }

    fn wake(&self) {
        // If it is full, the thread will look anyway.
        let _ = self.due.try_send(());
    }
}

/// Returns what was found of a file, if it has the size that the challenge announces.
fn fitting(formula: &Formula, checked: Found) -> Found {
    let found = match &checked {
        Ok(checked) => Some(checked.identity.measured.bytes),
        Err(Fault::WrongContent { found }) => Some(*found),
        Err(_) => None,
    };
    // Before the content: a file that was truncated has another SHA-256 as well.
    match (found, formula.bytes) {
        (Some(found), Some(announced)) if announced != found => {
            Err(Fault::WrongSize { found, announced })
        }
        _ => checked,
    }
}

fn fault(error: &io::Error) -> Fault {
    let kind = error.kind();
    if kind == io::ErrorKind::NotFound {
        Fault::Missing
    } else if kind == io::ErrorKind::InvalidInput {
        Fault::NotAFile
    } else {
        Fault::Unreadable(kind)
    }
}
