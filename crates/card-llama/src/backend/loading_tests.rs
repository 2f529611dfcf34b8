//! Tests of models that are loaded with adapters, and with tensors on devices of their own; and of
//! what their files say of caches and states.

use std::path::{Path, PathBuf};

use card_core::forward::{Forward, Logits, Model};
use card_core::types::SequenceId;

use super::context::LlamaContext;
use super::context_options::ContextOptions;
use super::cores::{Cores, on_own_thread};
use super::model::{LlamaModel, LoadOptions};
use crate::error::LlamaError;
use crate::sys::cache_type::{CacheType, CacheTypes};
use crate::sys::context::{Context, ContextSettings, Decoded, ModelPart};
use crate::sys::kv_shape::KvShape;
use crate::sys::lora::{LoraFile, MOST};
use crate::sys::tensor_place::{MOST_BYTES, TensorPlace};
use crate::tiny::{Tiny, zoo};

fn load_with(file: &Path, adapters: &[(PathBuf, f32)]) -> Result<LlamaModel, LlamaError> {
    let adapters = adapters.iter().cloned();
    let options = LoadOptions {
        adapters: adapters
            .map(|(path, scale)| LoraFile { path, scale })
            .collect(),
        ..LoadOptions::default()
    };
    LlamaModel::load(file, &options, &mut |_| {})
}

#[test]
fn what_is_no_adapter_is_refused_by_name() {
    let model = Tiny::model("lora-base", 64).write();
    assert!(load_with(&model, &[]).is_ok());
    let missing = PathBuf::from("/nowhere/adapter.gguf");
    assert!(load_with(&model, &[(missing, 1.0)]).is_err());
    // A model is a GGUF file too.
    let error = load_with(&model, &[(model.clone(), 1.0)])
        .map(|_| ())
        .unwrap_err();
    assert!(error.to_string().contains("LoRA adapter"), "{error}");
    let error = load_with(&model, &[(model.clone(), f32::NAN)])
        .map(|_| ())
        .unwrap_err();
    assert!(error.to_string().contains("scale"), "{error}");
    let many = vec![(model.clone(), 1.0); MOST + 1];
    assert!(load_with(&model, &many).is_err());
    let _ = std::fs::remove_file(model);
}

#[test]
fn a_model_loads_with_its_experts_on_the_cpu_and_not_with_a_broken_pattern() {
    let file = Tiny::deep("experts-on-cpu", 4).write();
    let load = |places: Vec<TensorPlace>| {
        let options = LoadOptions {
            places,
            ..LoadOptions::default()
        };
        LlamaModel::load(&file, &options, &mut |_| {}).map(|_| ())
    };
    let place = |pattern: &str, device: &str| TensorPlace {
        pattern: pattern.to_owned(),
        device: device.to_owned(),
    };
    load(vec![TensorPlace::experts_on_cpu(None)]).unwrap();
    load(vec![TensorPlace::experts_on_cpu(Some(1))]).unwrap();
    for wrong in [
        place("(", "CPU"),
        place(&"x".repeat(MOST_BYTES + 1), "CPU"),
        place("a\0b", "CPU"),
        place("x", "CUDA77"),
    ] {
        assert!(load(vec![wrong.clone()]).is_err(), "{wrong:?}");
    }
    // The file is not to blame, and is not to be fetched again.
    for wrong in ["(", "x[", "*"] {
        let error = load(vec![place(wrong, "CPU")]).unwrap_err().to_string();
        assert!(error.contains("cannot find tensors"), "{error}");
    }
    let _ = std::fs::remove_file(file);
}

#[test]
fn a_model_says_what_its_caches_keep() {
    let file = Tiny::model("cache-types", 64).write();
    let cache = CacheTypes {
        k: CacheType::Q8_0,
        v: CacheType::F32,
    };
    let options = LoadOptions {
        cache,
        ..LoadOptions::default()
    };
    let model = LlamaModel::load(&file, &options, &mut |_| {}).unwrap();
    let _ = std::fs::remove_file(file);
    assert_eq!(model.cache(), cache);
}

#[test]
fn caches_of_each_type_decode() {
    let file = Tiny::model("cache-decodes", 64).write();
    for kind in CacheType::ALL {
        let options = LoadOptions {
            cache: CacheTypes { k: kind, v: kind },
            ..LoadOptions::default()
        };
        let model = LlamaModel::load(&file, &options, &mut |_| {}).unwrap();
        let options = ContextOptions {
            role: "target",
            context: 256,
            sequences: 1,
            spare_cells: 0,
            rows: 32,
            in_order: false,
            cores: Cores::one_lane(1),
        };
        let mut context = LlamaContext::new(&model, &options).unwrap();
        let forward = Forward::chain(SequenceId(1), 0, &[1, 2, 3], 0);
        on_own_thread(|| context.forward(&forward)).unwrap();
        assert!(context.row(2).iter().all(|l| l.is_finite()), "{kind}");
    }
    let _ = std::fs::remove_file(file);
}

#[test]
fn a_state_is_as_large_as_the_file_says() {
    // What is saved has a few words about each layer beside its numbers.
    const WORDS: u64 = 4096;
    let settings = ContextSettings {
        part: ModelPart::Trunk,
        cells: 256,
        rows: 32,
        ids: 1,
        snapshots: 0,
        threads: 1,
        cache: CacheTypes::default(),
    };
    for label in [
        "falcon-h1",
        "kimi-linear",
        "lfm2",
        "mamba2",
        "minimax-01",
        "nemotron_h",
        "qwen35",
        "rwkv7",
    ] {
        let file = zoo::write(zoo::find(label).unwrap(), 1).unwrap();
        let shape = KvShape::of_file(&file).unwrap();
        let model = LlamaModel::load(&file, &LoadOptions::default(), &mut |_| {}).unwrap();
        let _ = std::fs::remove_file(file);
        let mut context = Context::new(model.handle(), &settings).unwrap();
        let mut batch = context.batch(false).unwrap();
        batch.push(1, 0, &[0], true);
        assert_eq!(context.decode(&batch, None).unwrap(), Decoded::Whole);
        let saved = context.save(0).unwrap().len() as u64;
        let most = shape.state + shape.cache_bytes(1, settings.cache) + WORDS;
        assert!(
            (shape.state..=most).contains(&saved),
            "{label}: a state of {} bytes, and {saved} were saved",
            shape.state
        );
    }
}
