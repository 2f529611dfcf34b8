//! Files that llama.cpp is about to read or write.

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::LlamaError;

/// Says what a file is before llama.cpp has a look at it: its own message for a text file
/// or a half-downloaded page is hard to understand.
pub(crate) fn check_magic(path: &Path) -> Result<(), LlamaError> {
    let open = |source| LlamaError::Open {
        path: path.display().to_string(),
        source,
    };
    let not = |why: &str| LlamaError::NotGguf {
        path: path.display().to_string(),
        why: why.into(),
    };
    // Before it is opened: to open a pipe is to wait for somebody who writes.
    let kind = std::fs::metadata(path).map_err(open)?;
    if kind.is_dir() {
        return Err(not("it is a directory"));
    }
    if !kind.is_file() {
        return Err(not("it is a device or a pipe, no regular file"));
    }
    let mut file = File::open(path).map_err(open)?;
    let mut head = Vec::new();
    file.by_ref().take(8).read_to_end(&mut head).map_err(open)?;
    match &head[..] {
        [] => Err(not("it is empty")),
        [b'G', b'G', b'U', b'F', ..] => Ok(()),
        [b'P', b'K', ..] => Err(not("it is a ZIP archive; is it a PyTorch checkpoint?")),
        [b'<', ..] => Err(not("it looks like a web page")),
        [_, _, 0, 0, 0, 0, 0, 0] => Err(not("it looks like a safetensors file")),
        _ => Err(not("it does not begin with \"GGUF\"")),
    }
}

/// A path as C functions take it.
pub(crate) fn c_path(path: &Path) -> Result<CString, LlamaError> {
    CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| LlamaError::Open {
        path: path.display().to_string(),
        source: std::io::Error::other("the path has a NUL byte"),
    })
}

/// The name that a file has while it is written: whoever finds `output` finds a whole file.
pub(crate) fn part_of(output: &Path) -> PathBuf {
    let mut part = output.as_os_str().to_owned();
    part.push(".part");
    PathBuf::from(part)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        let error = check_magic(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(error.contains("no regular file"), "{error}");
    }
}
