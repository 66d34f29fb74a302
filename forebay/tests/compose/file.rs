//! What `docker-compose.yml` says, read whole: a key that is not known here fails, so that none goes unheeded.

use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ComposeFile {
    #[serde(rename = "name")]
    _name: String,
    /// What several services share; it is merged where it is used.
    #[serde(rename = "x-aws")]
    _aws: BTreeMap<String, String>,
    pub(crate) services: BTreeMap<String, Service>,
    pub(crate) volumes: BTreeMap<String, Option<Nothing>>,
}

/// A mapping without keys.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Service {
    pub(crate) image: Option<String>,
    pub(crate) build: Option<Build>,
    #[serde(default)]
    pub(crate) command: Vec<String>,
    #[serde(default)]
    pub(crate) environment: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) ports: Vec<String>,
    #[serde(default)]
    pub(crate) volumes: Vec<String>,
    #[serde(default)]
    pub(crate) depends_on: BTreeMap<String, Dependency>,
    pub(crate) healthcheck: Option<HealthCheck>,
    #[serde(default)]
    pub(crate) profiles: Vec<String>,
    #[serde(rename = "restart")]
    _restart: Option<String>,
    /// For how long Compose waits before it kills.
    pub(crate) stop_grace_period: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Build {
    pub(crate) context: String,
    pub(crate) dockerfile: String,
    pub(crate) args: BuildArguments,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BuildArguments {
    /// The binary that the image has.
    #[serde(rename = "PACKAGE")]
    pub(crate) package: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dependency {
    pub(crate) condition: Condition,
}

/// How far another service has to be. There is no waiting for one that has merely started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Condition {
    ServiceHealthy,
    ServiceCompletedSuccessfully,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HealthCheck {
    pub(crate) test: Vec<String>,
    #[serde(rename = "interval")]
    _interval: String,
    #[serde(rename = "timeout")]
    _timeout: String,
    #[serde(rename = "retries")]
    _retries: u32,
}

impl ComposeFile {
    pub(crate) fn read() -> ComposeFile {
        serde_saphyr::from_str(&in_repository("docker-compose.yml")).expect("a compose file of known keys")
    }

    /// Services that start without a profile, or with `profile`, those first on which others wait.
    pub(crate) fn in_order(&self, profile: Option<&str>) -> Vec<(&str, &Service)> {
        let is_asked = |service: &Service| match profile {
            Some(profile) => service.profiles.iter().any(|of| of == profile),
            None => service.profiles.is_empty(),
        };
        let mut asked: Vec<_> = self.services.iter().map(|(name, service)| (name.as_str(), service)).collect();
        asked.sort_by_key(|(_, service)| self.depth(service));
        asked.retain(|(_, service)| is_asked(service));
        asked
    }

    /// How many services wait for each other in front of this one.
    fn depth(&self, service: &Service) -> usize {
        service.depends_on.keys().map(|name| 1 + self.depth(&self.services[name])).max().unwrap_or(0)
    }
}

/// A file of the repository.
pub(crate) fn in_repository(path: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What Compose makes of `${NAME:-default}` where the name is not set.
pub(crate) fn with_defaults(value: &str) -> String {
    let Some((before, rest)) = value.split_once("${") else { return value.to_owned() };
    let (variable, after) = rest.split_once('}').expect("a variable ends");
    let (_, default) = variable.split_once(":-").expect("each variable has a default");
    format!("{before}{default}{}", with_defaults(after))
}

impl Service {
    /// Whether it only watches the others, by software that is not ours.
    pub(crate) fn observes(&self) -> bool {
        self.image.is_some() && self.profiles.iter().any(|of| of == "observability")
    }

    /// The same image and environment with another command.
    pub(crate) fn saying(mut self, command: &[&str]) -> Service {
        self.command = command.iter().map(|&word| word.to_owned()).collect();
        self
    }
}
