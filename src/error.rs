//! One error type for all stages, with the exit code that each kind of failure has.

use std::path::{Path, PathBuf};

/// Result of anything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong; every message says where and, if it helps, what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Wrong use. Messages name the settings of requests as option `name`.
    #[error("{0}")]
    Usage(String),
    /// A configuration key or value.
    #[error("configuration: {0}")]
    Config(String),
    /// The manifest as a whole, or one of its columns or rows.
    #[error("manifest: {0}")]
    Manifest(String),
    /// More rows were rejected than `--max-bad` allows.
    #[error(
        "{rejected} of {rows} manifest rows were rejected, more than option `max_bad` {max_bad} allows; first: {first}; all are listed in {list}; mend them or take them out, or allow more"
    )]
    TooManyRejects {
        /// Rows refused.
        rejected: usize,
        /// Rows read.
        rows: usize,
        /// The largest share allowed.
        max_bad: f64,
        /// Reason of the first.
        first: String,
        /// Path of the list.
        list: String,
    },
    /// Model weights that are missing, damaged or made for something else.
    #[error("model: {0}")]
    Model(String),
    /// Weights of another version of the program.
    #[error("model: {path}: format {found} is not {known}: made by another version of augment; train it again")]
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: String,
        /// The one that this program reads.
        known: u32,
    },
    /// Training left the finite numbers.
    #[error("training stopped at step {step}: {what} is not finite; {advice}")]
    Diverged {
        /// The step that failed, counted from 0.
        step: u64,
        /// Name of the loss or tensor.
        what: String,
        /// Where the last good state is and what to try.
        advice: String,
    },
    /// The run was asked to stop; it can be resumed.
    #[error("stopped at step {step}; run the same command again to go on")]
    Interrupted {
        /// Completed steps.
        step: u64,
    },
    /// The run was asked to stop before its output was complete.
    #[error("stopped; run the same command again")]
    Stopped,
    /// A file or folder.
    #[error("{path}: {source}")]
    Io {
        /// What was being read or written.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Test persons or images among the training images: no figure would mean anything.
    #[error(
        "the test is contaminated, so no gain is measured: {0}; take these persons and images out of one of the two"
    )]
    Contaminated(String),
    /// Another process works in the folder.
    #[error("{0}: another augment works in this folder; wait for it to end, or choose another folder")]
    Busy(PathBuf),
    /// Something else must be done first.
    #[error("{0}")]
    NotYet(String),
    /// A file that was written and has changed since.
    #[error("{path}: damaged: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How it shows, and what to do.
        what: String,
    },
    /// A remote store; worth a retry.
    #[error("{0}")]
    Hub(String),
    /// A remote store said no; a retry will not help.
    #[error("{0}")]
    HubRefused(String),
    /// A defect of this program.
    #[error("{0}")]
    Internal(String),
    /// A tensor operation: a defect of this program or too little memory.
    #[error("tensor operation: {0}")]
    Tensor(#[from] candle_core::Error),
}

impl Error {
    /// An I/O error at `path`.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().to_owned(), source }
    }

    /// True if an error of the system may pass by itself: a full disk or a lost connection, but no missing permission.
    pub(crate) fn may_pass(source: &std::io::Error) -> bool {
        use std::io::ErrorKind as Kind;
        !matches!(
            source.kind(),
            Kind::NotFound
                | Kind::PermissionDenied
                | Kind::ReadOnlyFilesystem
                | Kind::AlreadyExists
                | Kind::InvalidData
                | Kind::InvalidInput
                | Kind::InvalidFilename
                | Kind::NotADirectory
                | Kind::IsADirectory
        )
    }

    /// True if the same command may succeed later without a change.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Io { source, .. } => Self::may_pass(source),
            Self::Hub(_) | Self::Busy(_) | Self::NotYet(_) => true,
            _ => false,
        }
    }

    /// 2 for usage, configuration and data (never retry), 8 for a contaminated test (the command line has 9 for an evaluation that falls short of its gates), 75 for transient I/O, 130 when stopped (143 by a termination signal), 70 for defects and
    /// diverged training.
    pub fn exit_code(&self) -> u8 {
        match self {
            _ if self.is_retryable() => 75,
            Self::Interrupted { .. } | Self::Stopped => 130,
            Self::Diverged { .. } | Self::Internal(_) | Self::Tensor(_) => 70,
            Self::Contaminated(_) => 8,
            _ => 2,
        }
    }
}
