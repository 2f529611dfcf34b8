//! A draft model that proposes only common tokens.
//!
//! The output layer takes a row of weights for every token of the vocabulary, which is a
//! third of a small model, though nearly all text is written with a fifth of the tokens. A
//! draft model may leave the rare ones to the target (FR-Spec, arXiv 2502.14856; VocabTrim,
//! arXiv 2506.22694). It still reads every token: llama.cpp wants embeddings and output of
//! one length, so what goes in is looked up in the file the copy was made from.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use card_core::forward::{ModelError, Row};
use card_core::types::Token;
use llama_cpp_sys_2 as sys;

use crate::gguf::{Gguf, Tensor};
use crate::model::vocabulary;
use crate::{LlamaError, Vocab};

/// The tokens that are left.
const TOKENS: &CStr = c"card.trimmed.tokens";
/// The file it was made from.
pub(crate) const FROM: &str = "card.trimmed.from";
/// Families that take embeddings in place of tokens with the same result. Others have more
/// tables by token than these two, or were not looked at.
pub(crate) const FAMILIES: [&str; 4] = ["gemma3", "llama", "qwen2", "qwen3"];
const EMBEDDINGS: &CStr = c"token_embd.weight";
const OUTPUT: &CStr = c"output.weight";

/// Fast kernels compute so many rows at a time, if there is no rest.
const TOGETHER: usize = 64;

/// Writes the model `input` with an output layer for the `common` most common tokens only to
/// `output`, which appears only when it is whole. `from` is the file that its inputs are
/// looked up in from now on: `input`, or what that was made from.
///
/// # Errors
/// If the input is no model of one file and a family this is known for, or the output cannot
/// be written.
pub fn trim(input: &Path, output: &Path, from: &Path, common: usize) -> Result<(), LlamaError> {
    let fail = |why: String| LlamaError::Trim {
        path: input.display().to_string(),
        why,
    };
    let keep = Vocab::new(vocabulary(from)?).common(common.next_multiple_of(TOGETHER));
    let whole = Gguf::open(input, true)?;
    let from = std::fs::canonicalize(from).map_err(|source| LlamaError::Open {
        path: from.display().to_string(),
        source,
    })?;
    let from = CString::new(from.as_os_str().as_encoded_bytes())
        .map_err(|_| fail("the path has a NUL byte".into()))?;
    let family = whole.text(c"general.architecture").unwrap_or_default();
    if !FAMILIES.contains(&family.as_str()) {
        let known = FAMILIES.join(", ");
        return Err(fail(format!(
            "it is of the family {family:?}; this is known for {known}"
        )));
    }
    let length = CString::new(format!("{family}.vocab_size"))
        .map_err(|_| fail("its family has a NUL byte".into()))?;
    let new = || -> Option<(Gguf, Vec<Vec<u8>>)> {
        let mut small = Gguf::like(&whole).ok()?;
        small.remove("tokenizer.").ok()?;
        small.set_text(c"tokenizer.ggml.model", c"no_vocab").ok()?;
        small.set_number(&length, keep.len() as u32).ok()?;
        small.set_numbers(TOKENS, &keep).ok()?;
        small.set_text(&CString::new(FROM).ok()?, &from).ok()?;
        let mut cut = Vec::new();
        for tensor in whole.tensors() {
            if [EMBEDDINGS, OUTPUT].contains(&tensor.name.as_c_str()) {
                let mut rows = Vec::new();
                small.add_rows(&whole, &tensor, &keep, &mut rows)?;
                cut.push(rows);
            } else {
                small.add(&whole, &tensor)?;
            }
        }
        (!cut.is_empty()).then_some((small, cut))
    };
    let (small, _rows) =
        new().ok_or_else(|| fail("it has no output layer with a row for each token".into()))?;
    let mut part = output.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let written = match small.write(&part)? {
        true => std::fs::rename(&part, output).map_err(|e| e.to_string()),
        false => Err("is the disk full?".into()),
    };
    written.map_err(|why| {
        let _ = std::fs::remove_file(&part);
        fail(format!("cannot write {}: {why}", output.display()))
    })
}

