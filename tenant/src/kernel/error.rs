//! A request to the kernel that failed, and why.

use std::{borrow::Cow, io};

use super::{
    driver::MissingDriver, image_error::ImageError, netlink::LinkError, nft::FilterError, place::PlaceError,
    source::SourceError,
};

/// Why a request failed: the kernel's own error, or a fault of which more is known.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The kernel's error, or that of a file.
    #[error(transparent)]
    Io(io::Error),
    /// A driver that the host lacks.
    #[error(transparent)]
    Driver(#[from] MissingDriver),
    /// The packet filter.
    #[error(transparent)]
    Filter(Box<FilterError>),
    /// An image whose blocks cannot be read.
    #[error(transparent)]
    Image(Box<ImageError>),
    /// An interface that cannot be used, made or had.
    #[error(transparent)]
    Link(Box<LinkError>),
    /// A mount that has no place in the tenant's root.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A directory of the host that cannot be given.
    #[error(transparent)]
    Source(Box<SourceError>),
}

impl<T: Into<io::Error>> From<T> for Cause {
    fn from(error: T) -> Self {
        Self::Io(error.into())
    }
}

impl From<FilterError> for Cause {
    fn from(error: FilterError) -> Self {
        Self::Filter(Box::new(error))
    }
}

impl From<ImageError> for Cause {
    fn from(error: ImageError) -> Self {
        Self::Image(Box::new(error))
    }
}

impl From<LinkError> for Cause {
    fn from(error: LinkError) -> Self {
        Self::Link(Box::new(error))
    }
}

impl From<SourceError> for Cause {
    fn from(error: SourceError) -> Self {
        Self::Source(Box::new(error))
    }
}

impl Cause {
    /// The kind of error that it is.
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Io(error) => error.kind(),
            Self::Filter(fault) => match **fault {
                FilterError::NotInstalled => io::ErrorKind::NotFound,
                FilterError::Taken(_) => io::ErrorKind::AddrInUse,
                FilterError::Said(_) => io::ErrorKind::Other,
            },
            Self::Image(fault) => match **fault {
                ImageError::Damaged(_) => io::ErrorKind::InvalidData,
                ImageError::NoFile | ImageError::NotInstalled => io::ErrorKind::Unsupported,
                ImageError::Said(_) => io::ErrorKind::Other,
            },
            Self::Driver(_) | Self::Link(_) | Self::Place(_) | Self::Source(_) => io::ErrorKind::Other,
        }
    }

    /// The number of the kernel's error, if that is what it is.
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Io(error) => error.raw_os_error(),
            _ => None,
        }
    }

    /// The remedy, where the fault itself tells one.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Io(_) => None,
            Self::Driver(fault) => Some(fault.help()),
            Self::Filter(fault) => Some(fault.help().to_owned()),
            Self::Image(fault) => Some(fault.help().to_owned()),
            Self::Link(fault) => Some(fault.help()),
            Self::Place(fault) => Some(fault.help().to_owned()),
            Self::Source(fault) => Some(fault.help()),
        }
    }
}

/// A request to the kernel that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {object}")]
pub struct KernelError {
    /// What was asked for, e.g. `create cgroup`.
    pub operation: Cow<'static, str>,
    /// What it was asked of, e.g. a path.
    pub object: String,
    /// Why not.
    #[source]
    pub source: Cause,
}

impl KernelError {
    /// An error of an operation on an object.
    pub fn new(
        operation: impl Into<Cow<'static, str>>,
        object: impl std::fmt::Display,
        source: impl Into<Cause>,
    ) -> Self {
        Self { operation: operation.into(), object: object.to_string(), source: source.into() }
    }
}

/// What every request returns.
pub type Result<T> = std::result::Result<T, KernelError>;

impl FilterError {
    /// The one behind an error, if it is one of these.
    pub fn of(error: &KernelError) -> Option<&Self> {
        match &error.source {
            Cause::Filter(fault) => Some(fault),
            _ => None,
        }
    }
}

impl ImageError {
    /// The one behind an error, if it is one of these.
    pub fn of(error: &KernelError) -> Option<&Self> {
        match &error.source {
            Cause::Image(fault) => Some(fault),
            _ => None,
        }
    }
}
