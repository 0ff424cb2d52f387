//! Serves one WireGuard interface from userspace, as `wireguard-go` does.

#![expect(
    clippy::print_stderr,
    reason = "a failure to start is told in one sentence to whoever started it"
)]

use std::process::ExitCode;
use std::sync::mpsc::{self, SyncSender};
use std::thread;

use anyhow::Context as _;
use clap::Parser as _;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing_subscriber::EnvFilter;
use wireguard::device::{End, Opened, Uapi};

use config::Config;

mod config;
mod detach;
mod handover;
mod notify;
mod privileges;

fn main() -> ExitCode {
    let config = Config::parse();
    let is_handed_over = handover::is_for_us(&config.handover);
    let outcome = if config.runs_in_foreground() || is_handed_over {
        serve(&config)
    } else {
        detach::start_in_background(&config)
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wireguard-device: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(config: &Config) -> anyhow::Result<()> {
    start_logging(config)?;
    if config.detached {
        detach::leave_session()?;
    }
    privileges::keep_keys_private();

    // Room for one: the first reason to stop is the only one needed.
    let (end, ended) = mpsc::sync_channel(1);
    let signals = Signals::new([SIGINT, SIGTERM]).context("cannot watch for signals")?;
    let uapi = match handover::listener(&config.handover)? {
        Some(listener) => Uapi::Handed(listener),
        None => Uapi::In(&config.uapi_dir),
    };
    let (interface, state) = (&config.interface, Some(&*config.state_dir));
    let opened = match handover::interface(&config.handover)? {
        Some(tun) => Opened::adopt(&tun, interface, uapi, state, end.clone())?,
        None => Opened::open(interface, uapi, state, end.clone())?,
    };
    if !config.keep_privileges {
        if let Some(user) = config.user {
            opened
                .give_to(user)
                .context("cannot give --state-dir away")?;
        }
        privileges::drop_them(config.user)?;
    }
    watch_signals(signals, end)?;
    let device = opened.serve()?;
    if config.detached {
        detach::report_ready()?;
    }
    if let Some(socket) = &config.notify_socket {
        notify::ready(socket)?;
    }

    let why = ended.recv().context("nobody is left to end the device")?;
    drop(device);
    match why {
        End::Asked | End::InterfaceGone => Ok(()),
        End::ThreadDied => anyhow::bail!("a thread died of a bug; its message is above"),
    }
}

fn start_logging(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log)
        .with_context(|| format!("cannot use the log filter {:?}", config.log))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    Ok(())
}

fn watch_signals(mut signals: Signals, end: SyncSender<End>) -> anyhow::Result<()> {
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for _ in signals.forever() {
                // A full channel means that the device is ending already.
                end.try_send(End::Asked).ok();
            }
        })
        .context("cannot start a thread")?;
    Ok(())
}
