//! The program that the new process executes, with its arguments and its environment.

use std::{collections::BTreeMap, ffi::CString, io};

use nix::{errno::Errno, unistd::execve};

use super::{locale, passwd::User};

/// What is executed, prepared before powers are given up.
pub(super) struct Image {
    programs: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
}

impl Image {
    /// `argv` as in [`Command`](super::Command); the later of the environments is laid over the earlier.
    pub(super) fn new(
        argv: &[String],
        user: &User,
        environments: [&[(String, String)]; 3],
    ) -> io::Result<Self> {
        let mut env = BTreeMap::from([
            locale::DEFAULT,
            ("HOME", user.home.as_str()),
            ("USER", user.name.as_str()),
            ("LOGNAME", user.name.as_str()),
            ("SHELL", user.shell.as_str()),
        ]);
        env.extend(environments.into_iter().flatten().map(|(key, value)| (key.as_str(), value.as_str())));
        let (programs, argv) = match argv.first() {
            None => {
                let name = user.shell.rsplit('/').next().unwrap_or("sh");
                (vec![user.shell.clone(), "/bin/sh".to_owned()], vec![format!("-{name}")])
            }
            Some(program) if program.contains('/') => (vec![program.clone()], argv.to_vec()),
            Some(program) => {
                let path = env.get("PATH").copied().unwrap_or("/usr/bin:/bin");
                let dirs = path.split(':').filter(|dir| dir.starts_with('/'));
                (dirs.map(|dir| format!("{dir}/{program}")).collect(), argv.to_vec())
            }
        };
        let text = |text: String| CString::new(text).map_err(io::Error::from);
        Ok(Self {
            programs: programs.into_iter().map(text).collect::<io::Result<_>>()?,
            argv: argv.into_iter().map(text).collect::<io::Result<_>>()?,
            env: env.iter().map(|(key, value)| text(format!("{key}={value}"))).collect::<io::Result<_>>()?,
        })
    }

    /// Executes the first program that is there; returns why none was, as execvp(3) does.
    pub(super) fn execute(&self) -> i32 {
        let mut error = Errno::ENOENT;
        for program in &self.programs {
            match execve(program, &self.argv, &self.env) {
                Ok(never) => match never {},
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(denied @ Errno::EACCES) => error = denied,
                Err(other) => return other as i32,
            }
        }
        error as i32
    }
}

#[cfg(test)]
mod tests {
    use super::{super::passwd, *};

    #[test]
    fn a_program_is_looked_up_inside_and_the_user_has_its_environment() {
        let user = passwd::find("ann:x:1000:1000::/home/ann:/bin/zsh", "ann").unwrap();
        let env = vec![
            ("PATH".to_owned(), "/usr/bin:relative:/bin".to_owned()),
            ("USER".to_owned(), "x".to_owned()),
        ];
        let image = Image::new(&["ls".to_owned()], &user, [&env, &[], &[]]).unwrap();
        assert_eq!(image.programs, [c"/usr/bin/ls".to_owned(), c"/bin/ls".to_owned()]);
        assert!(image.env.contains(&c"HOME=/home/ann".to_owned()));
        assert!(image.env.contains(&c"USER=x".to_owned()));
        let shell = Image::new(&[], &user, [&[]; 3]).unwrap();
        assert_eq!(shell.argv, [c"-zsh".to_owned()]);
        assert_eq!(shell.programs[0], c"/bin/zsh".to_owned());
    }

    #[test]
    fn the_tenants_locale_is_laid_over_the_hosts_and_under_what_was_asked_for() {
        let user = passwd::find("", "root").unwrap();
        let lang = |value: &str| vec![("LANG".to_owned(), value.to_owned())];
        let of = |host: &[(String, String)], own: &[(String, String)], asked: &[(String, String)]| {
            let image = Image::new(&[], &user, [host, own, asked]).unwrap();
            let lang = image.env.iter().find_map(|one| one.to_str().ok()?.strip_prefix("LANG="));
            lang.unwrap().to_owned()
        };
        assert_eq!(of(&[], &[], &[]), "C.UTF-8");
        assert_eq!(of(&lang("host"), &[], &[]), "host");
        assert_eq!(of(&lang("host"), &lang("own"), &[]), "own");
        assert_eq!(of(&lang("host"), &lang("own"), &lang("asked")), "asked");
    }
}
