//! The one error type of the crate: a kind that says who must act, a message that says what was expected and what was
//! found, and the cause. Words for users are chosen by the surfaces (`cli`, `www/shared/view.js`), not here.

use std::fmt;

/// Result with the crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Who must act on an [`Error`]. The names are part of the JSON and JavaScript contract (`code`).
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The picture cannot be used: broken, of an unknown format, too large.
    BadImage,
    /// The model file cannot be used: wrong version, digest, tensor or metadata.
    BadWeights,
    /// The training or evaluation data cannot be used: missing file, unknown label, a group in two splits.
    BadData,
    /// Wrong options or configuration.
    BadUsage,
    /// No GPU adapter that could do the work.
    NoGpu,
    /// The GPU was there and went away, or computes wrongly.
    GpuLost,
    /// This build cannot do what was asked; the message names the feature that can.
    Unsupported,
    /// Reading or writing a file failed.
    Io,
    /// Stopped at the user's request.
    Cancelled,
    /// A broken invariant of ours: please report it.
    Internal,
}

impl ErrorKind {
    /// The stable name used in JSON and JavaScript, for example `bad_image`.
    pub fn code(self) -> &'static str {
        match self {
            ErrorKind::BadImage => "bad_image",
            ErrorKind::BadWeights => "bad_weights",
            ErrorKind::BadData => "bad_data",
            ErrorKind::BadUsage => "bad_usage",
            ErrorKind::NoGpu => "no_gpu",
            ErrorKind::GpuLost => "gpu_lost",
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::Io => "io",
            ErrorKind::Cancelled => "cancelled",
            ErrorKind::Internal => "internal",
        }
    }
}

/// What went wrong: kind, message (lower case, no full stop, expected and found) and cause.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error without an underlying cause.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), source: None }
    }

    /// An error that keeps its cause for [`std::error::Error::source`].
    pub fn caused(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Error { kind, message: message.into(), source: Some(source.into()) }
    }

    /// Who must act.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The message with all causes, joined by `: `, for one-line display.
    pub fn full_message(&self) -> String {
        let mut text = self.message.clone();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|cause| cause.as_ref() as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_message_names_every_cause_and_the_short_one_none() {
        let inner = Error::caused(ErrorKind::Io, "cannot read a.jpg", std::io::Error::other("the disk is gone"));
        let error = Error::caused(ErrorKind::BadData, "cannot take the table", inner);
        assert_eq!(error.full_message(), "cannot take the table: cannot read a.jpg: the disk is gone");
        assert_eq!((error.to_string().as_str(), error.kind()), ("cannot take the table", ErrorKind::BadData));
        assert_eq!(Error::new(ErrorKind::Internal, "alone").full_message(), "alone");
    }
}
