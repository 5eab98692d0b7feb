//! Results for people: columns as wide as their widest cell. Results for scripts are JSON, one document or one line each.

use std::io::{ErrorKind, Write};

use serde::Serialize;

use crate::exit::Failed;

/// Rows under a header, as text.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(header: &[&str]) -> Table {
        Table { rows: vec![header.iter().map(|cell| (*cell).to_owned()).collect()] }
    }

    pub fn row<C: Into<String>>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            writeln!(f, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// To standard output. A reader that has gone (`| head`) is no failure, but the end.
pub fn print(text: &str) -> Result<Printed, Failed> {
    print_bytes(text.as_bytes())
}

/// Like [`print`], for what need not be text.
pub fn print_bytes(bytes: &[u8]) -> Result<Printed, Failed> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(Printed::Yes),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Printed::NobodyReads),
        Err(error) => Err(Failed::new(format!("cannot write to standard output: {error}"))),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Printed {
    Yes,
    NobodyReads,
}

/// One JSON document on one line.
pub fn json(value: &impl Serialize) -> Result<String, Failed> {
    let mut line = serde_json::to_string(value).map_err(|error| Failed::new(format!("cannot write JSON: {error}")))?;
    line.push('\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scripts cut columns by blanks: trailing ones and ragged columns break them.
    #[test]
    fn columns_line_up_without_trailing_blanks() {
        let mut table = Table::new(&["TOPIC", "STATUS"]);
        table.row(["a", "OK"]);
        table.row(["longer-name", ""]);
        assert_eq!(table.to_string(), "TOPIC        STATUS\na            OK\nlonger-name\n");
    }
}
