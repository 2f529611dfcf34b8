//! Models by name: `card pull`, `card list`, `card remove` and `-m`, against a small hub on loopback
//! and folders that look like other tools'.

#![allow(clippy::unwrap_used)]
#![cfg(unix)]

mod hostile;
mod local;
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use server::{COMMIT, HubServer, Reply, Request, content, repository, sum};

/// A user's home, with nothing in it.
pub(crate) struct Home {
    dir: tempfile::TempDir,
}

/// What a command said.
pub(crate) struct Said {
    pub(crate) success: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Home {
    pub(crate) fn new() -> Self {
        Home {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.dir.path().join(inside)
    }

    /// `card` with these arguments, in this home and with this hub.
    pub(crate) fn command(&self, hub: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_card"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy().to_ascii_uppercase();
            let starts = ["HF_", "HUGGINGFACE_", "CARD_", "LLAMA_", "OLLAMA_", "XDG_"];
            if starts.iter().any(|s| text.starts_with(s)) || text.ends_with("_PROXY") {
                command.env_remove(name);
            }
        }
        command
            .args(arguments)
            .stdin(Stdio::null())
            .env("HOME", self.dir.path())
            .env("CARD_HOME", self.path("card"))
            .env("CARD_NO_MEMORY", "true")
            .env("HF_HOME", self.path("hf"))
            .env("OLLAMA_MODELS", self.path("ollama"))
            .env("HF_ENDPOINT", hub);
        command
    }

    pub(crate) fn card(&self, hub: &str, arguments: &[&str]) -> Said {
        said(self.command(hub, arguments))
    }

    pub(crate) fn pull(&self, hub: &HubServer) -> Said {
        self.card(&hub.url, &["pull", "hf:me/toy-GGUF"])
    }

    /// The folder of the repository in the hub's cache.
    pub(crate) fn repo(&self) -> PathBuf {
        self.path("hf/hub/models--me--toy-GGUF")
    }

    pub(crate) fn blob(&self, content: &[u8]) -> PathBuf {
        self.repo().join("blobs").join(sum(content))
    }

    pub(crate) fn snapshot(&self, path: &str) -> PathBuf {
        self.repo().join("snapshots").join(COMMIT).join(path)
    }
}

pub(crate) fn said(mut command: Command) -> Said {
    let output = command.output().unwrap();
    let said = Said {
        success: output.status.success(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    };
    assert!(!said.err.contains("panicked"), "{}", said.err);
    said
}

impl Said {
    pub(crate) fn works(&self) {
        assert!(self.success, "{}", self.err);
    }

    pub(crate) fn fails(&self, why: &str) {
        assert!(!self.success, "it should fail: {}", self.err);
        assert!(self.err.contains(why), "{why:?} is not in {:?}", self.err);
    }
}

/// The file `NAME.incomplete` beside a blob.
pub(crate) fn incomplete(blob: &Path) -> PathBuf {
    PathBuf::from(format!("{}.incomplete", blob.display()))
}

#[test]
fn a_model_is_fetched_into_the_cache_that_other_tools_use() {
    let (home, model) = (Home::new(), content(300_000));
    let hub = HubServer::start(repository(&[
        ("README.md", b"hello"),
        ("toy-Q8_0.gguf", b"GGUF eight"),
        ("toy-Q4_K_M.gguf", &model),
    ]));
    let pulled = home.pull(&hub);
    pulled.works();
    assert!(
        pulled.err.contains("mit"),
        "the licence is shown: {}",
        pulled.err
    );
    assert_eq!(fs::read(home.blob(&model)).unwrap(), model);
    let link = home.snapshot("toy-Q4_K_M.gguf");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_link(&link).unwrap().is_relative());
    assert_eq!(fs::read(&link).unwrap(), model);
    assert_eq!(
        fs::read_to_string(home.repo().join("refs/main")).unwrap(),
        COMMIT
    );
    assert!(!home.snapshot("toy-Q8_0.gguf").exists());
    // A second time there is nothing to fetch.
    let files = hub.asked_for_files().len();
    let again = home.pull(&hub);
    again.works();
    assert!(!again.err.contains("fetching"), "{}", again.err);
    assert_eq!(hub.asked_for_files().len(), files);
    let listed = home.card(&hub.url, &["list", "--json"]);
    listed.works();
    let listed: serde_json::Value = serde_json::from_str(&listed.out).unwrap();
    assert_eq!(listed[0]["name"], "hf:me/toy-GGUF/toy-Q4_K_M.gguf");
    assert_eq!(listed[0]["bytes"], 300_000);
    assert_eq!(listed[0]["kept_by"], "hub's cache");
}

#[test]
fn what_is_there_by_another_tool_is_used() {
    let (home, model) = (Home::new(), content(5_000));
    let hub = HubServer::start(repository(&[("toy-Q4_K_M.gguf", &model)]));
    fs::create_dir_all(home.repo().join("blobs")).unwrap();
    fs::write(home.blob(&model), &model).unwrap();
    home.pull(&hub).works();
    assert!(hub.asked_for_files().is_empty());
    assert_eq!(fs::read(home.snapshot("toy-Q4_K_M.gguf")).unwrap(), model);
}

#[test]
fn a_quantisation_or_a_file_is_fetched_by_its_name() {
    let home = Home::new();
    let files: [(&str, &[u8]); 3] = [
        ("toy-Q4_K_M.gguf", b"GGUF four"),
        ("toy-Q8_0.gguf", b"GGUF eight"),
        ("deep/toy-F16.gguf", b"GGUF sixteen"),
    ];
    let hub = HubServer::start(repository(&files));
    home.card(&hub.url, &["pull", "hf:me/toy-GGUF:q8_0"])
        .works();
    assert!(home.snapshot("toy-Q8_0.gguf").exists());
    home.card(&hub.url, &["pull", "hf:me/toy-GGUF/deep/toy-F16.gguf"])
        .works();
    assert_eq!(
        fs::read(home.snapshot("deep/toy-F16.gguf")).unwrap(),
        b"GGUF sixteen"
    );
    assert!(!home.snapshot("toy-Q4_K_M.gguf").exists());
    let missing = home.card(&hub.url, &["pull", "hf:me/toy-GGUF:Q2_K"]);
    missing.fails("no model with the quantisation Q2_K");
    missing.fails("Q4_K_M, Q8_0, F16");
}

#[test]
fn a_split_model_is_fetched_whole() {
    let home = Home::new();
    let parts: Vec<Vec<u8>> = (1..=3).map(|i| content(1_000 * i)).collect();
    let names = [
        "toy-Q4_K_M-00001-of-00003.gguf",
        "toy-Q4_K_M-00002-of-00003.gguf",
    ];
    let last = "toy-Q4_K_M-00003-of-00003.gguf";
    let hub = HubServer::start(repository(&[
        (last, &parts[2]),
        (names[1], &parts[1]),
        (names[0], &parts[0]),
    ]));
    let pulled = home.pull(&hub);
    pulled.works();
    assert!(
        pulled
            .err
            .contains(&format!("snapshots/{COMMIT}/{}", names[0])),
        "{}",
        pulled.err
    );
    for (name, part) in [names[0], names[1], last].iter().zip(&parts) {
        assert_eq!(fs::read(home.snapshot(name)).unwrap(), *part);
    }
    let short = HubServer::start(repository(&[(names[0], &parts[0]), (last, &parts[2])]));
    home.pull(&short).fails("no part 2 of 3");
}

#[test]
fn a_connection_that_ends_in_the_middle_is_gone_on_with() {
    let (home, model) = (Home::new(), content(1_000_000));
    let (sent, whole) = (model.clone(), repository(&[("toy-Q4_K_M.gguf", &model)]));
    let hub = HubServer::start(move |request| {
        if request.path.contains("/resolve/") {
            return Reply::file(request, &sent).cut_after(400_000);
        }
        whole(request)
    });
    home.pull(&hub).works();
    assert_eq!(fs::read(home.blob(&model)).unwrap(), model);
    assert!(!incomplete(&home.blob(&model)).exists());
    let asked: Vec<usize> = hub.asked_for_files().iter().map(Request::start).collect();
    assert!(asked.len() >= 3 && asked[0] == 0, "{asked:?}");
    assert!(asked.windows(2).all(|two| two[0] < two[1]), "{asked:?}");
}

#[test]
fn an_interrupted_fetch_is_gone_on_with_by_the_next() {
    let (home, model) = (Home::new(), content(1_000_000));
    let well = Arc::new(AtomicBool::new(false));
    let (sent, is_well) = (model.clone(), well.clone());
    let whole = repository(&[("toy-Q4_K_M.gguf", &model)]);
    let hub = HubServer::start(move |request| {
        let file = request.path.contains("/resolve/");
        if !file || is_well.load(Ordering::SeqCst) {
            return whole(request);
        }
        if request.start() == 0 {
            return Reply::file(request, &sent).cut_after(500_000);
        }
        Reply::status(503)
    });
    home.pull(&hub).fails("503");
    let part = fs::metadata(incomplete(&home.blob(&model))).unwrap().len();
    assert!(part > 0 && part <= 500_000, "{part}");
    assert!(!home.blob(&model).exists());
    well.store(true, Ordering::SeqCst);
    home.pull(&hub).works();
    let last = hub.asked_for_files().last().unwrap().start();
    assert_eq!(last as u64, part);
    assert_eq!(fs::read(home.blob(&model)).unwrap(), model);
}

#[test]
fn a_hub_that_sends_no_parts_is_begun_with_anew() {
    let (home, model) = (Home::new(), content(500_000));
    let times = AtomicUsize::new(0);
    let (sent, whole) = (model.clone(), repository(&[("toy-Q4_K_M.gguf", &model)]));
    let hub = HubServer::start(move |request| {
        if !request.path.contains("/resolve/") {
            return whole(request);
        }
        let reply = Reply::status(200).with_body(sent.clone());
        if times.fetch_add(1, Ordering::SeqCst) == 0 {
            return reply.cut_after(100_000);
        }
        reply
    });
    home.pull(&hub).works();
    assert_eq!(fs::read(home.blob(&model)).unwrap(), model);
}

#[test]
fn a_part_of_something_else_does_not_spoil_the_file() {
    let (home, model) = (Home::new(), content(50_000));
    let hub = HubServer::start(repository(&[("toy-Q4_K_M.gguf", &model)]));
    let part = incomplete(&home.blob(&model));
    fs::create_dir_all(part.parent().unwrap()).unwrap();
    fs::write(&part, vec![7; 20_000]).unwrap();
    home.pull(&hub).works();
    assert_eq!(fs::read(home.blob(&model)).unwrap(), model);
    let asked: Vec<usize> = hub.asked_for_files().iter().map(Request::start).collect();
    assert_eq!(asked, [20_000, 0]);
}

#[test]
fn a_full_disk_is_told_and_what_arrived_is_kept() {
    let (home, model) = (Home::new(), content(2_000_000));
    let hub = HubServer::start(repository(&[("toy-Q4_K_M.gguf", &model)]));
    // No file may become longer than 512 or 1024 KiB, by the shell's unit.
    let inner = home.command(&hub.url, &[]);
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 1024; exec \"$@\"", "sh"])
        .arg(inner.get_program())
        .args(["pull", "hf:me/toy-GGUF"])
        .stdin(Stdio::null());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let full = said(limited);
    full.fails("cannot write");
    full.fails("HF_HUB_CACHE");
    let part = fs::metadata(incomplete(&home.blob(&model))).unwrap().len();
    assert!(part > 0 && part <= 1024 * 1024, "{part}");
    home.pull(&hub).works();
    assert_eq!(fs::read(home.blob(&model)).unwrap(), model);
    assert_eq!(hub.asked_for_files().last().unwrap().start() as u64, part);
}

