//! ggml's RPC backend: a target whose layers are on several machines (docs/rpc.md).
//!
//! llama.cpp ends the process when a worker cannot be reached or speaks another protocol,
//! so a worker is asked for its greeting before llama.cpp hears of it.

use std::ffi::{CStr, CString, c_void};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use llama_cpp_sys_2 as cpp;

use super::device::{self, DeviceHandle};
use super::file::c_path;
use super::registry;
use super::shim::{self, AddServer, StartServer};
use super::start::start;
use crate::error::LlamaError;

/// How long a worker may take to accept a connection, and to greet.
const PATIENCE: Duration = Duration::from_secs(5);
/// The greeting's command byte, which the protocol promises never to change.
const HELLO: u8 = 14;
/// Bytes that say what a side's connection can do; all zero for TCP only.
const CAPS: usize = 24;
/// The protocol's major version in the llama.cpp of this build.
const MAJOR: u8 = 7;

fn error(worker: &str, why: impl Into<String>) -> LlamaError {
    LlamaError::Worker {
        worker: worker.to_owned(),
        why: why.into(),
    }
}

/// The devices of a worker at `HOST:PORT`.
///
/// # Errors
/// If the worker cannot be reached, speaks another protocol, or offers no device.
pub(crate) fn devices(worker: &str) -> Result<Vec<DeviceHandle>, LlamaError> {
    let address = greet(worker)?;
    let add = function(c"ggml_backend_rpc_add_server")?;
    // SAFETY: the backend gives this name to a function of this type (ggml-rpc.h).
    let add: AddServer = unsafe { std::mem::transmute(add) };
    // llama.cpp would ask the first address of a name only.
    let endpoint = CString::new(address.to_string())
        .map_err(|_| error(worker, "no address has a NUL byte"))?;
    // SAFETY: the function is what its name says; the endpoint is NUL-terminated and copied. A
    // worker is added once, however often this is called.
    let registry = unsafe { shim::rpc_add_server(add, endpoint.as_ptr()) };
    let registry = registry.map_err(|thrown| error(worker, thrown.to_string()))?;
    if registry.is_null() {
        return Err(error(worker, "it offers no device"));
    }
    // SAFETY: the registry is one ggml just gave; it stays for the process.
    let count = unsafe { cpp::ggml_backend_reg_dev_count(registry) };
    // SAFETY: as above, and the index is below the count.
    let get = |i| unsafe { DeviceHandle::new(cpp::ggml_backend_reg_dev_get(registry, i)) };
    Ok((0..count).map(get).collect())
}

/// Computes for whoever connects to `listen`, one at a time, on these devices (none for all
/// GPUs, else the CPU). Weights that came once are kept in `cache`, if there is one.
///
/// The protocol has neither keys nor encryption, and whoever connects can use up the memory.
///
/// # Errors
/// Comes back only with one: if it cannot listen there, or has no such device.
pub fn serve(
    listen: SocketAddr,
    wanted: &[String],
    threads: usize,
    cache: Option<&Path>,
) -> Result<std::convert::Infallible, LlamaError> {
    start();
    let shown = listen.to_string();
    if listen.is_ipv6() {
        let why = "llama.cpp's RPC knows IPv4 only; give an address like 127.0.0.1:50052";
        return Err(error(&shown, why));
    }
    // llama.cpp does not say why it cannot listen.
    TcpListener::bind(listen).map_err(|e| error(&shown, format!("cannot listen there: {e}")))?;
    let mut devices: Vec<_> = serving(wanted)?
        .into_iter()
        .map(DeviceHandle::raw)
        .collect();
    let serve = function(c"ggml_backend_rpc_start_server")?;
    // SAFETY: the backend gives this name to a function of this type (ggml-rpc.h).
    let serve: StartServer = unsafe { std::mem::transmute(serve) };
    let endpoint = c_path(Path::new(&shown))?;
    let cache = cache.map(c_path).transpose()?;
    let cache = cache.as_ref().map_or(std::ptr::null(), |c| c.as_ptr());
    // SAFETY: the function is what its name says, and all pointers are valid during the call.
    let ended =
        unsafe { shim::rpc_start_server(serve, endpoint.as_ptr(), cache, threads, &mut devices) };
    Err(match ended {
        Ok(()) => error(&shown, "the worker ended; see its messages above"),
        Err(thrown) => error(&shown, thrown.to_string()),
    })
}

/// The devices of these names; without names all GPUs, else the CPU.
fn serving(wanted: &[String]) -> Result<Vec<DeviceHandle>, LlamaError> {
    if !wanted.is_empty() {
        return wanted.iter().map(|name| device::find(name)).collect();
    }
    let gpus = device::gpus();
    if gpus.is_empty() {
        Ok(vec![device::find("CPU")?])
    } else {
        Ok(gpus)
    }
}

