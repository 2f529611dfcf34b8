//! The messages, from their definition; no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["link.proto"], ["proto"])?;
    prost_build::compile_fds(files)?;
    Ok(())
}
