//! Runs as a picture: a page, a drawing or an image, each in one file that needs no other.
//!
//! | file | knows |
//! |---|---|
//! | `figures` | what is drawn of a run |
//! | `chart` | scales, axes and lines, as SVG |
//! | `png` | SVG as pixels |

mod chart;
mod figures;
mod png;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use chart::escaped;
use figures::{Theme, picture};

use super::{run::Run, table::table};

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file name that does not say what it is.
    #[error("{}: a report ends in .html, .svg or .png", .0.display())]
    Format(PathBuf),
    /// A folder that is not there.
    #[error("{}: there is no such folder", .0.display())]
    Folder(PathBuf),
    /// Writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Drawing failed.
    #[error("drawing: {0}")]
    Png(String),
}

#[derive(Debug, Clone, Copy)]
enum Format {
    Html,
    Svg,
    Png,
}

impl Format {
    fn of(path: &Path) -> Result<Self, ReportError> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("html") => Ok(Self::Html),
            Some("svg") => Ok(Self::Svg),
            Some("png") => Ok(Self::Png),
            Some(_) | None => Err(ReportError::Format(path.to_owned())),
        }
    }
}

/// Whether reports can go there; asked before a run, which would be lost otherwise.
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

/// Writes the report of these runs to a file whose name says its format.
///
/// # Errors
/// [`ReportError`].
pub fn write(runs: &[Run], path: &Path) -> Result<(), ReportError> {
    let bytes = match Format::of(path)? {
        Format::Html => page(runs).into_bytes(),
        Format::Svg => picture(runs, Theme::Both).into_bytes(),
        Format::Png => png::png(&picture(runs, Theme::Light))?,
    };
    Ok(fs::write(path, bytes)?)
}

/// The picture, the table, and what was asked for.
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
        picture(runs, Theme::Both),
        escaped(&table(runs)),
    )
}
