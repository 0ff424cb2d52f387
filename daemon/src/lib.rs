//! What every process of the mesh does alike: start, readiness, drain, telemetry.
