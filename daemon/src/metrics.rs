//! The metrics that every daemon has, beside those it registers itself.

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::{Clock, Readiness};

/// The media type of what `/metrics` serves: the OpenMetrics text format, version 1.0.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A registry with the build, the start time and the readiness of the process called `name`.
pub(crate) fn registry(name: &'static str, readiness: Readiness, clock: Clock) -> Registry {
    let mut registry = Registry::default();
    registry.register(
        "mesh_daemon_build",
        "The binary and its version",
        Info::new([("binary", name), ("version", env!("CARGO_PKG_VERSION"))]),
    );

    let start_time = Gauge::<f64, AtomicU64>::default();
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds stay exact in a double for 285,000 years"
    )]
    start_time.set(clock.unix_milliseconds() as f64 / 1e3);
    registry.register_with_unit(
        "process_start_time",
        "When the process started, since 1970-01-01 UTC",
        Unit::Seconds,
        start_time,
    );

    registry.register_collector(Box::new(Ready(readiness)));
    registry
}

/// Reads readiness at the moment of the scrape, so that the metric and `/ready` cannot differ.
#[derive(Debug)]
struct Ready(Readiness);

impl Collector for Ready {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let descriptor = encoder.encode_descriptor(
            "mesh_daemon_ready",
            "1 while the process is ready, else 0",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(i64::from(self.0.is_ready())).encode(descriptor)
    }
}
