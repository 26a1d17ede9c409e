//! The snapshot file:
//!
//! - what is written is read again: the same bytes, entity-tags and position
//! - a file that was cut anywhere, or of which any byte was changed, gives no board and no panic
//! - a file of another program, release or kind gives a reason
//! - a file of another program is never replaced
//! - a reader gets a whole board while the file is replaced

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    os::unix::fs::PermissionsExt,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use tempfile::TempDir;

use super::*;
use crate::{demo::sample::Sample, domain::position::Lineage};

fn position(number: i64) -> Position {
    let lineage = Lineage {
        ordinal: 1_780_000_000,
        id: 0xab,
    };
    Position { lineage, number }
}

fn board(seed: u64) -> Snapshot {
    Snapshot::new(&Sample::new(seed).board()).unwrap()
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_780_000_000_123)
}

fn file(folder: &TempDir) -> SnapshotFile {
    SnapshotFile::new(folder.path().join("board.snapshot"))
}

#[test]
fn what_is_written_is_read_again() {
    let folder = TempDir::new().unwrap();
    let file = file(&folder);
    assert!(file.read().unwrap().is_none());
    let empty = Snapshot::new(&[]).unwrap();
    for (number, snapshot) in [(0, empty), (7, board(1)), (8, board(2))] {
        file.write(&snapshot, position(number), now()).unwrap();
        let saved = file.read().unwrap().unwrap();
        // Tags follow from the bytes; current-challenge is compared as well.
        assert_eq!(saved.snapshot, snapshot);
        assert_eq!(
            (saved.position, saved.published_at),
            (position(number), now())
        );
        let mode = fs::metadata(file.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_was_cut_or_changed_anywhere_gives_no_board() {
    let content = encode(&board(1), position(7), now()).unwrap();
    assert!(decode(&content).is_ok());
    for length in (0..300).chain((300..content.len()).step_by(501)) {
        let reason = decode(&content[..length]).unwrap_err();
        assert!(
            matches!(reason, Unusable::Empty | Unusable::Damaged),
            "{length}: {reason}"
        );
    }
    for at in (0..300).chain((300..content.len()).step_by(997)) {
        for bits in [1, 0x20, 0xff] {
            let mut changed = content.clone();
            changed[at] ^= bits;
            assert!(decode(&changed).is_err(), "{at}");
        }
    }
    let longer = [&content[..], b" "].concat();
    assert!(matches!(decode(&longer), Err(Unusable::Damaged)));
}

#[test]
fn a_file_of_another_program_release_or_kind_gives_a_reason() {
    let signed = |hashed: &str| {
        let digest = sha256(hashed.as_bytes());
        format!("{MAGIC}{FORMAT} {digest}\n{hashed}")
    };
    let header = r#"{"position":"1-00000000000000ab.7","published_at_ms":1}"#;
    let other = format!("{MAGIC}2 00\n");
    for (content, reason) in [
        ("", "is empty"),
        ("SQLite format 3\0", "is not a snapshot of the board"),
        ("[]", "is not a snapshot of the board"),
        (&other, "has format 2, and this program knows format 1"),
        (MAGIC, "truncated or damaged"),
        (&signed(""), "truncated or damaged"),
        (&signed("{}\n{}"), "has invalid content: missing field"),
        (&signed(&format!("{header}\n{{}}")), "missing field `items`"),
        (
            &signed(&format!("{header}\n{{\"items\":[{{\"tier\":-1}}]}}")),
            "invalid value",
        ),
        (
            &signed("{\"position\":\"7\",\"published_at_ms\":1}\n{\"items\":[]}"),
            "not a position",
        ),
    ] {
        let said = decode(content.as_bytes()).unwrap_err().to_string();
        assert!(said.contains(reason), "{content:?}: {said}");
    }
    // Times that no clock shows.
    let far = header.replace(":1}", &format!(":{}}}", u64::MAX));
    assert!(decode(signed(&format!("{far}\n{{\"items\":[]}}")).as_bytes()).is_ok());
    let folder = TempDir::new().unwrap();
    let kind = SnapshotFile::new(folder.path().to_owned()).read();
    assert!(matches!(kind, Err(Unusable::NotAFile)));
    let long = file(&folder);
    let sparse = File::create(long.path()).unwrap();
    sparse.set_len(MAX_BYTES + 1).unwrap();
    assert!(matches!(long.read(), Err(Unusable::TooLong)));
}

#[test]
fn a_file_of_another_program_is_never_replaced() {
    let folder = TempDir::new().unwrap();
    let file = file(&folder);
    let write = || file.write(&board(1), position(7), now());
    for content in ["SQLite format 3\0", "x", "cathedral-publisher backup"] {
        fs::write(file.path(), content).unwrap();
        assert!(write().is_err());
        assert_eq!(fs::read_to_string(file.path()).unwrap(), content);
    }
    for content in ["", MAGIC, "cathedral-publisher snapshot 9 x"] {
        fs::write(file.path(), content).unwrap();
        write().unwrap();
        assert!(file.read().unwrap().is_some());
    }
    fs::remove_file(file.path()).unwrap();
    fs::create_dir(file.path()).unwrap();
    assert!(write().is_err());
    // Nothing is left of the attempts, and leftovers of killed processes are removed.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    let leftover = folder.path().join(".board.snapshot-aBc123.tmp");
    let others =
        [".board.snapshot-1.db", "board.snapshot.tmp"].map(|name| folder.path().join(name));
    for path in others.iter().chain([&leftover]) {
        fs::write(path, "x").unwrap();
    }
    file.remove_leftovers();
    assert!(!leftover.exists() && others.iter().all(|other| other.exists()));
}

#[test]
fn a_reader_gets_a_whole_board_while_the_file_is_replaced() {
    let folder = TempDir::new().unwrap();
    let file = file(&folder);
    let boards = [board(1), board(2)];
    file.write(&boards[0], position(0), now()).unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..50 {
                let board = &boards[usize::from(number % 2 == 1)];
                file.write(board, position(number), now()).unwrap();
            }
            is_over.store(true, Ordering::Relaxed);
        });
        while !is_over.load(Ordering::Relaxed) {
            let saved = file.read().unwrap().unwrap();
            let expected = usize::from(saved.position.number % 2 == 1);
            assert_eq!(saved.snapshot, boards[expected]);
        }
    });
}
