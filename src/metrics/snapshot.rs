//! A shard's metrics at one moment, as a value that may leave the shard: merged over shards, printed for Prometheus and for people.

use std::fmt::Write;

use crate::table::{Kind, ROWS, Row, ShardMetrics, Unit};

/// All rows of one shard, or of several together.
#[derive(Clone, Debug)]
pub struct Snapshot {
    values: Vec<Value>,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Counter(u64),
    Gauge(i64),
    Histogram(hdrhistogram::Histogram<u64>),
    PerApi(Vec<u64>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HistogramSummary {
    pub count: u64,
    pub p50: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

impl ShardMetrics {
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { values: self.read() }
    }
}

impl Snapshot {
    /// Adds another shard's. Gauges are sums, except those whose name says `max`.
    pub fn merge(&mut self, other: &Snapshot) {
        for ((row, mine), theirs) in ROWS.iter().zip(&mut self.values).zip(&other.values) {
            match (mine, theirs) {
                (Value::Counter(mine), Value::Counter(theirs)) => *mine = mine.wrapping_add(*theirs),
                (Value::Gauge(mine), Value::Gauge(theirs)) if row.is_maximum() => *mine = (*mine).max(*theirs),
                (Value::Gauge(mine), Value::Gauge(theirs)) => *mine += theirs,
                (Value::Histogram(mine), Value::Histogram(theirs)) => mine.add(theirs).expect("equal bounds"),
                (Value::PerApi(mine), Value::PerApi(theirs)) => {
                    mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
                }
                _ => unreachable!("both were read by the same table"),
            }
        }
    }

    /// The counter or gauge with this name.
    pub fn number(&self, name: &str) -> Option<i64> {
        match self.value(name)? {
            Value::Counter(value) => i64::try_from(*value).ok(),
            Value::Gauge(value) => Some(*value),
            Value::PerApi(values) => i64::try_from(values.iter().sum::<u64>()).ok(),
            Value::Histogram(_) => None,
        }
    }

    pub fn histogram(&self, name: &str) -> Option<HistogramSummary> {
        match self.value(name)? {
            Value::Histogram(histogram) => Some(summary(histogram)),
            _ => None,
        }
    }

    fn value(&self, name: &str) -> Option<&Value> {
        ROWS.iter().position(|row| row.name == name).map(|at| &self.values[at])
    }
}

impl Row {
    fn is_maximum(&self) -> bool {
        self.name.split('_').any(|word| word == "max")
    }
}

fn summary(histogram: &hdrhistogram::Histogram<u64>) -> HistogramSummary {
    HistogramSummary {
        count: histogram.len(),
        p50: histogram.value_at_quantile(0.5),
        p99: histogram.value_at_quantile(0.99),
        p999: histogram.value_at_quantile(0.999),
        max: histogram.max(),
    }
}

/// Prometheus text (version 0.0.4): one sample per shard, so that a hot shard is seen. `api_name` names API keys; unknown ones are
/// given as numbers.
pub fn prometheus_text(shards: &[Snapshot], api_name: impl Fn(i16) -> Option<&'static str>) -> String {
    let mut text = String::new();
    for (at, row) in ROWS.iter().enumerate() {
        let kind = match row.kind {
            Kind::Counter | Kind::PerApi => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "summary",
        };
        line(&mut text, format_args!("# HELP ringlane_{} {}", row.name, row.help));
        line(&mut text, format_args!("# TYPE ringlane_{} {kind}", row.name));
        for (shard, snapshot) in shards.iter().enumerate() {
            samples(&mut text, row.name, shard, &snapshot.values[at], &api_name);
        }
    }
    text
}

fn samples(
    text: &mut String,
    name: &str,
    shard: usize,
    value: &Value,
    api_name: &impl Fn(i16) -> Option<&'static str>,
) {
    match value {
        Value::Counter(value) => line(text, format_args!("ringlane_{name}{{shard=\"{shard}\"}} {value}")),
        Value::Gauge(value) => line(text, format_args!("ringlane_{name}{{shard=\"{shard}\"}} {value}")),
        Value::PerApi(values) => {
            for (api, count) in per_api(values, api_name) {
                line(text, format_args!("ringlane_{name}{{shard=\"{shard}\",api=\"{api}\"}} {count}"));
            }
        }
        Value::Histogram(histogram) => {
            for quantile in [0.5, 0.9, 0.99, 0.999] {
                let value = histogram.value_at_quantile(quantile);
                line(text, format_args!("ringlane_{name}{{shard=\"{shard}\",quantile=\"{quantile}\"}} {value}"));
            }
            let sum: u128 = histogram
                .iter_recorded()
                .map(|step| u128::from(step.value_iterated_to()) * u128::from(step.count_at_value()))
                .sum();
            line(text, format_args!("ringlane_{name}_sum{{shard=\"{shard}\"}} {sum}"));
            line(text, format_args!("ringlane_{name}_count{{shard=\"{shard}\"}} {}", histogram.len()));
        }
    }
}

/// What is not zero, for people: one metric a line.
pub fn report(total: &Snapshot, api_name: impl Fn(i16) -> Option<&'static str>) -> String {
    let mut text = String::new();
    for (row, value) in ROWS.iter().zip(&total.values) {
        match value {
            Value::Counter(0) | Value::Gauge(0) => {}
            Value::Counter(value) => line(&mut text, format_args!("{:<36} {value}", row.name)),
            Value::Gauge(value) => line(&mut text, format_args!("{:<36} {value}", row.name)),
            Value::PerApi(values) => {
                for (api, count) in per_api(values, &api_name) {
                    line(&mut text, format_args!("{:<36} {count}", format!("{} {api}", row.name)));
                }
            }
            Value::Histogram(histogram) if histogram.is_empty() => {}
            Value::Histogram(histogram) => {
                let HistogramSummary { count, p50, p99, p999, max } = summary(histogram);
                let unit = row.unit.suffix();
                line(
                    &mut text,
                    format_args!("{:<36} {count} times, p50 {p50}, p99 {p99}, p99.9 {p999}, max {max}{unit}", row.name),
                );
            }
        }
    }
    text
}

impl Unit {
    fn suffix(self) -> &'static str {
        match self {
            Unit::Count => "",
            Unit::Bytes => " bytes",
            Unit::Microseconds => " us",
            Unit::Milliseconds => " ms",
        }
    }
}

/// API keys with a count, by name.
fn per_api(values: &[u64], api_name: &impl Fn(i16) -> Option<&'static str>) -> Vec<(String, u64)> {
    let named = |key: usize| {
        let name = i16::try_from(key).ok().and_then(api_name);
        name.map_or_else(|| key.to_string(), str::to_owned)
    };
    values.iter().enumerate().filter(|(_, count)| **count > 0).map(|(key, count)| (named(key), *count)).collect()
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    writeln!(text, "{content}").expect("a string takes all text");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn fetch(key: i16) -> Option<&'static str> {
        (key == 1).then_some("Fetch")
    }

