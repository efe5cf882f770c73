//! A token bucket: what a tenant may make its supervisor do per second.

use std::time::{Duration, Instant};

/// A budget that refills steadily up to a burst. It may be overdrawn once; then it is closed until
/// half of it is back, so that its user does not wake up for every single token.
#[derive(Debug)]
pub(in crate::supervisor) struct Budget {
    tokens: i64,
    burst: i64,
    per_second: i64,
    at: Instant,
    closed: bool,
}

impl Budget {
    pub(in crate::supervisor) fn new(now: Instant, burst: u32, per_second: u32) -> Self {
        let burst = i64::from(burst);
        Self { tokens: burst, burst, per_second: per_second.into(), at: now, closed: false }
    }

    /// Spends tokens.
    pub(in crate::supervisor) fn take(&mut self, now: Instant, tokens: usize) {
        self.refill(now);
        self.tokens -= i64::try_from(tokens).unwrap_or(i64::MAX / 2);
        self.closed = self.tokens <= 0;
    }

    /// None when there is something to spend, else when there will be.
    pub(in crate::supervisor) fn closed_until(&mut self, now: Instant) -> Option<Instant> {
        self.refill(now);
        let missing = self.burst / 2 - self.tokens;
        if !self.closed || missing <= 0 {
            self.closed = false;
            return None;
        }
        Some(now + Duration::from_millis((missing * 1000 / self.per_second + 1) as u64))
    }

    fn refill(&mut self, now: Instant) {
        let millis = now.saturating_duration_since(self.at).as_millis().min(60_000) as i64;
        let gained = millis * self.per_second / 1000;
        if gained > 0 {
            self.tokens = (self.tokens + gained).min(self.burst);
            self.at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spent_budget_closes_until_half_of_it_is_back() {
        let start = Instant::now();
        let mut budget = Budget::new(start, 100, 50);
        assert_eq!(budget.closed_until(start), None);
        budget.take(start, 120);
        let until = budget.closed_until(start).unwrap();
        assert!(until >= start + Duration::from_millis(1400), "{:?}", until - start);
        assert!(budget.closed_until(start + Duration::from_millis(500)).is_some());
        assert_eq!(budget.closed_until(start + Duration::from_secs(2)), None);
    }
}
