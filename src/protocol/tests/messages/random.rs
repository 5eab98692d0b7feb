//! Random messages, made from the schemas and not by the codec under test.

use crate::schema::{Api, Field, Struct, Type};

/// SplitMix64: small, seeded, good enough for tests.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// Writes messages of one API in one version.
pub struct Maker<'s> {
    pub api: &'s Api,
    pub version: i16,
    pub random: Random,
    /// Puts tags between the fields that no version knows.
    pub unknown_tags: Option<Random>,
}

impl Maker<'_> {
    pub fn message(&mut self, of: &Struct) -> Vec<u8> {
        let mut out = Vec::new();
        self.fields(of, &mut out);
        out
    }

    fn flexible(&self) -> bool {
        self.api.is_flexible(self.version)
    }

    fn fields(&mut self, of: &Struct, out: &mut Vec<u8>) {
        let version = self.version;
        let present = || of.fields.iter().filter(|field| field.versions.contains(version));
        for field in present().filter(|field| field.tag.is_none()) {
            self.value(field, out);
        }
        if !self.flexible() {
            return;
        }
        let mut tagged: Vec<(u32, Vec<u8>)> = Vec::new();
        for field in present() {
            let Some(tag) = field.tag.filter(|_| self.random.one_in(2)) else { continue };
            let (mut value, mut default) = (Vec::new(), Vec::new());
            self.value(field, &mut value);
            self.default_value(field, &mut default);
            if value != default {
                tagged.push((tag, value));
            }
        }
        if let Some(random) = self.unknown_tags.as_mut()
            && random.one_in(2)
        {
            tagged.push((1000 + random.below(1000) as u32, vec![0xab; random.below(200)]));
        }
        tagged.sort();
        uvarint(tagged.len() as u32, out);
        for (tag, value) in tagged {
            uvarint(tag, out);
            uvarint(value.len() as u32, out);
            out.extend(value);
        }
    }

    fn value(&mut self, field: &Field, out: &mut Vec<u8>) {
        let nullable = field.nullable.is_some_and(|versions| versions.contains(self.version));
        if nullable && self.random.one_in(4) {
            return self.null(field, out);
        }
        if !field.is_array {
            if nullable && matches!(field.of, Type::Struct(_)) {
                out.push(1);
            }
            return self.element(&field.of, out);
        }
        let count = self.random.below(4);
        self.length(count, 4, out);
        for _ in 0..count {
            self.element(&field.of, out);
        }
    }

    fn element(&mut self, of: &Type, out: &mut Vec<u8>) {
        // Ends of the ranges turn up as often as all other values.
        let bits = match self.random.below(4) {
            0 => 0,
            1 => u64::MAX,
            _ => self.random.next(),
        };
        match of {
            Type::Bool => out.push((bits & 1) as u8),
            Type::Int8 => out.push(bits as u8),
            Type::Int16 | Type::Uint16 => out.extend((bits as u16).to_be_bytes()),
            Type::Int32 | Type::Uint32 => out.extend((bits as u32).to_be_bytes()),
            Type::Int64 => out.extend(bits.to_be_bytes()),
            Type::Float64 => out.extend((bits as f64 / 7.0).to_be_bytes()),
            Type::Error => out.extend((self.random.below(138) as i16 - 1).to_be_bytes()),
            Type::Uuid => (0..16).for_each(|_| out.push(self.random.next() as u8)),
            Type::String => {
                let text: String =
                    (0..self.random.below(12)).map(|_| ['a', 'Z', '9', '.', 'ß', '漢'][self.random.below(6)]).collect();
                self.length(text.len(), 2, out);
                out.extend(text.bytes());
            }
            Type::Bytes => {
                let length = self.random.below(200);
                self.length(length, 4, out);
                (0..length).for_each(|_| out.push(self.random.next() as u8));
            }
            Type::Struct(name) => {
                let api = self.api;
                self.fields(api.find(name), out);
            }
        }
    }

    fn default_value(&mut self, field: &Field, out: &mut Vec<u8>) {
        let default = field.default.as_deref();
        if default == Some("null") {
            return self.null(field, out);
        }
        let number: i64 = default.map_or(0, |text| match text {
            "true" => 1,
            text => text.parse().expect("a default is a number, a bool or null"),
        });
        match &field.of {
            _ if field.is_array => self.length(0, 4, out),
            Type::String => self.length(0, 2, out),
            Type::Bytes => self.length(0, 4, out),
            Type::Struct(name) => {
                let api = self.api;
                for inner in &api.find(name).fields {
                    if inner.tag.is_none() && inner.versions.contains(self.version) {
                        self.default_value(inner, out);
                    }
                }
                out.push(0);
            }
            Type::Uuid => out.extend([0; 16]),
            Type::Bool | Type::Int8 => out.push(number as u8),
            Type::Int16 | Type::Uint16 | Type::Error => out.extend((number as i16).to_be_bytes()),
            Type::Int32 | Type::Uint32 => out.extend((number as i32).to_be_bytes()),
            Type::Int64 | Type::Float64 => out.extend(number.to_be_bytes()),
        }
    }

    fn null(&self, field: &Field, out: &mut Vec<u8>) {
        match &field.of {
            Type::Struct(_) if !field.is_array => out.push(0xff),
            _ if self.flexible() => out.push(0),
            Type::String if !field.is_array => out.extend([0xff; 2]),
            _ => out.extend([0xff; 4]),
        }
    }

    fn length(&self, length: usize, classic_bytes: usize, out: &mut Vec<u8>) {
        match classic_bytes {
            _ if self.flexible() => uvarint(length as u32 + 1, out),
            2 => out.extend((length as i16).to_be_bytes()),
            _ => out.extend((length as i32).to_be_bytes()),
        }
    }
}

fn uvarint(mut value: u32, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
