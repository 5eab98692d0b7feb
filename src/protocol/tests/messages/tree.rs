//! Reads what `{:?}` prints of a message into a tree, so that two codecs' structs can be compared field by field, name by name.

use ringlane_protocol::{ErrorCode, TopicId};
use std::collections::BTreeMap;

#[derive(Debug, PartialEq)]
pub enum Tree {
    /// Null, an empty string or an empty array: a field that a version lacks has one or the other default.
    Nothing,
    Atom(String),
    List(Vec<Tree>),
    Fields(BTreeMap<String, Tree>),
}

/// Fields of versions that Kafka 4.4 does not have: InitProducerId 6 is not stable yet (KIP-939), ShareFetch 0 is gone.
const NOT_OURS: [&str; 5] = [
    "enable_2_pc",
    "keep_prepared_txn",
    "ongoing_txn_producer_id",
    "ongoing_txn_producer_epoch",
    "partition_max_bytes",
];

/// Kafka 4.4's name for a field that had another before.
fn renamed(name: &str) -> &str {
    match name {
        "generation_id" => "generation_id_or_member_epoch",
        name => name,
    }
}

impl Tree {
    /// Whether everything in `older` is here too, with the same value. Fields that only later versions have may come on top.
    pub fn covers(&self, older: &Tree) -> bool {
        match (self, older) {
            (Tree::Fields(ours), Tree::Fields(theirs)) => {
                theirs.iter().all(|(name, value)| match ours.get(name).or_else(|| ours.get(renamed(name))) {
                    Some(ours) => ours.covers(value),
                    None => NOT_OURS.contains(&name.as_str()),
                })
            }
            (Tree::List(ours), Tree::List(theirs)) => {
                ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| ours.covers(theirs))
            }
            (ours, theirs) => ours == theirs,
        }
    }
}

pub fn parse(debug: &str) -> Tree {
    let mut parser = Parser { rest: debug };
    let tree = parser.tree();
    assert!(parser.rest.is_empty(), "not read to its end: {:?}", parser.rest);
    tree
}

struct Parser<'d> {
    rest: &'d str,
}

impl Parser<'_> {
    fn tree(&mut self) -> Tree {
        self.skip_spaces();
        match self.rest.as_bytes()[0] {
            b'[' => self.list(),
            b'"' => atom(self.quoted()),
            b'b' if self.rest.starts_with("b\"") => {
                self.rest = &self.rest[1..];
                let bytes: Vec<Tree> =
                    unescape(&self.quoted()).into_iter().map(|byte| Tree::Atom(byte.to_string())).collect();
                list(bytes)
            }
            _ => self.word(),
        }
    }

    fn list(&mut self) -> Tree {
        let mut items = Vec::new();
        self.expect("[");
        while !self.take("]") {
            items.push(self.tree());
            self.take(",");
        }
        list(items)
    }

    fn word(&mut self) -> Tree {
        let end = self.rest.find([' ', ',', '(', ')', ']', '}', '{']).unwrap_or(self.rest.len());
        let word = &self.rest[..end];
        self.rest = &self.rest[end..];
        if self.take("(") {
            assert_eq!(word, "Some", "an unexpected tuple");
            let inner = self.tree();
            self.expect(")");
            return inner;
        }
        if self.take("{") {
            return self.fields();
        }
        match word {
            "None" => Tree::Nothing,
            // Structs without fields of their own.
            _ if word != "InvalidRequest" && (word.ends_with("Request") || word.ends_with("Response")) => {
                Tree::Fields(BTreeMap::new())
            }
            _ => Tree::Atom(canonical(word)),
        }
    }

    fn fields(&mut self) -> Tree {
        let mut fields = BTreeMap::new();
        while !self.take("}") {
            self.skip_spaces();
            let (name, rest) = self.rest.split_once(':').expect("a field has a name");
            self.rest = rest;
            if name == "unknown_tagged_fields" {
                self.skip_spaces();
                self.expect("{");
                self.expect("}");
            } else {
                let value = match self.tree() {
                    // The code's own `None`.
                    Tree::Nothing if name.ends_with("error_code") => Tree::Atom("0".to_string()),
                    value => value,
                };
                // `_type` is how some escape a keyword.
                fields.insert(name.trim_start_matches('_').to_string(), value);
            }
            self.take(",");
        }
        Tree::Fields(fields)
    }

    /// What stands between quotes, escapes kept.
    fn quoted(&mut self) -> String {
        let mut escaped = false;
        let end = self.rest[1..]
            .find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            })
            .expect("a quote ends");
        let text = self.rest[1..=end].to_string();
        self.rest = &self.rest[end + 2..];
        text
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }
    fn take(&mut self, token: &str) -> bool {
        self.skip_spaces();
        let found = self.rest.strip_prefix(token);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }
    fn expect(&mut self, token: &str) {
        assert!(self.take(token), "{token} was expected before {:?}", self.rest);
    }
}

fn atom(text: String) -> Tree {
    if text.is_empty() { Tree::Nothing } else { Tree::Atom(text) }
}

fn list(items: Vec<Tree>) -> Tree {
    if items.is_empty() { Tree::Nothing } else { Tree::List(items) }
}

/// Error codes as numbers, uuids as Kafka's text.
fn canonical(word: &str) -> String {
    if let Some(code) = ErrorCode::ALL.iter().find(|code| format!("{code:?}") == word) {
        return code.code().to_string();
    }
    let hex: String = word.chars().filter(|c| *c != '-').collect();
    if word.len() == 36 && hex.len() == 32 {
        let id = u128::from_str_radix(&hex, 16).expect("a uuid is hexadecimal");
        return TopicId(id.to_be_bytes()).to_string();
    }
    word.to_string()
}

/// The bytes that `b"..."` stands for.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (byte, used) = match rest[0] {
            b'x' => (u8::from_str_radix(std::str::from_utf8(&rest[1..3]).expect("ascii"), 16).expect("hex"), 3),
            b'n' => (b'\n', 1),
            b'r' => (b'\r', 1),
            b't' => (b'\t', 1),
            b'0' => (0, 1),
            other => (other, 1),
        };
        bytes.push(byte);
        rest = &rest[used..];
    }
    bytes
}
