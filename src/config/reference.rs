//! The reference page of all keys (`src/config/reference.md`), made from the rows.

use std::fmt::Write;

use crate::row::{Change, Kind, Row, Valid};
use crate::{BROKER_ROWS, TOPIC_ROWS};

/// The page, in Markdown.
pub fn reference_page() -> String {
    let mut page = String::from(
        "# Configuration keys\n\nMade from the tables in `src/config`; a test compares it with them. `ringlane config KEY` explains one key.\n\n\
         A key is given in a properties file (`--config`), in the environment (`log.segment.bytes` is `RINGLANE_LOG_SEGMENT_BYTES`) or by \
         `-o key=value`; the later of these wins. An unknown key is an error. Kafka's other broker keys are accepted, have no effect, and are \
         named in one warning at the start.\n",
    );
    section(&mut page, "Broker", "Read at the start.", BROKER_ROWS);
    section(
        &mut page,
        "Topic",
        "Given when a topic is created. The broker keys named at the end of a row set the default of every topic, the first of them that is given.",
        TOPIC_ROWS,
    );
    page
}

fn section(page: &mut String, title: &str, intro: &str, rows: &[Row]) {
    let heading = "| key | type | default | valid | changes | what it does |\n|---|---|---|---|---|---|";
    writeln!(page, "\n## {title}\n\n{intro}\n\n{heading}").expect("a string takes all text");
    for row in rows {
        let default =
            row.default.filter(|text| !text.is_empty()).map_or_else(|| "unset".to_owned(), |text| format!("`{text}`"));
        let changes = match row.change {
            Change::Dynamic => "at once",
            Change::Restart => "restart",
        };
        let synonyms: Vec<String> = row.synonyms.iter().map(|(name, _)| format!("`{name}`")).collect();
        let broker = if synonyms.is_empty() { String::new() } else { format!(" Broker: {}.", synonyms.join(", ")) };
        writeln!(
            page,
            "| `{}` | {} | {default} | {} | {changes} | {}{broker} |",
            row.name,
            kind(row.kind),
            valid(row.valid),
            row.doc
        )
        .expect("a string takes all text");
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Boolean => "boolean",
        Kind::String => "string",
        Kind::Int => "int",
        Kind::Long => "long",
        Kind::Double => "double",
        Kind::List => "list",
        Kind::Password => "password",
    }
}

fn valid(valid: Valid) -> String {
    match valid {
        Valid::Any => String::new(),
        Valid::Range(least, i64::MAX) => format!("{least} and more"),
        Valid::Range(least, most) if most == i64::from(i32::MAX) => format!("{least} and more"),
        Valid::Range(least, most) => format!("{least} to {most}"),
        Valid::Between(least, most) => format!("{least} to {most}"),
        Valid::OneOf(words) => words.join(", "),
        Valid::EachOf(words) => format!("any of {}", words.join(", ")),
    }
}
