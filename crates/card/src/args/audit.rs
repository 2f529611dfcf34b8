//! Flags of `card audit` and `card explain`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Subcommand, Debug)]
pub enum AuditCommand {
    /// Check that a log is as it was written, and whole; without its key that finds accidents only
    Verify(VerifyArgs),
    /// Print number and hash of the last record, to be kept elsewhere and given to `verify`
    Head {
        /// The log; or some of its files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// List the requests in a log
    List {
        /// The log, with all files that were set aside from it; or some of its files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// The log, with all files that were set aside from it; or some of its files
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// The key that the log is sealed with (`card serve --audit-key-file`)
    #[arg(long, env = "CARD_AUDIT_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// A record as `card audit head` printed it earlier: it must still be there; may be repeated
    #[arg(long, value_name = "N:HASH")]
    pub anchor: Vec<card_audit::Anchor>,
    /// The log may begin with the oldest record there is: older files were removed on purpose
    #[arg(long)]
    pub from_oldest: bool,
    /// The files are a part of a log that may end anywhere
    #[arg(long)]
    pub without_head: bool,
}

#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// The log, with all files that were set aside from it; or some of its files
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Name of the request; what comes after `chatcmpl-` in an answer's id, or `card audit list`
    #[arg(short, long, value_name = "ID")]
    pub request: String,
    /// Which of its answers
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub choice: usize,
    /// The page to write, for its owner only; - is standard output
    #[arg(short, long, default_value = "explain.html", value_name = "FILE")]
    pub out: PathBuf,
}
