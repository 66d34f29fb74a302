//! Compiles the protobuf types without a `protoc` binary.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["event", "record", "ledger"].map(|name| format!("proto/forebay/v1/{name}.proto"));
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(files, ["proto"])?;
    prost_build::Config::new().bytes(["."]).compile_fds(descriptors)?;
    Ok(())
}
