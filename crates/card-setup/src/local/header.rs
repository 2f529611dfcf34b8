//! What the header of a GGUF file says, read without loading the model: enough to tell which models
//! speak the same vocabulary. The file may be anybody's, so nothing in it is believed: lengths are
//! compared with bounds before anything is taken for them.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::hub::Split;

/// Bytes of the longest header.
const LONGEST_HEAD: u64 = 256 << 20;
/// Bytes of the longest text that is read; a longer one is damage.
const LONGEST_TEXT: u64 = 16 << 20;
/// Entries of the longest list.
const LONGEST_LIST: u64 = 1 << 24;
/// Keys of the longest header.
const MOST_KEYS: u64 = 1 << 16;
/// Lists within lists.
const DEEPEST: u32 = 4;
/// Padding at the end of vocabularies that are the same otherwise, in tokens, as
/// [`card_llama::check_vocabularies`] allows it.
const MOST_PADDING: usize = 256;

/// Values of GGUF's types.
mod kind {
    /// Bytes of the numbers, by type; texts (8) and lists (9) have none.
    pub const BYTES: [u64; 13] = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
    #[cfg(test)]
    pub const U32: u32 = 4;
    pub const TEXT: u32 = 8;
    pub const LIST: u32 = 9;
    #[cfg(test)]
    pub const U64: u32 = 10;
}

/// What the header of a model file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Header {
    /// `general.architecture`, like `qwen2`.
    pub architecture: String,
    /// `general.name`, if it is there.
    pub name: Option<String>,
    /// The kind of tokenizer, `tokenizer.ggml.model`.
    pub tokenizer: String,
    /// What the tokens are.
    vocabulary: Fingerprint,
}

/// Texts of a vocabulary's tokens, as a hash after each of the last ones.
#[derive(Clone, Debug, Default, PartialEq)]
struct Fingerprint {
    tokens: usize,
    /// FNV-1a over the texts of tokens 0 to `tokens - tail.len() + i`, for each `i`.
    tail: Vec<u64>,
}

impl Fingerprint {
    /// The hash of the first `tokens` tokens, if it is known.
    fn of_first(&self, tokens: usize) -> Option<u64> {
        let before = self.tokens.checked_sub(self.tail.len())?;
        let at = tokens.checked_sub(before + 1)?;
        self.tail.get(at).copied()
    }
}

impl Header {
    /// Reads the header of a file.
    ///
    /// # Errors
    /// If it is no GGUF file, or its header is damaged.
    pub fn read(path: &Path) -> io::Result<Self> {
        // To open a pipe is to wait for somebody who writes.
        if !std::fs::metadata(path)?.is_file() {
            return Err(damaged("it is no regular file"));
        }
        let file = BufReader::with_capacity(1 << 18, File::open(path)?);
        Reader {
            from: file.take(LONGEST_HEAD),
        }
        .header()
    }

    /// Tokens of the vocabulary.
    pub fn tokens(&self) -> usize {
        self.vocabulary.tokens
    }

    /// Whether both have the same kind of tokenizer, and the same text for every token that both
    /// have. One may be padded.
    pub fn speaks_as(&self, other: &Header) -> bool {
        let (a, b) = (&self.vocabulary, &other.vocabulary);
        let both = a.tokens.min(b.tokens);
        self.tokenizer == other.tokenizer
            && both > 0
            && a.tokens.abs_diff(b.tokens) <= MOST_PADDING
            && a.of_first(both).is_some()
            && a.of_first(both) == b.of_first(both)
    }
}

