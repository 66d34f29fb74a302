//! What each process says of itself by the standard gRPC protocol, to whoever asks and to whoever watches.

use crate::fleet::{Fleet, Member, free_address};
use standins::Server;
use standins::proxy::{FaultProxy, Faults};
use std::net::SocketAddr;
use tonic::transport::{Channel, Endpoint};
use tonic_health::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// By which anybody may ask for a process as a whole.
const WHOLE: &str = "";

async fn client(address: SocketAddr) -> HealthClient<Channel> {
    HealthClient::new(Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap())
}

fn request(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

/// A process serves, as a whole and by the name of its service.
pub(crate) async fn serves(address: SocketAddr, service: &str) {
    for service in [service, WHOLE] {
        let answer = client(address).await.check(request(service)).await.unwrap();
        assert_eq!(answer.into_inner().status, ServingStatus::Serving as i32, "{service:?}");
    }
}

/// Somebody who is told of each change.
struct Watcher {
    told: tonic::Streaming<HealthCheckResponse>,
    _client: HealthClient<Channel>,
}

impl Watcher {
    async fn of(address: SocketAddr, service: &str) -> Watcher {
        let mut client = client(address).await;
        let told = client.watch(request(service)).await.unwrap().into_inner();
        Watcher { told, _client: client }
    }

    async fn next(&mut self) -> i32 {
        self.told.message().await.unwrap().expect("a watch does not end before its process").status
    }
}

/// A process, and where it tells of its health, each with the name of its service there.
struct Process {
    member: Member,
    places: Vec<(SocketAddr, &'static str)>,
}

impl Process {
    /// Says so to its callers as well.
    fn gateway(fleet: &mut Fleet) -> Process {
        let [http, grpc, admin] = [(); 3].map(|()| free_address());
        let addresses = [("--http-addr", http), ("--grpc-addr", grpc), ("--admin-addr", admin)];
        let settings = addresses.map(|(name, address)| format!("{name}={address}"));
        let member = fleet.start("ingest-gateway", &settings.each_ref().map(String::as_str));
        Process { member, places: vec![(admin, "ingest-gateway"), (grpc, "forebay.v1.Ingest")] }
    }

    fn of(fleet: &mut Fleet, service: &'static str, command: &[&str]) -> Process {
        let admin = free_address();
        let member = fleet.start(service, &[command, &["--admin-addr", &admin.to_string()]].concat());
        Process { member, places: vec![(admin, service)] }
    }

    /// Watchers in all places, who have been told that it serves.
    async fn watched(&self) -> Vec<Watcher> {
        let mut watchers = Vec::new();
        for (address, service) in
            self.places.iter().flat_map(|&(address, service)| [(address, service), (address, WHOLE)])
        {
            let mut watcher = Watcher::of(address, service).await;
            assert_eq!(watcher.next().await, ServingStatus::Serving as i32, "{service:?} at {:?}", self.places);
            watchers.push(watcher);
        }
        watchers
    }
}

/// No worker can give its leases back while the ledger is silent, and no gateway ends while one watches: they drain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_process_says_that_it_serves_and_tells_those_who_watch_before_it_drains() {
    let mut fleet = Fleet::set_up("health").await;
    let ledger = FaultProxy::start(&standins::dynamodb().await, Faults::none(), 0).await;
    fleet.detour(Server::DynamoDb, ledger.endpoint());
    let mut processes = vec![Process::gateway(&mut fleet)];
    for (service, command) in [("dedup-service", &[][..]), ("writer-service", &[]), ("compactor", &["work"])] {
        processes.push(Process::of(&mut fleet, service, command));
    }
    for Process { places, .. } in &processes {
        fleet.wait_until_ready(places[0].0).await;
        for (address, service) in places {
            serves(*address, service).await;
        }
    }
    for process in processes {
        let mut watchers = process.watched().await;
        ledger.pause();
        fleet.ask_to_stop(process.member);
        for watcher in &mut watchers {
            assert_eq!(watcher.next().await, ServingStatus::NotServing as i32, "{:?}", process.places);
        }
        ledger.resume();
    }
    fleet.stop_all();
}
