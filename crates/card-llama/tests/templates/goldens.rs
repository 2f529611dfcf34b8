//! What Python makes of llama.cpp's templates: hashes, not texts.

use serde_json::{Map, Value};

/// Bytes of a block.
const BLOCK: usize = 256;

/// What templates write for each conversation.
pub(crate) struct TemplateGoldens {
    /// Names of the conversations.
    pub(crate) conversations: Vec<String>,
    templates: Map<String, Value>,
}

/// What a template makes of one conversation.
pub(crate) enum Golden {
    /// A text: its CRC-32, its length in bytes, and four hexadecimal digits for each block.
    Text(u32, usize, String),
    /// Words by `raise_exception`.
    Refuses(String),
    /// An error of Python's, which says nothing about what should be written.
    Fails,
}

impl TemplateGoldens {
    pub(crate) fn parse(file: &str) -> Self {
        let file: Value = serde_json::from_str(file).unwrap();
        let names = file["conversations"].as_array().unwrap().iter();
        TemplateGoldens {
            conversations: names.map(|n| n.as_str().unwrap().to_owned()).collect(),
            templates: file["templates"].as_object().unwrap().clone(),
        }
    }

    /// The goldens of a template, if this is the source that they were made of.
    pub(crate) fn of(&self, name: &str, source: &str) -> Option<Vec<Golden>> {
        let golden = self.templates.get(name)?;
        if golden["source"] != format!("{:08x}", crc32(source.as_bytes())) {
            return None;
        }
        let cases = golden["cases"].as_array().unwrap().iter();
        Some(cases.map(|c| Golden::parse(c.as_str().unwrap())).collect())
    }
}

impl Golden {
    fn parse(text: &str) -> Self {
        if let Some(words) = text.strip_prefix('!') {
            return Golden::Refuses(words.to_owned());
        }
        if text.starts_with('?') {
            return Golden::Fails;
        }
        let mut fields = text.split(':');
        let hash = u32::from_str_radix(fields.next().unwrap(), 16).unwrap();
        let length = fields.next().unwrap().parse().unwrap();
        Golden::Text(hash, length, fields.next().unwrap().to_owned())
    }

    /// Compares with what was written; says where the first difference is.
    pub(crate) fn check(&self, text: &str) -> Result<(), String> {
        match self {
            Golden::Fails => Ok(()),
            Golden::Refuses(words) if text.strip_prefix('!') == Some(words.as_str()) => Ok(()),
            Golden::Refuses(words) => Err(format!("should refuse with {words:?}, is {text:?}")),
            Golden::Text(hash, length, _)
                if (*hash, *length) == (crc32(text.as_bytes()), text.len()) =>
            {
                Ok(())
            }
            Golden::Text(_, length, blocks) => {
                let place = first_difference(blocks, text.as_bytes());
                let end = text.len().min(place + BLOCK);
                let here = String::from_utf8_lossy(&text.as_bytes()[place..end]);
                Err(format!(
                    "{} bytes, not {length}; differs within these from byte {place} on: {here:?}",
                    text.len()
                ))
            }
        }
    }
}

/// The place of the first block that is another.
fn first_difference(blocks: &str, text: &[u8]) -> usize {
    let blocks = blocks.as_bytes().chunks(4).zip(text.chunks(BLOCK));
    let same = blocks.take_while(|(digits, block)| {
        let here = format!("{:04x}", crc32(block) & 0xffff);
        *digits == here.as_bytes()
    });
    (same.count() * BLOCK).min(text.len())
}

/// CRC-32 as in zlib.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

#[test]
fn the_hash_is_zlibs() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}
