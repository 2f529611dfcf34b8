//! Texts that C code gives.

use std::ffi::{CStr, c_char};

/// A copy of a C string; bytes that are no UTF-8 are replaced. Null is the empty text.
///
/// # Safety
/// `p` is null, or points to bytes that end with NUL and stay during the call.
pub(crate) unsafe fn text(p: *const c_char) -> String {
    if p.is_null() {
        return String::new();
    }
    // SAFETY: `p` is not null, and the caller vouches for the rest.
    unsafe { CStr::from_ptr(p) }.to_string_lossy().into_owned()
}

/// The text in a buffer up to its first NUL; empty if there is none.
pub(crate) fn text_in(buffer: &[u8]) -> String {
    let text = CStr::from_bytes_until_nul(buffer).unwrap_or_default();
    text.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_ends_with_the_first_nul_and_never_beyond_its_buffer() {
        assert_eq!(text_in(b"card\0 and more\0"), "card");
        assert_eq!(text_in(b"\0"), "");
        assert_eq!(text_in(b"no end"), "");
        // SAFETY: one is null, the other ends with NUL and is static.
        let texts = unsafe { [text(std::ptr::null()), text(c"card".as_ptr())] };
        assert_eq!(texts, ["", "card"]);
    }
}
