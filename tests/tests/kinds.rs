//! The kinds of tenants, each booted for real.
