//! The steps of the way in.

/// What failed on the way in.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Harden,
    TakeShare,
    EnterCgroup,
    EnterNamespaces,
    BecomeRoot,
    FindUser,
    OpenTerminal,
    BecomeUser,
    Confine,
    EnterDirectory,
    MakePipes,
    Clone,
    SetUp,
    Execute,
}

impl Step {
    pub(super) const ALL: [Self; 14] = [
        Self::Harden,
        Self::TakeShare,
        Self::EnterCgroup,
        Self::EnterNamespaces,
        Self::BecomeRoot,
        Self::FindUser,
        Self::OpenTerminal,
        Self::BecomeUser,
        Self::Confine,
        Self::EnterDirectory,
        Self::MakePipes,
        Self::Clone,
        Self::SetUp,
        Self::Execute,
    ];

    pub(super) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// What it does, as it goes into "cannot … inside the tenant".
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Harden => "drop the privileges of the host",
            Self::TakeShare => "take over the limits of init",
            Self::EnterCgroup => "enter the cgroups of init",
            Self::EnterNamespaces => "enter the namespaces of init",
            Self::BecomeRoot => "switch to root",
            Self::FindUser => "look up the user",
            Self::OpenTerminal => "open a pseudoterminal",
            Self::BecomeUser => "switch to the user",
            Self::Confine => "drop capabilities",
            Self::EnterDirectory => "enter the working directory",
            Self::MakePipes => "create pipes",
            Self::Clone => "clone",
            Self::SetUp => "set up the session",
            Self::Execute => "execute",
        }
    }
}
