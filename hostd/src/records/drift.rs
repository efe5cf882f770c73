//! Files of tenants that hide files of their images: what lies in their directories, held against the inventories of the
//! versions that they have had.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rootfs_tools::{
    inventory::{Inventory, Item},
    tree::Kind,
};
use tenant::{
    Plan, TenantName,
    files::record::{self, Durability},
    model::allocation::{Generation, Pinned},
    plan::RootStep,
    stale::Versions,
};
use wire::{Code, Drift, DriftFile, DriftFix, DriftSource};

use super::{Store, StoreError, upper::Upper};
use crate::{
    dirs::seed::RESOLV_CONF,
    drift::{
        area::Area,
        error::{DriftError, words},
        lineage::{self, Boot, Lineage},
        notes::{Note, Notes, Print, Reason},
        own::{Found, Own},
        verdict::{self, Before},
    },
};

/// How long a look at one tenant may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Most bytes of one tenant's files that are compared in a look.
const MOST_BYTES: u64 = 256 << 20;
/// Most files that are listed of one tenant.
const MOST_FILES: usize = 10_000;
/// Most sentences on what was left out.
const MOST_SENTENCES: usize = 10;

/// A tenant whose files are looked at.
pub(super) struct Subject {
    /// Its overlays.
    pub(super) areas: Vec<Area>,
    /// The versions that it had.
    pub(super) history: Vec<Generation>,
    /// The one that counts.
    pub(super) now: Pinned,
    /// The boot that is under way.
    pub(super) boot: Option<Boot>,
    /// What was noted.
    pub(super) notes: Notes,
}

/// A look at a tenant's files.
pub(super) struct Look<'a> {
    store: &'a Store,
    pub(super) subject: Subject,
    pub(super) now: Arc<Inventory>,
    /// The other versions that it had, as far as they are there, the latest first.
    earlier: Vec<(Pinned, Option<Arc<Inventory>>)>,
    opened: Versions,
    uppers: Vec<Option<Upper>>,
    until: Instant,
    bytes: Cell<u64>,
    left_out: RefCell<Vec<String>>,
}

/// What is said of a path that hides something.
pub(super) struct Judged {
    pub(super) found: Found,
    pub(super) file: DriftFile,
    /// The version that it comes from.
    pub(super) from: Pinned,
}

pub(super) fn absolute(path: &Path) -> String {
    format!("/{}", path.display())
}

/// Whether a plan has an install of the tenant's own, which hides all of its image.
pub(super) fn refuse_install(plan: &Plan) -> Result<(), StoreError> {
    match plan.root.iter().any(|step| matches!(step, RootStep::Whole { .. })) {
        true => Err(StoreError::OwnInstall),
        false => Ok(()),
    }
}

impl Store {
    /// The files of a tenant that hide files of its image.
    ///
    /// # Errors
    /// [`StoreError::OwnInstall`]; it cannot be planned, or its version cannot be read.
    pub fn drift(&self, name: &TenantName, boot: Option<Boot>) -> Result<Drift, StoreError> {
        let look = self.look_at(name, boot)?;
        let files = look.files();
        let left_out = look.take_left_out();
        Ok(Drift { name: name.to_string(), version: look.subject.now.to_string(), files, left_out })
    }

