use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, BufWriter, IsTerminal as _, Write as _},
    os::fd::AsFd as _,
    path::{Component, Path, PathBuf},
    process::ExitCode,
    thread,
};

use clap::Args;
use client::segment;
use filetree::{
    Dir, Keep, Owners, Pack, Reach, Tally, Unpack,
    archive::{Reader, Writer},
    pack, unpack,
};
use hyper::Method;
use nix::unistd::{getegid, geteuid};
use serde_json::json;
use tenant::cause::chain;
use wire::{Code, Done, Failure};

use super::{
    Context, candidates,
    snapshot::amount,
    transfer::{bar, failed},
};

/// So much a pipe holds, bytes.
const PIPE: usize = 1 << 20;

/// Copy files into a tenant, or out of it
///
/// A directory is copied with all that is in it. Files that are copied in are root's, those that are copied out are the
/// caller's, unless -a is given. `-` is a tar archive: of standard input, or on standard output. The tenant may be
/// running or down.
#[derive(Debug, Args)]
pub(super) struct Cp {
    /// What is copied: PATH, NAME:PATH, or -
    #[arg(value_name = "FROM", add = candidates::of(candidates::tenants))]
    from: OsString,
    /// Where it goes: a directory, or the name that it gets
    #[arg(value_name = "TO", add = candidates::of(candidates::tenants))]
    to: OsString,
    /// Keep owners by number, permission bits with setuid, and extended attributes
    #[arg(long, short)]
    archive: bool,
}

/// One end of a copy.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Here(PathBuf),
    Stream,
    Tenant { name: String, path: String },
}

impl End {
    /// A `:` behind a name is of a tenant, unless a `/` stands before it: `./a:b` is here.
    fn parse(text: &OsStr) -> Result<Self, Failure> {
        if text == "-" {
            return Ok(Self::Stream);
        }
        let words = text.to_str().and_then(|text| text.split_once(':'));
        let Some((name, path)) = words.filter(|(name, _)| !name.is_empty() && !name.contains('/')) else {
            return Ok(Self::Here(text.into()));
        };
        Ok(Self::Tenant { name: name.to_owned(), path: plain(path)? })
    }
}

/// A path inside without `.` and `..`, which mean there what they mean to cd(1) without links.
fn plain(path: &str) -> Result<String, Failure> {
    let mut plain = PathBuf::from("/");
    for component in Path::new(path).components() {
        match component {
            Component::ParentDir => drop(plain.pop()),
            Component::Normal(name) => plain.push(name),
            _ => {}
        }
    }
    if path.is_empty() {
        return Err(Failure::new(Code::Invalid, "the path in the tenant is empty").help("its root is NAME:/"));
    }
    Ok(plain.to_string_lossy().into_owned())
}

