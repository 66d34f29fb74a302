//! `docker-compose.yml`, whose commands run here as plain processes on what stands in for AWS.

#![allow(clippy::unwrap_used)] // A test that can't be set up may panic.

mod composition;
mod file;

use composition::Composition;
use file::{ComposeFile, Condition, in_repository};
use std::path::Path;

/// The last release that starts without an account's token.
const LOCALSTACK: &str = "localstack/localstack:4.14.0";

/// As in the quickstart, with an id of its own.
const ID: &str = "7d0f3c52-9a5e-4a34-8d0e-5f1f5ad0c001";

#[tokio::test]
async fn the_quickstart_works_on_what_the_compose_file_starts_and_its_load_is_in_the_lake_once() {
    let mut composition = Composition::up().await;
    let event = format!(r#"{{"event_id":"{ID}","event_name":"page:view","created_at":1767225600}}"#);
    let answer = composition.post("127.0.0.1:8080", "/v1/events", &event);
    assert!(answer.ends_with(r#"{"accepted":1,"quarantined":[]}"#), "{answer}");
    composition.write_down(ID);
    composition.load(&["--total", "300", "--duplicates", "5%"]).await;
    composition.audit_is_clean();
    composition.down();
}

#[test]
fn only_the_release_of_localstack_that_needs_no_token_is_pulled() {
    let file = ComposeFile::read();
    let ours = file.services.values().filter(|service| !service.observes());
    let images: Vec<&str> = ours.filter_map(|service| service.image.as_deref()).collect();
    assert_eq!(images, [LOCALSTACK]);
}

#[test]
fn all_other_services_are_built_from_the_one_dockerfile() {
    let file = ComposeFile::read();
    let mut packages = Vec::new();
    for (name, service) in file.services.iter().filter(|(_, service)| service.image.is_none()) {
        let build = service.build.as_ref().unwrap_or_else(|| panic!("{name} has neither image nor build"));
        assert_eq!((&*build.context, &*build.dockerfile), (".", "deploy/Dockerfile"), "{name}");
        packages.push(build.args.package.as_str());
    }
    packages.sort_unstable();
    packages.dedup();
    assert_eq!(packages, ["compactor", "dedup-service", "forebay", "ingest-gateway", "writer-service"]);
}

#[test]
fn every_port_is_open_on_this_host_only() {
    let file = ComposeFile::read();
    for (name, service) in &file.services {
        for port in &service.ports {
            assert!(port.starts_with("127.0.0.1:"), "{name} publishes {port}");
        }
    }
}

#[test]
fn whatever_is_waited_for_says_when_it_is_healthy_or_ends() {
    let file = ComposeFile::read();
    for (name, service) in file.services.iter().filter(|(_, service)| service.image.is_none()) {
        assert!(!service.depends_on.is_empty(), "{name} waits for nothing");
        for (on, dependency) in &service.depends_on {
            let ends = file.services[on].healthcheck.is_none();
            assert_eq!(dependency.condition == Condition::ServiceCompletedSuccessfully, ends, "{name} waits for {on}");
        }
    }
}

#[test]
fn health_is_asked_of_the_binary_that_the_image_starts() {
    let binary = entry_point();
    let file = ComposeFile::read();
    for (name, service) in file.services.iter().filter(|(_, service)| service.image.is_none()) {
        if let Some(check) = &service.healthcheck {
            assert_eq!(check.test[..2], ["CMD".to_owned(), binary.clone()], "{name}");
        }
    }
}

#[test]
fn compose_waits_for_longer_than_a_service_drains() {
    #[derive(clap::Parser)]
    struct Defaults {
        #[command(flatten)]
        process: service::Process,
    }
    let drains_for = <Defaults as clap::Parser>::parse_from(["a service"]).process.shutdown_grace;
    let file = ComposeFile::read();
    let services = ["ingest-gateway", "dedup-service", "writer-service", "compactor"];
    for (name, service) in services.map(|name| (name, &file.services[name])) {
        let waits_for = service.stop_grace_period.as_deref().map(service::settings::duration);
        assert!(waits_for.is_some_and(|waits_for| waits_for.unwrap() > drains_for), "{name} is killed while it drains");
    }
}

#[test]
fn a_volume_holds_nothing_but_a_cache() {
    let file = ComposeFile::read();
    for (name, service) in file.services.iter().filter(|(_, service)| !service.observes()) {
        for volume in &service.volumes {
            let (source, target) = volume.split_once(':').unwrap();
            assert!(file.volumes.contains_key(source) && Path::new(target).ends_with("cache"), "{name}: {volume}");
        }
    }
}

#[test]
fn whatever_observes_reads_its_settings_from_the_repository_and_keeps_nothing() {
    let file = ComposeFile::read();
    let observers: Vec<_> = file.services.iter().filter(|(_, service)| service.observes()).collect();
    assert!(!observers.is_empty());
    for volume in observers.iter().flat_map(|(_, service)| &service.volumes) {
        let [source, _, "ro"] = volume.split(':').collect::<Vec<_>>()[..] else { panic!("{volume} can be written to") };
        assert!(source.starts_with("./deploy/observability/"), "{volume}");
    }
}

/// The only word of the image's ENTRYPOINT.
fn entry_point() -> String {
    let dockerfile = in_repository("deploy/Dockerfile");
    let line = dockerfile.lines().find_map(|line| line.strip_prefix("ENTRYPOINT ")).unwrap();
    let [binary] = serde_json::from_str::<[String; 1]>(line).unwrap();
    binary
}
