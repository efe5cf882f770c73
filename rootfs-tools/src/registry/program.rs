//! The program of an image without an init: what its makers say that it runs.

use std::{collections::BTreeMap, path::Path};

use tenant::model::image::App;

use super::layout::Config;
use crate::rootdir::RootDir;

/// Where programs are looked for if an image does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What an image runs, and what of it does not hold for tenants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// The program; none if the image names none, or one that it does not have.
    pub app: Option<App>,
    /// What is left out, one note for each.
    pub notes: Vec<String>,
}

/// What an image runs: `Entrypoint`, `Cmd`, `Env`, `WorkingDir` and `StopSignal` of its configuration.
pub fn app(config: &Config, root: &RootDir) -> Runs {
    let mut runs = Runs::default();
    let Some(run) = &config.config else { return runs };
    let mut argv: Vec<String> =
        [&run.entrypoint, &run.cmd].into_iter().flatten().flat_map(|words| words.iter().cloned()).collect();
    let mut env = BTreeMap::new();
    for setting in run.env.iter().flatten() {
        match setting.split_once('=') {
            Some((name, value)) if is_name(name) && value.len() <= 4096 && !value.contains('\0') => {
                env.insert(name.to_owned(), value.to_owned());
            }
            _ => runs.notes.push("a variable of its environment with an odd name or value".to_owned()),
        }
    }
    if let Some(user) = run.user.as_deref().filter(|user| !matches!(*user, "" | "0" | "root" | "0:0")) {
        let user: String = user.chars().take(64).collect();
        runs.notes.push(format!("its user {user:?}: the program is started as the tenant's root"));
    }
    let Some(program) = argv.first() else { return runs };
    let directory = run.working_dir.clone().filter(|dir| dir.starts_with('/') && dir != "/");
    let path = env.get("PATH").map_or(PATH, String::as_str);
    match find(program, path, directory.as_deref(), root) {
        Some(found) => argv[0] = found,
        None => {
            let program: String = program.chars().take(64).collect();
            runs.notes.push(format!("its program {program:?}, which is not in the image"));
            return runs;
        }
    }
    if argv.iter().any(|word| word.contains('\0')) {
        runs.notes.push("its program, whose arguments contain a NUL".to_owned());
        return runs;
    }
    let stop_signal = run.stop_signal.as_deref().and_then(signal);
    runs.app = Some(App { init: argv, env, directory, stop_signal });
    runs
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The absolute path of a program as the image's own `PATH` finds it.
fn find(program: &str, path: &str, directory: Option<&str>, root: &RootDir) -> Option<String> {
    let candidates: Vec<String> = if program.starts_with('/') {
        vec![program.to_owned()]
    } else if program.contains('/') {
        vec![Path::new(directory.unwrap_or("/")).join(program).to_string_lossy().into_owned()]
    } else {
        path.split(':').filter(|dir| dir.starts_with('/')).map(|dir| format!("{dir}/{program}")).collect()
    };
    candidates.into_iter().find(|file| root.is_file(file))
}

/// The whole name of a signal that kill(1) takes; none for what is no signal.
fn signal(text: &str) -> Option<String> {
    text.parse::<tenant::config::Signal>().ok().map(|signal| signal.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::layout::Run;

    fn runs(run: Run) -> Runs {
        let dir = tempfile::tempdir().unwrap();
        let root = RootDir::open(dir.path()).unwrap();
        root.write("usr/sbin/nginx", b"", 0o755).unwrap();
        root.write("srv/run.sh", b"", 0o755).unwrap();
        app(&Config { config: Some(run), ..Config::default() }, &root)
    }

    fn words(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn entrypoint_and_arguments_become_the_program() {
        let run = Run {
            entrypoint: words(&["nginx"]),
            cmd: words(&["-g", "daemon off;"]),
            env: words(&["PATH=/usr/sbin", "VERSION=1=2", "bad name=x", "NOTHING"]),
            user: Some("www".to_owned()),
            stop_signal: Some("QUIT".to_owned()),
            ..Run::default()
        };
        let Runs { app, notes } = runs(run);
        let app = app.unwrap();
        assert_eq!(app.init, ["/usr/sbin/nginx", "-g", "daemon off;"]);
        assert_eq!(app.env["VERSION"], "1=2");
        assert_eq!((app.env.len(), app.stop_signal.as_deref()), (2, Some("SIGQUIT")));
        assert_eq!(notes.len(), 3, "{notes:?}");
        assert!(notes[2].contains("\"www\""), "{notes:?}");
    }

    #[test]
    fn a_program_is_found_in_the_image_or_not_taken() {
        let run = Run { cmd: words(&["./run.sh"]), working_dir: Some("/srv".to_owned()), ..Run::default() };
        let app = runs(run).app.unwrap();
        assert_eq!((app.init[0].as_str(), app.directory.as_deref()), ("/srv/./run.sh", Some("/srv")));
        let Runs { app, notes } = runs(Run { cmd: words(&["missing"]), ..Run::default() });
        assert!(app.is_none() && notes[0].contains("\"missing\""), "{notes:?}");
        assert_eq!(runs(Run::default()), Runs::default());
        assert_eq!(signal("nonsense"), None);
    }
}
