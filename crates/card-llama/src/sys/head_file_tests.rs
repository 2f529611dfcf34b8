//! What files say of heads, and whether these fit a target.

use std::path::{Path, PathBuf};

use super::head_file::{HeadFile, HeadFileKind, TAPPED};
use crate::tiny::Tiny;

const TOKENS: usize = 8;

fn head(name: &str, architecture: &str) -> Tiny {
    let tokens: Vec<String> = (0..TOKENS).map(|i| format!("tok_{i}")).collect();
    Tiny::new(name)
        .text("general.architecture", architecture)
        .number(&format!("{architecture}.embedding_length"), 64)
        .number(&format!("{architecture}.attention.head_count"), 1)
        .texts("tokenizer.ggml.tokens", &tokens)
}

/// An EAGLE-3 head without tensors, for a target that is 64 wide.
fn eagle(name: &str) -> Tiny {
    head(name, "eagle3")
        .number("eagle3.block_count", 1)
        .number("eagle3.target_hidden_size", 64)
        .numbers("eagle3.target_layers", &[0, 1, 2])
}

fn tensor(tiny: Tiny, name: &str, shape: &[u64]) -> Tiny {
    let weights = vec![0.0; shape.iter().product::<u64>() as usize];
    tiny.weights(name, shape, weights)
}

fn of(tiny: Tiny) -> Option<HeadFile> {
    let file = tiny.write();
    let head = HeadFile::of_file(&file).unwrap();
    let _ = std::fs::remove_file(file);
    head
}

fn why(tiny: Tiny) -> String {
    of(tiny).unwrap().unusable().unwrap().to_owned()
}

#[test]
fn a_head_is_known_by_its_architecture() {
    assert_eq!(of(Tiny::model("no-head-file", 64)), None);
    let eagle = of(eagle("eagle")).unwrap();
    assert_eq!(eagle.kind(), HeadFileKind::Eagle3);
    assert_eq!(eagle.unusable(), None);
    assert!(eagle.borrows);
    assert_eq!(
        (eagle.layers.as_slice(), eagle.features()),
        (&[0, 1, 2][..], 3 * 64)
    );
    let assistant = of(head("assistant", "gemma4-assistant")).unwrap();
    assert_eq!(assistant.kind(), HeadFileKind::Assistant);
    let why = assistant.unusable().unwrap();
    assert!(why.contains("Gemma 4") && why.contains("heads.md"), "{why}");
    assert!(HeadFile::of_file(Path::new("/nowhere/head.gguf")).is_err());
}

#[test]
fn a_head_with_tokens_of_its_own_has_all_that_it_needs() {
    let output = |tiny, tokens| tensor(tiny, "output.weight", &[64, tokens]);
    let embeddings = |tiny, tokens| tensor(tiny, "token_embd.weight", &[64, tokens]);
    let whole = embeddings(output(eagle("own-tokens"), 3), TOKENS as u64);
    let whole = of(whole.whole_numbers("d2t", &[7, 0, 3])).unwrap();
    assert_eq!((whole.unusable(), whole.borrows), (None, false));

    let without = why(eagle("no-output").whole_numbers("d2t", &[7, 0, 3]));
    assert!(without.contains("no output layer"), "{without}");
    for (name, numbers) in [("beyond", [7, 0, 8]), ("below", [7, 0, -1])] {
        let unknown = why(output(eagle(name), 3).whole_numbers("d2t", &numbers));
        assert!(unknown.contains("there are not"), "{unknown}");
    }
    let long = why(output(eagle("long"), 9).whole_numbers("d2t", &[0; TOKENS + 1]));
    assert!(long.contains("longer"), "{long}");
    let floats = why(tensor(output(eagle("floats"), 3), "d2t", &[3]));
    assert!(floats.contains("64-bit"), "{floats}");
    let few = why(embeddings(eagle("few"), TOKENS as u64 - 1));
    assert!(few.contains("fewer embeddings"), "{few}");
}

#[test]
fn what_llama_cpp_would_end_the_process_over_is_said_before() {
    let eagle = |name: &str, layers: &[u32], blocks| {
        head(name, "eagle3")
            .number("eagle3.block_count", blocks)
            .number("eagle3.target_hidden_size", 64)
            .numbers("eagle3.target_layers", layers)
    };
    let two = why(eagle("two-layers", &[0, 1], 1));
    assert!(two.contains("names 2 layers"), "{two}");
    let none = why(head("none", "eagle3"));
    assert!(none.contains("names 0 layers"), "{none}");
    let deep = why(eagle("deep-head", &[0, 1, 2], 2));
    assert!(deep.contains("has 2 layers"), "{deep}");
    let uneven = eagle("uneven", &[0, 1, 2], 1)
        .number("eagle3.attention.key_length", 64)
        .number("eagle3.attention.value_length", 32);
    let uneven = why(uneven);
    assert!(uneven.contains("as long as its values"), "{uneven}");
}

/// A block drafter without tensors.
fn blocks(name: &str) -> Tiny {
    head(name, "dflash")
        .numbers("dflash.target_layers", &[0, 2])
        .number("tokenizer.ggml.mask_token_id", 5)
}