fn damaged(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

struct Reader<R> {
    from: R,
}

impl<R: Read> Reader<R> {
    fn header(&mut self) -> io::Result<Header> {
        let mut magic = [0; 4];
        self.from.read_exact(&mut magic)?;
        let version = self.u32()?;
        // Versions are counted in the byte order of the file; card reads the common one.
        if &magic != b"GGUF" || !(2..=3).contains(&version) {
            return Err(damaged("it is no GGUF file of a known version"));
        }
        let _tensors = self.u64()?;
        let keys = self.u64()?;
        if keys > MOST_KEYS {
            return Err(damaged("it has too many keys"));
        }
        let mut header = Header::default();
        for _ in 0..keys {
            let key = self.text()?;
            let kind = self.u32()?;
            match (key.as_str(), kind) {
                ("general.architecture", kind::TEXT) => header.architecture = self.text()?,
                ("general.name", kind::TEXT) => header.name = Some(self.text()?),
                ("tokenizer.ggml.model", kind::TEXT) => header.tokenizer = self.text()?,
                ("tokenizer.ggml.tokens", kind::LIST) => header.vocabulary = self.tokens()?,
                _ => self.pass(kind, 0)?,
            }
        }
        Ok(header)
    }

    /// The list of tokens.
    fn tokens(&mut self) -> io::Result<Fingerprint> {
        if self.u32()? != kind::TEXT {
            return Err(damaged("its tokens are no texts"));
        }
        let tokens = self.list_length()?;
        let first = tokens.saturating_sub(MOST_PADDING + 1);
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let fold = |h: u64, b: &u8| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
        let mut tail = Vec::new();
        for token in 0..tokens {
            let text = self.bytes()?;
            // A length before each keeps "a", "bc" from being "ab", "c".
            let length = (text.len() as u64).to_le_bytes();
            hash = length.iter().chain(&text).fold(hash, fold);
            if token >= first {
                tail.push(hash);
            }
        }
        Ok(Fingerprint { tokens, tail })
    }

    /// Reads over a value.
    fn pass(&mut self, kind: u32, depth: u32) -> io::Result<()> {
        match kind {
            kind::TEXT => {
                let length = self.text_length()?;
                self.skip(length)
            }
            kind::LIST if depth < DEEPEST => {
                let kind = self.u32()?;
                let length = self.list_length()?;
                if matches!(kind, kind::TEXT | kind::LIST) {
                    (0..length).try_for_each(|_| self.pass(kind, depth + 1))
                } else {
                    self.skip(bytes_of(kind)? * length as u64)
                }
            }
            kind::LIST => Err(damaged("it has lists within lists within lists")),
            number => self.skip(bytes_of(number)?),
        }
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let skipped = io::copy(&mut self.from.by_ref().take(bytes), &mut io::sink())?;
        if skipped == bytes {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    fn text_length(&mut self) -> io::Result<u64> {
        let length = self.u64()?;
        if length > LONGEST_TEXT {
            return Err(damaged("it has a text that is too long"));
        }
        Ok(length)
    }

    fn list_length(&mut self) -> io::Result<usize> {
        let length = self.u64()?;
        if length > LONGEST_LIST {
            return Err(damaged("it has a list that is too long"));
        }
        Ok(length as usize)
    }

    /// A text, as bytes. Memory is taken as they come.
    fn bytes(&mut self) -> io::Result<Vec<u8>> {
        let length = self.text_length()?;
        let mut bytes = Vec::new();
        self.from.by_ref().take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 == length {
            Ok(bytes)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    fn text(&mut self) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes()?).into_owned())
    }

    fn u32(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.from.read_exact(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn u64(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.from.read_exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

fn bytes_of(kind: u32) -> io::Result<u64> {
    let bytes = kind::BYTES.get(kind as usize).copied();
    bytes
        .filter(|n| *n > 0)
        .ok_or_else(|| damaged("it has a value of an unknown type"))
}

/// The files of a model: one, or all parts of one that is split and lies in one folder.
pub fn parts(file: &Path) -> Vec<PathBuf> {
    let one = || vec![file.to_owned()];
    let Some(name) = file.file_name().and_then(|name| name.to_str()) else {
        return one();
    };
    let Some(split) = Split::of(name) else {
        return one();
    };
    let part = |i: usize| {
        file.with_file_name(format!(
            "{}-{i:05}-of-{:05}.gguf",
            split.prefix, split.count
        ))
    };
    (1..=split.count).map(part).collect()
}

/// Bytes of a model, in all of its parts.
pub fn bytes(file: &Path) -> u64 {
    let sizes = parts(file).into_iter();
    sizes
        .map(|part| std::fs::metadata(part).map_or(0, |m| m.len()))
        .fold(0, u64::saturating_add)
}

/// Whether a file begins as GGUF files do.
pub fn is_gguf_file(file: &Path) -> bool {
    let begins = || -> io::Result<bool> {
        if !std::fs::metadata(file)?.is_file() {
            return Ok(false);
        }
        let mut magic = [0; 4];
        File::open(file)?.read_exact(&mut magic)?;
        Ok(&magic == b"GGUF")
    };
    begins().unwrap_or(false)
}

/// Headers of model files, made for tests.
#[cfg(test)]
pub mod testing {
    use super::kind;

    fn put(bytes: &mut Vec<u8>, text: &str) {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    }

    /// The header of a file with these tokens.
    pub fn header_bytes(architecture: &str, name: &str, tokens: &[String]) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend(0_u64.to_le_bytes());
        bytes.extend(6_u64.to_le_bytes());
        for (key, text) in [
            ("general.architecture", architecture),
            ("general.name", name),
            ("tokenizer.ggml.model", "gpt2"),
        ] {
            put(&mut bytes, key);
            bytes.extend(kind::TEXT.to_le_bytes());
            put(&mut bytes, text);
        }
        put(&mut bytes, "llama.context_length");
        bytes.extend(kind::U32.to_le_bytes());
        bytes.extend(512_u32.to_le_bytes());
        put(&mut bytes, "numbers");
        bytes.extend(kind::LIST.to_le_bytes());
        bytes.extend(kind::U64.to_le_bytes());
        bytes.extend(2_u64.to_le_bytes());
        bytes.extend([0; 16]);
        put(&mut bytes, "tokenizer.ggml.tokens");
        bytes.extend(kind::LIST.to_le_bytes());
        bytes.extend(kind::TEXT.to_le_bytes());
        bytes.extend((tokens.len() as u64).to_le_bytes());
        for token in tokens {
            put(&mut bytes, token);
        }
        bytes
    }

    /// So many tokens that differ, beginning with `start`.
    pub fn tokens(start: &str, count: usize) -> Vec<String> {
        (0..count).map(|i| format!("{start}{i}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{header_bytes, tokens};
    use super::*;

    fn header(architecture: &str, tokens: &[String]) -> Header {
        let bytes = header_bytes(architecture, "A Model", tokens);
        Reader { from: &bytes[..] }.header().unwrap()
    }

    #[test]
    fn a_head_says_what_a_model_speaks() {
        let one = header("qwen2", &tokens("t", 1000));
        assert_eq!((one.architecture.as_str(), one.tokens()), ("qwen2", 1000));
        assert_eq!(one.name.as_deref(), Some("A Model"));
        assert!(one.speaks_as(&header("qwen3", &tokens("t", 1000))));
        // Padded, by as much as is allowed and by more.
        let padded = header("qwen2", &tokens("t", 1256));
        assert!(one.speaks_as(&padded) && padded.speaks_as(&one));
        assert!(!one.speaks_as(&header("qwen2", &tokens("t", 1257))));
        // One token that differs, at the start and at the end.
        for at in [0, 999] {
            let mut other = tokens("t", 1000);
            other[at] = "else".into();
            assert!(!one.speaks_as(&header("qwen2", &other)), "{at}");
        }
        let none = Header::default();
        assert!(!none.speaks_as(&none));
        let few = header("llama", &tokens("t", 3));
        assert!(few.speaks_as(&few) && few.speaks_as(&header("llama", &tokens("t", 5))));
    }

    #[test]
    fn a_damaged_head_is_an_error_and_takes_no_memory() {
        let whole = header_bytes("llama", "A", &tokens("t", 20));
        for length in 0..whole.len() {
            assert!(
                Reader {
                    from: &whole[..length]
                }
                .header()
                .is_err(),
                "{length}"
            );
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            let _ = Reader { from: &bytes[..] }.header();
        }
    }

    #[test]
    fn a_split_model_is_as_large_as_its_parts() {
        let dir = tempfile::tempdir().unwrap();
        let part = |i: usize| dir.path().join(format!("m-{i:05}-of-00002.gguf"));
        std::fs::write(part(1), "12345").unwrap();
        std::fs::write(part(2), "123").unwrap();
        assert_eq!(bytes(&part(1)), 8);
        assert_eq!(parts(&part(1)), [part(1), part(2)]);
        let one = dir.path().join("one.gguf");
        std::fs::write(&one, "GGUF").unwrap();
        assert_eq!((bytes(&one), parts(&one)), (4, vec![one.clone()]));
        assert!(is_gguf_file(&one) && !is_gguf_file(dir.path()) && !is_gguf_file(&part(1)));
    }
}
