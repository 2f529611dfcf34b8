//! Builds the C++ of this crate: `src/sys/shim.cpp`, which keeps llama.cpp's exceptions on its own
//! side, and `src/kernels/kernels.cpp`, through which ggml calls card's kernels.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// What is compiled.
const SOURCES: [&str; 2] = ["src/sys/shim.cpp", "src/kernels/kernels.cpp"];
/// What that includes of this crate.
const HEADERS: [&str; 3] = [
    "src/kernels/abi.h",
    "src/kernels/ggml_private.h",
    "src/kernels/operations.h",
];

fn main() -> Result<(), String> {
    for file in SOURCES.iter().chain(&HEADERS).chain(&["build.rs"]) {
        println!("cargo:rerun-if-changed={file}");
    }
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .pic(true)
        .include(headers()?)
        .files(SOURCES);
    if let Ok(home) = home() {
        // For tests: one compares its list of architectures with llama.cpp's, one renders the
        // chat templates that may be there.
        println!("cargo:rustc-env=CARD_LLAMA_CPP={}", home.display());
    }
    match kernels() {
        Ok(source) => {
            build.define("CARD_KERNELS", None).include(source);
            if env::var_os("CARGO_FEATURE_PORTABLE").is_some() {
                build.define("CARD_KERNELS_SHARED", None);
            }
        }
        Err(why) => println!("cargo:warning=card's kernels are left out: {why}"),
    }
    match hidden_states() {
        Ok(()) => {
            build.define("CARD_HIDDEN_STATES", None);
        }
        Err(why) => println!("cargo:warning=heads of models cannot draft: {why}"),
    }
    // Without exceptions `catch` would not compile, whatever CXXFLAGS say.
    match env::var("CARGO_CFG_TARGET_ENV").as_deref() {
        Ok("msvc") => build.flag("/EHsc"),
        _ => build.flag("-fexceptions"),
    };
    build
        .try_compile("card_llama_shim")
        .map_err(|e| format!("cannot compile {}: {e}", SOURCES.join(" and ")))
}

/// Where the sources of ggml are, if they declare what src/kernels/ggml_private.h
/// declares after them.
fn kernels() -> Result<PathBuf, String> {
    /// The classes and the struct that are not in ggml's installed headers, without spaces.
    const DECLARED: [(&str, &[&str]); 3] = [
        (
            "ggml-cpu/traits.h",
            &[
                "classtensor_traits{public:virtual~tensor_traits();\
                 virtualboolwork_size(intn_threads,conststructggml_tensor*op,size_t&size)=0;\
                 virtualboolcompute_forward(structggml_compute_params*params,\
                 structggml_tensor*op)=0;};",
                "classextra_buffer_type{public:virtual~extra_buffer_type();\
                 virtualboolsupports_op(ggml_backend_dev_tdev,conststructggml_tensor*op)=0;\
                 virtualtensor_traits*get_tensor_traits(conststructggml_tensor*op)=0;};",
                "std::vector<ggml_backend_buffer_type_t>&\
                 ggml_backend_cpu_get_extra_buffer_types();",
            ],
        ),
        (
            "ggml-cpu/ggml-cpu-impl.h",
            &[
                "structggml_compute_params{intith,nth;size_twsize;void*wdata;\
                 structggml_threadpool*threadpool;booluse_ref;};",
                "voidggml_barrier(structggml_threadpool*tp);",
            ],
        ),
        (
            "ggml-backend-impl.h",
            &[
                "structggml_backend_buffer_type{structggml_backend_buffer_type_iiface;\
               ggml_backend_dev_tdevice;void*context;};",
            ],
        ),
    ];
    let source = home()?.join("ggml/src");
    for (file, texts) in DECLARED {
        declares(&source.join(file), texts)?;
    }
    Ok(source)
}

/// Checks that llama.cpp declares what src/sys/shim.cpp declares after it: the functions that give
/// hidden states are not in its installed headers.
fn hidden_states() -> Result<(), String> {
    const DECLARED: [&str; 2] = [
        "LLAMA_APIvoidllama_set_embeddings_nextn(structllama_context*ctx,boolvalue,boolmasked);",
        "LLAMA_APIfloat*llama_get_embeddings_nextn_ith(structllama_context*ctx,int32_ti);",
    ];
    declares(&home()?.join("src/llama-ext.h"), &DECLARED)
}

/// Checks that a header has these declarations, which are written without spaces.
fn declares(file: &Path, declarations: &[&str]) -> Result<(), String> {
    let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let code = text.lines().map(|l| l.split("//").next().unwrap_or(""));
    let code: String = code.flat_map(|l| l.split_whitespace()).collect();
    match declarations.iter().find(|t| !code.contains(**t)) {
        None => Ok(()),
        Some(missing) => Err(format!("{} does not declare: {missing}", file.display())),
    }
}

/// Where the sources of the llama.cpp are that this links against.
fn home() -> Result<PathBuf, String> {
    // CMake notes where it took them from.
    let cache = headers()?.join("../build/CMakeCache.txt");
    let cache = fs::read_to_string(&cache).map_err(|e| format!("{}: {e}", cache.display()))?;
    let home = cache
        .lines()
        .find_map(|l| l.strip_prefix("CMAKE_HOME_DIRECTORY:INTERNAL="));
    let home = home.ok_or("CMake does not say where the sources of llama.cpp are")?;
    Ok(PathBuf::from(home))
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
