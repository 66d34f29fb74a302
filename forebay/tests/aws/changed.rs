//! Streams that somebody sets otherwise while nobody reads them: nobody goes on unless a person means it.

use crate::fleet::{Fleet, Member, eventually};
use crate::halt::halts;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::{StreamMode, StreamModeDetails};

const LOAD: [&str; 5] = ["--total", "300", "--batch", "20", "--max"];

/// What the settings of the streams are called, and who reads each.
const READERS: [(&str, &str); 2] = [("RAW_STREAM", "dedup-service"), ("CLEAN_STREAM", "writer-service")];

const ACCEPT: &str = "--accept-changed";

struct Streams {
    client: Client,
    names: [String; 2],
}

impl Streams {
    async fn of(fleet: &Fleet) -> Streams {
        let client = Client::new(&standins::connect(&standins::kinesis().await).config);
        Streams { client, names: READERS.map(|(what, _)| fleet.name_of(what).to_owned()) }
    }

    async fn raise(&self, hours: i32) {
        for name in &self.names {
            let raise = self.client.increase_stream_retention_period().stream_name(name);
            raise.retention_period_hours(hours).send().await.unwrap();
        }
    }

    async fn lower(&self, hours: i32) {
        for name in &self.names {
            let lower = self.client.decrease_stream_retention_period().stream_name(name);
            lower.retention_period_hours(hours).send().await.unwrap();
        }
    }

    async fn become_on_demand(&self) {
        for name in &self.names {
            let described = self.client.describe_stream_summary().stream_name(name).send().await.unwrap();
            let arn = described.stream_description_summary.unwrap().stream_arn;
            let mode = StreamModeDetails::builder().stream_mode(StreamMode::OnDemand).build().unwrap();
            self.client.update_stream_mode().stream_arn(arn).stream_mode_details(mode).send().await.unwrap();
        }
    }
}

fn start(fleet: &mut Fleet, reader: &str, settings: &[&str]) -> Member {
    match reader {
        "writer-service" => fleet.start(reader, &[settings, &["--flush-interval", "1s"]].concat()),
        _ => fleet.start(reader, settings),
    }
}

/// Starts both readers, each with what it is to accept of its stream, sends events and stops, once the streams are noted or
/// have been before.
async fn goes_on(fleet: &mut Fleet, accepted: Option<&str>, is_news: bool) {
    for (what, reader) in READERS {
        let accepted = accepted.map(|now| format!("{}:{now}", fleet.name_of(what)));
        let settings: Vec<&str> = accepted.iter().flat_map(|accepted| [ACCEPT, accepted]).collect();
        let member = start(fleet, reader, &settings);
        let is_noted = |fleet: &Fleet| fleet.log(member).contains("noted what the stream is set to");
        if is_news {
            eventually(&format!("{reader} notes it"), || is_noted(fleet)).await;
        }
    }
    let gateway = fleet.gateway();
    fleet.wait_until_ready(gateway).await;
    fleet.generate(gateway, &LOAD);
    fleet.audit_is_clean();
    fleet.stop_all();
}

/// Neither reader starts; each names its stream, what that was and is, and what there is to do.
async fn is_refused(fleet: &mut Fleet, what: &str, was: &str, now: &str) {
    for (setting, reader) in READERS {
        let name = fleet.name_of(setting).to_owned();
        let member = start(fleet, reader, &[]);
        let changed = format!("halt: the {what} of stream {name} was {was} when its readers noted it and is {now}");
        halts(fleet, member, &[&changed, &format!("{ACCEPT} {name}:{now}")]).await;
    }
}

#[tokio::test]
async fn a_stream_that_was_set_otherwise_while_nobody_read_it_is_refused_until_a_person_accepts_it() {
    let mut fleet = Fleet::set_up("changed").await;
    let streams = Streams::of(&fleet).await;
    goes_on(&mut fleet, None, true).await;
    streams.raise(48).await;
    goes_on(&mut fleet, None, true).await;
    streams.lower(24).await;
    is_refused(&mut fleet, "retention", "48h", "24h").await;
    goes_on(&mut fleet, Some("24h"), true).await;
    goes_on(&mut fleet, None, false).await;
    streams.become_on_demand().await;
    is_refused(&mut fleet, "capacity mode", "PROVISIONED", "ON_DEMAND").await;
    goes_on(&mut fleet, Some("ON_DEMAND"), true).await;
}
