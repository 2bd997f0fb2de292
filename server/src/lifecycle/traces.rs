//! Exporting sampled requests to a collector (`trace-endpoint`).

use crate::StartError;
use crate::process::Process;
use engine::config::Id;

/// The exporter, which exports until it is dropped.
#[cfg(feature = "otel")]
pub(super) type Traces = Option<otel::Exporter>;
/// The exporter, which exports until it is dropped.
#[cfg(not(feature = "otel"))]
pub(super) type Traces = ();

/// Begins to export, if there is somewhere to export to.
///
/// # Errors
/// Fails if that is no endpoint.
#[cfg(feature = "otel")]
pub(super) fn start(process: &Process) -> Result<Traces, StartError> {
    let endpoint = process.config.text(Id::TraceEndpoint).to_string();
    if endpoint.is_empty() {
        return Ok(None);
    }
    let instance = process.addresses.first().map(ToString::to_string).unwrap_or_default();
    let settings = otel::Settings { endpoint, version: env!("CARGO_PKG_VERSION").into(), instance };
    let config = process.config.clone();
    let exporter =
        otel::Exporter::start(settings, move || config.integer(Id::TraceSamplesPerSecond) as u64);
    exporter.map(Some).map_err(|error| StartError::other(format!("trace-endpoint: {error}")))
}

/// Says that this server cannot.
///
/// # Errors
/// Fails if it should.
#[cfg(not(feature = "otel"))]
pub(super) fn start(process: &Process) -> Result<Traces, StartError> {
    match process.config.text(Id::TraceEndpoint).is_empty() {
        true => Ok(()),
        false => Err(StartError::other("trace-endpoint: this server was built without 'otel'")),
    }
}
