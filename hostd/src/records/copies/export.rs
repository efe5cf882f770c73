//! A tenant as an archive: what it is, its file, its directories.

use std::io::{self, Write};

use filetree::{
    Dir, Keep, Pack, Tally, Watch,
    archive::{Entry, Kind, Writer},
    pack,
};
use rustix::fs::Timespec;
use serde::Serialize;
use tenant::{TenantName, files::file_error::FileError};
use wire::{ExportEnd, ExportHead};

use super::{CopyError, stores::passes};
use crate::records::{Store, StoreError, stamp::now};

fn json(value: &impl Serialize) -> io::Result<Vec<u8>> {
    serde_json::to_vec_pretty(value).map_err(io::Error::other)
}

impl Store {
    /// Writes a tenant as an archive.
    ///
    /// # Errors
    /// A file cannot be read, or `out` cannot be written.
    pub fn export<W: Write>(
        &self,
        tenant: &TenantName,
        live: bool,
        out: W,
        watch: Watch<'_>,
    ) -> Result<Tally, StoreError> {
        let record = self.ready(tenant)?;
        let text = self.config_text(tenant)?;
        let (_, plan) = self.plan(tenant, None)?;
        let head = ExportHead {
            format_version: ExportHead::FORMAT_VERSION,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            name: tenant.to_string(),
            uuid: record.uuid,
            created: record.created,
            exported: now(),
            image: record.pinned.image.to_string(),
            digest: record.pinned.digest.to_string(),
            live,
        };
        let path = self.layout.dirs(tenant);
        let failed = FileError::when("export", &path);
        let dirs = Dir::open(&path).map_err(failed)?;
        let mut archive = Writer::new(out);
        let member = |archive: &mut Writer<W>, name: &str, data: &[u8]| {
            let entry = Entry {
                path: name.as_bytes(),
                kind: Kind::File,
                link: b"",
                mode: 0o600,
                uid: 0,
                gid: 0,
                mtime: Timespec { tv_sec: 0, tv_nsec: 0 },
                attributes: &[],
            };
            archive.bytes(&entry, data).map_err(failed)
        };
        member(&mut archive, ExportHead::NAME, &json(&head).map_err(failed)?)?;
        member(&mut archive, ExportHead::CONFIG, text.as_bytes())?;
        let how = Pack { prefix: ExportHead::DIRS.as_ref(), keep: Keep::Layer, passes: &passes(&plan) };
        let tally = pack(&dirs, None, &how, &mut archive, watch)
            .map_err(|source| CopyError::Tree { tenant: tenant.to_string(), source })?;
        let end = ExportEnd { entries: tally.entries, bytes: tally.bytes };
        member(&mut archive, ExportHead::END, &json(&end).map_err(failed)?)?;
        archive.finish().map_err(failed)?;
        Ok(tally)
    }
}
