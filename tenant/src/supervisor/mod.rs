//! `tenant run NAME`: the small, synchronous process that keeps one tenant alive.
