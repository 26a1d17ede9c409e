//! Reads small files of the configuration: bounded in bytes, and without waiting for another process. Opens regular
//! files of any size.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read as _},
    path::Path,
};

use rustix::fs::{Mode, OFlags, open};

/// Reads all of a regular file. Follows symbolic links, as Kubernetes mounts secrets. A pipe, a device and a directory
/// are refused: opening or reading them might never end.
///
/// # Errors
/// Those of the file system; `InvalidInput` if it is not a regular file; `FileTooLarge` above `max_bytes`.
pub(crate) fn read(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    read_bounded(open_regular(path)?, max_bytes)
}

/// Opens a regular file. Follows symbolic links, and does not wait for the other end of a pipe.
///
/// # Errors
/// Those of the file system; `InvalidInput` if it is not a regular file.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    expect_regular(&fs::metadata(path)?)?;
    // A pipe that took its place since then is opened at once, and refused.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty())?);
    expect_regular(&file.metadata()?)?;
    Ok(file)
}

/// Reads a file of any kind to its end, such as a pipe from another command. May wait for ever.
///
/// # Errors
/// Those of the file system; `FileTooLarge` above `max_bytes`.
pub(crate) fn read_any(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    read_bounded(File::open(path)?, max_bytes)
}

fn read_bounded(file: File, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    // One byte more, so that a longer file is noticed.
    let read = file
        .take(max_bytes.saturating_add(1))
        .read_to_end(&mut content)?;
    if read as u64 > max_bytes {
        let text = format!("it is longer than {max_bytes} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(content)
}

fn expect_regular(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let text = "it is not a regular file";
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::symlink, net::UnixListener};

    use super::*;

    #[test]
    fn regular_files_are_read_through_links_and_nothing_else_is() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "content")?;
        symlink("file", path("link"))?;
        for name in ["file", "link"] {
            assert_eq!(read(&path(name), 7)?, b"content");
        }
        let made = std::process::Command::new("mkfifo")
            .arg(path("pipe"))
            .status()?;
        assert!(made.success());
        symlink("pipe", path("link-to-pipe"))?;
        let _socket = UnixListener::bind(path("socket"))?;
        for name in ["pipe", "link-to-pipe", "socket", "."] {
            let said = read(&path(name), 7).map_err(|error| error.to_string());
            assert_eq!(said, Err("it is not a regular file".to_owned()), "{name}");
        }
        let zeros = read(Path::new("/dev/zero"), 7).map_err(|error| error.to_string());
        assert_eq!(zeros, Err("it is not a regular file".to_owned()));
        let long = read(&path("file"), 6).map_err(|error| error.kind());
        assert_eq!(long, Err(io::ErrorKind::FileTooLarge));
        Ok(())
    }
}
