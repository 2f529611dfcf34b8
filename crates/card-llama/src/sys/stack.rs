//! Stacks that are large enough for text that makes others recurse.
//!
//! llama.cpp splits text with `std::regex`, and libstdc++'s matcher calls itself for each
//! character of a match. Vocabularies whose pattern llama.cpp has not rewritten by hand
//! (gpt-4o's, tekken, DeepSeek's and others) so need stack in proportion to the longest match,
//! and a stack that overflows ends the process.
//!
//! The arithmetic: a character of a match costs a few calls, one or two for each node of the
//! pattern in a loop (repeat, look-ahead, class), of 50 to 150 bytes each in an optimised
//! build: 400 to 800 bytes for the longest patterns. [`PER_CHARACTER`] is five times that, for
//! other compilers. A match is no longer than the longest stretch (see [`longest_stretch`]), so
//! - stretches up to [`SMALL`] take 1 MiB, half of what Rust gives a thread: they stay where
//!   they are, and short prompts pay nothing;
//! - longer ones get a thread for themselves whose stack is as long as they need. Stacks are
//!   reserved, and become memory only where they are written to;
//! - stretches beyond [`MOST`] (a stack of 1 GiB) are refused.

use std::sync::{Condvar, Mutex, PoisonError};

/// Bytes of stack a character of a match may take.
const PER_CHARACTER: usize = 4096;
/// Characters of a stretch that every thread has stack for.
const SMALL: usize = 256;
/// Characters of the longest stretch that is tokenized.
const MOST: usize = 1 << 18;
/// Bytes of stack for all the rest.
const SPARE: usize = 1 << 20;
/// Threads with large stacks at a time; others wait.
const TOGETHER: usize = 2;

/// Does `work`, which matches `text`, where there is stack enough for it.
///
/// # Errors
/// If a stretch of the text is too long, or there is no memory for such a stack; in words that
/// say what to do.
pub(crate) fn for_text<T: Send>(text: &str, work: impl FnOnce() -> T + Send) -> Result<T, String> {
    let stretch = longest_stretch(text);
    if stretch <= SMALL {
        return Ok(work());
    }
    if stretch > MOST {
        return Err(format!(
            "a stretch of {stretch} characters without a break is too long to tokenize (at most \
             {MOST}); put spaces or line breaks into it"
        ));
    }
    let _permit = StackPermit::take();
    with(stretch * PER_CHARACTER + SPARE, "tokenizer", work)
}

/// Does `work` on a thread of its own with a stack of so many bytes, which ends with it.
///
/// # Errors
/// If there can be no such thread, or `work` panicked.
pub(crate) fn with<T: Send>(
    bytes: usize,
    name: &str,
    work: impl FnOnce() -> T + Send,
) -> Result<T, String> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .stack_size(bytes)
            .spawn_scoped(scope, work)
            .map_err(|e| format!("there is no memory for a stack of {bytes} bytes: {e}"))?;
        thread
            .join()
            .map_err(|_| format!("the {name} ended with a panic; this is a bug in card"))
    })
}

/// Characters of the longest part of a text that one match of a pre-tokenizer can cover.
///
/// A match ends at the latest where white space ends, but for one character at its beginning.
/// A single space between two words is no end, since one pattern (EXAONE's) goes on over it.
/// Only ASCII counts as white space here: some patterns know no other.
fn longest_stretch(text: &str) -> usize {
    let is_word = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric();
    let (mut longest, mut length) = (0, 0);
    // The white space just before: how much, and what came before it.
    let (mut spaces, mut space) = (0_usize, ' ');
    let mut after_word = false;
    for c in text.chars() {
        if c.is_ascii_whitespace() {
            spaces += 1;
            space = c;
        } else {
            let joins = spaces == 1 && space == ' ' && after_word && is_word(c);
            if spaces > 0 && !joins {
                longest = longest.max(length);
                length = 1;
            }
            spaces = 0;
            after_word = is_word(c);
        }
        length += 1;
    }
    longest.max(length)
}

/// Permits for threads with large stacks that nobody has: a counting semaphore.
static PERMITS: (Mutex<usize>, Condvar) = (Mutex::new(TOGETHER), Condvar::new());

/// The right to have such a thread, given back when it is dropped.
struct StackPermit(());

impl StackPermit {
    /// Waits for a permit.
    fn take() -> Self {
        let mut free = PERMITS.0.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            free = PERMITS.1.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        StackPermit(())
    }
}

impl Drop for StackPermit {
    fn drop(&mut self) {
        *PERMITS.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        PERMITS.1.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_stretch_is_as_long_as_what_a_pattern_can_match_at_once() {
        let cases = [
            ("", 0),
            ("word", 4),
            ("a  word", 5),
            ("one two, three", 9),
            // One character of white space may begin a match.
            ("one, three", 6),
            ("line\nline", 5),
            ("   \n\n   ", 8),
            ("é è", 3),
            // An ideographic space is none to every pattern.
            ("字\u{3000}字", 3),
        ];
        for (text, length) in cases {
            assert_eq!(longest_stretch(text), length, "{text:?}");
        }
        assert_eq!(longest_stretch(&"A".repeat(200_000)), 200_000);
        assert_eq!(longest_stretch(&" ".repeat(200_000)), 200_000);
        assert_eq!(longest_stretch(&"a ".repeat(1000)), 2000);
        assert!(longest_stretch(&"Some prose, and more of it.\n".repeat(1000)) < SMALL);
    }

    /// Takes at least 1 KiB of stack for each character.
    fn deep(characters: usize) -> u8 {
        let here = black_box([characters as u8; 1024]);
        match characters {
            0 => here[0],
            n => deep(n - 1).wrapping_add(here[n % 1024]),
        }
    }

    #[test]
    fn what_recurses_for_each_character_has_the_stack_for_it() {
        for length in [SMALL, SMALL + 1, 10_000, 50_000] {
            let text = "A".repeat(length);
            assert!(for_text(&text, || black_box(deep(length))).is_ok());
        }
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_is_tried() {
        let text = "A".repeat(MOST + 1);
        let error = for_text::<()>(&text, || unreachable!()).unwrap_err();
        assert!(error.contains("put spaces"), "{error}");
    }

    #[test]
    fn a_panic_on_another_stack_is_an_error() {
        let text = "A".repeat(SMALL + 1);
        for _ in 0..2 * TOGETHER {
            assert!(for_text::<()>(&text, || panic!("a bug")).is_err());
        }
        assert!(for_text(&text, || ()).is_ok());
    }

    #[test]
    fn only_so_many_large_stacks_are_there_at_a_time() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let text = "A".repeat(SMALL + 1);
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for_text(&text, || {
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        now.fetch_sub(1, Ordering::SeqCst);
                    })
                    .unwrap();
                });
            }
        });
        assert!(most.load(Ordering::SeqCst) <= TOGETHER);
    }
}
