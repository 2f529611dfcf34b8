//! The whole server on a synthetic model, for tools that test it from outside: its address
//! is the first line on standard output.
//!
//! `cargo run --release -p card-server --example synthetic_server -- --parallel 2`

use std::process::ExitCode;
use std::time::Duration;

use card_audit::AuditConfig;
use card_server::testing::{TestSetup, served};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

const USAGE: &str = "usage: synthetic_server [--key NAME=SECRET]… [--parallel N] [--queue N] \
[--context N] [--ms-per-forward X] [--request-timeout S] [--body-timeout S] [--idle-timeout S] \
[--stalled-timeout S] [--max-connections N] [--allow-host NAME]… [--cors ORIGIN]… [--share-caches] \
[--audit FILE] [--break-engine-after N] [--no-key] [--port N] [--another-model NAME]… \
[--drain-timeout S] [--drain-delay S] [--stream-head-wait S]";
/// How long a server that is told to end lets generations finish, unless it is told otherwise.
const DRAIN: Duration = Duration::from_secs(1);
/// How long threads are waited for at the end.
const LAST_THREADS: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let setup = setup(std::env::args().skip(1))?;
    let (source, config) = served(&setup);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .max_blocking_threads(setup.parallel * (setup.others.len() + 1) + 16)
        .build()
        .map_err(|e| e.to_string())?;
    let serving = card_server::serve(
        source,
        config,
        told_to_end()?,
        |_| {},
        |address| println!("http://{address}"),
    );
    let ended = runtime.block_on(serving).map_err(|e| e.to_string());
    runtime.shutdown_timeout(LAST_THREADS);
    if let Err(why) = &ended {
        // A thread that hangs must not keep the process.
        eprintln!("error: {why}");
        std::process::exit(1);
    }
    ended
}

/// Comes back with the first SIGTERM or SIGINT; a second one ends the process.
fn told_to_end() -> Result<impl Future<Output = ()>, String> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|e| e.to_string())?;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("signals".into());
    let waiting = thread.spawn(move || {
        let mut sender = Some(sender);
        for signal in signals.forever() {
            match sender.take() {
                Some(first) => {
                    let _ = first.send(());
                }
                None => std::process::exit(128 + signal),
            }
        }
    });
    waiting.map_err(|e| e.to_string())?;
    Ok(async move {
        let _ = receiver.await;
    })
}

fn setup(mut args: impl Iterator<Item = String>) -> Result<TestSetup, String> {
    let mut setup = TestSetup::default();
    setup.config.drain_timeout = DRAIN;
    while let Some(flag) = args.next() {
        match flag.as_str() {
            "--share-caches" => {
                setup.config.share_caches = true;
                continue;
            }
            "--no-key" => continue,
            _ => {}
        }
        let value = args.next().ok_or(USAGE)?;
        let number = || {
            value
                .parse::<u64>()
                .map_err(|_| format!("{flag} {value}: no number"))
        };
        let seconds = || {
            let time = value
                .parse()
                .ok()
                .and_then(|s| Duration::try_from_secs_f64(s).ok());
            time.ok_or_else(|| format!("{flag} {value}: no time in seconds"))
        };
        let config = &mut setup.config;
        match flag.as_str() {
            "--key" => {
                let (name, secret) = value.split_once('=').ok_or(USAGE)?;
                setup.keys.push((name.to_owned(), secret.to_owned()));
            }
            "--parallel" => setup.parallel = number()? as usize,
            "--queue" => setup.queue = number()? as usize,
            "--context" => setup.context = number()? as u32,
            "--ms-per-forward" => setup.forward = seconds()? / 1000,
            "--request-timeout" => config.request_timeout = seconds()?,
            "--body-timeout" => config.body_timeout = seconds()?,
            "--drain-timeout" => config.drain_timeout = seconds()?,
            "--drain-delay" => config.drain_delay = seconds()?,
            "--stream-head-wait" => config.stream_head_wait = seconds()?,
            "--idle-timeout" => config.connections.idle = seconds()?,
            "--stalled-timeout" => config.connections.stalled = seconds()?,
            "--max-connections" => config.connections.most = number()? as usize,
            "--allow-host" => config.allow_hosts.push(value),
            "--cors" => config.cors.push(value),
            "--another-model" => setup.others.push(value),
            "--port" => config.port = number()? as u16,
            "--break-engine-after" => setup.break_after = Some(number()?),
            "--audit" => {
                config.audit = Some(AuditConfig {
                    path: value.into(),
                    text: true,
                    rotate_bytes: 100 << 20,
                    key: None,
                });
            }
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok(setup)
}