#[test]
fn offline_nothing_is_asked() {
    let home = Home::new();
    let hub = HubServer::start(repository(&[("toy-Q8_0.gguf", b"GGUF no model")]));
    let offline = |arguments: &[&str]| {
        let mut command = home.command(&hub.url, arguments);
        command.env("HF_HUB_OFFLINE", "1");
        said(command)
    };
    let refused = offline(&["pull", "hf:me/toy-GGUF"]);
    refused.fails("HF_HUB_OFFLINE");
    refused.fails("`card pull hf:me/toy-GGUF`");
    let generate = ["generate", "-p", "x", "--offline", "-m", "hf:me/toy-GGUF"];
    home.card(&hub.url, &generate).fails("--offline");
    assert!(hub.asked().is_empty());
    // What is here is used, whichever quantisation it is.
    home.pull(&hub).works();
    let asked = hub.asked().len();
    home.card(&hub.url, &generate).fails("toy-Q8_0.gguf");
    assert_eq!(hub.asked().len(), asked);
}

#[test]
fn a_command_fetches_what_it_names_and_asks_no_second_time() {
    let home = Home::new();
    let hub = HubServer::start(repository(&[("toy-Q4_K_M.gguf", b"GGUF no model")]));
    // It is no model, which loading it says.
    let run = |flags: &[&str]| {
        let arguments = [&["generate", "-p", "x"][..], flags].concat();
        home.card(&hub.url, &arguments).fails("toy-Q4_K_M.gguf");
    };
    run(&["-hf", "me/toy-GGUF"]);
    assert!(home.snapshot("toy-Q4_K_M.gguf").exists());
    let asked = hub.asked().len();
    run(&["--hf-repo=me/toy-GGUF:q4_k_m"]);
    run(&["-m", "hf:me/toy-GGUF"]);
    run(&["--hf-repo", "me/toy-GGUF", "--hf-file", "toy-Q4_K_M.gguf"]);
    assert_eq!(hub.asked().len(), asked);
    let twice = ["generate", "-p", "x", "-m", "smol", "-hf", "me/toy-GGUF"];
    home.card(&hub.url, &twice)
        .fails("cannot be used multiple times");
    let alone = ["generate", "-p", "x", "--hf-file", "a.gguf"];
    home.card(&hub.url, &alone).fails("--hf-repo");
}

