//! A tenant made of an archive that another host, or this one, has exported.

use std::{io::Read, path::Path};

use filetree::{
    Keep, Owners, Tally, Unpack, UnpackError, Unpacked, Watch,
    archive::{Member, ReadError, Reader},
    unpack,
};
use tenant::{
    TenantName,
    model::{
        allocation::Pinned,
        image::{ImageRef, InvalidImageRef},
    },
};
use wire::{ExportEnd, ExportHead};

use super::{CopyError, Part};
use crate::records::{NewTenant, Store, StoreError, create::Seed, edit, lifecycle::Made};

/// Largest head, or file, of a tenant, bytes.
const MOST: u64 = 1 << 20;

/// How a tenant is made of an archive.
#[derive(Clone, Debug, Default)]
pub struct Import {
    /// Its name; the one that it had, if none.
    pub name: Option<TenantName>,
    /// The version of an image that it gets, if not the one that it had.
    pub base: Option<String>,
    /// What is different in its file.
    pub new: NewTenant,
    /// Keys that its file does not have.
    pub unset: Vec<String>,
}

/// What became of an archive.
#[derive(Debug)]
pub struct Imported {
    /// The tenant.
    pub name: TenantName,
    /// What was unpacked.
    pub tally: Tally,
    /// What is worth knowing.
    pub warnings: Vec<String>,
}

/// The next member, which has to have a name.
fn expect<R: Read>(archive: &mut Reader<R>, name: &str) -> Result<Vec<u8>, StoreError> {
    let bad = |error: UnpackError| not_exported(&error);
    let member = archive.next_member().map_err(|error| bad(error.into()))?;
    let found = member.as_ref().map(|member| member.path.to_string_lossy().into_owned());
    match member {
        Some(member) if member.path == name => {
            Ok(archive.bytes(&member, MOST).map_err(|error| bad(error.into()))?)
        }
        _ => {
            let found = found.map_or("nothing".to_owned(), |found| format!("{found:?}"));
            Err(CopyError::NotExported(format!("{found} stands where {name:?} should")).into())
        }
    }
}

fn not_exported(error: &UnpackError) -> CopyError {
    match error {
        UnpackError::Archive(error) if matches!(error.fault, ReadError::Io(_)) => CopyError::Short,
        error => CopyError::NotExported(wire::chain(error)),
    }
}

impl Store {
    /// Makes a tenant of an archive.
    ///
    /// # Errors
    /// It is none of a tenant, or not whole; the version that its files lie over is not here; those of [`Store::create`].
    /// Nothing is changed then.
    pub fn import<R: Read>(&self, how: &Import, stream: R, watch: Watch<'_>) -> Result<Imported, StoreError> {
        let mut archive = Reader::new(stream);
        let head = expect(&mut archive, ExportHead::NAME)?;
        let head = parse_head(&head)?;
        let text = String::from_utf8(expect(&mut archive, ExportHead::CONFIG)?)
            .map_err(|_| CopyError::NotExported("the tenant's file is not text".to_owned()))?;
        let name = match &how.name {
            Some(name) => name.clone(),
            None => {
                head.name.parse().map_err(|error| CopyError::NotExported(format!("its name: {error}")))?
            }
        };
        // Before anything is unpacked for nothing.
        self.refuse_taken(&name)?;
        let text = edit::apply(&text, &how.new.set, &how.unset).map_err(StoreError::setting(&name))?;
        self.resolve_text(&name, &text)?;
        let pinned = self.base(&head, how.base.as_deref())?;
        let mut part = Part::begin(self)?;
        let unpacked = self.unpack(&mut archive, &part, &name, watch)?;
        let uuid = self.free_uuid(&head.uuid);
        let seed = Seed::Part { part: part.path(), is_copy: uuid.is_none() };
        self.make(&Made { name: &name, text: &text, pinned: Some(&pinned), uuid: uuid.as_deref() }, seed)?;
        part.taken();
        let mut warnings = Vec::new();
        if uuid.is_none() {
            warnings.push(
                "its uuid is in use on this host: it is a copy, with keys and ids of its own".to_owned(),
            );
        }
        if pinned.digest.to_string() != head.digest {
            warnings.push(format!(
                "its files lay over version {} and lie over {} now",
                head.digest, pinned.digest
            ));
        }
        Ok(Imported { name, tally: unpacked, warnings })
    }

    fn unpack<R: Read>(
        &self,
        archive: &mut Reader<R>,
        part: &Part<'_>,
        name: &TenantName,
        watch: Watch<'_>,
    ) -> Result<Tally, StoreError> {
        let how = Unpack {
            prefix: Path::new(ExportHead::DIRS),
            owners: Owners::Kept,
            keep: Keep::Layer,
            describes_top: true,
            name: None,
            modes: 0o7777,
        };
        let failed = |source| StoreError::from(CopyError::Unpack { tenant: name.to_string(), source });
        let Unpacked { tally, next } = unpack(archive, &part.dirs()?, &how, watch).map_err(failed)?;
        let is_end = |member: &Member| member.path == ExportHead::END;
        let end = next.filter(is_end).ok_or(CopyError::Short)?;
        let end = archive.bytes(&end, MOST).map_err(|error| failed(error.into()))?;
        let said: ExportEnd = serde_json::from_slice(&end).map_err(|_| CopyError::Short)?;
        if said.entries != tally.entries + tally.left_out {
            return Err(CopyError::Short.into());
        }
        match archive.next_member().map_err(|error| failed(error.into()))? {
            None => Ok(tally),
            Some(_) => Err(CopyError::NotExported("something follows its end".to_owned()).into()),
        }
    }

    /// The version that the files are to lie over.
    fn base(&self, head: &ExportHead, wanted: Option<&str>) -> Result<Pinned, StoreError> {
        let bad = |what: &str| CopyError::NotExported(format!("its {what} cannot be read"));
        if let Some(wanted) = wanted {
            let reference: ImageRef = wanted.parse().map_err(|error: InvalidImageRef| {
                StoreError::Target { text: wanted.to_owned(), reason: error.to_string() }
            })?;
            return self.version_meant(&reference);
        }
        let image = head.image.parse().map_err(|_| bad("image"))?;
        let digest = head.digest.parse().map_err(|_| bad("version"))?;
        let pinned = Pinned { image, digest };
        self.find_base(
            &pinned,
            "bring the version here (rootfsctl pull, or save and load), or name another one: --base IMAGE:CHANNEL",
        )?;
        Ok(pinned)
    }

    /// A uuid that no tenant of this host has.
    fn free_uuid(&self, uuid: &str) -> Option<String> {
        let is_uuid = uuid.len() == 32 && uuid.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_free = self.records().values().all(|record| record.uuid != uuid);
        (is_uuid && is_free).then(|| uuid.to_owned())
    }
}

fn parse_head(bytes: &[u8]) -> Result<ExportHead, CopyError> {
    #[derive(serde::Deserialize)]
    struct Format {
        format_version: u32,
        #[serde(default)]
        release: String,
    }
    let bad = |error: serde_json::Error| CopyError::NotExported(format!("its head: {error}"));
    let Format { format_version, release } = serde_json::from_slice(bytes).map_err(bad)?;
    match format_version {
        ExportHead::FORMAT_VERSION => serde_json::from_slice(bytes).map_err(bad),
        format => {
            let release = release.chars().filter(|char| !char.is_control()).take(32).collect();
            Err(CopyError::Newer { release, format })
        }
    }
}
