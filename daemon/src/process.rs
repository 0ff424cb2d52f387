//! The life of a process: start, body, drain, exit code.

use std::io;
use std::mem;
use std::panic;
use std::pin::pin;
use std::process::{self, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::routing::MethodRouter;
use prometheus_client::registry::Registry;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{debug, info};

use crate::{Clock, Drain, Options, Readiness, admin, bind, metrics, telemetry};

/// How long a process may take to end after SIGTERM: less than the 30 s after which Kubernetes
/// kills it, and far more than any request of ours takes.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

/// What the body of a process is given.
#[derive(Debug)]
pub struct Process {
    pub readiness: Readiness,
    pub drain: Drain,
    pub clock: Clock,
    /// Takes the binary's metrics until [`serve_admin`](Self::serve_admin); names are
    /// `mesh_<crate>_<what>_<unit>`.
    pub registry: Registry,
    admin: Option<TcpListener>,
}

impl Process {
    /// Serves the admin endpoint: `/live`, `/ready`, `/metrics`, and the binary's own `routes`
    /// ("/v1/status"). An unknown path is answered with the list of all.
    ///
    /// Call it once, when every metric is registered and everything that can delay readiness holds
    /// its guard: from here on `/ready` answers. Until then a client waits, since the address is
    /// bound already.
    pub fn serve_admin(&mut self, routes: impl IntoIterator<Item = (&'static str, MethodRouter)>) {
        let listener = self
            .admin
            .take()
            .expect("the admin endpoint is served once");
        let registry = mem::take(&mut self.registry);
        let router = admin::router(self.readiness.clone(), registry, routes);
        tokio::spawn(admin::serve(listener, router));
    }
}

/// Runs `body` as the process called `name` until it returns, or until SIGTERM or SIGINT.
///
/// The admin address is bound before anything else, so two copies of one daemon cannot get into
/// each other's way. A signal starts the drain: `body` has 10 s to return and every [`Drain`] to be
/// dropped; a second signal ends the process at once. The exit code is 0 after a complete drain,
/// else 1 with one sentence on stderr. A panic anywhere ends the whole process with 1: what state
/// the rest is in is unknown, whoever supervises it starts it again, and what it has programmed
/// outlives it.
pub fn run<B>(name: &'static str, options: &Options, body: B) -> ExitCode
where
    B: AsyncFnOnce(Process) -> anyhow::Result<()>,
{
    exit_on_panic();
    match start(name, options, body) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn start<B>(name: &'static str, options: &Options, body: B) -> anyhow::Result<()>
where
    B: AsyncFnOnce(Process) -> anyhow::Result<()>,
{
    telemetry::install(options)?;
    open_as_many_files_as_allowed();
    let runtime = runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name(name)
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(supervise(name, options, body));
    // Nothing that is still running may delay the exit: the drain has had its time.
    runtime.shutdown_background();
    outcome
}

async fn supervise<B>(name: &'static str, options: &Options, body: B) -> anyhow::Result<()>
where
    B: AsyncFnOnce(Process) -> anyhow::Result<()>,
{
    let admin = bind::tcp(options.admin, "--admin").await?;
    let mut signals = Signals::new().context("cannot listen for signals")?;
    info!(name, admin = %admin.local_addr()?, "started");

    let readiness = Readiness::new();
    let (trigger, drain) = Drain::new(name);
    let main = drain.clone();
    let mut body = pin!(body(Process {
        readiness: readiness.clone(),
        drain,
        clock: Clock,
        registry: metrics::registry(name, readiness.clone(), Clock),
        admin: Some(admin),
    }));

    let returned = tokio::select! {
        outcome = &mut body => Some(outcome?),
        signal = signals.next() => {
            info!(signal, "draining");
            None
        }
    };
    let _ending = readiness.guard("the process is ending");
    trigger.start();
    let drained = async {
        if returned.is_none() {
            body.await?;
        }
        drop(main);
        Ok(trigger.completed(DRAIN_DEADLINE).await?)
    };
    tokio::select! {
        outcome = tokio::time::timeout(DRAIN_DEADLINE, drained) => {
            outcome.unwrap_or_else(|_| Err(trigger.unfinished(DRAIN_DEADLINE).into()))
        }
        signal = signals.next() => bail!("a second signal, {signal}, cut the drain short"),
    }
}

/// The two signals that end a process.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// Raises the soft limit of open files to the hard one: every client, peer and probe holds one, and
/// the usual 1024 are only meant for programs that use `select`. Reached, it would look as if all
/// that is probed were down.
fn open_as_many_files_as_allowed() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let limit = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        debug!(%error, "the limit of open files stays as it is");
    }
}

/// Without this, tokio would keep a task's panic to itself until somebody awaits the task.
fn exit_on_panic() {
    let describe = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        describe(panic);
        report("a task panicked, which is a bug; the process cannot go on");
        process::exit(1);
    }));
}

/// Says on stderr why the process fails, as one line, whatever the format of the log.
#[expect(
    clippy::print_stderr,
    reason = "the last words are for the person who started the process, also without a log"
)]
fn report(why: &str) {
    eprintln!("error: {}", why.replace('\n', " "));
}
