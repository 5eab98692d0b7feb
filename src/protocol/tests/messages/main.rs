//! Every message of every API and version against random values made from the schemas, against crate `kafka-protocol` where it knows the
//! version, and against damaged frames.
#![allow(clippy::disallowed_methods)] // Reads the schemas from the source tree.

#[path = "../../generator/emit.rs"]
mod emit;
#[path = "../../generator/files.rs"]
mod files;
#[path = "../../generator/schema.rs"]
mod schema;

mod committed;
mod random;
mod tree;

use kafka_protocol::messages as oracle;
use kafka_protocol::protocol::{Decodable, Encodable, Message as OracleMessage};
use random::{Maker, Random};
use ringlane_protocol::fetch::FetchRequest;
use ringlane_protocol::hot::{FetchView, ProduceView};
use ringlane_protocol::produce::ProduceRequest;
use ringlane_protocol::{DecodeError, Message, Reader, Writer, for_each_api};
use schema::{Api, Struct};

const SEED: u64 = 4_400;
const MESSAGES_PER_VERSION: usize = 12;

/// One message type of one API, with what the tests do to it.
struct Subject<'s> {
    api: &'s Api,
    of: &'s Struct,
    /// Decodes, encodes, and prints. The `usize` is what was not read.
    ours: fn(&[u8], i16) -> Result<Outcome, DecodeError>,
    /// The same by `kafka-protocol`; `None` for what it does not know.
    theirs: Option<fn(&[u8], i16) -> Option<Outcome>>,
}

struct Outcome {
    encoded: Vec<u8>,
    printed: String,
    unread: usize,
}

fn ours<'a, M: Message<'a> + std::fmt::Debug>(bytes: &'a [u8], version: i16) -> Result<Outcome, DecodeError> {
    let mut reader = Reader::new(bytes);
    let message = M::decode(&mut reader, version)?;
    let mut writer = Writer::new();
    message.encode(&mut writer, version);
    Ok(Outcome { encoded: writer.into_bytes(), printed: format!("{message:?}"), unread: reader.remaining() })
}

fn theirs<M: OracleMessage + Encodable + Decodable + std::fmt::Debug>(bytes: &[u8], version: i16) -> Option<Outcome> {
    if !(M::VERSIONS.min..=M::VERSIONS.max).contains(&version) {
        return None;
    }
    let mut rest = bytes::Bytes::copy_from_slice(bytes);
    let message = M::decode(&mut rest, version).expect("kafka-protocol decodes what it knows");
    let mut encoded = bytes::BytesMut::new();
    message.encode(&mut encoded, version).expect("kafka-protocol encodes what it decoded");
    Some(Outcome { encoded: encoded.to_vec(), printed: format!("{message:?}"), unread: rest.len() })
}

macro_rules! subjects {
    (@oracle StreamsGroupHeartbeat $message:ident) => { None };
    (@oracle StreamsGroupDescribe $message:ident) => { None };
    (@oracle StreamsGroupTopologyDescriptionUpdate $message:ident) => { None };
    (@oracle UnregisterController $message:ident) => { None };
    (@oracle $name:ident $message:ident) => { Some(theirs::<oracle::$message>) };
    ($($name:ident $module:ident $request:ident $response:ident,)*) => {
        fn subjects(apis: &[Api]) -> Vec<Subject<'_>> {
            let mut apis = apis.iter();
            let mut subjects = Vec::new();
            $(
                let api = apis.next().expect("as many schemas as modules");
                assert_eq!(api.name, stringify!($name));
                subjects.push(Subject {
                    api,
                    of: api.request(),
                    ours: |bytes, version| ours::<ringlane_protocol::$module::$request>(bytes, version),
                    theirs: subjects!(@oracle $name $request),
                });
                subjects.push(Subject {
                    api,
                    of: api.response(),
                    ours: |bytes, version| ours::<ringlane_protocol::$module::$response>(bytes, version),
                    theirs: subjects!(@oracle $name $response),
                });
            )*
            subjects
        }
    };
}

for_each_api!(subjects);