    /// A name that stands twice gives Prometheus two series that it refuses; a counter without `_total` breaks every dashboard's habit.
    #[test]
    fn names_are_unique_and_say_what_they_are() {
        let names: BTreeSet<&str> = ROWS.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), ROWS.len());
        for row in ROWS {
            assert!(row.name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{}: use lower case and _", row.name);
            let counts = matches!(row.kind, Kind::Counter | Kind::PerApi);
            assert_eq!(counts, row.name.ends_with("_total"), "{}: counters, and only they, end in _total", row.name);
            assert!(row.help.ends_with('.'), "{}: help is a sentence", row.name);
        }
    }

    /// Without this the report of a broker with four shards would show one of them, or a sum of marks that nobody ever saw.
    #[test]
    fn shards_add_up_and_marks_keep_the_largest() {
        let (a, b) = (ShardMetrics::default(), ShardMetrics::default());
        a.produce_bytes.add(10);
        b.produce_bytes.add(5);
        a.lane_depth_max.raise_to(7);
        b.lane_depth_max.raise_to(3);
        a.connections.increment();
        b.connections.increment();
        b.requests.increment(1);
        a.log_write_bytes.record(4096);
        b.log_write_bytes.record(1 << 20);

        let mut total = a.snapshot();
        total.merge(&b.snapshot());

        assert_eq!(total.number("produce_bytes_total"), Some(15));
        assert_eq!(total.number("lane_depth_max"), Some(7));
        assert_eq!(total.number("connections"), Some(2));
        assert_eq!(total.number("requests_total"), Some(1));
        let writes = total.histogram("log_write_bytes").unwrap();
        assert_eq!(writes.count, 2);
        assert!(writes.max >= 1 << 20 && writes.max < (1 << 20) + (1 << 14), "two digits: {}", writes.max);
    }

    /// A client may send any API key and a write may take any time: neither may grow a table or end a shard.
    #[test]
    fn values_beyond_the_table_are_counted_with_the_last() {
        let metrics = ShardMetrics::default();
        for key in [-1, i16::MAX, 0] {
            metrics.requests.increment(key);
        }
        metrics.log_write_us.record(u64::MAX);
        metrics.log_write_us.record(0);

        assert_eq!(metrics.snapshot().number("requests_total"), Some(3));
        assert_eq!(metrics.log_write_us.count(), 2);
    }

    /// Scrapers refuse a page with one malformed line, whole.
    #[test]
    fn prometheus_text_has_a_sample_for_each_shard() {
        let metrics = ShardMetrics::default();
        metrics.requests.increment(1);
        metrics.requests.increment(99);
        metrics.request_us.record(120);

        let text = prometheus_text(&[metrics.snapshot(), ShardMetrics::default().snapshot()], fetch);

        assert!(text.contains(
            "# TYPE ringlane_requests_total counter\nringlane_requests_total{shard=\"0\",api=\"Fetch\"} 1\n"
        ));
        assert!(text.contains("ringlane_requests_total{shard=\"0\",api=\"99\"} 1\n"));
        assert!(text.contains("ringlane_request_duration_us{shard=\"0\",quantile=\"0.99\"} 120\n"));
        assert!(text.contains("ringlane_request_duration_us_count{shard=\"1\"} 0\n"));
        let report = report(&metrics.snapshot(), fetch);
        assert!(report.contains("requests_total Fetch") && !report.contains("produce_bytes"), "{report}");
    }
}
