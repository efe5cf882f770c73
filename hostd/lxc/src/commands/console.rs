use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser;
use tenant::{
    attach::{self, AttachEnd, AttachOptions, DetachKey},
    protocol::wire::Tty,
};
use wire::{Code, Failure, chain};

use super::{Applet, Common, Lxc, Named, Result};

/// Log in on a tty of a tenant
#[derive(Debug, Parser)]
#[command(version)]
pub(super) struct Console {
    #[command(flatten)]
    named: Named,
    /// Number of the tty; 0 is the console
    #[arg(short = 't', long, value_name = "NUMBER", default_value = "1")]
    tty: String,
    /// Control character before the q that ends the session, e.g. ^a or a
    #[arg(short = 'e', long, value_name = "PREFIX", default_value = "a")]
    escape: String,
    #[command(flatten)]
    common: Common,
}

impl Applet for Console {
    fn run(self, lxc: &Lxc) -> Result<ExitCode> {
        let name = self.named.get()?;
        let tty = if self.tty == "0" { Ok(Tty::CONSOLE) } else { self.tty.parse() };
        let tty = tty.map_err(|_| {
            Failure::new(Code::Invalid, format!("{:?} is not the number of a tty", self.tty))
                .help("e.g. -t 1")
        })?;
        lxc.running(&name)?;
        let letter = self.escape.strip_prefix('^').unwrap_or(&self.escape);
        let detach_key: DetachKey = format!("^{letter} q").parse().map_err(|_| {
            Failure::new(Code::Invalid, format!("{:?} is not a control character", self.escape))
                .help("e.g. -e ^b")
        })?;
        let _ = writeln!(io::stderr(), "\nConnected to tty {}", self.tty);
        let _ = writeln!(
            io::stderr(),
            "Type <Ctrl+{letter} q> to exit the console, <Ctrl+{letter} Ctrl+{letter}> to enter Ctrl+{letter} itself"
        );
        let options = AttachOptions { tty, detach_key, ..AttachOptions::default() };
        match attach::run(lxc.layout(), &name, options) {
            Ok(AttachEnd::Lost) => Ok(ExitCode::FAILURE),
            Ok(_) => Ok(ExitCode::SUCCESS),
            Err(error) => Err(Failure { help: error.help(), ..Failure::new(Code::Failed, chain(&error)) }),
        }
    }
}
