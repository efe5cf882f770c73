//! Writing limits into the files of a unit's cgroups, and taking that back.

use std::{
    fs,
    io::{self, Write as _},
};

use tenant::model::limits::Limits;
use wire::UnitCgroups;

use super::{
    enforce::{Enforce, LimitError},
    knobs::{Knob, knobs},
    schedulers::IoSchedulers,
};

/// Sets the limits, and lifts those that are not set. What was before is the answer.
///
/// # Errors
/// With [`Enforce::Possible`] only what the kernel refuses; those that were set before that are as they were.
pub fn apply(
    limits: &Limits,
    cgroups: &UnitCgroups,
    schedulers: IoSchedulers,
    enforce: Enforce,
) -> Result<Applied, LimitError> {
    let (knobs, missing) = knobs(limits, cgroups, schedulers);
    enforce.judge(missing)?;
    let mut applied = Applied { before: Vec::new() };
    match applied.set_all(knobs) {
        Ok(()) => Ok(applied),
        Err(error) => {
            if let Err(left) = applied.undo() {
                log::error!("{}", wire::chain(&left));
            }
            Err(error)
        }
    }
}

/// Limits that were set, and what their files said before.
#[derive(Debug)]
pub struct Applied {
    before: Vec<(Knob, String)>,
}

impl Applied {
    fn set_all(&mut self, knobs: Vec<Knob>) -> Result<(), LimitError> {
        for knob in &knobs {
            // A weight of bfq has lines for single disks, too; those are not ours.
            let text = fs::read_to_string(&knob.file).unwrap_or_default();
            let line = text.lines().next().unwrap_or_default().to_owned();
            self.before.push((knob.clone(), line));
        }
        self.lift()?;
        knobs.iter().try_for_each(set)
    }

    /// On v1, memory must stay below memory and swap together at every moment: the sum is lifted before either is set.
    fn lift(&self) -> Result<(), LimitError> {
        let sums = self.before.iter().filter(|(knob, _)| knob.is_sum);
        sums.map(|(knob, _)| Knob { text: "-1".to_owned(), ..knob.clone() }).try_for_each(|knob| set(&knob))
    }

    /// Makes the files say what they said before.
    ///
    /// # Errors
    /// The first that the kernel refuses; the others are set all the same.
    pub fn undo(self) -> Result<(), LimitError> {
        let mut first = self.lift().err();
        for (knob, text) in self.before.iter().filter(|(_, text)| !text.is_empty()) {
            if let Err(error) = write(knob, text) {
                first.get_or_insert(LimitError::Refused {
                    key: knob.key,
                    file: knob.file.clone(),
                    source: error,
                });
            }
        }
        first.map_or(Ok(()), Err)
    }
}

fn set(knob: &Knob) -> Result<(), LimitError> {
    let period = match knob.period {
        Some(period) => fs::write(knob.file.with_file_name("cpu.cfs_period_us"), period.to_string()),
        None => Ok(()),
    };
    let written = period.and_then(|()| write(knob, &knob.text));
    written.map_err(|source| LimitError::Refused { key: knob.key, file: knob.file.clone(), source })
}

fn write(knob: &Knob, value: &str) -> io::Result<()> {
    // Not made where it is missing: a cgroup has the files that it has.
    fs::File::options().write(true).truncate(true).open(&knob.file)?.write_all(value.as_bytes())
}
