//! Why there is no link, and what the other side says of it.

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The text is no address.
    #[error("{0:?} is no address, like http://host:7070 or https://host:7070")]
    Address(String),
    /// A file of certificates, keys or secrets cannot be read.
    #[error("cannot read {file}: {why}")]
    File {
        /// The path of the file.
        file: String,
        /// The system's reason.
        why: std::io::Error,
    },
    /// What was asked for cannot be, or would not guard what it is meant to.
    #[error("{0}")]
    Settings(String),
    /// The connection cannot be made, or broke.
    #[error("{0}")]
    Transport(String),
    /// The other side says no.
    #[error("the other side refuses: {0}")]
    Refused(String),
    /// The other side cannot be understood.
    #[error("{0}")]
    Protocol(String),
}

impl LinkError {
    /// Whether the same would happen again, so that trying again is of no use.
    pub fn is_final(&self) -> bool {
        match self {
            LinkError::Address(_)
            | LinkError::File { .. }
            | LinkError::Settings(_)
            | LinkError::Refused(_) => true,
            LinkError::Transport(_) | LinkError::Protocol(_) => false,
        }
    }

    /// The error of a link that was lost after both sides had agreed on it.
    pub(crate) fn lost(status: &tonic::Status) -> Self {
        LinkError::Transport(format!("the connection is lost: {}", shown(status)))
    }
}

/// What the other side says, fit to be shown and logged.
pub(crate) fn shown(status: &tonic::Status) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = status.message().chars().map(clean).take(400).collect();
    if text.is_empty() {
        status.code().to_string()
    } else {
        text
    }
}

impl From<tonic::transport::Error> for LinkError {
    fn from(error: tonic::transport::Error) -> Self {
        // The cause says more than the error.
        let mut why = error.to_string();
        let mut at: &dyn std::error::Error = &error;
        while let Some(source) = at.source() {
            why = format!("{why}: {source}");
            at = source;
        }
        LinkError::Transport(why)
    }
}

/// The error of an answer to the first message. Only a side that says no there ends the link
/// for good.
impl From<tonic::Status> for LinkError {
    fn from(status: tonic::Status) -> Self {
        use tonic::Code::{FailedPrecondition, PermissionDenied, Unauthenticated};
        match status.code() {
            FailedPrecondition | PermissionDenied | Unauthenticated => {
                LinkError::Refused(shown(&status))
            }
            _ => LinkError::Transport(shown(&status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::{Code, Status};

    #[test]
    fn only_a_refusal_at_the_hello_is_final() {
        for code in (0..17).map(Code::from_i32) {
            let refused = [
                Code::FailedPrecondition,
                Code::PermissionDenied,
                Code::Unauthenticated,
            ]
            .contains(&code);
            let status = Status::new(code, "why");
            assert!(!LinkError::lost(&status).is_final(), "{code}");
            assert_eq!(LinkError::from(status).is_final(), refused, "{code}");
        }
    }

    #[test]
    fn what_the_other_side_says_cannot_write_to_the_terminal() {
        let status = Status::internal(format!("a\u{1b}[2Jb\nc{}", "x".repeat(10_000)));
        let text = shown(&status);
        assert!(!text.chars().any(char::is_control), "{text:?}");
        assert!(text.len() <= 400);
        assert!(!shown(&Status::new(Code::Unavailable, "")).is_empty());
    }
}