impl Cp {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let (from, to) = (End::parse(&self.from)?, End::parse(&self.to)?);
        let tally = match (from, to) {
            (End::Tenant { name, path }, End::Stream) => {
                if io::stdout().is_terminal() {
                    return Err(
                        Failure::new(Code::Invalid, "an archive is not for a terminal").help("redirect it")
                    );
                }
                let out = io::stdout()
                    .as_fd()
                    .try_clone_to_owned()
                    .map_err(|e| failed("write", Path::new("-"), &e))?;
                context.client.hand_over::<Done>(Method::GET, &read(&name, &path), out).await?;
                return Ok(ExitCode::SUCCESS);
            }
            (End::Tenant { name, path }, End::Here(to)) => self.out(context, (&name, &path), &to).await?,
            (End::Stream, End::Tenant { name, path }) => {
                let input = io::stdin()
                    .as_fd()
                    .try_clone_to_owned()
                    .map_err(|e| failed("read", Path::new("-"), &e))?;
                let path = write(&name, &path, true);
                context.client.hand_over::<Done>(Method::PUT, &path, input).await?;
                return Ok(ExitCode::SUCCESS);
            }
            (End::Here(from), End::Tenant { name, path }) => self.put(context, &from, (&name, &path)).await?,
            (End::Tenant { .. }, End::Tenant { .. }) => {
                let text = "both are in tenants";
                return Err(Failure::new(Code::Invalid, text)
                    .help("copy through a pipe: tenantctl cp alice:/srv - | tenantctl cp - bob:/"));
            }
            _ => {
                let text = "neither is in a tenant";
                return Err(Failure::new(Code::Invalid, text).help("name one of them as TENANT:PATH"));
            }
        };
        let done = json!({ "entries": tally.entries, "bytes": tally.bytes, "left_out": tally.left_out });
        context.output.print(&done, |_| format!("{}\n", amount(tally.entries, tally.bytes, tally.left_out)));
        Ok(ExitCode::SUCCESS)
    }

    /// Out of a tenant.
    async fn out(&self, context: &Context, (name, path): (&str, &str), to: &Path) -> Result<Tally, Failure> {
        let refuse = |error: io::Error| failed("write", to, &error);
        // What it would take the place of may be the machine's.
        if to.metadata().is_ok_and(|there| !there.is_file() && !there.is_dir()) {
            let text = format!("{to:?} is neither a file nor a directory");
            return Err(Failure::new(Code::Invalid, text)
                .help("name a file, or use - for an archive on standard output"));
        }
        // Into a directory, or under a name of its own.
        let (dir, as_name) = match to.is_dir() {
            true => (to.to_owned(), None),
            false => {
                let name = to.file_name().ok_or_else(|| refuse(io::ErrorKind::NotFound.into()))?;
                let dir = to.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
                (dir.to_owned(), Some(name.to_owned()))
            }
        };
        let dir = dir.canonicalize().and_then(|dir| Dir::open(&dir)).map_err(refuse)?;
        let (read_end, write_end) = wide_pipe().map_err(refuse)?;
        let keeps = self.archive && geteuid().is_root();
        let bar = bar("copying");
        let told = bar.clone();
        let whole = path == "/";
        let unpacking = thread::spawn(move || {
            let how = Unpack {
                prefix: Path::new(""),
                owners: match keeps {
                    true => Owners::Kept,
                    false => Owners::All(geteuid().as_raw(), getegid().as_raw()),
                },
                keep: if keeps { Keep::Own } else { Keep::Nothing },
                describes_top: false,
                name: as_name.as_deref().filter(|_| !whole),
                modes: if keeps { 0o7777 } else { 0o777 },
            };
            let mut watch = |tally: &Tally| {
                told.set_position(tally.bytes);
                Ok(())
            };
            unpack(&mut Reader::new(read_end), &dir, &how, &mut watch)
        });
        let sent = context.client.hand_over::<Done>(Method::GET, &read(name, path), write_end.into()).await;
        let unpacked = unpacking.join();
        bar.finish_and_clear();
        let unpacked = unpacked.map_err(|_| Failure::new(Code::Failed, "the unpacking thread panicked"))?;
        match (unpacked, sent) {
            // Not by the pipe that its reader has closed.
            (Err(error), Ok(_)) => Err(Failure::new(Code::Failed, chain(&error))),
            (Err(error), Err(failure)) if !error.is_cut_off() && failure.code == Code::Failed => {
                Err(Failure::new(Code::Failed, chain(&error)))
            }
            (_, Err(failure)) => Err(failure),
            (Ok(unpacked), Ok(_)) => Ok(unpacked.tally),
        }
    }

    /// Into a tenant.
    async fn put(
        &self,
        context: &Context,
        from: &Path,
        (name, path): (&str, &str),
    ) -> Result<Tally, Failure> {
        let refuse = |error: io::Error| failed("read", from, &error);
        // `.` and `x/..` have no name of their own; a link at the end is copied as a link.
        let whole = match from.file_name() {
            Some(_) => from.to_owned(),
            None => from.canonicalize().map_err(refuse)?,
        };
        let last = whole.file_name().map(OsStr::to_owned);
        let dir = whole.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // With what is mounted in it.
        let dir = File::open(dir).map(|dir| Dir::new(dir.into(), Reach::Confined)).map_err(refuse)?;
        let keep = if self.archive { Keep::Own } else { Keep::Nothing };
        let (read_end, write_end) = wide_pipe().map_err(refuse)?;
        let bar = bar("copying");
        let told = bar.clone();
        let packing = thread::spawn(move || -> Result<Tally, filetree::TreeError> {
            use std::os::unix::ffi::OsStrExt as _;
            let name = last.as_ref().and_then(|name| std::ffi::CString::new(name.as_bytes()).ok());
            let prefix = last.as_deref().unwrap_or(OsStr::new("."));
            let how = Pack { prefix: Path::new(prefix), keep, passes: &|_| false };
            let mut archive = Writer::new(BufWriter::with_capacity(256 << 10, write_end));
            let mut watch = |tally: &Tally| {
                told.set_position(tally.bytes);
                Ok(())
            };
            let tally = pack(&dir, name.as_deref(), &how, &mut archive, &mut watch)?;
            // A reader that is gone tells why itself.
            if let Ok(mut out) = archive.finish() {
                let _ = out.flush();
            }
            Ok(tally)
        });
        let target = write(name, path, self.archive);
        let done = context.client.hand_over::<Done>(Method::PUT, &target, read_end.into()).await;
        bar.finish_and_clear();
        let packed = packing.join().map_err(|_| Failure::new(Code::Failed, "the packing thread panicked"))?;
        match (packed, done) {
            // Not by the pipe that its reader has closed.
            (Err(error), Ok(_)) => Err(Failure::new(Code::Failed, chain(&error))),
            (Err(error), Err(_)) if error.source.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::new(Code::Failed, chain(&error)))
            }
            (_, Err(failure)) => Err(failure),
            (Ok(tally), Ok(_)) => Ok(tally),
        }
    }
}

fn read(name: &str, path: &str) -> String {
    client::tenant(name, &format!("/files?descriptor=true&path={}", segment(path)))
}

fn write(name: &str, path: &str, keeps_owners: bool) -> String {
    let keeps = if keeps_owners { "&keep_owners=true" } else { "" };
    client::tenant(name, &format!("/files?descriptor=true&path={}{keeps}", segment(path)))
}

/// A pipe that holds as much as one of its ends reads or writes at once.
fn wide_pipe() -> io::Result<(io::PipeReader, io::PipeWriter)> {
    let (read, write) = io::pipe()?;
    // A user who has many pipes has smaller ones.
    let _ = rustix::pipe::fcntl_setpipe_size(&write, PIPE);
    Ok((read, write))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_here_or_in_a_tenant() {
        let tenant = |name: &str, path: &str| End::Tenant { name: name.to_owned(), path: path.to_owned() };
        for (text, end) in [
            ("alice:/etc/hosts", tenant("alice", "/etc/hosts")),
            ("alice:srv/../etc/./x", tenant("alice", "/etc/x")),
            ("alice:/../..", tenant("alice", "/")),
            ("-", End::Stream),
            ("./a:b", End::Here("./a:b".into())),
            ("/srv/a:b", End::Here("/srv/a:b".into())),
            (":b", End::Here(":b".into())),
            ("file", End::Here("file".into())),
        ] {
            assert_eq!(End::parse(OsStr::new(text)).unwrap(), end, "{text}");
        }
        assert!(End::parse(OsStr::new("alice:")).is_err());
    }
}
