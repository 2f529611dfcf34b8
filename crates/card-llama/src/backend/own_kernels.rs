//! Whether card's kernels compute all that is multiplied in a model, so that every shape of forward
//! gives the same logits by the way the kernels are made (docs/kernels.md).

use card_kernels::Kind;

use super::model::LlamaModel;
use crate::sys::cache_type::CacheType;
use crate::sys::gguf::{Gguf, Tensor};
use crate::sys::layer_sizes::parts;

impl LlamaModel {
    /// Whether card's kernels compute every product and all attention of the model, if it is all on
    /// this processor. `false` too where that is not known: weights or cached keys of types that
    /// stay with ggml, a recurrent state, LoRA adapters, a file that cannot be read any more.
    pub fn is_all_card(&self) -> bool {
        let cache = self.cache();
        let known = self.has_card_kernels()
            && !self.keeps_states()
            && self.adapters().is_none()
            && self.trimmed().is_none()
            && attends(cache.k)
            && attends(cache.v);
        if !known {
            return false;
        }
        let mut tensors = Vec::new();
        for part in parts(self.path()) {
            match Gguf::open(&part, false) {
                Ok(file) => tensors.extend(file.tensors()),
                Err(_) => return false,
            }
        }
        all_multiplied(&tensors)
    }
}

/// Whether the kernels attend to keys and values of this type.
fn attends(cached: CacheType) -> bool {
    matches!(
        cached,
        CacheType::F32 | CacheType::F16 | CacheType::Bf16 | CacheType::Q8_0 | CacheType::Q4_0
    )
}

/// Whether the kernels have the type of every matrix. Embeddings are looked up and not multiplied,
/// unless they are the output layer too.
fn all_multiplied(tensors: &[Tensor]) -> bool {
    let name = |tensor: &Tensor| tensor.name.to_string_lossy().into_owned();
    let output = tensors.iter().any(|t| name(t) == "output.weight");
    let multiplied = |tensor: &&Tensor| {
        let looked_up = output && name(tensor) == "token_embd.weight";
        tensor.shape[1] > 1 && !looked_up
    };
    let mut matrices = tensors.iter().filter(multiplied);
    !tensors.is_empty() && matrices.all(|t| Kind::from_ggml(t.kind).is_some())
}

#[cfg(test)]
mod tests {
    use llama_cpp_sys_2 as cpp;

    use super::*;
    use crate::backend::model::LoadOptions;
    use crate::kernels::Kernels;
    use crate::tiny::Tiny;

    fn tensor(name: &str, kind: cpp::ggml_type, rows: i64) -> Tensor {
        Tensor {
            name: std::ffi::CString::new(name).unwrap(),
            kind,
            shape: [256, rows],
            row_bytes: 0,
            offset: 0,
        }
    }

    #[test]
    fn one_matrix_of_another_type_is_enough_to_say_no() {
        let (own, other) = (cpp::GGML_TYPE_Q4_K, cpp::GGML_TYPE_IQ2_XS);
        let model = |embeddings, output, inner| {
            let mut tensors = vec![
                tensor("token_embd.weight", embeddings, 1000),
                tensor("blk.0.attn_norm.weight", other, 1),
                tensor("blk.0.attn_q.weight", inner, 256),
            ];
            if let Some(kind) = output {
                tensors.push(tensor("output.weight", kind, 1000));
            }
            all_multiplied(&tensors)
        };
        assert!(model(own, None, own));
        assert!(model(other, Some(own), own));
        assert!(!model(other, None, own), "the embeddings are the output");
        assert!(!model(own, Some(other), own));
        assert!(!model(own, None, other));
        assert!(!all_multiplied(&[]));
    }

    #[test]
    fn a_model_for_ggmls_kernels_is_not_and_one_for_cards_is() {
        let file = Tiny::model("all-card", 64).write();
        for kernels in [Kernels::Card, Kernels::Ggml, Kernels::GgmlPlain] {
            let options = LoadOptions {
                kernels,
                ..LoadOptions::default()
            };
            let model = LlamaModel::load(&file, &options, &mut |_| {}).unwrap();
            assert_eq!(model.is_all_card(), model.has_card_kernels(), "{kernels:?}");
        }
        let _ = std::fs::remove_file(file);
    }

    #[test]
    fn cached_keys_of_other_types_are_ggmls() {
        assert!(attends(CacheType::F16) && attends(CacheType::Q8_0));
        assert!(!attends(CacheType::Q5_1) && !attends(CacheType::Iq4Nl));
    }
}