#[test]
fn a_model_of_a_catalogue_may_come_from_a_hub() {
    let (home, model) = (Home::new(), content(40_000));
    let hub = HubServer::start(repository(&[("toy-Q4_K_M.gguf", &model)]));
    let catalogue = home.path("catalogue.toml");
    let entry = |facts: &str, file: &str| {
        let text = format!(
            "[[model]]\nname = \"toy\"\ntitle = \"Toy\"\nlicence = \"MIT\"\n{facts}\n\
             source = [{{ kind = \"hub\", repo = \"me/toy-GGUF\", {file} }}]\n"
        );
        fs::write(&catalogue, text).unwrap();
        home.card(
            &hub.url,
            &["pull", "toy", "--catalogue", catalogue.to_str().unwrap()],
        )
    };
    // What the catalogue knows nothing of is the hub's.
    entry("", "quant = \"Q4_K_M\"").works();
    assert_eq!(fs::read(home.blob(&model)).unwrap(), model);
    // What it knows is kept by its name, and checked by what it says.
    let file = "file = \"toy-Q4_K_M.gguf\"";
    let facts = format!("bytes = {}\nsha256 = \"{}\"", model.len(), sum(&model));
    entry(&facts, file).works();
    let kept = home.path("card/models/toy.gguf");
    assert_eq!(fs::read(&kept).unwrap(), model);
    fs::remove_file(&kept).unwrap();
    let facts = format!("bytes = {}\nsha256 = \"{}\"", model.len(), "0".repeat(64));
    entry(&facts, file).fails("it was deleted");
    assert!(!kept.exists());
}
