//! Models that are here already: listed, used in place, and removed only by who may.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::Home;
use crate::server::{HubServer, content, repository, sum};

/// No hub: it is not asked.
const NOBODY: &str = "http://127.0.0.1:1";

/// Makes Ollama keep a model of this name in `home`.
fn ollama_keeps(home: &Home, name: &str, model: &[u8]) -> std::path::PathBuf {
    let digest = sum(model);
    let root = home.path("ollama");
    let blob = root.join("blobs").join(format!("sha256-{digest}"));
    fs::create_dir_all(root.join("blobs")).unwrap();
    fs::write(&blob, model).unwrap();
    let manifest = root
        .join("manifests/registry.test/library")
        .join(name)
        .join("latest");
    fs::create_dir_all(manifest.parent().unwrap()).unwrap();
    let text = json!({ "schemaVersion": 2, "layers": [{
        "mediaType": "application/vnd.ollama.image.model",
        "digest": format!("sha256:{digest}"), "size": model.len() }] });
    fs::write(manifest, text.to_string()).unwrap();
    blob
}

fn lm_studio_keeps(home: &Home, path: &str, model: &[u8]) -> std::path::PathBuf {
    let file = home.path(".lmstudio/models").join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, model).unwrap();
    file
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn models_of_other_tools_are_used_where_they_lie() {
    let home = Home::new();
    let blob = ollama_keeps(&home, "toy", b"GGUF no model");
    let file = lm_studio_keeps(&home, "me/toy/Toy-Q4_K_M.gguf", b"GGUF no model either");
    for (name, path) in [
        ("ollama:toy", &blob),
        ("ollama:toy:latest", &blob),
        ("lmstudio:me/toy/Toy-Q4_K_M.gguf", &file),
        ("lmstudio:toy", &file),
    ] {
        // It is no model, which loading it says, with its path.
        let arguments = ["generate", "-p", "x", "-m", name];
        home.card(NOBODY, &arguments).fails(text(path));
    }
    let listed = home.card(NOBODY, &["list"]);
    listed.works();
    for line in [
        "ollama:toy:latest",
        "lmstudio:me/toy/Toy-Q4_K_M.gguf",
        "(Ollama)",
        "(LM Studio)",
    ] {
        assert!(listed.out.contains(line), "{line}: {}", listed.out);
    }
    home.card(NOBODY, &["generate", "-p", "x", "-m", "ollama:nothing"])
        .fails("toy:latest");
    home.card(NOBODY, &["generate", "-p", "x", "-m", "lmstudio:nothing"])
        .fails("me/toy");
    home.card(NOBODY, &["pull", "ollama:toy"])
        .fails("ollama pull toy");
}

#[test]
fn what_another_tool_keeps_is_not_removed_unasked() {
    let home = Home::new();
    let blob = ollama_keeps(&home, "toy", b"GGUF no model");
    let file = lm_studio_keeps(&home, "me/toy/Toy-Q4_K_M.gguf", b"GGUF no model either");
    for (name, path) in [("ollama:toy", &blob), ("lmstudio:toy", &file)] {
        home.card(NOBODY, &["remove", name, "--yes"])
            .fails("--others");
        assert!(path.exists());
        home.card(NOBODY, &["remove", name, "--others"])
            .fails("--yes");
        assert!(path.exists());
        home.card(NOBODY, &["remove", name, "--others", "--yes"])
            .works();
        assert!(!path.exists());
    }
}

#[test]
fn what_card_fetched_is_removed_and_nothing_else() {
    let (home, model, other) = (Home::new(), content(5_000), content(6_000));
    let hub = HubServer::start(repository(&[("toy-Q4_K_M.gguf", &model)]));
    home.pull(&hub).works();
    // Another tool fetched another file of the same repository.
    fs::write(home.blob(&other), &other).unwrap();
    let link = home.snapshot("toy-Q8_0.gguf");
    std::os::unix::fs::symlink(format!("../../blobs/{}", sum(&other)), &link).unwrap();
    home.card(NOBODY, &["remove", "hf:me/toy-GGUF"])
        .fails("another tool");
    home.card(NOBODY, &["remove", "hf:me/toy-GGUF:Q4_K_M"])
        .fails("--yes");
    let removed = home.card(NOBODY, &["remove", "hf:me/toy-GGUF:Q4_K_M", "-y"]);
    removed.works();
    assert!(
        removed.err.contains("4.88 KiB became free"),
        "{}",
        removed.err
    );
    assert!(!home.blob(&model).exists() && home.blob(&other).exists());
    assert!(link.exists() && !home.snapshot("toy-Q4_K_M.gguf").exists());
    home.card(NOBODY, &["remove", "hf:me/toy-GGUF", "--others", "-y"])
        .works();
    assert!(!home.repo().exists());
    home.card(NOBODY, &["remove", "hf:me/toy-GGUF"])
        .fails("is not here");
    home.card(NOBODY, &["remove", "smollm2-135m"])
        .fails("is not here");
    let file = home.path("mine.gguf");
    fs::write(&file, "GGUF").unwrap();
    home.card(NOBODY, &["remove", text(&file), "-y"])
        .fails("a file of yours");
    assert!(file.exists());
}

#[test]
fn a_list_of_nothing_says_how_to_begin() {
    let home = Home::new();
    let listed = home.card(NOBODY, &["list"]);
    listed.works();
    for line in [
        "card pull qwen-coder",
        "pairs of the catalogue",
        "qwen3-0.6b",
        "kept in ",
    ] {
        assert!(listed.out.contains(line), "{line}: {}", listed.out);
    }
    let json = home.card(NOBODY, &["list", "--json"]);
    assert_eq!(json.out.trim(), "[]");
}
