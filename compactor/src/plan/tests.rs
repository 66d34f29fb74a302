use super::*;
use schema::ShardId;

const DAY: Day = Day(20_779);

fn chain(number: usize) -> ChainId {
    ChainId::writer("a1b2", &ShardId::new(format!("clean-{number:04}")), 0)
}

fn object(entry: u64, part: u32, rows: u64) -> Announced {
    Announced { entry, part, rows, rows_hash: u128::MAX - u128::from(entry) }
}

fn found(number: usize, through: u64, objects: Vec<Announced>) -> Found {
    Found { chain: chain(number), through, objects }
}

fn contents(types: &[(&str, u64)], bytes: u64) -> Contents {
    let types: BTreeMap<String, u64> = types.iter().map(|&(name, rows)| (name.to_string(), rows)).collect();
    let mut contents = Contents::default();
    contents.add(&Identity { rows: types.values().sum(), rows_hash: 0, types }, bytes + FOOTER_BYTES);
    contents
}

fn draft<'a>(found: &'a [Found], contents: &'a Contents) -> Draft<'a> {
    Draft {
        table: Table::Events,
        day: DAY,
        number: 3,
        cursors: Cursors::from([(chain(0), 2), (chain(9), 40)]),
        found,
        contents,
        partitions: BTreeSet::new(),
        object_bytes: 1000,
        appended_at: 7,
    }
}

/// Partition, first rank and rows of each output.
fn shares(plan: &PlanEntry) -> Vec<(String, u64, u64)> {
    let share = |output: &PlannedOutput| (partition_of(&output.key).unwrap(), output.first_rank, output.rows);
    plan.outputs.iter().map(share).collect()
}

#[test]
fn a_plan_names_its_inputs_and_where_the_next_one_goes_on() {
    let found =
        [found(0, 9, vec![object(2, 0, 10), object(2, 1, 5), object(8, 0, 1)]), found(1, 4, vec![object(1, 0, 4)])];
    let contents = contents(&[("page", 20)], 100);
    let plan = draft(&found, &contents).entry();
    let inputs: Vec<(String, u64)> = inputs(&plan).unwrap().into_iter().map(|input| (input.key, input.rows)).collect();
    let key = |number, entry, part| ObjectName::live(Table::Events, DAY, &chain(number), entry, part).key();
    assert_eq!(inputs, [(key(0, 2, 0), 10), (key(0, 2, 1), 5), (key(0, 8, 0), 1), (key(1, 1, 0), 4)]);
    let cursors: Vec<(String, u64)> = plan.cursors.iter().map(|cursor| (cursor.chain.clone(), cursor.next)).collect();
    assert_eq!(cursors, [(chain(0).to_string(), 9), (chain(1).to_string(), 4), (chain(9).to_string(), 40)]);
    let sum = [2u128, 2, 8, 1].iter().fold(0u128, |sum, entry| sum.wrapping_add(u128::MAX - entry));
    assert_eq!(plan.input_hash, sum.to_be_bytes().to_vec());
    assert_eq!(plan.dropped_key, ObjectName::dropped(Table::Events, DAY, 3).key());
}

#[test]
fn files_are_even_ranges_of_ranks_by_bytes() {
    let contents = contents(&[("cart", 10), ("page", 30)], 4000);
    let plan = draft(&[], &contents).entry();
    let page = "page".to_string();
    let expected = [("cart".to_string(), 0, 10), (page.clone(), 0, 10), (page.clone(), 10, 10), (page, 20, 10)];
    assert_eq!(shares(&plan), expected);
}

#[test]
fn types_that_have_a_partition_keep_it_and_the_largest_new_ones_get_the_rest() {
    let names: Vec<String> = (0..600).map(|k| format!("t{k:03}")).collect();
    let types: Vec<(&str, u64)> = names.iter().zip(1..).map(|(name, rows)| (name.as_str(), rows)).collect();
    let contents = contents(&types, 10);
    let old: BTreeSet<String> = (0..100).map(|k| format!("t{k:03}")).chain((0..300).map(|k| format!("u{k}"))).collect();
    let plan = Draft { partitions: old.clone(), ..draft(&[], &contents) }.entry();
    let made: BTreeSet<String> = shares(&plan).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(made.len(), 100 + 100 + 1);
    assert!(made.contains("t000") && made.contains("t599") && !made.contains("t499") && made.contains(OTHER));
    assert_eq!(partitions([&plan]).union(&old).count(), PARTITIONS_MAX);
    assert_eq!(plan.outputs.iter().map(|output| output.rows).sum::<u64>(), contents.rows);
}

