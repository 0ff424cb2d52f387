//! Shows the sums of all threads as metrics.

use std::array;
use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Unit;

use super::{CODES, FATES, Group, LATENCY_BUCKETS, Moment, TYPES, Tallies};
use crate::message::Transport;

#[derive(Clone, Debug, EncodeLabelSet)]
struct QueryLabels {
    transport: &'static str,
    r#type: &'static str,
    rcode: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet)]
struct FateLabels {
    transport: &'static str,
    fate: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet)]
struct TransportLabels {
    transport: &'static str,
}

impl Collector for Tallies {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let groups = self.by_transport();
        encode_queries(&groups, &mut encoder)?;
        encode_fates(&groups, &mut encoder)?;
        encode_connections(&groups, &mut encoder)?;
        encode_times(&groups, &mut encoder)
    }
}

fn encode_queries(groups: &[Group], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "Queries answered, by transport, type and response code";
    let mut metric = encoder.encode_descriptor("queries", help, None, MetricType::Counter)?;
    for group in groups {
        let transport = group.transport;
        for (kind, (_, r#type)) in TYPES.iter().enumerate() {
            for (code, rcode) in CODES.into_iter().enumerate() {
                let labels = QueryLabels {
                    transport,
                    r#type,
                    rcode,
                };
                let count = group.sum(|it| &it.answered[kind][code]);
                let mut metric = metric.encode_family(&labels)?;
                metric.encode_counter(&count, None::<&Exemplar<[(&str, &str); 0], f64>>)?;
            }
        }
    }
    Ok(())
}

fn encode_fates(groups: &[Group], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "Messages that were not simply answered, by what became of them";
    let mut metric = encoder.encode_descriptor("messages", help, None, MetricType::Counter)?;
    for group in groups {
        let transport = group.transport;
        for (index, fate) in FATES.into_iter().enumerate() {
            let count = group.sum(|it| &it.fates[index]);
            let labels = FateLabels { transport, fate };
            let mut metric = metric.encode_family(&labels)?;
            metric.encode_counter(&count, None::<&Exemplar<[(&str, &str); 0], f64>>)?;
        }
    }
    Ok(())
}

fn encode_connections(groups: &[Group], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let is_connected = |it: &&Group| it.transport != Transport::Udp.name();
    let help = "Connections of clients";
    let mut metric = encoder.encode_descriptor("connections", help, None, MetricType::Gauge)?;
    for group in groups.iter().filter(is_connected) {
        let transport = group.transport;
        let closed = group.sum(|it| &it.connections[Moment::Closed as usize]);
        let opened = group.sum(|it| &it.connections[Moment::Opened as usize]);
        let labels = TransportLabels { transport };
        let mut metric = metric.encode_family(&labels)?;
        metric.encode_gauge(&opened.saturating_sub(closed))?;
    }
    let help = "Connections for which there was no place, of all or of their network's";
    let kind = MetricType::Counter;
    let mut metric = encoder.encode_descriptor("connections_refused", help, None, kind)?;
    for group in groups.iter().filter(is_connected) {
        let transport = group.transport;
        let refused = group.sum(|it| &it.connections[Moment::Refused as usize]);
        let labels = TransportLabels { transport };
        let mut metric = metric.encode_family(&labels)?;
        metric.encode_counter(&refused, None::<&Exemplar<[(&str, &str); 0], f64>>)?;
    }
    Ok(())
}

fn encode_times(groups: &[Group], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help =
        "Time from reading a query to having its answer, as the mean of those that came at once";
    let unit = Unit::Seconds;
    let kind = MetricType::Histogram;
    let mut metric = encoder.encode_descriptor("answer", help, Some(&unit), kind)?;
    for group in groups {
        let transport = group.transport;
        let counts: [u64; LATENCY_BUCKETS.len()] =
            array::from_fn(|index| group.sum(|it| &it.buckets[index]));
        let bounds = LATENCY_BUCKETS.map(|it| match it {
            u64::MAX => f64::INFINITY,
            it => Duration::from_nanos(it).as_secs_f64(),
        });
        let buckets: Vec<(f64, u64)> = bounds.into_iter().zip(counts).collect();
        let took = Duration::from_nanos(group.sum(|it| &it.nanoseconds));
        let count = counts.iter().sum();
        let labels = TransportLabels { transport };
        let mut metric = metric.encode_family(&labels)?;
        metric.encode_histogram::<[(&str, &str); 0]>(took.as_secs_f64(), count, &buckets, None)?;
    }
    Ok(())
}