/// What a trimmed model needs beside itself.
pub(crate) struct Trimmed {
    /// The token of each logit, ascending.
    tokens: Vec<Token>,
    /// That of the whole model.
    pub(crate) vocab: Vocab,
    /// What llama.cpp multiplies the embedding of a token with, but not one it is given.
    scale: f32,
    /// Rows of weights by token: what goes in, and what comes out.
    input: Table,
    output: Table,
}

/// What the trimmed model itself says of its sizes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Numbers of an embedding that goes in.
    pub(crate) input: usize,
    /// Numbers of a hidden state that comes out.
    pub(crate) hidden: usize,
    /// Logits of a row.
    pub(crate) logits: usize,
}

impl Trimmed {
    /// For the trimmed model in `path`, which has these sizes and was made from the file `from`
    /// with the vocabulary `vocab`. That file may be another one by now, and the trimmed one
    /// may come from anywhere: what does not fit is refused, since llama.cpp reads and writes
    /// as many numbers as its own model has.
    pub(crate) fn open(
        path: &Path,
        from: &Path,
        vocab: Vocab,
        sizes: Sizes,
    ) -> Result<Self, LlamaError> {
        let broken = |path: &Path, why: &str| LlamaError::NotGguf {
            path: path.display().to_string(),
            why: why.into(),
        };
        let tokens = Gguf::open(path, false)?.numbers(TOKENS);
        let tokens = tokens.ok_or_else(|| broken(path, "its list of tokens is damaged"))?;
        check_tokens(&tokens, vocab.len(), sizes.logits).map_err(|why| broken(path, &why))?;
        let whole = Gguf::open(from, false)?;
        let family = whole.text(c"general.architecture");
        let tensors = whole.tensors();
        let find = |name| tensors.iter().find(|t| t.name.as_c_str() == name);
        let input = find(EMBEDDINGS).ok_or_else(|| broken(from, "it has no embeddings"))?;
        // Small models use one table for both.
        let output = find(OUTPUT).unwrap_or(input);
        for (table, width) in [(input, sizes.input), (output, sizes.hidden)] {
            check_table(table, width, vocab.len()).map_err(|why| {
                let path = path.display();
                broken(
                    from,
                    &format!(
                        "{why}: {path} was not made from it as it is now. Delete that copy, \
                         and make it anew if it is needed"
                    ),
                )
            })?;
        }
        let open = |tensor: &Tensor| {
            let file = File::open(from).map_err(|source| LlamaError::Open {
                path: from.display().to_string(),
                source,
            })?;
            Ok(Table {
                file: Mutex::new(file),
                tensor: tensor.clone(),
            })
        };
        Ok(Trimmed {
            tokens,
            vocab,
            scale: match family.as_deref() {
                Some("gemma3") => (input.shape[0] as f32).sqrt(),
                _ => 1.0,
            },
            input: open(input)?,
            output: open(output)?,
        })
    }
}

/// Checks the tokens of a model with so many logits against a vocabulary.
fn check_tokens(tokens: &[Token], vocab: usize, logits: usize) -> Result<(), String> {
    if tokens.is_empty() || tokens.len() != logits {
        return Err(format!(
            "its list has {} tokens, but its output layer {logits}",
            tokens.len()
        ));
    }
    if !tokens.is_sorted_by(|a, b| a < b) {
        return Err("its list of tokens is not in order".into());
    }
    match tokens.iter().find(|&&t| t as usize >= vocab) {
        Some(token) => Err(format!(
            "its list has the token {token}, but the vocabulary {vocab} tokens"
        )),
        None => Ok(()),
    }
}

/// Checks that a table has a row of `width` numbers for each token.
fn check_table(table: &Tensor, width: usize, vocab: usize) -> Result<(), String> {
    let name = table.name.to_string_lossy();
    let [columns, rows] = table.shape;
    if usize::try_from(columns) != Ok(width) {
        return Err(format!(
            "its {name} is {columns} wide, the trimmed model {width}"
        ));
    }
    if !usize::try_from(rows).is_ok_and(|rows| rows >= vocab) {
        return Err(format!(
            "its {name} has {rows} rows, its vocabulary {vocab} tokens"
        ));
    }
    if table.kind != sys::GGML_TYPE_F32 && to_float(table.kind).is_none() {
        return Err(format!("its {name} has weights of a type without numbers"));
    }
    Ok(())
}

