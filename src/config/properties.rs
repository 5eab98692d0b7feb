//! Java's properties format, as Kafka reads `server.properties`: `=`, `:` or blanks between key and value, `#` and `!` comments,
//! lines that go on after a backslash, escapes.

/// Keys and values in the order of the text, with the number of the line that each starts on. Never fails: every text means something.
pub fn parse(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let mut logical = line.trim_start_matches(BLANKS).to_owned();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        while ends_in_open_backslash(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(BLANKS));
        }
        let (key, value) = split(&logical);
        entries.push(Entry { line: index + 1, key: unescape(key), value: unescape(value).trim_end().to_owned() });
    }
    entries
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub line: usize,
    pub key: String,
    pub value: String,
}

const BLANKS: [char; 3] = [' ', '\t', '\u{c}'];

fn ends_in_open_backslash(line: &str) -> bool {
    line.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1
}

/// At the first separator that is not escaped; blanks around it belong to neither side.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '=' | ':' => return (&line[..at], line[at + 1..].trim_start_matches(BLANKS)),
            c if BLANKS.contains(&c) => {
                let rest = line[at..].trim_start_matches(BLANKS);
                let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
                return (&line[..at], value.trim_start_matches(BLANKS));
            }
            _ => {}
        }
    }
    (line, "")
}

/// `\t \n \r \f \uXXXX`; before any other character a backslash means nothing.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.clone().take(4).collect();
                match u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4).and_then(char::from_u32) {
                    Some(decoded) => {
                        out.push(decoded);
                        chars.nth(3);
                    }
                    None => out.push('u'),
                }
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).into_iter().map(|entry| (entry.key, entry.value)).collect()
    }

    /// A file that Kafka reads must mean the same here: people bring theirs along.
    #[test]
    fn a_file_means_what_java_makes_of_it() {
        let text = "# comment\n! comment\n\n  node.id = 3\nlog.dirs=/a,\\\n   /b\nspaced   value\ncolon:9092\nurl=http\\://x\\=y\n\
                    path=C\\\\temp\ntab=a\\tb\nunicode=\\u00e9\nempty=\nbare\n";
        let expected = [
            ("node.id", "3"),
            ("log.dirs", "/a,/b"),
            ("spaced", "value"),
            ("colon", "9092"),
            ("url", "http://x=y"),
            ("path", "C\\temp"),
            ("tab", "a\tb"),
            ("unicode", "é"),
            ("empty", ""),
            ("bare", ""),
        ];
        assert_eq!(pairs(text), expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    /// Half an escape or a continuation without a next line once ended such parsers with a panic.
    #[test]
    fn a_cut_file_is_read_without_a_panic() {
        for text in ["a=\\", "a=\\u12", "a=\\ud800", "\\", "=", "a\\", ":\\u"] {
            let _ = parse(text);
        }
        assert_eq!(pairs("a=b\\"), [("a".to_owned(), "b".to_owned())]);
    }

    /// Without line numbers an error in a file of 300 lines names a key that stands there twice.
    #[test]
    fn entries_know_their_line() {
        let lines: Vec<usize> = parse("#\na=1\\\n2\n\nb=3\n").into_iter().map(|entry| entry.line).collect();
        assert_eq!(lines, [2, 5]);
    }
}
