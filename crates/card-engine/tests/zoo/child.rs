//! A process for each architecture: what llama.cpp takes for a mistake of its own ends the process,
//! and shall not end the test.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::compare::Report;

/// Names the architecture in the environment of its process.
pub const LABEL: &str = "CARD_ZOO_LABEL";
/// Is set where only a part of the schedules is tried.
pub const SHORT: &str = "CARD_ZOO_SHORT";

/// Stands before the report, or the reason why there is none, in what the process writes.
const MARK: &str = "zoo-report: ";
/// A process that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// Writes the report for the parent.
pub fn tell(report: &Result<Report, String>) {
    let text = serde_json::to_string(report).expect("a report is JSON");
    println!("{MARK}{text}");
}

/// Runs the test of this name in a process of its own.
///
/// # Errors
/// Says what the process said, or why it said nothing.
pub fn ask(test: &str, label: &str, short: bool) -> Result<Report, String> {
    let said = OutputFile::new(test, label, "out");
    let complained = OutputFile::new(test, label, "err");
    let mut command = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
    command
        .args([
            test,
            "--exact",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(LABEL, label)
        // A debugger would be called for it.
        .env("GGML_NO_BACKTRACE", "1")
        .stdin(Stdio::null())
        .stdout(said.file()?)
        .stderr(complained.file()?);
    if short {
        command.env(SHORT, "1");
    }
    let child = command.spawn().map_err(|e| e.to_string())?;
    let status = wait(child)?;
    let text = said.text();
    match text.lines().find_map(|line| line.split_once(MARK)) {
        Some((_, report)) => {
            serde_json::from_str(report).map_err(|e| format!("the report is broken: {e}"))?
        }
        None => Err(format!(
            "the process ended ({status}): {}",
            last_words(&complained.text())
        )),
    }
}

/// Waits for the end of a process, but not for ever.
fn wait(mut child: Child) -> Result<ExitStatus, String> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            return Ok(status);
        }
        if start.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("it hung for {} s", PATIENCE.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The first lines of a complaint that are not empty, on one line.
fn last_words(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let words: Vec<&str> = lines.take(3).collect();
    words.join(" | ")
}

/// A file that a process writes to; it goes with this.
struct OutputFile(PathBuf);

impl OutputFile {
    fn new(test: &str, label: &str, kind: &str) -> Self {
        let name: String = format!("{test}-{label}")
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let name = format!("zoo-{}-{name}.{kind}", std::process::id());
        OutputFile(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name))
    }

    fn file(&self) -> Result<File, String> {
        File::create(&self.0).map_err(|e| format!("{}: {e}", self.0.display()))
    }

    fn text(&self) -> String {
        let bytes = std::fs::read(&self.0).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
