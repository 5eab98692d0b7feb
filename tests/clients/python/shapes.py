"""Records of every shape, and what it means that two are the same."""
import collections

RECORDS = 400
PARTITIONS = 3
Record = collections.namedtuple("Record", "partition key value headers timestamp")


def shape(i):
    """The i-th record: with and without key, value and headers, small and large, with a timestamp of its own."""
    key = None if i % 3 == 0 else b"key-%d\x00\xff" % i
    # kafka-python does not send a record with neither.
    value = (None if key else b"v", b"", bytes((i % 256, 255, 0)) * 5_000, b"value %d" % i, b"\xf0\x9f\x98\x80" * (i % 50))[i % 5]
    headers = [("h", bytes((n, 0))) for n in range(i % 4)] + ([("none", None)] if i % 7 == 0 else [])
    return Record(i % PARTITIONS, key, value, headers, 1_700_000_000_000 + i * 7)


def plain(i):
    """The same for kafka-python, which sends no header without a value."""
    record = shape(i)
    return record._replace(headers=[header for header in record.headers if header[1] is not None])


def by_partition(make=shape):
    """What a correct log holds: the records of each partition in the order in which they were sent."""
    records = [make(i) for i in range(RECORDS)]
    return {p: [r for r in records if r.partition == p] for p in range(PARTITIONS)}


def compare(got, what, make=shape):
    """`got`: {partition: [(offset, Record)]}. Ends the program at the first difference."""
    for partition, want in by_partition(make).items():
        have = got.get(partition, [])
        if len(have) != len(want):
            raise SystemExit(f"{what}: partition {partition} has {len(have)} records, {len(want)} were sent")
        for at, (offset, record) in enumerate(have):
            if offset != at or record != want[at]:
                raise SystemExit(f"{what}: partition {partition} offset {offset}:\n  sent {want[at]!r:.300}\n  got  {record!r:.300}")
    print(f"{what}: {RECORDS} records are equal")
