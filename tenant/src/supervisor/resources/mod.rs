//! What a tenant sees of the machine's size: its limits, in the files of the kernel that tell it.
//!
//! | file | what it handles |
//! |---|---|
//! | `view` | which text is made of what |
//! | `cgroup` | limits and usage, as the controllers of version 2 or 1 tell them |
//! | `memory` | `meminfo` and `swaps`; pure |
//! | `cpus` | `cpuinfo`, `stat`, and the list of CPUs; pure |
//! | `load` | `loadavg`; pure |

pub(super) mod cgroup;
mod cpus;
mod load;
mod memory;
pub(super) mod view;
