//! Reports of runs, as an HTML page or an SVG drawing: one file without external resources.
//!
//! | file | knows |
//! |---|---|
//! | `page`, `sheet` | the HTML page, the SVG file |
//! | `story` | what happened, in words |
//! | `picture` | the picture of a run, and the scales that all runs share |
//! | `load`, `heat`, `strips` | its parts: load, latency, failures |
//! | `tables`, `options` | the tables behind the charts, the options that made the run |
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
mod story;
mod strips;
mod tables;
mod units;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

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
/// [`ReportError::Format`] and [`ReportError::Folder`].
pub fn check(paths: &[PathBuf]) -> Result<(), ReportError> {
    for path in paths {
        Format::of(path)?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        if !folder.as_os_str().is_empty() && !folder.is_dir() {
            return Err(ReportError::Folder(folder));
        }
    }
    Ok(())
}

/// Writes the report of these runs; the extension of the file name selects the format.
///
/// # Errors
/// [`ReportError`].
pub fn write(runs: &[Run], path: &Path) -> Result<(), ReportError> {
    let bytes = match Format::of(path)? {
        Format::Html => page::page(runs).into_bytes(),
        Format::Svg => sheet::sheet(runs).into_bytes(),
    };
    Ok(fs::write(path, bytes)?)
}
