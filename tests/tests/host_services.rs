//! What tenants reach of the host itself: ping, and what hostd.toml opens.
