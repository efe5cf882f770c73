//! `hostd`: keeps the records of tenants, starts their supervisors, and serves the API.

// It panics where it cannot write: what is said on the way must not end the work.
#![cfg_attr(not(test), deny(clippy::print_stderr))]

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::Parser;
use hostd::{
    api::{OPENAPI, serve},
    host::{Host, Progress},
    logging,
    records::{Store, make_runtime_dir},
    service,
    units::{UnitManager, standalone::Standalone, systemd::Systemd},
};
use log::LevelFilter;
use tenant::{
    HostFacts, Layout, journal,
    kernel::{KernelError, Linux, raw},
};
use tokio::signal::unix::{SignalKind, signal};
use wire::{Code, Failure};

/// Grace period at shutdown for requests in progress and for changes whose client has disconnected.
const PATIENCE: Duration = Duration::from_secs(5);

/// Host daemon: manages the tenants of this host
#[derive(Debug, Parser)]
#[command(name = "hostd", version, max_term_width = 100)]
struct Cli {
    /// Directory that all paths of Tenantry are relative to; default: $TENANTRY_ROOT, or /
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Who starts the supervisors
    #[arg(long, value_enum, default_value = "auto")]
    units: Units,
    /// Print the OpenAPI document of the API and exit
    #[arg(long)]
    openapi: bool,
    /// Log debug messages
    #[arg(long, short)]
    verbose: bool,
}

/// Who starts the supervisors of tenants.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Units {
    /// systemd, where it is PID 1, has tenant@.service and the root is /; else hostd itself
    Auto,
    /// systemd
    Systemd,
    /// hostd itself
    Standalone,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.openapi {
        print!("{OPENAPI}");
        return ExitCode::SUCCESS;
    }
    let level = if cli.verbose { LevelFilter::Debug } else { LevelFilter::Info };
    let layout = wire::layout(cli.root);
    logging::init(&layout, level);
    match run(layout, cli.units) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(io::stderr(), "error: {failure}");
            if let Some(help) = &failure.help {
                let _ = writeln!(io::stderr(), "help: {help}");
            }
            ExitCode::from(failure.code.exit_code())
        }
    }
}

fn failed(what: &str) -> impl FnOnce(io::Error) -> Failure + '_ {
    move |error| Failure::new(Code::Failed, format!("cannot {what}: {error}"))
}

fn run(layout: Layout, units: Units) -> Result<(), Failure> {
    if !nix::unistd::geteuid().is_root() {
        let text = "hostd requires root: it creates namespaces, mounts and cgroups";
        return Err(
            Failure::new(Code::Forbidden, text).help("run it as root: systemctl start hostd, or sudo hostd")
        );
    }
    let facts = HostFacts::gather().map_err(failed("inspect this host"))?;
    raise_file_limit();
    raw::keep_heap_small();
    // Whatever it was started with: only root writes to what is made here.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // While there is a single thread: the check makes a process and a user namespace.
    std::fs::create_dir_all(layout.state()).map_err(failed("create the state directory"))?;
    let storage = Linux::new().check_storage(&layout.state(), !facts.kernel.takes_detached_layers());
    let storage = storage.or_else(|error| {
        // It is asked once: what lacked at this moment would keep tenants from being created as long as hostd lives.
        if is_verdict(&error) {
            Err(error)
        } else {
            log::warn!("cannot check the filesystem of tenants: {}", wire::chain(&error));
            Ok(())
        }
    });
    let (store, findings) = Store::open(layout.clone(), facts.clone(), storage)?;
    for finding in findings {
        log::error!("{}: {}", finding.path.display(), wire::chain(&finding.problem));
    }
    for (name, broken) in store.broken().iter() {
        log::error!("tenant \"{name}\" is broken: {}", broken.reason);
    }
    if let Err(error) = store.check_storage() {
        log::error!("cannot create tenants here: {}", wire::chain(&error));
    }
    make_runtime_dir(&layout.runtimes())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(failed("start the runtime"))?;
    runtime.block_on(serve(layout, facts, store, units))
}

