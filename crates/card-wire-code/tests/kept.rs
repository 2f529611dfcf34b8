//! The code that is kept in the repository is what the definition of the messages says now.

use std::fs;

#[test]
fn the_kept_code_is_what_would_be_written_now() {
    for file in card_wire_code::write().unwrap() {
        let kept = fs::read_to_string(&file.path).unwrap();
        let path = file.path.display();
        assert!(
            kept == file.text,
            "{path} is not what link.proto says; run: cargo run -p card-wire-code"
        );
    }
}
