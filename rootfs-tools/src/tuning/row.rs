//! A row of the tuning: what it changes in the image, where the change applies, and why.
//!
//! A tenant can undo each row in its own `/etc`: a mask with `systemctl unmask`, a drop-in with one of the same
//! name below `/etc/systemd/system`, a dependency mask and a generator mask with `rm`. A unit that is unmasked can be
//! started; at boot it is started again when its dependency masks are removed, too, or when it is enabled.

/// One change of an image.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Short unique name.
    pub id: &'static str,
    /// Why it improves a tenant.
    pub reason: &'static str,
    /// The tenants of the image that it applies to.
    pub scope: Scope,
    /// What is done.
    pub action: Action,
}

/// Where a [`Row`] applies. An image serves tenants that share its `/usr` and tenants that install packages; a
/// row for the former alone has its own condition, so that nothing needs to be undone in the latter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere: it removes what the host does, or what is started on demand.
    Everywhere,
    /// Where `/usr` is read-only: it checks that each time, with [`USR_IS_OWN`] or by `test -w /usr`.
    SharedUsr,
    /// As long as there is nothing to do: a file in the tenant's `/etc` reactivates it.
    NothingToDo,
}

/// What a [`Row`] does.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// Links these units to `/dev/null` in `/etc/systemd/system`, where the image has them, and masks the dependencies
    /// of the image's units on them.
    Mask(&'static [&'static str]),
    /// Removes a unit from a target that wants it; D-Bus, a socket or an admin can still start it.
    Unwant {
        /// The target that wants them.
        target: &'static str,
        /// The units.
        units: &'static [&'static str],
    },
    /// Adds a unit to a target, where the image has the unit.
    Want {
        /// The target.
        target: &'static str,
        /// The unit.
        unit: &'static str,
    },
    /// The default target.
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
        /// The file that must exist.
        given: &'static str,
    },
    /// A new program, made where the file `given` exists.
    Program {
        /// The path.
        path: &'static str,
        /// Its text.
        text: &'static str,
        /// The file that must exist.
        given: &'static str,
    },
    /// A link, made where the file `given` exists.
    Link {
        /// The path.
        path: &'static str,
        /// Its target.
        target: &'static str,
        /// The file that must exist.
        given: &'static str,
    },
    /// Removes a file that contains only comments.
    RemoveIfEmpty(&'static str),
    /// Removes entries: those that match one of these patterns, see [`RootDir::glob`](crate::rootdir::RootDir::glob).
    RemoveMatching(&'static [&'static str]),
    /// Makes systemd keep the mounts of these directories until the end, in a tree where they are not links
    /// into `/usr`.
    KeepMounts(&'static [&'static str]),
    /// Sets the locale C.UTF-8 in a system that has it and sets none, see `tuning/locale.rs`.
    Locale,
    /// Adapts `/etc/inittab`, see `tuning/inittab.rs`.
    Inittab,
    /// Creates the stamps by which ConditionNeedsUpdate= sees that `/etc` and `/var` match this `/usr`.
    UpdateStamps,
}

impl Action {
    /// Whether it applies to systemd only.
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