impl Subject<'_> {
    fn versions(&self) -> impl Iterator<Item = i16> + use<> {
        self.api.versions.from..=self.api.versions.to
    }
    fn make(&self, version: i16, seed: u64, unknown_tags: bool) -> Vec<u8> {
        let unknown_tags = unknown_tags.then(|| Random::new(!seed));
        Maker { api: self.api, version, random: Random::new(seed), unknown_tags }.message(self.of)
    }
    /// Each random message: its version, a name for failures, its seed and its bytes.
    fn messages(&self) -> impl Iterator<Item = (i16, String, u64, Vec<u8>)> {
        self.versions().flat_map(move |version| {
            (0..MESSAGES_PER_VERSION as u64).map(move |i| {
                let seed = SEED + i * 1_000_003 + self.api.key as u64 * 7919 + version as u64;
                let name = format!("{} version {version} seed {seed}", self.of.name);
                (version, name, seed, self.make(version, seed, false))
            })
        })
    }
}

/// A field in the wrong place, version or form would make us another protocol. The frames are made from the schema by a maker that
/// shares no code with the codec.
#[test]
fn every_version_of_every_message_comes_back() {
    for subject in subjects(&files::apis()) {
        for (version, name, seed, bytes) in subject.messages() {
            let outcome = (subject.ours)(&bytes, version).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(outcome.unread, 0, "{name}");
            assert_eq!(outcome.encoded, bytes, "{name}");

            let tagged = (subject.ours)(&subject.make(version, seed, true), version).expect("unknown tags are skipped");
            assert_eq!(tagged.printed, outcome.printed, "{name} with unknown tags");
            assert_eq!(tagged.unread, 0, "{name} with unknown tags");
        }
    }
}

/// The judge that read Kafka's own definitions: same bytes back, and every field of the same name has the same value. Catches a wrong
/// schema, which the test above cannot.
#[test]
fn kafka_protocol_reads_the_same_from_every_version_that_it_knows() {
    let mut judged = 0;
    for subject in subjects(&files::apis()) {
        let Some(theirs) = subject.theirs else { continue };
        for (version, name, _, bytes) in subject.messages() {
            let Some(theirs) = theirs(&bytes, version) else { continue };
            assert_eq!(theirs.unread, 0, "{name}");
            assert_eq!(theirs.encoded, bytes, "{name}");
            let ours = (subject.ours)(&theirs.encoded, version).unwrap_or_else(|error| panic!("{name}: {error}"));
            let same = tree::parse(&ours.printed).covers(&tree::parse(&theirs.printed));
            assert!(same, "{name}\n  ours: {}\ntheirs: {}", ours.printed, theirs.printed);
            judged += 1;
        }
    }
    let versions = judged / MESSAGES_PER_VERSION;
    println!("{versions} message versions compared");
    assert!(versions >= 530, "kafka-protocol knows 530 message versions of ours, only {versions} were compared");
}

/// What `kafka-protocol` does not know yet, Kafka's own classes have judged: a later change of a schema must not move a byte.
#[test]
fn golden_frames_of_the_newest_versions_come_back() {
    let apis = files::apis();
    let subjects = subjects(&apis);
    let lines = include_str!("golden.txt").lines().filter(|line| !line.starts_with('#'));
    let mut checked = 0;
    for line in lines {
        let [api, kind, version, hex] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("four words: {line}") };
        let of = format!("{api}{}", if kind == "request" { "Request" } else { "Response" });
        let subject = subjects.iter().find(|subject| subject.of.name == of).expect("the frame's api exists");
        let version = version.parse().expect("a version");
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex")).collect();
        let outcome = (subject.ours)(&bytes, version).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!((outcome.encoded, outcome.unread), (bytes, 0), "{line}");
        checked += 1;
    }
    assert_eq!(checked, 40);
}

