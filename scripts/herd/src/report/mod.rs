//! Reports of runs, as an HTML page or an SVG drawing: one file without external resources.
//!
//! | file | knows |
//! |---|---|
//! | `page`, `sheet` | the HTML page, the SVG file |
//! | `story` | what happened, in words |
//! | `picture` | the picture of a run, and the scales that all runs share |
//! | `load`, `heat`, `strips` | its parts: load, latency, failures |
//! | `tables`, `options` | the tables behind the charts, the options that made the run |
//! | `stacked` | an HTML table, stacked where it does not fit |
//! | `columns` | a run in columns of time |
//! | `plot`, `scale`, `canvas` | axes and lines, positions, SVG |
//! | `units` | numbers with few characters |

mod canvas;
mod columns;
mod heat;
mod load;
mod options;
mod page;
mod picture;
mod plot;
mod scale;
mod sheet;
mod stacked;
mod story;
mod strips;
mod tables;
pub(crate) mod units;

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::run::Run;

/// Reasons why a report cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The file name has another extension than `.html` or `.svg`.
    #[error("{}: the name of a report must end in .html or .svg", .0.display())]
    Format(PathBuf),
    /// The folder does not exist.
    #[error("{}: there is no such folder", .0.display())]
    Folder(PathBuf),
    /// There is something else than a file: a folder, a device, a pipe, or a link to nothing.
    #[error("not a regular file")]
    NotAFile,
    /// Writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

#[derive(Debug, Clone, Copy)]
enum Format {
    Html,
    Svg,
}

impl Format {
    fn of(path: &Path) -> Result<Self, ReportError> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("html") => Ok(Self::Html),
            Some("svg") => Ok(Self::Svg),
            Some(_) | None => Err(ReportError::Format(path.to_owned())),
        }
    }
}

/// Checks that reports can be written to these files, before a run is spent on them.
///
/// # Errors
/// [`ReportError`], except for a disk that is full later.
pub fn check(paths: &[PathBuf]) -> Result<(), ReportError> {
    for path in paths {
        Format::of(path)?;
        let (path, _) = place(path)?;
        if path.exists() {
            fs::OpenOptions::new().append(true).open(&path)?;
        }
        beside(&path)?;
    }
    Ok(())
}

/// Writes the report of these runs; the extension of the file name selects the format. The file is replaced when the report
/// is whole.
///
/// # Errors
/// [`ReportError`].
pub fn write(runs: &[Run], path: &Path) -> Result<(), ReportError> {
    let bytes = match Format::of(path)? {
        Format::Html => page::page(runs).into_bytes(),
        Format::Svg => sheet::sheet(runs).into_bytes(),
    };
    let (path, permissions) = place(path)?;
    let mut file = beside(&path)?;
    file.write_all(&bytes)?;
    if let Some(permissions) = permissions {
        file.as_file().set_permissions(permissions)?;
    }
    file.persist(&path).map_err(|failed| failed.error)?;
    Ok(())
}

/// Returns the file that a path means, and the permissions that it has if it is there. A link stays a link.
///
/// # Errors
/// If it is something else than a file, or cannot be looked at.
fn place(path: &Path) -> Result<(PathBuf, Option<fs::Permissions>), ReportError> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => Ok((path.canonicalize()?, Some(found.permissions()))),
        Ok(_) => Err(ReportError::NotAFile),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A link to nothing.
            if path.is_symlink() {
                return Err(ReportError::NotAFile);
            }
            Ok((path.to_owned(), None))
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes a file without content in the folder of another one. It goes when it is dropped.
fn beside(path: &Path) -> Result<NamedTempFile, ReportError> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(ReportError::Folder(folder.to_owned()));
    }
    let mut builder = tempfile::Builder::new();
    builder.prefix(".herd-");
    // Those of any new file: the system takes away what it does not allow.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    Ok(builder.tempfile_in(folder)?)
}
