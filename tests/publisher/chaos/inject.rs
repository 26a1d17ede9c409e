//! Makes calls of a server fail, or its clock jump: `scripts/chaos/inject.c`, compiled when it is needed.

use std::{
    fs,
    io::Write,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/chaos/inject.c");
/// The slots of the control file, in the order of the library.
const SLOTS: usize = 10;

/// A kind of system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Open = 1,
    Read = 2,
    Write = 4,
    Sync = 8,
    Truncate = 16,
}

pub const EIO: i64 = 5;
pub const ENOSPC: i64 = 28;

/// What happens to a call that is hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    Error(i64),
    /// Half of the bytes are read or written.
    Short,
    /// It takes this many milliseconds.
    Hang(i64),
}

/// Which calls are hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hit {
    /// Only this one, counted from 1.
    Nth(i64),
    /// All.
    All,
    /// So many of 10,000, at random.
    Some(i64),
}

/// The library, and the file that controls it in one server.
pub struct Injector {
    library: PathBuf,
    control: PathBuf,
}

impl Injector {
    /// Compiles the library into the folder. If there is no C compiler, prints SKIPPED and returns `None`.
    pub fn new(folder: &Path) -> Option<Self> {
        let library = folder.join("inject.so");
        let compiled = Command::new("cc")
            .args(["-O1", "-shared", "-fPIC", "-o"])
            .arg(&library)
            .args([source().as_os_str(), "-ldl".as_ref()])
            .status();
        if !compiled.is_ok_and(|status| status.success()) {
            let skipped =
                b"SKIPPED: there is no C compiler, so faults of system calls were not tested\n";
            std::io::stderr().write_all(skipped).unwrap();
            return None;
        }
        let injector = Self {
            library,
            control: folder.join("control"),
        };
        injector.write([0; SLOTS]);
        Some(injector)
    }

    /// Lets a command run with the library. Only this database's files are touched.
    pub fn apply(&self, command: &mut Command, database: &Path) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("CHAOS_FILE", database)
            .env("CHAOS_CONTROL", &self.control);
    }

    fn write(&self, slots: [i64; SLOTS]) {
        let bytes: Vec<u8> = slots.iter().flat_map(|slot| slot.to_ne_bytes()).collect();
        // Never truncated: it is mapped.
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&self.control)
            .unwrap();
        file.write_all_at(&bytes, 0).unwrap();
    }

    /// Harms these calls from now on.
    pub fn begin(&self, calls: &[Call], harm: Harm, hit: Hit) {
        let kinds = calls.iter().map(|call| *call as i64).sum();
        let (error, short, hang) = match harm {
            Harm::Error(error) => (error, 0, 0),
            Harm::Short => (0, 1, 0),
            Harm::Hang(millis) => (0, 0, millis),
        };
        let (first, how_many, random) = match hit {
            Hit::Nth(number) => (number, 1, 0),
            Hit::All => (1, i64::MAX / 2, 0),
            Hit::Some(of_10000) => (0, 0, of_10000),
        };
        self.write([kinds, error, short, hang, first, how_many, random, 0, 0, 0]);
    }

    /// Ends the fault. Returns how many calls were hit.
    pub fn end(&self) -> i64 {
        let hits = self.hits();
        self.write([0; SLOTS]);
        hits
    }

    pub fn hits(&self) -> i64 {
        let bytes = fs::read(&self.control).unwrap();
        i64::from_ne_bytes(bytes[72..80].try_into().unwrap())
    }

    /// Sets the wall clock this far ahead, or back.
    pub fn shift_clock(&self, seconds: i64) {
        self.write([0, 0, 0, 0, 0, 0, 0, seconds, 0, 0]);
    }
}

/// The source, seen from either of the packages that include this file.
fn source() -> PathBuf {
    let here = PathBuf::from(SOURCE);
    if here.exists() {
        return here;
    }
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../chaos/inject.c")
}
