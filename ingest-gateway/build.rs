//! Compiles the gRPC service without a `protoc` binary. Its messages are those of `schema`, except that a batch keeps
//! its events as bytes, so that one broken event does not fail the batch.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const PROTO: &str = "../schema/proto";
    println!("cargo:rerun-if-changed={PROTO}");
    let descriptors = protox::compile(["forebay/v1/ingest.proto"], [PROTO])?;
    tonic_prost_build::configure()
        .extern_path(".forebay.v1", "::schema::v1")
        .extern_path(".forebay.v1.EventBatch", "crate::grpc::RawBatch")
        .compile_fds(descriptors)?;
    Ok(())
}
