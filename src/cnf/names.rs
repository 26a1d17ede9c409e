//! The names of files in `--cnf-dir`: a formula by its content, its codings beside it, files that are being written.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::domain::{coding::Coding, formula::FileHash};

/// The codings that formulas are kept in, the cheapest one first.
pub(super) const CODINGS: [Coding; 3] = [Coding::Zstd, Coding::Gzip, Coding::Brotli];

/// What the names of files begin and end with that are being written.
const SCRATCH: (&str, &str) = (".publisher-", ".partial");
/// How many random letters and digits are between.
const SCRATCH_RANDOM: usize = 16;

/// Whether a file of this name was being written by a server. Files of others hardly have such a name.
fn is_scratch(name: &str) -> bool {
    let (prefix, suffix) = SCRATCH;
    let rest = name.strip_prefix(prefix);
    let random = rest.and_then(|rest| rest.strip_suffix(suffix));
    random.is_some_and(|random| {
        random.len() == SCRATCH_RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// What a coding adds to the name of its formula: what nginx's `gzip_static` and `brotli_static` look for.
fn extension(coding: Coding) -> &'static str {
    match coding {
        Coding::Identity => "",
        Coding::Gzip => ".gz",
        Coding::Zstd => ".zst",
        Coding::Brotli => ".br",
    }
}

/// Returns where the formula is in a coding: `<64 hex digits>.cnf`, and the extension of the coding.
pub(super) fn path(folder: &Path, hash: &FileHash, coding: Coding) -> PathBuf {
    folder.join(format!("{hash}.cnf{}", extension(coding)))
}

/// Parses the name of a coding's file; `None` for every other name, that of a formula included.
pub(super) fn coding_of(name: &str) -> Option<(FileHash, Coding)> {
    let (hash, rest) = name.split_once('.')?;
    let coding = CODINGS
        .into_iter()
        .find(|coding| rest.strip_prefix("cnf") == Some(extension(*coding)))?;
    Some((FileHash::parse(hash)?, coding))
}

/// Creates a file to write, which is deleted unless it gets its name. It is locked as long as it is open.
///
/// # Errors
/// Those of the folder.
pub(super) fn scratch(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    let (prefix, suffix) = SCRATCH;
    builder.prefix(prefix).suffix(suffix);
    builder.rand_bytes(SCRATCH_RANDOM);
    // Others may read it, as the umask allows: a web server that serves the same folder.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let file = builder.tempfile_in(folder)?;
    file.as_file().lock()?;
    Ok(file)
}

/// Deletes what processes have left that were killed while they wrote. Files of other processes that still run are
/// locked, and stay.
///
/// # Errors
/// Those of the folder.
pub(super) fn sweep(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if !name.to_str().is_some_and(is_scratch) || !entry.file_type()?.is_file() {
            continue;
        }
        let is_left = fs::File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
        if is_left {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_codings_are_those_that_nginx_looks_for_and_no_other_name_is_one() {
        let hash = FileHash([7; 32]);
        for coding in CODINGS {
            let path = path(Path::new("/x"), &hash, coding);
            let name = path.file_name().and_then(|name| name.to_str());
            assert_eq!(name.and_then(coding_of), Some((hash, coding)));
        }
        let formula = format!("{hash}.cnf");
        assert_eq!(
            path(Path::new("/x"), &hash, Coding::Identity),
            Path::new("/x").join(&formula)
        );
        for other in [
            formula.clone(),
            format!("{formula}.gz.bak"),
            format!("{formula}.GZ"),
            format!("x{formula}.gz"),
            "readme.cnf.gz".to_owned(),
            ".publisher-x".to_owned(),
        ] {
            assert_eq!(coding_of(&other), None, "{other}");
        }
    }

    #[test]
    fn what_was_left_is_deleted_and_what_is_being_written_stays() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let open = scratch(folder.path())?;
        let left = folder.path().join(".publisher-0123456789abcdeF.partial");
        fs::write(&left, "x")?;
        let others = [
            "other",
            ".publisher-backup",
            ".publisher-0123456789abcdeF",
            ".publisher-0123456789abcd_F.partial",
            ".publisher-notes.partial",
        ];
        for other in others {
            fs::write(folder.path().join(other), "x")?;
        }
        sweep(folder.path())?;
        assert!(!left.exists() && open.path().exists());
        drop(open);
        assert_eq!(fs::read_dir(folder.path())?.count(), others.len());
        Ok(())
    }
}
