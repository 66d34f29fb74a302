//! What the Terraform examples cost, as their README says.

use std::process::Command;

/// A row of the table: the example, its dollars a month, the command that computes them, and the column that they are in.
struct Row {
    example: String,
    dollars: f64,
    arguments: Vec<String>,
    column: String,
}

fn rows() -> Vec<Row> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../infrastructure/README.md"));
    let page = page.expect("the page is there");
    page.lines().filter(|line| line.contains("`forebay cost ")).filter_map(row).collect()
}

fn row(line: &str) -> Option<Row> {
    let [_, example, _, _, dollars, computed_by, _] =
        line.split('|').map(str::trim).collect::<Vec<_>>().try_into().ok()?;
    let (command, column) = computed_by.split_once("`, column ")?;
    Some(Row {
        example: example.trim_matches('`').to_owned(),
        dollars: number(dollars.strip_prefix('$')?),
        arguments: command.strip_prefix("`forebay ")?.split(' ').map(str::to_owned).collect(),
        column: column.to_owned(),
    })
}

fn number(text: &str) -> f64 {
    text.replace(',', "").parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

/// Dollars a month of all services, in whole ones.
fn computed(row: &Row) -> f64 {
    let output = Command::new(env!("CARGO_BIN_EXE_forebay")).env_clear().args(&row.arguments).output();
    let output = output.expect("the program starts");
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let columns = said.lines().find(|line| line.contains("on-demand")).expect("the plans stand above their figures");
    let place = columns.split_whitespace().position(|plan| plan == row.column).expect("a plan that the table has");
    let total = said.lines().find_map(|line| line.strip_prefix("total all")).expect("one rate, one total");
    // Each plan has two figures: for a million events, and for a month.
    number(total.split_whitespace().nth(2 * place + 1).expect("a column for each way")).round()
}

#[test]
fn the_examples_of_terraform_cost_what_their_readme_says() {
    let rows = rows();
    let examples: Vec<&str> = rows.iter().map(|row| row.example.as_str()).collect();
    assert_eq!(examples, ["small", "base", "large"]);
    for row in &rows {
        assert_eq!(row.dollars, computed(row), "a month of {}, by forebay {}", row.example, row.arguments.join(" "));
    }
}

#[test]
fn the_examples_have_the_shards_that_are_paid_for() {
    for Row { example, arguments, column, .. } in rows() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../infrastructure/examples");
        let main = std::fs::read_to_string(format!("{folder}/{example}/main.tf")).unwrap();
        let shards = arguments.iter().skip_while(|&word| word != "--shards").nth(1);
        let given = shards.map(|shards| format!("stream_shards = {{ raw = {shards}, clean = {shards} }}"));
        assert!(given.is_none_or(|given| main.contains(&given)), "{example}");
        assert_eq!(column == "provisioned", main.contains("stream_shards = {"), "{example}");
    }
}
