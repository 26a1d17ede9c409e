//! The file with the password.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::small_file;

/// The longest password, with the end of its line.
const MAX_BYTES: u64 = 4096;

/// The file cannot be used. Contains nothing of it.
#[derive(Debug, thiserror::Error)]
pub enum PasswordFault {
    /// It cannot be read.
    #[error("--database-password-file {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is empty, longer than 4 KiB, has several lines, contains a NUL, or is not UTF-8.
    #[error("--database-password-file {} must have one line with the password", .0.display())]
    NoPassword(PathBuf),
}

/// Reads the password: the only line of the file, without its end.
///
/// # Errors
/// [`PasswordFault`].
pub(super) fn read(path: &Path) -> Result<String, PasswordFault> {
    let no_password = || PasswordFault::NoPassword(path.to_owned());
    let text = small_file::read(path, MAX_BYTES).map_err(|error| {
        if error.kind() == io::ErrorKind::FileTooLarge {
            return no_password();
        }
        PasswordFault::File {
            path: path.to_owned(),
            error,
        }
    })?;
    let text = String::from_utf8(text).map_err(|_| no_password())?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || line.contains(['\n', '\0']) {
        return Err(no_password());
    }
    Ok(line.to_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

    use std::fs;

    use super::*;

    #[test]
    fn the_password_is_the_only_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        for (content, expected) in [
            ("hunter2", Some("hunter2")),
            ("hunter2\n", Some("hunter2")),
            (" hunter 2 \r\n", Some(" hunter 2 ")),
            ("", None),
            ("\n", None),
            ("hunter2\n\n", None),
            ("hunter2\nhunter3\n", None),
            (&"x".repeat(5000), None),
        ] {
            fs::write(&path, content).unwrap();
            let read = read(&path).inspect_err(|error| {
                let shown = format!("{error} {error:?}");
                assert!(shown.contains("password") && !shown.contains("hunter"));
            });
            assert_eq!(read.ok().as_deref(), expected, "{content:?}");
        }
        assert!(read(&folder.path().join("missing")).is_err());
    }
}
