//! `ringlane config`: the rows of the configuration tables for people.

use ringlane_config::{BROKER_ROWS, Change, Row, TOPIC_ROWS, reference_page};

use crate::args::ConfigArgs;
use crate::exit::Failed;

pub fn run(args: ConfigArgs) -> Result<(), Failed> {
    if args.reference {
        print!("{}", reference_page());
        return Ok(());
    }
    match args.key {
        None => list(),
        Some(key) => explain(&key)?,
    }
    Ok(())
}

fn list() {
    for (title, rows) in [("broker", BROKER_ROWS), ("topic", TOPIC_ROWS)] {
        println!("{title}");
        for row in rows {
            println!("  {:<42} {}", row.name, row.default.filter(|text| !text.is_empty()).unwrap_or("-"));
        }
    }
}

fn explain(key: &str) -> Result<(), Failed> {
    let named = |row: &&Row| row.name == key || row.synonyms.iter().any(|(synonym, _)| *synonym == key);
    let row = BROKER_ROWS.iter().chain(TOPIC_ROWS).find(named);
    let row = row.ok_or_else(|| Failed::new(format!("no key {key}; `ringlane config` lists all")))?;
    println!("{}\n  {}", row.name, row.doc);
    println!("  default: {}", row.default.filter(|text| !text.is_empty()).unwrap_or("unset"));
    println!("  a new value counts: {}", if row.change == Change::Dynamic { "at once" } else { "with the next start" });
    if !row.synonyms.is_empty() {
        let synonyms: Vec<&str> = row.synonyms.iter().map(|(name, _)| *name).collect();
        println!("  set for every topic by: {}", synonyms.join(", "));
    }
    Ok(())
}