/// Whether a filesystem has refused what tenants need, other than for lack of memory, of descriptors or of space.
fn is_verdict(error: &KernelError) -> bool {
    use rustix::io::Errno;
    let lacking = [
        Errno::NOMEM,
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::IO,
        Errno::INTR,
        Errno::AGAIN,
    ]
    .map(Errno::raw_os_error);
    // A helper that was killed says nothing, and its end of a pipe is closed.
    let was_killed = error.source.kind() == io::ErrorKind::UnexpectedEof;
    !was_killed && error.source.raw_os_error().is_none_or(|errno| !lacking.contains(&errno))
}

/// A supervisor costs a descriptor, a starting one a few more.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        log::warn!("cannot raise the limit of open files: {error}");
    }
}

/// The unit manager of this host.
async fn units(wanted: Units, layout: &Layout, facts: &HostFacts) -> Result<UnitManager, Failure> {
    let is_systemd = match wanted {
        Units::Auto => Systemd::is_there(layout, facts).await?,
        Units::Standalone => false,
        Units::Systemd if Systemd::is_there(layout, facts).await? => true,
        Units::Systemd => {
            let text = "systemd cannot manage tenants here";
            let help = "it must be PID 1, tenant@.service must be installed, and the root must be /";
            return Err(Failure::new(Code::Unenforceable, text).help(help));
        }
    };
    Ok(if is_systemd {
        UnitManager::Systemd(Systemd::new(layout.clone(), facts))
    } else {
        UnitManager::Standalone(Standalone::new(layout.clone(), facts)?)
    })
}

async fn serve(layout: Layout, facts: HostFacts, store: Store, wanted: Units) -> Result<(), Failure> {
    let units = units(wanted, &layout, &facts).await?;
    log::info!("units: {}", units.kind());
    let host = Host::new(store.seeing(units.view()), units);
    match host.default_limits_missing() {
        Ok(missing) => missing.iter().for_each(|missing| log::warn!("{missing}")),
        // A process that needs a setting is told; what runs is kept all the same.
        Err(failure) => log::error!("{failure}"),
    }
    let socket = layout.hostd_socket();
    let cannot =
        |error| Failure::new(Code::Failed, format!("cannot listen at {}: {error}", socket.display()));
    let given = service::listener(&socket).map_err(cannot)?;
    let is_own = given.is_none();
    let listener = match given {
        Some(listener) => tokio::net::UnixListener::from_std(listener),
        None => serve::bind(&socket),
    };
    let listener = listener.map_err(cannot)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed("handle signals"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed("handle signals"))?;
    let (tell, told) = tokio::sync::oneshot::channel();
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        log::info!("shutting down; tenants keep running");
        let _ = tell.send(());
    };
    // It listens before it knows what runs: a client that asks meanwhile waits, and sees that a client is there.
    let starter = Arc::clone(&host);
    tokio::spawn(async move {
        let serving = Arc::clone(&starter);
        tokio::spawn(async move {
            serving.has_come(Progress::Ready).await;
            let (tenants, socket) = (serving.store().records().len(), serving.layout().hostd_socket());
            log::info!(MESSAGE_ID = journal::id::HOSTD_STARTED; "serving {tenants} tenants at {}", socket.display());
            service::tell(&[sd_notify::NotifyState::Ready]);
            service::keep_alive(serving).await;
        });
        starter.take_over().await;
        starter.autostart().await;
        starter.resume_rollouts().await;
    });
    let late = async move {
        let _ = told.await;
        tokio::time::sleep(PATIENCE).await;
    };
    tokio::select! {
        served = serve::serve(listener, host.clone(), shutdown) => served.map_err(failed("serve the API"))?,
        // What is being started goes on by itself, and the next hostd finds it.
        () = late => log::warn!("aborting requests that are still running"),
    }
    host.leave().await;
    if is_own {
        // A start at the next run replaces the file; until then it would only promise an answer.
        let _ = std::fs::remove_file(&socket);
    }
    Ok(())
}