#[test]
fn how_a_block_drafter_drafts_is_in_its_file() {
    let shape = |tiny| of(tiny).unwrap().block.unwrap();
    let plain = of(blocks("blocks")).unwrap();
    assert_eq!(
        (plain.kind(), plain.unusable()),
        (HeadFileKind::Block, None)
    );
    assert_eq!(plain.features(), 2 * 64);
    let usual = plain.block.unwrap();
    assert_eq!((usual.rows, usual.first, usual.mask), (16, 1, 5));
    assert!(!usual.causal && plain.borrows);
    let eight = || blocks("eight").number("dflash.block_size", 8);
    let markov = |tiny| tensor(tiny, "markov_w1.weight", &[4, 8]);
    let anchored = shape(markov(eight()));
    assert_eq!((anchored.rows, anchored.first), (8, 0));
    let bonus = markov(eight()).value("dflash.sample_from_anchor", &false.into());
    assert_eq!(shape(bonus).first, 1);
    let causal = eight().value("dflash.attention.causal", &true.into());
    assert!(shape(causal).causal);
}

#[test]
fn a_block_drafter_that_is_not_tested_says_so() {
    let cases = [
        (
            tensor(blocks("selector"), "selector_hidden.weight", &[4]),
            "DFlash 2",
        ),
        (
            blocks("hyper").number("dflash.hyper_connection.count", 4),
            "DeepSeek 4",
        ),
        (
            blocks("window").number("dflash.attention.sliding_window", 64),
            "a window",
        ),
        (
            blocks("sections").numbers("dflash.rope.dimension_sections", &[8, 0, 0, 0]),
            "M-RoPE",
        ),
        (blocks("short").number("dflash.block_size", 1), "1 tokens"),
        (
            tensor(blocks("unsaid"), "markov_w1.weight", &[4, 8]),
            "how long",
        ),
        (
            head("no-mask", "dflash").numbers("dflash.target_layers", &[0]),
            "mask",
        ),
        (head("no-layers", "dflash"), "names 0 layers"),
    ];
    for (tiny, word) in cases {
        let why = why(tiny);
        assert!(why.contains(word), "{word}: {why}");
    }
}

fn target(name: &str, architecture: &str, width: u32, layers: u32) -> PathBuf {
    Tiny::new(name)
        .text("general.architecture", architecture)
        .number(&format!("{architecture}.embedding_length"), width)
        .number(&format!("{architecture}.block_count"), layers)
        .number(&format!("{architecture}.nextn_predict_layers"), 1)
        .write()
}

#[test]
fn a_head_fits_the_target_that_it_was_made_for() {
    let head = of(eagle("fits")).unwrap();
    let unfit = |name: &str, architecture: &str, width, layers| {
        let file = target(name, architecture, width, layers);
        let why = head.unfit(&file).unwrap();
        let _ = std::fs::remove_file(file);
        why
    };
    assert_eq!(unfit("its-own", "qwen3", 64, 4), None);
    let wide = unfit("wide", "qwen3", 128, 4).unwrap();
    assert!(
        wide.contains("64 numbers") && wide.contains("128"),
        "{wide}"
    );
    // The last of its layers is a head of its own.
    let flat = unfit("flat", "qwen3", 64, 3).unwrap();
    assert!(
        flat.contains("layer 2") && flat.contains("2 layers"),
        "{flat}"
    );
    let closed = unfit("closed", "mamba2", 64, 4).unwrap();
    assert!(
        closed.contains("mamba2") && closed.contains("llama"),
        "{closed}"
    );
    assert!(head.unfit(Path::new("/nowhere/target.gguf")).is_err());

    let narrow = of(head_of_width("narrow", 32)).unwrap();
    let file = target("for-narrow", "llama", 64, 4);
    let why = narrow.unfit(&file).unwrap().unwrap();
    let _ = std::fs::remove_file(file);
    assert!(why.contains("takes the target's embeddings"), "{why}");
}

/// An EAGLE-3 head whose own states are so wide.
fn head_of_width(name: &str, width: u32) -> Tiny {
    Tiny::new(name)
        .text("general.architecture", "eagle3")
        .number("eagle3.embedding_length", width)
        .number("eagle3.attention.head_count", 1)
        .number("eagle3.block_count", 1)
        .number("eagle3.target_hidden_size", 64)
        .numbers("eagle3.target_layers", &[0, 1, 2])
        .texts("tokenizer.ggml.tokens", &["a".into()])
}

#[test]
fn llama_cpp_names_the_layers_of_these_architectures() {
    let Some(home) = option_env!("CARD_LLAMA_CPP") else {
        panic!("build.rs did not find llama.cpp's source");
    };
    for architecture in TAPPED {
        let name = match architecture {
            "gpt-oss" => "openai-moe",
            same => same,
        };
        let file = Path::new(home).join(format!("src/models/{name}.cpp"));
        let source = std::fs::read_to_string(&file).unwrap();
        assert!(source.contains("t_layer_inp[il] ="), "{}", file.display());
    }
}
