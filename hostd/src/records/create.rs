//! A new tenant, in steps. Until [`Step::Publish`] no process sees it; whatever step a crash or a full disk
//! comes in, what is left is finished or undone by [`super::recover`].
//!
//! ```text
//! tenants/.new-NAME/{allocation.toml,dirs,log}   made and fsynced
//! /etc/tenantry/tenants/NAME.toml                written: the commit, from here on it is finished
//! tenants/.new-NAME ─rename▶ tenants/NAME       not fsynced: a power cut that undoes it is followed by it again
//! ```

use std::{
    ffi::CString,
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    os::{fd::OwnedFd, unix::fs::DirBuilderExt as _},
    path::{Path, PathBuf},
};

use filetree::Dir;
use tenant::{
    Allocation, Layout, Plan,
    files::record::{self, Durability},
    kernel::image::Contents,
    model::limits::DiskLimits,
};

use super::{StoreError, copies::anew};
use crate::dirs::{
    quota,
    remove::remove_all,
    seed::{Identity, Unsynced, ensure_stores, write_identity, write_machine_id},
};

/// Prefix of a tenant's directory that is not published yet.
pub const STAGED: &str = ".new-";
/// Prefix of directories that are to be a new tenant's, and are no tenant's yet.
pub const PART: &str = ".part-";

/// The steps of a creation, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// An empty directory under a hidden name.
    Stage,
    /// The tenant's directories and its identity.
    Seed,
    /// The record.
    Record,
    /// All of that on the disk.
    Flush,
    /// The configuration file: the commit.
    Config,
    /// The directory under its own name.
    Publish,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Stage, Self::Seed, Self::Record, Self::Flush, Self::Config, Self::Publish];
}

/// What a tenant's directories begin as.
#[derive(Clone, Copy, Debug)]
pub enum Seed<'a> {
    /// What its image has.
    Image,
    /// What lies in a directory beside those of tenants, which becomes the tenant's.
    Part {
        /// That directory.
        part: &'a Path,
        /// Whether it was copied from a tenant that stays what it is: the new one gets an identity of its own.
        is_copy: bool,
    },
}

/// A tenant that is being made.
#[derive(Debug)]
pub struct Creation<'a> {
    /// Where things lie.
    pub layout: &'a Layout,
    /// The record it will have.
    pub allocation: &'a Allocation,
    /// The text of its configuration file.
    pub config: &'a str,
    /// What it will be started with.
    pub plan: &'a Plan,
    /// The files of its image.
    pub image: Contents,
    /// What its identity says.
    pub identity: Identity<'a>,
    /// What it may store.
    pub disk: DiskLimits,
    /// What is not on the disk yet.
    pub unsynced: Unsynced,
    /// What its directories begin as.
    pub seed: Seed<'a>,
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(record::open_dir(path)?.into())
}

impl Creation<'_> {
    fn staged(&self) -> PathBuf {
        staged(self.layout, self.allocation)
    }

    /// Does all steps, or undoes those that were done.
    ///
    /// # Errors
    /// The first step that failed.
    pub fn run(mut self) -> Result<(), StoreError> {
        for step in Step::ALL {
            if let Err(error) = self.step(step) {
                if let Err(cleanup) = self.undo() {
                    let staged = self.staged();
                    log::warn!(
                        "cannot remove {}, trying again at the next start of hostd: {cleanup}",
                        staged.display()
                    );
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Does one step.
    ///
    /// # Errors
    /// What the step says.
    pub fn step(&mut self, step: Step) -> Result<(), StoreError> {
        let name = &self.allocation.name;
        let failed = |source| StoreError::Create { tenant: name.to_string(), source };
        match step {
            Step::Stage => {
                self.stage().map_err(failed)?;
                let project = self.allocation.uid_base.base();
                if matches!(self.seed, Seed::Part { .. }) {
                    quota::adopt(&self.staged(), project)?;
                }
                Ok(quota::enforce(&self.staged(), project, &self.disk, false)?)
            }
            Step::Seed => self.seed().map_err(failed),
            Step::Record => self.record().map_err(failed),
            Step::Flush => self.unsynced.flush().map_err(failed),
            Step::Config => {
                let path = self.layout.tenant_config(name);
                Ok(record::write(&path, self.config.as_bytes(), Durability::Durable)?)
            }
            Step::Publish => publish(self.layout, self.allocation).map_err(failed),
        }
    }

    fn stage(&self) -> io::Result<()> {
        let staged = self.staged();
        record::make_dirs(&self.layout.tenant_configs())?;
        // What lies below holds setuid files of tenants: only root may reach them.
        record::make_private_dirs(&self.layout.tenants())?;
        remove_below(&self.layout.tenants(), &staged)?;
        match self.seed {
            Seed::Image => {
                quota::make_dir(&staged, self.allocation.uid_base.base())?;
                fs::create_dir(staged.join("dirs"))?;
            }
            Seed::Part { part, .. } => fs::rename(part, &staged)?,
        }
        DirBuilder::new().recursive(true).mode(0o700).create(staged.join("log"))
    }

    fn seed(&mut self) -> io::Result<()> {
        let dirs = Dir::open(&self.staged().join("dirs"))?;
        let image = Dir::open(&self.image.path())?;
        if let Seed::Part { is_copy, .. } = self.seed {
            if is_copy {
                anew::forget(self.plan, &dirs)?;
            }
            self.unsynced.push_tree(dirs.try_clone()?);
        }
        ensure_stores(self.plan, &image, &dirs, &mut self.unsynced)?;
        match self.seed {
            Seed::Image => write_identity(self.plan, self.identity, &image, &dirs, &mut self.unsynced),
            Seed::Part { is_copy: true, .. } => {
                write_machine_id(self.plan, &image, &dirs, &mut self.unsynced)
            }
            Seed::Part { is_copy: false, .. } => Ok(()),
        }
    }

    fn record(&mut self) -> io::Result<()> {
        let staged = self.staged();
        let text = self.allocation.render();
        let mut file = File::create_new(staged.join("allocation.toml"))?;
        file.write_all(text.as_bytes())?;
        self.unsynced.push(file.into());
        // Nothing waits for the copy: only a repair needs it, and hostd makes the one that is missing when it begins.
        fs::write(staged.join("allocation.copy.toml"), text)?;
        self.unsynced.push(open(&staged)?);
        // Without its name there would be a configuration file and no tenant.
        self.unsynced.push(open(&self.layout.tenants())?);
        Ok(())
    }

    fn undo(&self) -> io::Result<()> {
        match fs::remove_file(self.layout.tenant_config(&self.allocation.name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        remove_below(&self.layout.tenants(), &self.staged())
    }
}

/// Where a tenant is made.
pub fn staged(layout: &Layout, allocation: &Allocation) -> PathBuf {
    layout.tenants().join(format!("{STAGED}{}", allocation.name))
}

/// The last step, which recovery repeats: no process waits until the disk has it, since the configuration file is there
/// before. After the rename there is the tenant, whatever else happens.
///
/// # Errors
/// Those of rename(2).
pub fn publish(layout: &Layout, allocation: &Allocation) -> io::Result<()> {
    fs::rename(staged(layout, allocation), layout.tenant(&allocation.name))
}

/// Removes `path`, an entry of the directory `parent`.
///
/// # Errors
/// The first entry that cannot be removed.
pub fn remove_below(parent: &Path, path: &Path) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let name = CString::new(name.as_encoded_bytes()).map_err(|_| io::ErrorKind::InvalidInput)?;
    match open(parent) {
        Ok(parent) => remove_all(parent, &name),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
