//! How much the bench measures.

/// How much is measured.
pub(crate) struct Scale {
    /// Repetitions of what concerns one tenant.
    pub(crate) repetitions: usize,
    /// Numbers of tenants whose memory is measured, and how often.
    pub(crate) crowds: Vec<(usize, usize)>,
    /// Numbers of starts at once.
    pub(crate) at_once: Vec<usize>,
    /// Tenants started to find the rate.
    pub(crate) starts: usize,
    /// Numbers of tenants among which the network of a start is measured.
    pub(crate) networks: Vec<usize>,
    /// Numbers of tenants beneath which the base is swapped.
    pub(crate) generations: Vec<usize>,
    /// How often the rate of starts is measured.
    pub(crate) rates: usize,
    /// How many tenants of Tenantry are measured on a host of their own.
    pub(crate) thousand: usize,
}

impl Scale {
    pub(super) fn of(quick: bool, swaps: bool) -> Self {
        let (crowds, at_once) = match quick {
            true => (vec![(20, 1)], vec![1, 4]),
            false => (vec![(20, 1), (100, 1)], vec![1, 4, 16]),
        };
        let repetitions = if quick { 5 } else { 11 };
        let starts = 16;
        let networks = if quick { vec![1, 20] } else { vec![1, 100, 500, 1000] };
        let mut generations = vec![if quick { 20 } else { 100 }];
        generations.extend(swaps.then_some(1000));
        let (rates, thousand) = if quick { (1, 100) } else { (3, 1000) };
        Self { repetitions, crowds, at_once, starts, networks, generations, rates, thousand }
    }
}
