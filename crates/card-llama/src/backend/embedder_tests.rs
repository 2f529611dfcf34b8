//! Embeddings of made-up models: an encoder, whose tokens look at each other, and a decoder.

use std::path::{Path, PathBuf};

use card_core::types::Token;

use super::embedder::{EmbedderOptions, LlamaEmbedder};
use crate::kernels::card_kernels;
use crate::sys::pooling::Pooling;
use crate::sys::shapes::{TensorShape, tensor_shapes};
use crate::tiny::Tiny;

/// The words that the encoder knows, behind its four control tokens.
const WORDS: [&str; 5] = ["hello", "world", "a", "b", "c"];
const CLS: Token = 2;
const SEP: Token = 3;

/// The keys of a BERT of two layers.
fn keys(name: &str) -> Tiny {
    let control = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"].map(str::to_owned);
    let words = WORDS.map(|word| format!("\u{2581}{word}"));
    let tokens: Vec<String> = control.into_iter().chain(words).collect();
    // 3 is a token that controls, 1 one with a text.
    let kinds: Vec<i32> = (0..tokens.len())
        .map(|i| if i < 4 { 3 } else { 1 })
        .collect();
    let scores = vec![0.0f32; tokens.len()];
    Tiny::new(name)
        .text("general.architecture", "bert")
        .number("bert.context_length", 64)
        .number("bert.embedding_length", 64)
        .number("bert.block_count", 2)
        .number("bert.feed_forward_length", 128)
        .number("bert.attention.head_count", 2)
        .float("bert.attention.layer_norm_epsilon", 1e-12)
        .value("bert.attention.causal", &false.into())
        .number("bert.pooling_type", 1)
        .text("tokenizer.ggml.model", "bert")
        .texts("tokenizer.ggml.tokens", &tokens)
        .value("tokenizer.ggml.token_type", &kinds.into())
        .value("tokenizer.ggml.scores", &scores.into())
        .number("tokenizer.ggml.token_type_count", 2)
        .number("tokenizer.ggml.padding_token_id", 0)
        .number("tokenizer.ggml.unknown_token_id", 1)
        .number("tokenizer.ggml.bos_token_id", CLS)
        .number("tokenizer.ggml.seperator_token_id", SEP)
        .number("tokenizer.ggml.cls_token_id", CLS)
        .number("tokenizer.ggml.mask_token_id", 1)
}

/// A BERT, with a head that scores texts or without.
fn bert(name: &str, head: bool) -> PathBuf {
    let _ = card_kernels();
    let metadata = keys(&format!("{name}-keys")).write();
    let shapes = tensor_shapes(&metadata).unwrap();
    let _ = std::fs::remove_file(metadata);
    let wanted = |tensor: &&TensorShape| head || !tensor.name.starts_with("cls");
    let shapes: Vec<TensorShape> = shapes.iter().filter(wanted).cloned().collect();
    let whole = shapes.iter().fold(keys(name), |file, tensor| {
        file.tensor(&tensor.name, &tensor.shape)
    });
    whole.write()
}

fn load(file: &Path, pooling: Option<Pooling>) -> LlamaEmbedder {
    let options = EmbedderOptions {
        pooling,
        threads: 2,
        ..EmbedderOptions::default()
    };
    LlamaEmbedder::load(file, &options, &mut |_| {}).unwrap()
}

/// The one vector of a text.
fn one(embedder: &mut LlamaEmbedder, tokens: &[Token]) -> Vec<f32> {
    let mut vectors = embedder.embed(tokens).unwrap();
    assert_eq!(vectors.len(), 1);
    vectors.remove(0)
}

fn near(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
}

fn mean(vectors: &[Vec<f32>]) -> Vec<f32> {
    let sum = |i: usize| vectors.iter().map(|v| v[i]).sum::<f32>();
    (0..vectors[0].len())
        .map(|i| sum(i) / vectors.len() as f32)
        .collect()
}

