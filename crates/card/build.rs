//! Where a portable program looks for llama.cpp's libraries: beside itself, else in `../lib/card`,
//! where packages put them (docs/build.md). `card-llama` looks for backends in the same order.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_PORTABLE").is_none() {
        return;
    }
    let here = match std::env::var("CARGO_CFG_TARGET_OS").as_deref() {
        // Windows looks beside the program by itself.
        Ok("windows") => return,
        Ok("macos") => "@loader_path",
        _ => "$ORIGIN",
    };
    for folder in [here.to_owned(), format!("{here}/../lib/card")] {
        println!("cargo:rustc-link-arg-bins=-Wl,-rpath,{folder}");
    }
}
