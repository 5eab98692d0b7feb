//! Reads `schema/*.schema`: our notation for the messages of every API.
//!
//! ```text
//! # a comment
//! api 3 Metadata 0-13 flex 9 lst B        key, name, versions, first flexible version (or never), listeners (B, BC)
//! request
//!   topics []MetadataRequestTopic 0+ null 1+     name, type, versions, versions in which it may be null
//!     name string 0+ null 10+ = null             fields of an element are indented; a default other than 0, "", [] or false
//!   rack RackInfo 12+ tag 0                      a tagged field
//! response
//!   ...
//! struct RackInfo                                used in more than one place
//!   ...
//! ```
//! Types: `bool int8 int16 uint16 int32 uint32 int64 float64 string bytes records uuid error`, structs, and arrays of all of these.

use std::fmt::Write as _;

/// From and to, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub from: i16,
    pub to: i16,
}

impl Range {
    pub fn contains(&self, version: i16) -> bool {
        self.from <= version && version <= self.to
    }
}

#[derive(Debug)]
pub struct Api {
    pub key: i16,
    pub name: String,
    pub versions: Range,
    pub flexible_from: Option<i16>,
    pub listeners: String,
    /// The request first, the response second, then the structs inside, outer before inner.
    pub structs: Vec<Struct>,
}

#[derive(Debug)]
pub struct Struct {
    pub name: String,
    pub fields: Vec<Field>,
}

#[derive(Debug)]
pub struct Field {
    pub name: String,
    pub is_array: bool,
    pub of: Type,
    pub versions: Range,
    pub nullable: Option<Range>,
    pub tag: Option<u32>,
    pub default: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Float64,
    String,
    /// Bytes and records have one encoding.
    Bytes,
    Uuid,
    Error,
    Struct(String),
}

impl Api {
    pub fn is_flexible(&self, version: i16) -> bool {
        self.flexible_from.is_some_and(|from| version >= from)
    }
    pub fn request(&self) -> &Struct {
        &self.structs[0]
    }
    pub fn response(&self) -> &Struct {
        &self.structs[1]
    }
    pub fn find(&self, name: &str) -> &Struct {
        let found = self.structs.iter().find(|s| s.name == name);
        found.unwrap_or_else(|| panic!("api {}: no struct {name}", self.name))
    }
    /// The module's name: `OffsetForLeaderEpoch` lives in `offset_for_leader_epoch`.
    pub fn module(&self) -> String {
        let mut module = String::new();
        for (i, c) in self.name.chars().enumerate() {
            let separator = if i > 0 && c.is_uppercase() { "_" } else { "" };
            write!(module, "{separator}{}", c.to_ascii_lowercase()).expect("strings take all writes");
        }
        module
    }
}

/// All APIs of one schema text. A mistake in the text panics with its line: only the generator and the tests read schemas.
pub fn parse(text: &str) -> Vec<Api> {
    let mut apis: Vec<Api> = Vec::new();
    // Indices of the structs that the current indentation levels fill.
    let mut open: Vec<usize> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(&first) = words.first().filter(|word| !word.starts_with('#')) else { continue };
        let depth = (line.len() - line.trim_start().len()) / 2;
        let at = || format!("line {}: {line:?}", number + 1);
        if depth == 0 && first == "api" {
            apis.push(parse_api(&words).unwrap_or_else(|| panic!("{}", at())));
            continue;
        }
        let api = apis.last_mut().unwrap_or_else(|| panic!("{}: no api before it", at()));
        if depth == 0 {
            let name = match first {
                "request" => format!("{}Request", api.name),
                "response" => format!("{}Response", api.name),
                "struct" => words[1].to_string(),
                _ => panic!("{}: api, request, response or struct was expected", at()),
            };
            api.structs.push(Struct { name, fields: Vec::new() });
            open = vec![api.structs.len() - 1];
            continue;
        }
        open.truncate(depth);
        let field = parse_field(&words, api.versions).unwrap_or_else(|| panic!("{}", at()));
        let owner = *open.get(depth - 1).unwrap_or_else(|| panic!("{}: indented too far", at()));
        // Indented lines may follow; if none do, the struct is one that is defined elsewhere and this entry goes away below.
        if let Type::Struct(name) = &field.of {
            api.structs.push(Struct { name: name.clone(), fields: Vec::new() });
            open.push(api.structs.len() - 1);
        }
        api.structs[owner].fields.push(field);
    }
    for api in &mut apis {
        tidy_structs(api);
    }
    apis
}

/// Drops mentions of structs that are defined elsewhere and puts the response behind the request.
fn tidy_structs(api: &mut Api) {
    let messages = [format!("{}Request", api.name), format!("{}Response", api.name)];
    api.structs.retain(|s| !s.fields.is_empty() || messages.contains(&s.name));
    let response = api.structs.iter().position(|s| s.name == messages[1]);
    let response = response.unwrap_or_else(|| panic!("api {} has no response", api.name));
    api.structs[1..=response].rotate_right(1);
}

fn parse_api(words: &[&str]) -> Option<Api> {
    let ["api", key, name, versions, "flex", flexible, "lst", listeners] = words else { return None };
    let (from, to) = versions.split_once('-')?;
    Some(Api {
        key: key.parse().ok()?,
        name: name.to_string(),
        versions: Range { from: from.parse().ok()?, to: to.parse().ok()? },
        flexible_from: if *flexible == "never" { None } else { Some(flexible.parse().ok()?) },
        listeners: listeners.to_string(),
        structs: Vec::new(),
    })
}

fn parse_field(words: &[&str], api: Range) -> Option<Field> {
    let [name, of, versions, options @ ..] = words else { return None };
    let versions = parse_range(versions, api)?;
    let of_element = of.strip_prefix("[]");
    let mut field = Field {
        name: name.to_string(),
        is_array: of_element.is_some(),
        of: parse_type(of_element.unwrap_or(of)),
        versions,
        nullable: None,
        tag: None,
        default: None,
    };
    let mut options = options.iter().peekable();
    while let Some(&option) = options.next() {
        match option {
            "null" => {
                let range = options.next_if(|next| next.starts_with(|c: char| c.is_ascii_digit()));
                field.nullable = Some(range.map_or(Some(versions), |range| parse_range(range, api))?);
            }
            "tag" => field.tag = Some(options.next()?.parse().ok()?),
            "=" => field.default = Some(options.next()?.to_string()),
            _ => return None,
        }
    }
    Some(field)
}

fn parse_range(text: &str, api: Range) -> Option<Range> {
    if let Some(from) = text.strip_suffix('+') {
        return Some(Range { from: from.parse().ok()?, to: api.to });
    }
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    Some(Range { from: from.parse().ok()?, to: to.parse().ok()? })
}

fn parse_type(name: &str) -> Type {
    match name {
        "bool" => Type::Bool,
        "int8" => Type::Int8,
        "int16" => Type::Int16,
        "uint16" => Type::Uint16,
        "int32" => Type::Int32,
        "uint32" => Type::Uint32,
        "int64" => Type::Int64,
        "float64" => Type::Float64,
        "string" => Type::String,
        "bytes" | "records" => Type::Bytes,
        "uuid" => Type::Uuid,
        "error" => Type::Error,
        name => Type::Struct(name.to_string()),
    }
}
