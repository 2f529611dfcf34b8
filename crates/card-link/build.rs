//! Clients and servers, from the definition of the messages, which are `card-wire`'s.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const PROTO: &str = "../card-wire/proto";
    println!("cargo:rerun-if-changed={PROTO}");
    let files = protox::compile(["link.proto"], [PROTO])?;
    tonic_prost_build::configure()
        .extern_path(".card.link.v1", "::card_wire::proto")
        .compile_fds(files)?;
    Ok(())
}
