//! A text by which others recognise it, without being told it.

use super::Token;

/// Marks a text: whoever has more than half of it can say so. Who has not can only guess: a short text,
/// or one that is easily guessed, can be found from its mark. So a mark goes to those alone who were
/// told a text of the same tenant.
///
/// ```
/// use card_core::types::TextMark;
///
/// let mark = TextMark::of(&[3, 1, 4, 1]);
/// assert!(mark.is_of(&[3, 1, 4, 1]));
/// assert!(mark.is_of(&[3, 1, 4, 9, 9]), "it has more than half");
/// assert!(!mark.is_of(&[3, 1]) && !mark.is_of(&[3, 1, 9, 1]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextMark {
    /// Tokens from the beginning that are marked: a few more than half; 0 marks nothing.
    pub tokens: u32,
    /// Their hash.
    pub hash: u64,
}

impl TextMark {
    /// The mark of a text.
    pub fn of(text: &[Token]) -> Self {
        let tokens = (text.len() / 2 + 1).min(text.len());
        TextMark {
            tokens: tokens.min(u32::MAX as usize) as u32,
            hash: hash(&text[..tokens]),
        }
    }

    /// Whether these tokens begin with more than half of the text, or with others of the same hash.
    pub fn is_of(&self, tokens: &[Token]) -> bool {
        let begin = tokens.get(..self.tokens as usize);
        begin.is_some_and(|begin| !begin.is_empty() && hash(begin) == self.hash)
    }
}

/// FNV-1a (Fowler, Noll & Vo), a token at a time. The same on every machine. Whoever makes another
/// text of the same hash has it forgotten too, which costs a prompt that is read again.
fn hash(tokens: &[Token]) -> u64 {
    tokens.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &token| {
        (hash ^ u64::from(token)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_of_those_who_have_more_than_half() {
        for length in 1..9 {
            let text: Vec<Token> = (0..length).collect();
            let mark = TextMark::of(&text);
            for known in 0..=length {
                let mut tokens: Vec<Token> = text[..known as usize].to_vec();
                tokens.push(99);
                assert_eq!(
                    mark.is_of(&tokens),
                    2 * known > length,
                    "{known} of {length}"
                );
            }
        }
        let nothing = TextMark::of(&[]);
        assert!(!nothing.is_of(&[]) && !nothing.is_of(&[1]));
    }

    #[test]
    fn a_mark_of_more_tokens_than_there_are_is_of_nobody() {
        let odd = TextMark {
            tokens: u32::MAX,
            hash: hash(&[1]),
        };
        assert!(!odd.is_of(&[1]));
    }
}
