//! [`Author`]: samples as OpenTelemetry's spans.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use runtime::spans::{About, Sample};
use std::hash::{BuildHasher, RandomState};
use std::time::UNIX_EPOCH;

/// Writes messages, with identifiers of its own.
pub struct Author {
    version: String,
    instance: String,
    random: SplitMix64,
}

impl Author {
    /// An author in the name of a server.
    pub fn new(version: String, instance: String) -> Self {
        // The standard library seeds its hash maps from the kernel.
        let random = SplitMix64::seed_from_u64(RandomState::new().hash_one(&instance));
        Author { version, instance, random }
    }

    /// The message that has these samples.
    pub fn request(&mut self, samples: &[Sample]) -> ExportTraceServiceRequest {
        let spans = samples.iter().flat_map(|sample| self.spans(sample)).collect();
        let scope = InstrumentationScope {
            name: "varve".into(),
            version: self.version.clone(),
            ..InstrumentationScope::default()
        };
        let attributes = vec![
            text("service.name", "varve"),
            text("service.version", &self.version),
            text("service.instance.id", &self.instance),
        ];
        let resource_spans = vec![ResourceSpans {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }],
            schema_url: String::new(),
        }];
        ExportTraceServiceRequest { resource_spans }
    }

    /// The span of a turn, and one for each of its stages.
    fn spans(&mut self, sample: &Sample) -> Vec<Span> {
        let began = sample.began.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        let at = |from_ns: u64, took_ns: u64, span: Span| Span {
            start_time_unix_nano: began + from_ns,
            end_time_unix_nano: began + from_ns + took_ns,
            ..span
        };
        let parent = sample.about.parent;
        let trace_id = match parent {
            Some(parent) => parent.trace_id.to_vec(),
            None => [self.id(), self.id()].concat(),
        };
        let span_id = self.id();
        let turn = Span {
            trace_id: trace_id.clone(),
            span_id: span_id.clone(),
            parent_span_id: parent.map(|parent| parent.span_id.to_vec()).unwrap_or_default(),
            flags: 1,
            name: name(&sample.about),
            kind: SpanKind::Server.into(),
            attributes: attributes(&sample.about),
            ..Span::default()
        };
        let mut spans = vec![at(0, sample.took_ns, turn)];
        for part in &sample.parts {
            let stage = Span {
                trace_id: trace_id.clone(),
                span_id: self.id(),
                parent_span_id: span_id.clone(),
                flags: 1,
                name: part.stage.name().into(),
                kind: SpanKind::Internal.into(),
                ..Span::default()
            };
            spans.push(at(part.begins_ns, part.took_ns, stage));
        }
        spans
    }

    /// An identifier of eight bytes, which are not all zero.
    fn id(&mut self) -> Vec<u8> {
        self.random.next_u64().max(1).to_be_bytes().to_vec()
    }
}

/// A command's name as people write it: `CLIENT SETINFO`.
fn name(about: &About) -> String {
    about.command.to_uppercase().replace('|', " ")
}

/// Attributes with the names of OpenTelemetry's conventions for databases.
fn attributes(about: &About) -> Vec<KeyValue> {
    let mut all = vec![
        text("db.system.name", "redis"),
        text("db.operation.name", &name(about)),
        text("db.namespace", &about.db.to_string()),
        text("network.peer.address", &about.peer),
        number("varve.client.id", about.client),
    ];
    if about.commands > 1 {
        all.push(number("db.operation.batch.size", about.commands));
    }
    all
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

fn number(key: &str, value: u64) -> KeyValue {
    attribute(key, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::spans::{Parent, Part};
    use runtime::trace::Stage;
    use std::time::Duration;

    fn sample(parent: Option<Parent>, commands: u64) -> Sample {
        let about =
            About { parent, command: "client|setinfo".into(), commands, ..About::default() };
        let part = |stage, begins_ns, took_ns| Part { stage, begins_ns, took_ns };
        let parts = vec![part(Stage::Read, 0, 300), part(Stage::Execute, 300, 500)];
        Sample { about, began: UNIX_EPOCH + Duration::from_secs(9), took_ns: 1000, parts }
    }

    #[test]
    fn a_turn_is_a_part_of_its_caller_and_stages_are_parts_of_it() {
        let parent = Parent { trace_id: [7; 16], span_id: [8; 8], is_sampled: true };
        let mut author = Author::new("1".into(), "here".into());
        let request = author.request(&[sample(Some(parent), 2), sample(None, 1)]);
        let spans = &request.resource_spans[0].scope_spans[0].spans;
        let [turn, read, execute, alone, ..] = &spans[..] else { panic!("{spans:?}") };
        assert_eq!((&turn.trace_id[..], &turn.parent_span_id[..]), (&[7; 16][..], &[8; 8][..]));
        assert_eq!(turn.name, "CLIENT SETINFO");
        for (stage, name, begins, ends) in [(read, "read", 0, 300), (execute, "execute", 300, 800)]
        {
            assert_eq!((&stage.trace_id, &stage.parent_span_id), (&turn.trace_id, &turn.span_id));
            assert_eq!(stage.name, name);
            let times = [stage.start_time_unix_nano, stage.end_time_unix_nano];
            assert_eq!(times.map(|at| at - 9_000_000_000), [begins, ends]);
        }
        assert!(turn.attributes.iter().any(|it| it.key == "db.operation.batch.size"));
        assert!(alone.parent_span_id.is_empty() && alone.trace_id != turn.trace_id);
        assert!(!alone.attributes.iter().any(|it| it.key == "db.operation.batch.size"));
        let mut ids: Vec<_> = spans.iter().map(|span| &span.span_id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 6, "every span has its own");
    }
}