/// What makes numbers of weights of a type; F32 needs none.
fn to_float(kind: sys::ggml_type) -> sys::ggml_to_float_t {
    if kind >= sys::GGML_TYPE_COUNT {
        return None;
    }
    // SAFETY: the type is one that ggml knows; what it says of it stays for the process.
    unsafe { sys::ggml_get_type_traits(kind).as_ref() }.and_then(|traits| traits.to_float)
}

/// A table of weights in a file, of which a forward needs a few rows: the system keeps their
/// pages in memory.
struct Table {
    file: Mutex<File>,
    tensor: Tensor,
}

impl Table {
    fn width(&self) -> usize {
        self.tensor.shape[0] as usize
    }

    /// The weights of a token, as many as `into` has room for.
    fn read(&self, token: Token, into: &mut [f32]) -> std::io::Result<()> {
        let tensor = &self.tensor;
        if i64::from(token) >= tensor.shape[1] || into.len() != self.width() {
            return Err(std::io::Error::other(format!("there is no token {token}")));
        }
        let mut row = vec![0u8; tensor.row_bytes];
        // Within the file: its tensors were when it was opened.
        let at = tensor.offset + u64::from(token) * row.len() as u64;
        {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(at))?;
            file.read_exact(&mut row)?;
        }
        match to_float(tensor.kind) {
            // SAFETY: the row has the bytes of `shape[0]` weights of its type, a whole number of
            // blocks, and `into` is as long (checked above).
            Some(convert) => unsafe {
                convert(row.as_ptr().cast(), into.as_mut_ptr(), tensor.shape[0]);
            },
            // Only F32 needs none (`check_table`).
            None => {
                for (value, bytes) in into.iter_mut().zip(row.as_chunks().0) {
                    *value = f32::from_le_bytes(*bytes);
                }
            }
        }
        Ok(())
    }
}

/// Makes a context of a trimmed model look like one of the whole: takes all tokens in, and
/// gives logits for all of the vocabulary, minus infinity for those that are left out.
///
/// A rare token that was read comes again more often than not. So the last [`SEEN`] of them
/// get logits too, from the last hidden state and their row of the whole output layer.
pub(crate) struct Widener {
    of: Arc<Trimmed>,
    /// One for each row with logits of the last forward, then unused ones.
    rows: Vec<Vec<f32>>,
    /// Which of them is that of a row of the forward.
    place: HashMap<usize, usize>,
    seen: Vec<(Token, Vec<f32>)>,
    /// The one to give way to the next.
    oldest: usize,
}

/// Rare tokens that are remembered: a tenth of a millisecond for each row of logits.
const SEEN: usize = 512;
/// Most rows of a forward whose hidden states are asked for, since logits come with them.
const FEW_ROWS: usize = 16;

impl Widener {
    pub(crate) fn new(of: Arc<Trimmed>) -> Self {
        Widener {
            of,
            rows: Vec::new(),
            place: HashMap::new(),
            seen: Vec::new(),
            oldest: 0,
        }
    }

    /// Length of an embedding and of a hidden state.
    pub(crate) fn width(&self) -> usize {
        self.of.input.width()
    }

    /// Logits the model gives for a row.
    pub(crate) fn logits(&self) -> usize {
        self.of.tokens.len()
    }

    /// Whether a forward of these rows should give hidden states: not when it reads a prompt.
    pub(crate) fn wants_hidden(rows: &[Row]) -> bool {
        rows.len() <= FEW_ROWS || rows.iter().all(|r| r.logits)
    }

    /// Writes the embeddings of tokens, one behind the other.
    pub(crate) fn embed(
        &mut self,
        tokens: impl Iterator<Item = Token>,
        into: &mut [f32],
    ) -> Result<(), ModelError> {
        self.place.clear();
        for (token, into) in tokens.zip(into.chunks_mut(self.width())) {
            self.of
                .input
                .read(token, into)
                .and_then(|()| self.remember(token))
                .map_err(|e| ModelError::Failed(format!("cannot read an embedding: {e}")))?;
            for value in into {
                *value *= self.of.scale;
            }
        }
        Ok(())
    }

