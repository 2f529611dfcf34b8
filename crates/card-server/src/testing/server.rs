//! A server on a thread of its own.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::oneshot;

use super::setup::{TestSetup, served};
use crate::error::ServeError;
use crate::serve::serve;

/// A server that runs; it ends when this is dropped.
pub struct Server {
    /// Like `http://127.0.0.1:1234`.
    pub url: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<Result<(), ServeError>>>,
}

impl Server {
    /// Ends it, and says how it went. Waits for running generations.
    pub fn stop(mut self) -> Result<(), ServeError> {
        self.stop = None;
        self.wait()
    }

    /// Tells it to end, and does not wait for that.
    pub fn leave(&mut self) {
        self.stop = None;
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> Result<(), ServeError> {
        let ended = self.thread.take().and_then(|t| t.join().ok());
        ended.unwrap_or_else(|| Err(ServeError::Engine("the server's thread failed".into())))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts a server on a thread of its own, and waits until it is ready.
///
/// # Errors
/// If it cannot listen or load its default model, or the system gives no thread.
pub fn start(setup: &TestSetup) -> Result<Server, ServeError> {
    start_until(setup, Stage::Ready)
}

/// Starts a server on a thread of its own, and waits only until it listens.
///
/// # Errors
/// If it cannot listen, or the system gives no thread.
pub fn start_listening(setup: &TestSetup) -> Result<Server, ServeError> {
    start_until(setup, Stage::Listening)
}

/// How far a server is.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    /// It listens.
    Listening,
    /// Its default model is loaded.
    Ready,
}

fn start_until(setup: &TestSetup, wanted: Stage) -> Result<Server, ServeError> {
    // A client in the same process may want TLS's cryptography, though it speaks none here.
    crate::cryptography::name_provider();
    let failed = |e: std::io::Error| ServeError::Engine(e.to_string());
    let (source, config) = served(setup);
    let (stop, stopped) = oneshot::channel::<()>();
    let (said, heard) = std::sync::mpsc::channel::<SocketAddr>();
    let thread = std::thread::Builder::new().name("card-test-server".into());
    let thread = thread.spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .worker_threads(2)
            .build()
            .map_err(|e| ServeError::Engine(e.to_string()))?;
        let shutdown = async {
            // Told, or dropped.
            let _ = stopped.await;
        };
        let say = |stage: Stage| {
            let said = said.clone();
            move |address| {
                if stage == wanted {
                    let _ = said.send(address);
                }
            }
        };
        let (listening, ready) = (say(Stage::Listening), say(Stage::Ready));
        // A server that ends before is not waited for.
        drop(said);
        let serving = serve(source, config, shutdown, listening, ready);
        let ended = runtime.block_on(serving);
        runtime.shutdown_timeout(Duration::from_secs(1));
        ended
    });
    let thread = thread.map_err(failed)?;
    match heard.recv() {
        Ok(address) => Ok(Server {
            url: format!("http://{address}"),
            stop: Some(stop),
            thread: Some(thread),
        }),
        Err(_) => match thread.join() {
            Ok(Err(error)) => Err(error),
            _ => Err(ServeError::Engine("the server did not start".into())),
        },
    }
}