/// Anything may come over a socket: no damage may panic, nor reserve more memory than a fixed multiple of the bytes that came.
/// `RINGLANE_FUZZ_FRAMES` sets the number of frames.
#[test]
fn damaged_frames_neither_panic_nor_allocate_beyond_their_size() {
    let frames = std::env::var("RINGLANE_FUZZ_FRAMES").map_or(100_000, |n| n.parse().expect("a number of frames"));
    let seed = std::env::var("RINGLANE_FUZZ_SEED").map_or(SEED, |n| n.parse().expect("a seed"));
    println!("seed {seed}");
    let apis = files::apis();
    let subjects = subjects(&apis);
    let mut random = Random::new(seed);
    let (mut refused, mut worst) = (0, 0);
    let mut made = 0;
    'enough: loop {
        for subject in &subjects {
            for version in subject.versions() {
                let mut bytes = subject.make(version, random.next(), random.one_in(4));
                // Several rounds on one frame: damage adds up.
                for _ in 0..4 {
                    damage(&mut bytes, &mut random);
                    let mut outcome = Ok(());
                    let spent = allocation_counter::measure(|| outcome = (subject.ours)(&bytes, version).map(drop));
                    refused += usize::from(outcome.is_err());
                    let factor = spent.bytes_max as usize / (bytes.len() + 64);
                    worst = worst.max(factor);
                    assert!(
                        factor < MEMORY_FACTOR_MAX,
                        "{} version {version} seed {seed} frame {made}",
                        subject.of.name
                    );
                    made += 1;
                    if made == frames {
                        break 'enough;
                    }
                }
            }
        }
    }
    println!("{made} frames, {refused} refused, at most {worst} times their bytes in memory");
    assert!(refused > made / 4, "damage that is hardly noticed tests little");
}

/// The views are what the broker really uses for the hot requests: they must refuse what the codec refuses, take what it takes, and
/// walk to the same number of partitions.
#[test]
fn damaged_hot_requests_read_alike_as_views() {
    let apis = files::apis();
    let subjects = subjects(&apis);
    let mut random = Random::new(SEED);
    for subject in subjects.iter().filter(|s| ["ProduceRequest", "FetchRequest"].contains(&s.of.name.as_str())) {
        for version in subject.versions() {
            for frame in 0..1_000 {
                let mut bytes = subject.make(version, random.next(), random.one_in(4));
                if frame > 0 {
                    damage(&mut bytes, &mut random);
                }
                let name = format!("{} version {version} frame {frame}", subject.of.name);
                if subject.api.key == 0 {
                    let ours = ProduceRequest::decode(&mut Reader::new(&bytes), version);
                    let view = ProduceView::parse(&bytes, 0, version);
                    let ours = ours.map(|r| r.topic_data.iter().map(|topic| topic.partition_data.len()).sum::<usize>());
                    let view = view.map(|view| view.topics().map(|topic| topic.partitions().count()).sum::<usize>());
                    assert_eq!(view.ok(), ours.ok(), "{name}");
                } else {
                    let ours = FetchRequest::decode(&mut Reader::new(&bytes), version);
                    let view = FetchView::parse(&bytes, 0, version);
                    let ours = ours.map(|r| r.topics.iter().map(|topic| topic.partitions.len()).sum::<usize>());
                    let view = view.map(|view| view.topics().map(|topic| topic.partitions().count()).sum::<usize>());
                    assert_eq!(view.ok(), ours.ok(), "{name}");
                }
            }
        }
    }
}

/// A struct of three bytes on the wire takes up to some two hundred in memory, a growing vector twice that while it moves, and what
/// is encoded and printed of it comes on top. Measured over a million frames: 31.
const MEMORY_FACTOR_MAX: usize = 128;

fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.is_empty() {
        bytes.push(random.next() as u8);
    }
    let at = random.below(bytes.len());
    match random.below(6) {
        0 => bytes[at] = random.next() as u8,
        1 => bytes[at] ^= 1 << random.below(8),
        2 => bytes.truncate(at),
        3 => bytes.insert(at, [0, 0x7f, 0x80, 0xff][random.below(4)]),
        4 => {
            // Lengths at their ends.
            let end = [[0x7f, 0xff, 0xff, 0xff], [0xff; 4], [0x80, 0, 0, 0], [0, 0, 0xff, 0xff]][random.below(4)];
            for (byte, new) in bytes[at..].iter_mut().zip(end) {
                *byte = new;
            }
        }
        _ => {
            let from = random.below(bytes.len());
            let copied = bytes[from..(from + random.below(64)).min(bytes.len())].to_vec();
            bytes.splice(at..at, copied);
        }
    }
}