    /// A tenant whose files are to be looked at.
    pub(super) fn look_at(&self, name: &TenantName, boot: Option<Boot>) -> Result<Look<'_>, StoreError> {
        let record = self.ready(name)?;
        let (_, plan) = self.plan(name, None)?;
        refuse_install(&plan)?;
        let notes = self.notes(name)?;
        let (history, now) = (record.history(), record.pinned);
        self.look(Subject { areas: Area::all(&plan), history, now, boot, notes })
    }

    pub(super) fn look(&self, subject: Subject) -> Result<Look<'_>, StoreError> {
        let now = self.inventories.of(&self.layout, &subject.now)?;
        let mut earlier = Vec::new();
        for version in lineage::versions(&subject.history) {
            if version != subject.now {
                let inventory = match self.inventories.of(&self.layout, &version) {
                    Ok(inventory) => Some(inventory),
                    Err(error) if error.code() == Code::NoImage => None,
                    Err(error) => return Err(error),
                };
                earlier.push((version, inventory));
            }
        }
        let uppers = subject.areas.iter().map(|area| Upper::open(&area.dirs, &area.upper).ok()).collect();
        Ok(Look {
            store: self,
            subject,
            now,
            earlier,
            opened: Versions::default(),
            uppers,
            until: Instant::now() + LIMIT,
            bytes: Cell::new(0),
            left_out: RefCell::default(),
        })
    }

    /// What was noted of a tenant's files.
    ///
    /// # Errors
    /// [`DriftError::Notes`].
    pub(super) fn notes(&self, name: &TenantName) -> Result<Notes, StoreError> {
        let path = self.layout.drift(name);
        let text = match record::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Notes::default()),
            Err(error) => return Err(error.into()),
        };
        Ok(Notes::parse(&text).map_err(|reason| DriftError::Notes { path, reason })?)
    }

    /// Writes what is noted of a tenant's files, without what holds for none of them any more.
    pub(super) fn put_notes(
        &self,
        name: &TenantName,
        look: &Look<'_>,
        mut notes: Notes,
    ) -> Result<(), StoreError> {
        notes.retain(|note| {
            look.find(Path::new(&note.path))
                .is_some_and(|(upper, inside)| upper.entry(inside).is_ok_and(|entry| entry.is_some()))
        });
        Ok(record::write(&self.layout.drift(name), notes.render().as_bytes(), Durability::Durable)?)
    }

    /// Notes, of the files that a tenant hides and that another version changes, from which version they come: later there
    /// may be other files in their places. The version is to be had all the same where that fails.
    pub(super) fn note_hidden(
        &self,
        name: &TenantName,
        plan: &Plan,
        before: (&[Generation], Option<Boot>),
        to: &Pinned,
    ) {
        let (history, boot) = before;
        let noted = || -> Result<(), StoreError> {
            let Some(from) = history.last().map(Generation::pinned) else { return Ok(()) };
            let changed = self.differing_paths(&from, to)?;
            let areas = Area::all(plan);
            let hidden = hidden(&areas, &changed);
            if hidden.is_empty() {
                return Ok(());
            }
            let notes = self.notes(name)?;
            let look =
                self.look(Subject { areas, history: history.to_vec(), now: to.clone(), boot, notes })?;
            let mut notes = look.subject.notes.clone();
            for path in hidden {
                if notes.get(&absolute(&path)).is_none() {
                    notes_of(&look, &path).into_iter().for_each(|note| notes.put(note));
                }
            }
            if notes == look.subject.notes { Ok(()) } else { self.put_notes(name, &look, notes) }
        };
        if let Err(error) = noted() {
            log::warn!(
                "cannot note which files of tenant \"{name}\" hide changes of {to}: {}",
                wire::chain(&error)
            );
        }
    }
}

/// The paths of a tenant's own files that hide something of these paths of its image, each once.
fn hidden(areas: &[Area], paths: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut hidden = BTreeSet::new();
    for area in areas {
        let Ok(upper) = Upper::open(&area.dirs, &area.upper) else { continue };
        let hiders = paths.iter().filter_map(|path| upper.hider(area.inside(path)?).ok().flatten());
        hidden.extend(hiders.map(|hider| area.dir.join(hider)));
    }
    hidden
}

fn notes_of(look: &Look<'_>, path: &Path) -> Option<Note> {
    let (upper, inside) = look.find(path)?;
    let found = upper.entry(inside).ok()??.found(path).ok()?;
    let Lineage { version, .. } = look.lineage(path, &found).ok()?;
    let print = Print::of(path, found.own.is_whole(), &*look.inventory(&version)?);
    Some(Note::new(absolute(path), &version, print, Reason::Rebase, false))
}

