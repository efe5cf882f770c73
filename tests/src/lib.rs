//! Tests that need a whole host.