#[test]
fn types_that_no_path_can_carry_share_a_partition() {
    let long = "é".repeat(50);
    let types = [("", 1), (OTHER, 2), ("__HIVE_DEFAULT_PARTITION__", 4), (long.as_str(), 8), ("a/b c", 16)];
    let contents = contents(&types, 10);
    let plan = draft(&[], &contents).entry();
    assert_eq!(shares(&plan), [(OTHER.to_string(), 0, 15), ("a/b c".to_string(), 0, 16)]);
}

#[test]
fn the_largest_plan_fits_an_entry() {
    let rows = 1 << 20;
    let many: Vec<Announced> = (0..100_000).map(|k| object(k * 200, 300, rows / 1000)).collect();
    let chains: Vec<Found> = (0..4).map(|number| found(number, 1 << 40, many.clone())).collect();
    let taken = cut(chains);
    let names: Vec<String> = (0..PARTITIONS_MAX + 1).map(|k| format!("{k:0200}")).collect();
    let types: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), rows)).collect();
    let contents = contents(&types, 1 << 40);
    let plan = Draft { number: 999_999, ..draft(&taken, &contents) }.entry();
    let bytes = prost::Message::encoded_len(&plan);
    assert!(bytes <= ledger::ENTRY_BYTES_MAX, "{bytes} bytes");
    assert!(bytes > ledger::ENTRY_BYTES_MAX * 4 / 5, "{bytes} bytes leave room for more");
}

#[test]
fn a_cut_keeps_entries_whole_and_the_next_plan_goes_on_there() {
    let half = ROWS_MAX / 2;
    let objects = vec![object(1, 0, half), object(5, 0, half / 2), object(5, 1, half), object(7, 0, 1)];
    let taken = cut(vec![found(0, 50, objects.clone()), found(1, 60, vec![object(1, 0, 1)])]);
    assert_eq!(taken, [found(0, 5, objects[..1].to_vec())]);
    let rest = cut(vec![found(0, 50, objects[1..].to_vec()), found(1, 60, vec![object(1, 0, 1)])]);
    assert_eq!(rest, [found(0, 50, objects[1..].to_vec()), found(1, 60, vec![object(1, 0, 1)])]);
}

#[test]
fn an_entry_beyond_all_bounds_is_taken_all_the_same() {
    let huge = found(0, 9, vec![object(3, 0, 2 * ROWS_MAX), object(4, 0, 1)]);
    assert_eq!(cut(vec![huge.clone()]), [found(0, 4, huge.objects[..1].to_vec())]);
}

#[test]
fn a_plan_of_another_version_is_not_read() {
    let contents = contents(&[("page", 1)], 1);
    let plan = draft(&[], &contents).entry();
    assert!(inputs(&plan).is_ok());
    assert!(inputs(&PlanEntry { rule_version: RULE_VERSION + 1, ..plan.clone() }).is_err());
    assert!(inputs(&PlanEntry { dropped_key: "elsewhere".to_string(), ..plan }).is_err());
}

mod round_trip {
    use super::*;
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;
    use prost::Message;

    /// What some chains announced: by entry and part, ascending.
    fn announced() -> impl Strategy<Value = Vec<Found>> {
        let objects = btree_set((any::<u64>(), 0u32..9_999, 1u64..1 << 40), 1..12);
        vec(objects, 0..4).prop_map(|chains| {
            let of_chain = |(number, objects): (usize, std::collections::BTreeSet<(u64, u32, u64)>)| {
                let objects = objects.into_iter().map(|(entry, part, rows)| object(entry, part, rows)).collect();
                found(number, u64::MAX, objects)
            };
            chains.into_iter().enumerate().map(of_chain).collect()
        })
    }

    proptest! {
        #[test]
        fn a_plan_names_the_objects_that_were_found(found in announced()) {
            let contents = contents(&[("page", 1)], 10);
            let entry = draft(&found, &contents).entry();
            let entry = PlanEntry::decode(schema::record::encode(&entry)).expect("own bytes");
            let key = |chain: &ChainId, object: &Announced| {
                ObjectName::live(Table::Events, DAY, chain, object.entry, object.part).key()
            };
            let of_one = |one: &Found| -> Vec<Input> {
                one.objects.iter().map(|object| Input { key: key(&one.chain, object), rows: object.rows }).collect()
            };
            prop_assert_eq!(inputs(&entry), Ok(found.iter().flat_map(of_one).collect::<Vec<_>>()));
        }
    }
}