#[test]
fn an_encoder_pools_the_vectors_of_its_tokens() {
    let file = bert("pools", false);
    let mut all = load(&file, Some(Pooling::None));
    let tokens = all.vocab().tokenize("hello world", false).unwrap();
    assert_eq!(tokens, [CLS, 4, 5, SEP]);
    assert_eq!((all.context(), all.width()), (64, 64));
    let vectors = all.embed(&tokens).unwrap();
    assert_eq!(vectors.len(), 4);
    // What the file says.
    let mut usual = load(&file, None);
    assert_eq!(usual.pooling(), Pooling::Mean);
    assert!(near(&one(&mut usual, &tokens), &mean(&vectors)));
    let mut first = load(&file, Some(Pooling::Cls));
    assert!(near(&one(&mut first, &tokens), &vectors[0]));
    let mut last = load(&file, Some(Pooling::Last));
    assert!(near(&one(&mut last, &tokens), &vectors[3]));
    // Tokens of an encoder look at those behind them. With made-up weights that is little, and yet
    // more than nothing: the same text has the same bits again.
    assert_eq!(all.embed(&tokens).unwrap(), vectors);
    let other = all.embed(&[CLS, 4, 6, SEP]).unwrap();
    assert_ne!(other[1], vectors[1]);
    let _ = std::fs::remove_file(file);
}

#[test]
fn a_vector_does_not_depend_on_what_was_asked_before() {
    let file = bert("alone", false);
    let mut embedder = load(&file, None);
    let text = [CLS, 4, 5, SEP];
    let first = one(&mut embedder, &text);
    one(&mut embedder, &[CLS, 8, 7, 6, 5, 4, SEP]);
    assert_eq!(one(&mut embedder, &text), first);
    let _ = std::fs::remove_file(file);
}

#[test]
fn texts_of_no_token_or_too_many_are_errors() {
    let file = bert("bounds", false);
    let mut embedder = load(&file, None);
    for tokens in [vec![], vec![4; 65], vec![9999]] {
        assert!(embedder.embed(&tokens).is_err(), "{}", tokens.len());
    }
    assert_eq!(embedder.embed(&[4; 64]).unwrap().len(), 1);
    let _ = std::fs::remove_file(file);
}

#[test]
fn a_model_ranks_only_with_a_head_for_it() {
    let without = bert("headless", false);
    let options = EmbedderOptions {
        pooling: Some(Pooling::Rank),
        threads: 2,
        ..EmbedderOptions::default()
    };
    let error = LlamaEmbedder::load(&without, &options, &mut |_| {}).err();
    let error = error.map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("classification head"), "{error}");
    let _ = std::fs::remove_file(without);
    let with = bert("head", true);
    let mut ranker = load(&with, Some(Pooling::Rank));
    assert_eq!(ranker.width(), 1);
    let pair = ranker.vocab().pair("hello", "world a").unwrap();
    assert_eq!(pair.iter().filter(|&&token| token == SEP).count(), 1);
    let one = ranker.embed(&pair).unwrap();
    let other = ranker
        .embed(&ranker.vocab().pair("hello", "b").unwrap())
        .unwrap();
    assert_eq!((one.len(), one[0].len()), (1, 1));
    assert_ne!(one, other);
    let _ = std::fs::remove_file(with);
}

#[test]
fn a_decoder_gives_the_vector_of_its_last_token() {
    let file = Tiny::model("embeds", 64).write();
    let mut all = load(&file, Some(Pooling::None));
    let tokens = all.vocab().tokenize("abc", false).unwrap();
    let vectors = all.embed(&tokens).unwrap();
    assert_eq!(vectors.len(), tokens.len());
    let mut last = load(&file, Some(Pooling::Last));
    assert!(near(&one(&mut last, &tokens), &vectors[tokens.len() - 1]));
    // Nothing of the text before is left.
    assert!(near(&one(&mut last, &tokens), &vectors[tokens.len() - 1]));
    let _ = std::fs::remove_file(file);
}
