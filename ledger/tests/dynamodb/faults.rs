//! What AWS does on a bad day: no write is lost, none is made twice, and nobody's is taken for another's.

use crate::{Fresh, chain, entry, fill, numbers};
use ledger::dynamodb::DynamoLedger;
use ledger::{LeaseError, Ledger, LedgerError};
use schema::ChainId;
use standins::proxy::{Fault, FaultProxy, Faults};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Long enough for another owner to come first.
const LATE: Duration = Duration::from_secs(3);

/// Soon, and yet after the caller has tried again.
const SOON: Duration = Duration::from_millis(500);

/// A ledger behind a proxy, with a genesis, and a way past the proxy.
struct Behind {
    proxy: FaultProxy,
    ledger: DynamoLedger,
    direct: Fresh,
}

async fn behind() -> Behind {
    let direct = crate::fresh().await;
    let proxy = FaultProxy::start(&standins::dynamodb().await, Faults::none(), 0).await;
    let aws = standins::connect(&proxy.endpoint());
    let ledger = DynamoLedger::open(&aws, &direct.table).await.unwrap();
    fill(&ledger, &chain(), 0..1).await;
    Behind { proxy, ledger, direct }
}

impl Behind {
    /// What happens to the next calls of an operation, one after the other.
    fn meets(&self, operation: &str, faults: &[Fault]) {
        self.proxy.set(faults.iter().fold(Faults::none(), |faults, &fault| faults.next(1, operation, fault)));
    }

    fn happened(&self, operation: &str, fault: Fault) -> u64 {
        self.proxy.counts().of(operation, fault)
    }

