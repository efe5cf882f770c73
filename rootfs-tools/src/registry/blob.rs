//! A blob that is compared with its name by the very bytes that are used.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, Read, Seek as _},
    path::{Path, PathBuf},
    rc::Rc,
};

use sha2::{Digest as _, Sha256};
use tenant::{files::file_error::FileError, model::ids::Digest};

use super::error::RegistryError;

/// A blob that is being read.
#[derive(Debug)]
pub(super) struct Blob {
    path: PathBuf,
    file: File,
    digest: Digest,
    size: u64,
    hasher: Sha256,
    length: u64,
}

impl Blob {
    /// The blob in a file, by its name and its size in bytes.
    ///
    /// # Errors
    /// It is missing.
    pub(super) fn open(path: PathBuf, digest: Digest, size: u64) -> Result<Self, RegistryError> {
        let is_file = path.symlink_metadata().is_ok_and(|meta| meta.is_file());
        if !is_file {
            return Err(RegistryError::NoBlob(digest));
        }
        let file = File::open(&path).map_err(FileError::when("open", &path))?;
        Ok(Self { path, file, digest, size, hasher: Sha256::new(), length: 0 })
    }

    /// Its file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// All of it, for what is small.
    ///
    /// # Errors
    /// It is damaged.
    pub(super) fn whole(mut self) -> Result<Vec<u8>, RegistryError> {
        let mut bytes = Vec::new();
        let size = self.size;
        (&mut self).take(size).read_to_end(&mut bytes).map_err(FileError::when("read", &self.path))?;
        self.finish()?;
        Ok(bytes)
    }

    /// Reads it to its end and compares it; it can be read from its beginning then.
    ///
    /// # Errors
    /// It is damaged.
    pub(super) fn check(&mut self) -> Result<(), RegistryError> {
        self.finish()?;
        self.file.rewind().map_err(FileError::when("read", &self.path))?;
        (self.hasher, self.length) = (Sha256::new(), 0);
        Ok(())
    }

    /// Reads what is left of it, and compares all that was read.
    ///
    /// # Errors
    /// It is damaged.
    pub(super) fn finish(&mut self) -> Result<(), RegistryError> {
        let digest = self.digest;
        let damaged = |why| Err(RegistryError::Blob { digest, why });
        let mut buffer = vec![0; 128 << 10];
        // One byte too many says enough.
        while self.length <= self.size {
            if self.read(&mut buffer).map_err(FileError::when("read", &self.path))? == 0 {
                break;
            }
        }
        if self.length != self.size {
            return damaged("its size is another");
        }
        if Digest::from_bytes(self.hasher.clone().finalize().into()) != self.digest {
            return damaged("its content has another digest");
        }
        Ok(())
    }
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        self.length += length as u64;
        Ok(length)
    }
}

/// A blob that is unpacked by one who keeps it to the end of its stream, and compared after that by another.
#[derive(Clone, Debug)]
pub(super) struct Shared(pub(super) Rc<RefCell<Blob>>);

impl Read for Shared {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn blob(dir: &Path) -> Blob {
        let path = dir.join("blob");
        fs::write(&path, "content").unwrap();
        let digest = Digest::from_bytes(Sha256::digest("content").into());
        Blob::open(path, digest, 7).unwrap()
    }

    #[test]
    fn what_is_used_is_what_is_compared_also_if_it_is_exchanged_after_a_check() {
        let dir = tempfile::tempdir().unwrap();
        let mut whole = blob(dir.path());
        whole.check().unwrap();
        assert_eq!(whole.whole().unwrap(), b"content");
        for (other, why) in [("Content", "digest"), ("content and more", "size"), ("con", "size")] {
            let mut exchanged = blob(dir.path());
            exchanged.check().unwrap();
            fs::write(dir.path().join("blob"), other).unwrap();
            let error = exchanged.whole().unwrap_err().to_string();
            assert!(error.contains("is damaged") && error.contains(why), "{error}");
        }
    }
}
