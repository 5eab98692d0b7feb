//! What a room holds and writes. Each is of one shard (`!Sync`), so that counting is an addition and nothing else.

use std::cell::{Cell, RefCell};

use crate::table::API_KEYS_MAX;

/// Only grows.
#[derive(Debug, Default)]
pub struct Counter(Cell<u64>);

impl Counter {
    pub fn add(&self, amount: u64) {
        self.0.set(self.0.get().wrapping_add(amount));
    }
    pub fn increment(&self) {
        self.add(1);
    }
    pub fn value(&self) -> u64 {
        self.0.get()
    }
}

/// Goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(Cell<i64>);

impl Gauge {
    pub fn set(&self, value: i64) {
        self.0.set(value);
    }
    pub fn add(&self, amount: i64) {
        self.0.set(self.0.get() + amount);
    }
    pub fn increment(&self) {
        self.add(1);
    }
    pub fn decrement(&self) {
        self.add(-1);
    }
    /// For marks: the largest value seen.
    pub fn raise_to(&self, value: i64) {
        self.0.set(self.0.get().max(value));
    }
    pub fn value(&self) -> i64 {
        self.0.get()
    }
}

/// A distribution with two significant digits, 1 to 2^40 of its unit (a million seconds, a tebibyte); larger values count as the
/// largest. Takes its memory at once, so that recording never allocates.
#[derive(Debug)]
pub struct Histogram(RefCell<hdrhistogram::Histogram<u64>>);

/// 2^40 - 1: one more doubles nothing and would cost another bucket.
const HISTOGRAM_MAX: u64 = (1 << 40) - 1;
const SIGNIFICANT_DIGITS: u8 = 2;

impl Default for Histogram {
    fn default() -> Histogram {
        let histogram = hdrhistogram::Histogram::new_with_bounds(1, HISTOGRAM_MAX, SIGNIFICANT_DIGITS);
        Histogram(RefCell::new(histogram.expect("constant bounds are valid")))
    }
}

impl Histogram {
    pub fn record(&self, value: u64) {
        self.0.borrow_mut().saturating_record(value);
    }
    pub fn count(&self) -> u64 {
        self.0.borrow().len()
    }
    pub(crate) fn copy(&self) -> hdrhistogram::Histogram<u64> {
        self.0.borrow().clone()
    }
}

/// A counter for each Kafka API key.
#[derive(Debug)]
pub struct PerApi([Cell<u64>; API_KEYS_MAX]);

impl Default for PerApi {
    fn default() -> PerApi {
        PerApi(std::array::from_fn(|_| Cell::new(0)))
    }
}

impl PerApi {
    /// Keys beyond the table are counted with the last, so that a client cannot grow it.
    pub fn increment(&self, api_key: i16) {
        let cell = &self.0[usize::try_from(api_key).unwrap_or(API_KEYS_MAX - 1).min(API_KEYS_MAX - 1)];
        cell.set(cell.get().wrapping_add(1));
    }
    pub fn value(&self, api_key: i16) -> u64 {
        usize::try_from(api_key).ok().and_then(|key| self.0.get(key)).map_or(0, Cell::get)
    }
    pub(crate) fn copy(&self) -> Vec<u64> {
        self.0.iter().map(Cell::get).collect()
    }
}
