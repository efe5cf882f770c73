//! The log of a tty: asked of hostd, and read from its files where hostd is not running.

use serde::Serialize;
use tenant::{
    TenantName,
    protocol::wire::Tty,
    supervisor::terminals::lines::{self, Position, Wanted},
};
use wire::{Code, Failure, LogLines, tenant_name};

use super::{Context, output};

/// The log of one tty of one tenant, read up to a position.
#[derive(Debug)]
pub(super) struct Log<'a> {
    context: &'a Context,
    name: &'a str,
    tty: &'a str,
    position: String,
}

/// Lines of it.
#[derive(Debug, Serialize)]
pub(super) struct Printed {
    name: String,
    #[serde(flatten)]
    lines: LogLines,
}

impl Printed {
    pub(super) fn is_empty(&self) -> bool {
        self.lines.lines.is_empty()
    }

    /// The lines, each with the name of the tenant where it is one of several.
    pub(super) fn text(&self, of_many: bool) -> String {
        let name = if of_many { format!("{}: ", output::clean(&self.name)) } else { String::new() };
        self.lines.lines.iter().map(|line| format!("{name}{}\n", output::clean(line))).collect()
    }
}

impl<'a> Log<'a> {
    pub(super) fn new(context: &'a Context, name: &'a str, tty: &'a str) -> Self {
        Self { context, name, tty, position: String::new() }
    }

    /// The last lines.
    pub(super) async fn last(&mut self, count: usize) -> Result<Printed, Failure> {
        self.read(&format!("lines={count}"), Wanted::Last(count)).await
    }

    /// The lines that came since.
    pub(super) async fn more(&mut self) -> Result<Printed, Failure> {
        let after: Position = self.position.parse().unwrap_or_default();
        self.read(&format!("after={}", self.position), Wanted::After(after)).await
    }

    async fn read(&mut self, query: &str, wanted: Wanted) -> Result<Printed, Failure> {
        let query = format!("/logs?tty={}&{query}", client::segment(self.tty));
        let asked: Result<LogLines, Failure> =
            self.context.client.get(&client::tenant(self.name, &query)).await;
        let lines = match asked {
            // Whoever may read the files needs no hostd for them.
            Err(failure) if failure.code == Code::NoHostd => match self.read_files(wanted)? {
                Some(lines) => lines,
                None => return Err(failure),
            },
            answer => answer?,
        };
        self.position.clone_from(&lines.position);
        Ok(Printed { name: self.name.to_owned(), lines })
    }

    /// What the files say; none where they are not to be read by this user.
    fn read_files(&self, wanted: Wanted) -> Result<Option<LogLines>, Failure> {
        let name: TenantName = tenant_name(self.name)?;
        let tty: Tty = self.tty.parse().map_err(|error| Failure::of(Code::Invalid, &error))?;
        let layout = &self.context.layout;
        if !nix::unistd::geteuid().is_root() {
            return Ok(None);
        }
        if !layout.allocation(&name).exists() {
            let text = format!("there is no tenant {:?}", name.as_str());
            return Err(Failure::new(Code::NoTenant, text).help("list the tenants: tenantctl list"));
        }
        let (lines, position) = lines::read(&layout.log(&name), tty, wanted)
            .map_err(|error| Failure::of(Code::Failed, &error))?;
        Ok(Some(LogLines { lines, position: position.to_string() }))
    }
}
