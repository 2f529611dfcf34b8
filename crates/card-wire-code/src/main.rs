//! Writes the code of the link's messages and services into `card-wire` and `card-link`.
//!
//! Usage: `cargo run -p card-wire-code`, whenever `link.proto` has changed.

use std::error::Error;
use std::fs;

fn main() -> Result<(), Box<dyn Error>> {
    for file in card_wire_code::write()? {
        fs::write(&file.path, &file.text)?;
        println!("written: {}", file.path.display());
    }
    Ok(())
}