    fn remember(&mut self, token: Token) -> std::io::Result<()> {
        let known = self.of.tokens.binary_search(&token).is_ok();
        if known || self.seen.iter().any(|s| s.0 == token) {
            return Ok(());
        }
        let mut weights = vec![0.0; self.of.output.width()];
        self.of.output.read(token, &mut weights)?;
        if self.seen.len() < SEEN {
            self.seen.push((token, weights));
            return Ok(());
        }
        let (gone, _) = std::mem::replace(&mut self.seen[self.oldest], (token, weights));
        self.oldest = (self.oldest + 1) % SEEN;
        for row in &mut self.rows {
            row[gone as usize] = f32::NEG_INFINITY;
        }
        Ok(())
    }

    /// Takes the logits of row `i` of the forward, and its hidden state if there is one.
    pub(crate) fn put(&mut self, i: usize, logits: &[f32], hidden: Option<&[f32]>) {
        let place = self.place.len();
        self.place.insert(i, place);
        if place == self.rows.len() {
            let whole = self.of.vocab.len();
            self.rows.push(vec![f32::NEG_INFINITY; whole]);
        }
        let row = &mut self.rows[place];
        for (&token, &logit) in self.of.tokens.iter().zip(logits) {
            row[token as usize] = logit;
        }
        for (token, weights) in &self.seen {
            row[*token as usize] = hidden.map_or(f32::NEG_INFINITY, |h| dot(h, weights));
        }
    }

    /// Logits of row `i` of the last forward.
    pub(crate) fn row(&self, i: usize) -> &[f32] {
        self.place.get(&i).map_or(&[], |&place| &self.rows[place])
    }
}

/// In lanes, so that it becomes vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            sums[i] += a[i] * b[i];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny::Tiny;
    use crate::{LlamaModel, LoadOptions};

    #[test]
    fn tokens_that_do_not_fit_the_model_are_refused() {
        assert_eq!(check_tokens(&[1, 5, 9], 10, 3), Ok(()));
        let wrong: [(&[Token], usize, usize, &str); 6] = [
            (&[], 10, 0, "0 tokens"),
            (&[1, 5, 9], 10, 4, "output layer 4"),
            (&[1, 5, 9], 10, 2, "output layer 2"),
            (&[5, 1, 9], 10, 3, "not in order"),
            (&[1, 1, 9], 10, 3, "not in order"),
            (&[1, 5, 10], 10, 3, "token 10"),
        ];
        for (tokens, vocab, logits, why) in wrong {
            let error = check_tokens(tokens, vocab, logits).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn tables_that_do_not_fit_the_model_are_refused() {
        let table = |columns, rows, kind| Tensor {
            name: c"token_embd.weight".to_owned(),
            kind,
            shape: [columns, rows],
            row_bytes: 4 * 32,
            offset: 0,
        };
        let f32s = sys::GGML_TYPE_F32;
        assert_eq!(check_table(&table(32, 10, f32s), 32, 10), Ok(()));
        assert_eq!(check_table(&table(32, 12, f32s), 32, 10), Ok(()));
        for (columns, rows, kind) in [
            (16, 10, f32s),
            (64, 10, f32s),
            (-1, 10, f32s),
            (32, 9, f32s),
            (32, -1, f32s),
            (32, 10, sys::GGML_TYPE_I64),
            (32, 10, u32::MAX),
        ] {
            let table = table(columns, rows, kind);
            assert!(check_table(&table, 32, 10).is_err(), "{table:?}");
        }
    }

    #[test]
    fn a_trimmed_copy_whose_original_is_another_model_by_now_is_refused() {
        let load = |file: &Path| LlamaModel::load(file, &LoadOptions::default(), &mut |_| {});
        let whole = Tiny::model("whole", 64).write();
        let copy = std::env::temp_dir().join(format!("card-tiny-{}-copy.gguf", std::process::id()));
        trim(&whole, &copy, &whole, 64).unwrap();
        assert_eq!(load(&copy).unwrap().vocab().len(), 97);

        let wider = Tiny::model("wider", 128).write();
        std::fs::rename(&wider, &whole).unwrap();
        let error = load(&copy).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("128 wide"), "{error}");

        std::fs::remove_file(&whole).unwrap();
        std::fs::create_dir(&whole).unwrap();
        assert!(load(&copy).is_err());
        std::fs::remove_dir(&whole).unwrap();
        assert!(load(&copy).is_err());
        let _ = std::fs::remove_file(copy);
    }
}
