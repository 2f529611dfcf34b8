//! Writes the Rust code of the link's messages and services from their definition,
//! `crates/card-wire/proto/link.proto`.
//!
//! The code is kept in the repository. So who builds `card` does not compile the compilers of
//! Protocol Buffers, which take longer than the code they write. A test compares the kept code
//! with what would be written now.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// The file that both compilers write: the package of the definition, as a file of Rust.
const FILE: &str = "card.link.v1.rs";

/// A file of Rust, as it is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenFile {
    /// Where it is kept.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// Compiles the definition: the messages for `card-wire`, the services for `card-link`.
///
/// # Errors
/// If the definition does not compile, or a temporary folder cannot be written.
pub fn write() -> Result<Vec<WrittenFile>, Box<dyn Error>> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let definition = protox::compile(["link.proto"], [crates.join("card-wire/proto")])?;
    let (messages, services) = (tempfile::tempdir()?, tempfile::tempdir()?);
    prost_build::Config::new()
        .out_dir(messages.path())
        .compile_fds(definition.clone())?;
    tonic_prost_build::configure()
        .extern_path(".card.link.v1", "::card_wire::proto")
        .out_dir(services.path())
        .compile_fds(definition)?;
    let kept = |name: &str, written: &Path| -> Result<WrittenFile, Box<dyn Error>> {
        Ok(WrittenFile {
            path: crates.join(name).join("src").join(FILE),
            text: fs::read_to_string(written.join(FILE))?,
        })
    };
    Ok(vec![
        kept("card-wire", messages.path())?,
        kept("card-link", services.path())?,
    ])
}
