//! Authoritative DNS with health-checked, geo-aware answers.
