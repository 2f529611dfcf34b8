//! Builds the C++ that keeps llama.cpp's exceptions on its own side (see `src/shim.cpp`).

use std::env;
use std::path::{Path, PathBuf};

fn main() -> Result<(), String> {
    println!("cargo:rerun-if-changed=src/shim.cpp");
    println!("cargo:rerun-if-changed=build.rs");
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .pic(true)
        .include(headers()?)
        .file("src/shim.cpp");
    // Without exceptions `catch` would not compile, whatever CXXFLAGS say.
    match env::var("CARGO_CFG_TARGET_ENV").as_deref() {
        Ok("msvc") => build.flag("/EHsc"),
        _ => build.flag("-fexceptions"),
    };
    build
        .try_compile("card_llama_shim")
        .map_err(|e| format!("cannot compile src/shim.cpp: {e}"))
}

/// Where the headers of the llama.cpp are that this links against: its build installs them.
fn headers() -> Result<PathBuf, String> {
    let installed = |root: &Path| {
        let include = root.join("include");
        let whole = include.join("llama.h").is_file() && include.join("ggml.h").is_file();
        whole.then_some(include)
    };
    // What the build script of `llama-cpp-sys-2` calls `root`.
    if let Some(root) = env::var_os("DEP_LLAMA_ROOT")
        && let Some(include) = installed(Path::new(&root))
    {
        return Ok(include);
    }
    // Else in its own build folder, which is a neighbour of ours.
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let neighbours = out.ancestors().nth(2).and_then(|d| d.read_dir().ok());
    neighbours
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            name.to_string_lossy().starts_with("llama-cpp-sys-2-")
        })
        .find_map(|entry| installed(&entry.path().join("out")))
        .ok_or_else(|| {
            "llama.h is not where llama-cpp-sys-2 installs it (DEP_LLAMA_ROOT/include)".into()
        })
}
