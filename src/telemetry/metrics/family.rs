//! Families of series, and how they are made.

use std::collections::HashMap;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter,
    IntCounterVec, Opts, Registry,
};

/// Makes families, and has them gathered. Their names and labels are constants
/// that fit: a test makes all of them.
pub(super) struct Families<'a>(pub(super) &'a Registry);

pub(super) fn register(registry: &Registry, collector: impl Collector + 'static) {
    let registered = registry.register(Box::new(collector));
    registered.expect("no two families have one name");
}

const FITS: &str = "the name and the labels are valid";

impl Families<'_> {
    fn add<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let made = made.expect(FITS);
        register(self.0, made.clone());
        made
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.add(Gauge::new(name, help))
    }

    pub(super) fn gauges(&self, name: &str, labels: &[&str], help: &str) -> GaugeVec {
        self.add(GaugeVec::new(Opts::new(name, help), labels))
    }

    pub(super) fn counters(&self, name: &str, labels: &[&str], help: &str) -> IntCounterVec {
        self.add(IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// Counters of what comes in fractions.
    pub(super) fn sums(&self, name: &str, labels: &[&str], help: &str) -> CounterVec {
        self.add(CounterVec::new(Opts::new(name, help), labels))
    }

    pub(super) fn histogram(&self, name: &str, buckets: &[f64], help: &str) -> Histogram {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.add(Histogram::with_opts(options))
    }

    pub(super) fn histograms(
        &self,
        name: &str,
        labels: &[&str],
        buckets: &[f64],
        help: &str,
    ) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.add(HistogramVec::new(options, labels))
    }
}

/// The series of a family that differ in one label, of which all values are known.
#[derive(Debug)]
pub struct Each<T, const N: usize>([(&'static str, T); N]);

impl<T, const N: usize> Each<T, N> {
    /// The series that `make` makes of each value. They are there from now on, at
    /// zero.
    pub(super) fn of(values: [&'static str; N], make: impl Fn(&str) -> T) -> Self {
        Self(values.map(|value| (value, make(value))))
    }

    /// All of them, with their values.
    pub(super) fn all(&self) -> impl Iterator<Item = &(&'static str, T)> {
        self.0.iter()
    }

    /// The series with this value.
    ///
    /// # Panics
    ///
    /// When there is none: the values are constants.
    pub fn get(&self, value: &str) -> &T {
        let mut all = self.0.iter();
        let found = all.find(|(known, _)| *known == value);
        &found.expect("the label has this value").1
    }
}

pub(super) type Counters<const N: usize> = Each<IntCounter, N>;
pub(super) type Sums<const N: usize> = Each<Counter, N>;

/// Removes the series of which the value of `label` is not to be kept.
pub(super) fn keep<B: MetricVecBuilder>(
    vec: &MetricVec<B>,
    label: &str,
    keep: impl Fn(&str) -> bool,
) {
    for family in vec.collect() {
        for metric in family.get_metric() {
            let pairs = metric.get_label().iter();
            let labels: HashMap<&str, &str> =
                pairs.map(|pair| (pair.name(), pair.value())).collect();
            if labels.get(label).is_some_and(|value| !keep(value)) {
                // It was there a moment ago; if not now, so much the better.
                let _ = vec.remove(&labels);
            }
        }
    }
}