/// A function of the RPC backend, which a build may lack.
fn function(name: &CStr) -> Result<*mut c_void, LlamaError> {
    registry::function(c"RPC", name).ok_or(LlamaError::NoRpc)
}

/// Addresses of a name that are tried.
const MOST_ADDRESSES: usize = 8;

/// The first address of a worker that takes a connection, and the connection. Names often
/// have several: `localhost` is ::1 too, where a worker on 127.0.0.1 does not listen. Only
/// IPv4 is tried, since llama.cpp knows no other.
fn connect(worker: &str) -> Result<(SocketAddrV4, TcpStream), LlamaError> {
    let no_address = || error(worker, "a worker is given as HOST:PORT");
    let found = worker.to_socket_addrs().map_err(|e| match e.kind() {
        ErrorKind::InvalidInput => no_address(),
        _ => error(worker, e.to_string()),
    })?;
    let (mut failed, mut v6) = (Vec::new(), false);
    for address in found.take(MOST_ADDRESSES) {
        let SocketAddr::V4(v4) = address else {
            v6 = true;
            continue;
        };
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok((v4, stream)),
            Err(e) => failed.push(format!("{v4}: {e}")),
        }
    }
    Err(match (failed.is_empty(), v6) {
        (false, _) => error(worker, failed.join("; ")),
        (true, true) => error(
            worker,
            "it has IPv6 addresses only, and llama.cpp's RPC needs IPv4; let the worker listen \
             on an IPv4 address",
        ),
        (true, false) => no_address(),
    })
}

/// Makes sure that a worker of our protocol answers there and has time for us; says where.
fn greet(worker: &str) -> Result<SocketAddrV4, LlamaError> {
    let fail = |e: std::io::Error| error(worker, e.to_string());
    let (address, mut stream) = connect(worker)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(fail)?;
    let mut request = vec![HELLO];
    request.extend((CAPS as u64).to_le_bytes());
    request.extend([0; CAPS]);
    stream.write_all(&request).map_err(fail)?;
    // Length of the answer, then major, minor and patch version, padding, capabilities.
    let mut answer = [0; 8 + 4 + CAPS];
    stream.read_exact(&mut answer).map_err(|e| match e.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => error(
            worker,
            "no greeting; a worker serves one target at a time, is it busy?",
        ),
        _ => error(worker, "it does not answer like a `card rpc-worker`"),
    })?;
    let (length, answer) = answer.split_at(8);
    if length != ((4 + CAPS) as u64).to_le_bytes() {
        return Err(error(worker, "it does not answer like a `card rpc-worker`"));
    }
    if answer[0] != MAJOR {
        let why = format!(
            "it speaks version {} of the protocol, this card {MAJOR}; install the same card on both",
            answer[0]
        );
        return Err(error(worker, why));
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn refused(worker: &str) -> String {
        greet(worker).expect_err("nobody to greet").to_string()
    }

    /// A listener that answers every connection like this.
    fn answers(bytes: Vec<u8>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut greeting = [0; 1 + 8 + CAPS];
                let _ = stream.read_exact(&mut greeting);
                let _ = stream.write_all(&bytes);
            }
        });
        address.to_string()
    }

    #[test]
    fn a_worker_is_told_from_something_else() {
        assert!(refused("nonsense").contains("HOST:PORT"));
        assert!(
            refused(&answers(
                b"HTTP/1.1 400 Bad Request\r\n\r\nand more".to_vec()
            ))
            .contains("does not answer like")
        );
        assert!(refused(&answers(Vec::new())).contains("does not answer like"));
        let hello = |major| {
            let mut bytes = ((4 + CAPS) as u64).to_le_bytes().to_vec();
            bytes.extend([major, 0, 0, 0]);
            bytes.extend([0; CAPS]);
            bytes
        };
        assert!(refused(&answers(hello(MAJOR + 1))).contains("install the same card"));
        assert!(greet(&answers(hello(MAJOR))).is_ok());
    }

    #[test]
    fn every_address_of_a_name_is_tried() {
        let hello = {
            let mut bytes = ((4 + CAPS) as u64).to_le_bytes().to_vec();
            bytes.extend([MAJOR, 0, 0, 0]);
            bytes.extend([0; CAPS]);
            bytes
        };
        // It listens on 127.0.0.1, and the name may be ::1 first.
        let address: SocketAddr = answers(hello).parse().expect("an address");
        let name = format!("localhost:{}", address.port());
        let found = greet(&name).expect("a greeting");
        assert_eq!(SocketAddr::V4(found), address);
        assert!(refused(&format!("[::1]:{}", address.port())).contains("IPv4"));
    }
}
