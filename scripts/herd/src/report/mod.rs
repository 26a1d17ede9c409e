//! Reports of runs, as an HTML page or an SVG drawing: one file without external resources.
//!
//! | file | knows |
//! |---|---|
//! | `figures` | what is drawn of a run |
//! | `chart` | scales, axes and lines, as SVG |

mod chart;
mod figures;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use chart::escaped;
use figures::picture;

use crate::{run::Run, table::table};

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
        Format::Html => page(runs).into_bytes(),
        Format::Svg => picture(runs).into_bytes(),
    };
    Ok(fs::write(path, bytes)?)
}

/// Returns the HTML page: the picture, the table, and the URL of each run.
fn page(runs: &[Run]) -> String {
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let title = escaped(&names.join(", "));
    let sources: String = runs
        .iter()
        .map(|run| {
            let (name, url) = (escaped(&run.name), escaped(&run.url));
            let (began, seconds) = (escaped(&run.began_at), run.seconds);
            format!("<p>{name}: {url}, {seconds:.0} s from {began}</p>\n")
        })
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>:root{{color-scheme:light dark}}body{{margin:0 auto;max-width:1200px;padding:1rem;\
         background:#fff;color:#17202a;font:14px/1.5 system-ui,sans-serif}}\
         svg{{width:100%;height:auto}}pre{{overflow-x:auto}}\
         @media (prefers-color-scheme:dark){{body{{background:#14181d;color:#e8edf2}}}}</style>\n\
         {}<pre>{}</pre>\n{sources}</html>\n",
        picture(runs),
        escaped(&table(runs)),
    )
}
