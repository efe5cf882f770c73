//! The end of init's program: another one in its place.

use std::{ffi::CString, io};

use crate::{
    kernel::{KernelError, Result},
    plan::Plan,
};

/// Executes the tenant's init, or its program. Returns only where that fails.
pub(super) fn execute(plan: &Plan) -> Result<()> {
    let text = |text: String| CString::new(text).map_err(io::Error::from);
    let argv = plan.init.argv.iter().map(|argument| text(argument.clone())).collect::<io::Result<Vec<_>>>();
    let env = plan.init.env.iter().map(|(key, value)| text(format!("{key}={value}")));
    let env = env.collect::<io::Result<Vec<_>>>();
    let failed = |error: io::Error| KernelError::new("execute", &plan.init.argv[0], error);
    let (argv, env) = (argv.map_err(failed)?, env.map_err(failed)?);
    if let Some(directory) = &plan.init.directory {
        let failed = |error: nix::Error| KernelError::new("enter", directory, io::Error::from(error));
        nix::unistd::chdir(directory.as_str()).map_err(failed)?;
    }
    match nix::unistd::execve(&argv[0], &argv, &env) {
        Ok(never) => match never {},
        Err(error) => Err(failed(error.into())),
    }
}
