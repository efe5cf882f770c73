//! A row of the tuning: what it does to the image, where that holds, and why.
//!
//! Everything is undone by a tenant in its own `/etc`: a mask by `systemctl unmask`, a drop-in by one of
//! the same name below `/etc/systemd/system`, a dependency mask and a generator mask by `rm`.

/// One thing that is done to an image.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Short unique name.
    pub id: &'static str,
    /// Why a tenant is better off with it.
    pub reason: &'static str,
    /// In which tenants of the image it holds.
    pub scope: Scope,
    /// What is done.
    pub action: Action,
}

/// Where a [`Row`] holds. An image serves tenants that share its `/usr` and tenants that install packages; what
/// is right for the first alone carries its own condition, so that nothing is to be undone in the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere: it takes away what is the host's business, or what somebody starts when it is needed.
    Everywhere,
    /// Where `/usr` is read-only: it asks for that each time, by [`USR_IS_OWN`] or by `test -w /usr`.
    SharedUsr,
    /// As long as there is nothing to do: a file in the tenant's `/etc` brings it back.
    NothingToDo,
}

/// What a [`Row`] does.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// Links these units to `/dev/null` in `/etc/systemd/system`, where the image has them.
    Mask(&'static [&'static str]),
    /// Takes a unit out of a target that wants it; D-Bus, a socket or a person can still start it.
    Unwant {
        /// The target that wants them.
        target: &'static str,
        /// The units.
        units: &'static [&'static str],
    },
    /// Makes a target want a unit, where the image has the unit.
    Want {
        /// The target.
        target: &'static str,
        /// The unit.
        unit: &'static str,
    },
    /// The target that is booted.
    DefaultTarget(&'static str),
    /// Masks these generators, see systemd.generator(7).
    MaskGenerators(&'static [&'static str]),
    /// Masks these files of tmpfiles.d(5).
    MaskTmpfiles(&'static [&'static str]),
    /// A drop-in for units below `/usr/lib/systemd/system`, where the image has them.
    DropIn {
        /// The units.
        units: &'static [&'static str],
        /// The text of `50-tenantry.conf`.
        text: &'static str,
    },
    /// A drop-in for units that a tenant may install later, made whether the image has them or not.
    DropInAhead {
        /// The units.
        units: &'static [&'static str],
        /// The text of `50-tenantry.conf`.
        text: &'static str,
    },
    /// A new file, made where the file `given` exists.
    File {
        /// The path.
        path: &'static str,
        /// Its text.
        text: &'static str,
        /// What must be there for it to make sense.
        given: &'static str,
    },
    /// A new program, made where the file `given` exists.
    Program {
        /// The path.
        path: &'static str,
        /// Its text.
        text: &'static str,
        /// What must be there for it to make sense.
        given: &'static str,
    },
    /// A link, made where the file `given` exists.
    Link {
        /// The path.
        path: &'static str,
        /// Where it leads.
        target: &'static str,
        /// What must be there for it to make sense.
        given: &'static str,
    },
    /// A file that goes if it holds nothing but comments.
    RemoveIfEmpty(&'static str),
    /// Entries that go: those in the directories that match one of these patterns, see [`RootDir::glob`](crate::rootdir::RootDir::glob).
    RemoveMatching(&'static [&'static str]),
    /// Has systemd leave the mounts of these directories alone until the end, in a tree where they are no links
    /// into `/usr`.
    KeepMounts(&'static [&'static str]),
    /// Sets the locale C.UTF-8 in a system that has it and sets none, see `tuning/locale.rs`.
    Locale,
    /// Makes `/etc/inittab` fit, as `tuning/inittab.rs` says.
    Inittab,
    /// Stamps that tell ConditionNeedsUpdate= that `/etc` and `/var` fit this `/usr`.
    UpdateStamps,
}

impl Action {
    /// Whether it makes sense only where systemd is.
    pub(super) fn is_about_systemd(&self) -> bool {
        match self {
            Self::Mask(_)
            | Self::Unwant { .. }
            | Self::Want { .. }
            | Self::DefaultTarget(_)
            | Self::MaskGenerators(_)
            | Self::MaskTmpfiles(_)
            | Self::DropIn { .. }
            | Self::DropInAhead { .. }
            | Self::RemoveIfEmpty(_)
            | Self::UpdateStamps => true,
            Self::File { .. }
            | Self::Program { .. }
            | Self::Link { .. }
            | Self::RemoveMatching(_)
            | Self::KeepMounts(_)
            | Self::Locale
            | Self::Inittab => false,
        }
    }
}

/// The file name of every drop-in and preset of this table.
pub const DROP_IN: &str = "50-tenantry.conf";

/// The condition of [`Scope::SharedUsr`] for units.
pub const USR_IS_OWN: &str = "[Unit]\nConditionPathIsReadWrite=/usr\n";