impl Look<'_> {
    /// The upper directory that a path of the image is in, and the path there.
    pub(super) fn find<'p>(&self, path: &'p Path) -> Option<(&Upper, &'p Path)> {
        let path = path.strip_prefix("/").unwrap_or(path);
        let areas = self.subject.areas.iter().zip(&self.uppers);
        // Of one in another it is the inner one.
        let (area, upper) =
            areas.filter(|(area, _)| area.has(path)).max_by_key(|(area, _)| area.dir.as_os_str().len())?;
        Some((upper.as_ref()?, area.inside(path)?))
    }

    /// The files of a version that it has had.
    pub(super) fn inventory(&self, version: &Pinned) -> Option<Arc<Inventory>> {
        if *version == self.subject.now {
            return Some(self.now.clone());
        }
        self.earlier.iter().find(|(known, _)| known == version).and_then(|(_, inventory)| inventory.clone())
    }

    /// All files that hide something, those that hide a fix first.
    pub(super) fn files(&self) -> Vec<DriftFile> {
        let known = self.earlier.iter().filter_map(|(_, inventory)| inventory.as_ref());
        let all: Vec<&Inventory> = known.chain([&self.now]).map(AsRef::as_ref).collect();
        let mut files = Vec::new();
        for area in &self.subject.areas {
            // In the order of components: what is in a directory comes right behind it.
            let paths: BTreeSet<&Path> = all
                .iter()
                .flat_map(|inventory| inventory.below(&area.dir))
                .map(|item| item.path.as_path())
                .collect();
            let mut done: Option<PathBuf> = None;
            for path in paths {
                if done.as_ref().is_some_and(|done| path.starts_with(done)) || !area.has(path) {
                    continue;
                }
                if Instant::now() >= self.until {
                    self.leave_out(format!(
                        "{} and what follows: {} s were over",
                        absolute(path),
                        LIMIT.as_secs()
                    ));
                    break;
                }
                match self.judge(path) {
                    Ok(Judgement::Absent) => done = Some(path.to_owned()),
                    Ok(Judgement::Merged(judged)) => files.extend(judged.map(|judged| judged.file)),
                    Ok(Judgement::Whole(judged)) => {
                        done = Some(path.to_owned());
                        files.extend(judged.map(|judged| judged.file));
                    }
                    Err(error) => {
                        self.leave_out(format!("{}: {}", absolute(path), words(&error)));
                        done = Some(path.to_owned());
                    }
                }
            }
        }
        files.sort_by(|one, other| (one.fix, &one.path).cmp(&(other.fix, &other.path)));
        if files.len() > MOST_FILES {
            self.leave_out(format!("{} more files that hide one of the image", files.len() - MOST_FILES));
            files.truncate(MOST_FILES);
        }
        files
    }

    fn leave_out(&self, sentence: String) {
        let mut left_out = self.left_out.borrow_mut();
        match left_out.len() {
            MOST_SENTENCES => left_out.push("more".to_owned()),
            count if count < MOST_SENTENCES => left_out.push(sentence),
            _ => {}
        }
    }

    /// Where the versions are.
    pub(super) fn store(&self) -> &Store {
        self.store
    }

    pub(super) fn take_left_out(&self) -> Vec<String> {
        self.left_out.take()
    }

    /// What is to be said of a path of the image.
    pub(super) fn judge(&self, path: &Path) -> io::Result<Judgement> {
        let Some((upper, inside)) = self.find(path) else { return Ok(Judgement::Absent) };
        let Some(entry) = upper.entry(inside)? else { return Ok(Judgement::Absent) };
        let mut found = entry.found(path)?;
        let Lineage { version, known_by } = self.lineage(path, &found)?;
        let inventory = self.inventory(&version);
        let noted = self.subject.notes.get(&absolute(path)).and_then(Note::print);
        let before = match (&inventory, noted) {
            (Some(inventory), _) => Before::Known(inventory),
            (None, Some(print)) => Before::Noted(print),
            (None, None) => Before::Gone,
        };
        if let Own::There(item @ Item { kind: Kind::File, .. }) = &mut found.own {
            let others = [inventory.as_ref().and_then(|inventory| inventory.get(path)), self.now.get(path)];
            let could_be = |other: &Item| other.kind == Kind::File && other.size == item.size;
            if others.into_iter().flatten().any(could_be) {
                let bytes = self.bytes.get().saturating_add(item.size);
                if bytes > MOST_BYTES {
                    self.leave_out(format!("the content of {}: too much to compare", absolute(path)));
                } else {
                    self.bytes.set(bytes);
                    item.sha256 = Some(entry.hash(item.size)?);
                }
            }
        }
        let verdict = verdict::verdict(path, &found.own, before, &self.now);
        let is_whole = found.own.is_whole();
        let is_given = matches!(found.own.item().map(|item| &item.kind), Some(Kind::Symlink(target)) if target == Path::new(RESOLV_CONF));
        let judged = verdict.filter(|_| !is_given).map(|verdict| {
            let verdict::Verdict { kind, fix, change, what, hides } = verdict;
            let what = what.into_iter().map(str::to_owned).collect();
            let from = version.to_string();
            let file = DriftFile { path: absolute(path), kind, fix, change, what, from, known_by, hides };
            Judged { found, file, from: version }
        });
        Ok(if is_whole { Judgement::Whole(judged) } else { Judgement::Merged(judged) })
    }

    /// From which version something comes: what was noted of it, else what the kernel knows of a copy, else its time.
    fn lineage(&self, path: &Path, found: &Found) -> io::Result<Lineage> {
        if let Some(note) = self.subject.notes.get(&absolute(path)) {
            let known_by = match note.by {
                Reason::Rebase => DriftSource::Rebase,
                Reason::Merge => DriftSource::Merge,
            };
            return Ok(Lineage { version: note.version(), known_by });
        }
        if let Some(origin) = &found.origin {
            let versions = self.earlier.iter().map(|(version, _)| version);
            for version in [&self.subject.now].into_iter().chain(versions) {
                if self.opened.have(&self.store.layout, version, &Path::new("/").join(path), origin)? {
                    return Ok(Lineage { version: version.clone(), known_by: DriftSource::Copy });
                }
            }
        }
        let version = lineage::at(found.made_ms, &self.subject.history, self.subject.boot, &self.subject.now);
        Ok(Lineage { version, known_by: DriftSource::Time })
    }

    /// What is said of one path; where it hides nothing, why.
    pub(super) fn one(&self, name: &TenantName, path: &str) -> Result<(PathBuf, Judged), StoreError> {
        let nothing = |reason: String| -> StoreError {
            DriftError::Nothing { tenant: name.to_string(), path: path.to_owned(), reason }.into()
        };
        let relative = path
            .strip_prefix('/')
            .map(Path::new)
            .filter(|path| path.components().all(|part| matches!(part, std::path::Component::Normal(_))));
        let relative =
            relative.ok_or_else(|| nothing("it is not an absolute path without `.` and `..`".to_owned()))?;
        let failed = |error: io::Error| {
            StoreError::File(tenant::files::file_error::FileError::new("look at", path, error))
        };
        let Some((upper, inside)) = self.find(relative) else {
            return Err(nothing(
                "it is in no directory in which the tenant's own files lie over its image's".to_owned(),
            ));
        };
        if let Some(hider) = upper.hider(inside).map_err(failed)?.filter(|hider| hider != inside) {
            let above = relative.ancestors().find(|above| above.ends_with(&hider)).unwrap_or(relative);
            return Err(nothing(format!("it is hidden with all of {}", absolute(above))));
        }
        match self.judge(relative).map_err(failed)? {
            Judgement::Whole(Some(judged)) | Judgement::Merged(Some(judged)) => {
                Ok((relative.to_owned(), judged))
            }
            _ => Err(nothing("the tenant has no file of its own there, or the image has none".to_owned())),
        }
    }
}

/// What is to be said of a path.
pub(super) enum Judgement {
    /// The tenant has nothing there, nor below.
    Absent,
    /// It has a directory there, and the image's is seen in it.
    Merged(Option<Judged>),
    /// It has something there, and nothing of the image's is seen below.
    Whole(Option<Judged>),
}

/// Those that hide a fix.
pub(super) fn shadowed(files: Vec<DriftFile>) -> Vec<DriftFile> {
    files.into_iter().filter(|file| file.fix != DriftFix::None).collect()
}
