//! A tiny model with made-up weights of every architecture that llama.cpp knows and that writes
//! a text token by token.
//!
//! The models say nothing sensible, but each of their logits depends on all that was read before,
//! so that a token which was taken back wrongly shows as another text.
//!
//! How one is made: `recipe` gives the metadata; llama.cpp says which tensors a model of this
//! metadata has (`llama_model_init_from_user` asks for their weights); `weights` makes them up;
//! all of it is written to a file, and the file is loaded as any other. So the models come in by
//! the users' door, with card's kernels, and a tensor that llama.cpp could do without can be left
//! out.
//!
//! | module | what it has |
//! |---|---|
//! | `table` | the architectures, and what each keeps of a text |
//! | `recipe` | their hyperparameters |
//! | `keys` | metadata |
//! | `weights` | the numbers in the tensors |
//! | `model_file` | the file |
//! | `heads` | the same models with a head that drafts |

mod heads;
mod keys;
mod model_file;
mod recipe;
mod table;
mod weights;

use std::path::PathBuf;

use self::model_file::{remove, write_model};
use crate::backend::model::{LlamaModel, LoadOptions};
use crate::error::LlamaError;
use crate::kernels::card_kernels;

pub use heads::{heads, with_head, with_right_head};
pub use recipe::{CONTEXT, END, TOKENS, WINDOW};
pub use table::{Architecture, Memory, architectures, find};

/// A model of an architecture. Its weights are those of the seed. The file it comes from is
/// removed again.
///
/// # Errors
/// If there is no model of the architecture, the file cannot be written, or llama.cpp does not
/// take it.
pub fn model(architecture: &Architecture, seed: u64) -> Result<LlamaModel, LlamaError> {
    let file = write(architecture, seed)?;
    let model = LlamaModel::load(&file, &LoadOptions::default(), &mut |_| {});
    remove(&file);
    model
}

/// Writes the model of an architecture, into the folder for temporary files. Whoever calls this
/// removes the file.
///
/// # Errors
/// As [`model`].
pub fn write(architecture: &Architecture, seed: u64) -> Result<PathBuf, LlamaError> {
    let name = architecture.name();
    architecture
        .memory()
        .map_err(|why| LlamaError::Unsupported {
            path: name.into(),
            why: why.into(),
        })?;
    // Before the first model: ggml copies its list of kernels then.
    let _ = card_kernels();
    let keys = recipe::recipe(name, architecture.experts());
    write_model(name, &keys, |tensor, shape| {
        Some(weights::weights(seed, tensor, shape))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_made_of_its_seed_and_of_nothing_else() {
        let llama = find("llama").unwrap();
        let bytes = |seed| {
            let file = write(llama, seed).unwrap();
            let bytes = std::fs::read(&file).unwrap();
            remove(&file);
            bytes
        };
        assert_eq!(bytes(1), bytes(1));
        assert_ne!(bytes(1), bytes(2));
    }

    #[test]
    fn a_model_loads_and_knows_its_vocabulary() {
        let model = model(find("gemma3").unwrap(), 1).unwrap();
        assert_eq!(model.vocab().len(), TOKENS as usize);
        assert_eq!(model.vocab().end_tokens(), [END]);
        assert_eq!(
            model.meta("general.architecture").as_deref(),
            Some("gemma3")
        );
    }

    #[test]
    fn an_architecture_without_a_model_says_why() {
        let error = write(find("dream").unwrap(), 1).unwrap_err().to_string();
        assert!(error.contains("diffusion"), "{error}");
    }
}