    /// Waits until all that was held has arrived.
    async fn arrived(&self, operation: &str) {
        while self.proxy.counts().delivered(operation) < self.happened(operation, Fault::Hold(LATE)) {
            sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn an_append_whose_fate_is_unknown_is_settled_with_one_content() {
    let behind = behind().await;
    let troubles: [&[Fault]; 6] = [
        &[Fault::DropAnswer],
        &[Fault::Twice],
        &[Fault::Throttle, Fault::Throttle],
        &[Fault::Refuse, Fault::ServerError],
        &[Fault::Hold(SOON), Fault::DropAnswer, Fault::Throttle],
        &[Fault::DropAnswer, Fault::DropAnswer, Fault::Twice],
    ];
    for (number, faults) in (1..).zip(troubles) {
        behind.meets("PutItem", faults);
        assert_eq!(behind.ledger.append(&chain(), number, entry(number.into())).await, Ok(()), "{faults:?}");
    }
    behind.arrived("PutItem").await;
    let happened = [Fault::DropAnswer, Fault::Twice, Fault::Throttle, Fault::Hold(SOON)];
    assert_eq!(happened.map(|fault| behind.happened("PutItem", fault)), [4, 2, 3, 1]);
    let slots = behind.direct.ledger.load(&chain(), 0, 10).await.unwrap();
    assert!(slots.iter().map(|slot| (slot.number, slot.entry.clone())).eq((0..7).map(|n| (n, entry(n.into())))));
}

#[tokio::test]
async fn a_put_that_arrives_after_another_owners_changes_nothing() {
    let behind = behind().await;
    behind.meets("PutItem", &[Fault::Hold(LATE); 100]);
    let undecided = {
        let chain = chain();
        timeout(SOON, behind.ledger.append(&chain, 1, entry(7))).await
    };
    assert!(undecided.is_err(), "{undecided:?}");
    behind.direct.ledger.append(&chain(), 1, entry(8)).await.unwrap();
    behind.arrived("PutItem").await;
    assert!(behind.happened("PutItem", Fault::Hold(LATE)) > 0);
    assert_eq!(behind.direct.ledger.head(&chain()).await.unwrap().unwrap().entry, entry(8));
    behind.meets("PutItem", &[Fault::DropAnswer]);
    let again = behind.ledger.append(&chain(), 1, entry(7)).await;
    assert_eq!(again, Err(LedgerError::Taken { chain: chain(), number: 1 }));
}

#[tokio::test]
async fn a_lease_is_taken_renewed_and_given_back_whatever_becomes_of_the_answers() {
    let behind = behind().await;
    for fault in [Fault::DropAnswer, Fault::Twice, Fault::Hold(SOON), Fault::Throttle, Fault::ServerError] {
        let name = format!("lease/{}", fault.name());
        let troubled = || behind.meets("PutItem", &[fault]);
        troubled();
        let taken = behind.ledger.acquire(&name, "me", None).await.unwrap();
        troubled();
        let renewed = behind.ledger.renew(&taken).await.unwrap();
        troubled();
        behind.ledger.release(&renewed).await.unwrap();
        behind.arrived("PutItem").await;
        assert_eq!(behind.happened("PutItem", fault), 3, "{fault:?}");
        let seen = behind.direct.ledger.leases(&name).await.unwrap().remove(0);
        assert_eq!((seen.owner.as_deref(), seen.counter), (None, 3), "{fault:?}");
        behind.meets("DeleteItem", &[fault]);
        behind.ledger.retire(&seen).await.unwrap();
        assert_eq!(behind.direct.ledger.leases(&name).await, Ok(vec![]));
    }
}

#[tokio::test]
async fn a_renewal_that_arrives_late_takes_nothing_from_the_next_owner() {
    let behind = behind().await;
    let mine = behind.ledger.acquire("lease", "me", None).await.unwrap();
    behind.meets("PutItem", &[Fault::Hold(LATE); 100]);
    let undecided = timeout(SOON, behind.ledger.renew(&mine)).await;
    assert!(undecided.is_err(), "{undecided:?}");
    let theirs = behind.direct.ledger.acquire("lease", "somebody else", Some(&mine)).await.unwrap();
    behind.arrived("PutItem").await;
    assert!(behind.happened("PutItem", Fault::Hold(LATE)) > 0);
    behind.meets("PutItem", &[]);
    assert_eq!(behind.ledger.renew(&mine).await, Err(LeaseError::Lost("lease".to_owned())));
    assert_eq!(behind.direct.ledger.leases("lease").await, Ok(vec![theirs]));
}

#[tokio::test]
async fn a_trim_ends_whatever_becomes_of_the_answers() {
    let behind = behind().await;
    fill(&behind.ledger, &chain(), 1..60).await;
    for operation in ["PutItem", "BatchWriteItem"] {
        let before = numbers(&behind.direct.ledger, &chain(), 1).await[0];
        behind.meets(operation, &[Fault::DropAnswer, Fault::Throttle, Fault::Twice, Fault::Hold(SOON)]);
        behind.ledger.trim(&chain(), before + 25).await.unwrap();
        behind.arrived(operation).await;
        assert!(behind.happened(operation, Fault::DropAnswer) > 0, "{operation}");
        assert!(numbers(&behind.direct.ledger, &chain(), 1).await.into_iter().eq(before + 25..60));
    }
}

#[tokio::test]
async fn throttling_without_end_is_given_up() {
    let behind = behind().await;
    let aws = standins::connect(&behind.proxy.endpoint());
    let aws = aws::Aws { calls: aws::Calls::new(Duration::from_secs(1), 3), ..aws };
    let impatient = DynamoLedger::open(&aws, &behind.direct.table).await.unwrap();
    behind.proxy.set(Faults::none().with_any(Fault::Throttle, 1.0));
    let refused = impatient.append(&chain(), 1, entry(1)).await;
    assert!(matches!(refused, Err(LedgerError::Unavailable(_))), "{refused:?}");
    behind.proxy.set(Faults::none());
    assert_eq!(impatient.append(&chain(), 1, entry(1)).await, Ok(()));
}

#[tokio::test]
async fn an_append_of_several_calls_has_the_deadline_of_one() {
    let behind = behind().await;
    let aws = standins::connect(&behind.proxy.endpoint());
    let aws = aws::Aws { calls: aws::Calls::new(Duration::ZERO, 3), ..aws };
    let hurried = DynamoLedger::open(&aws, &behind.direct.table).await.unwrap();
    assert!(hurried.head(&chain()).await.is_ok(), "one call is made at least");
    for (chain, number) in [(chain(), 1), (ChainId::new("dedup/new"), 0)] {
        let undecided = hurried.append(&chain, number, entry(1)).await;
        assert!(matches!(undecided, Err(LedgerError::Unavailable(_))), "{undecided:?}");
    }
}
