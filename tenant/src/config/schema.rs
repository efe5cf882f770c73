//! What a row of the table of keys says, and how a value is read by the type of its key.

use std::fmt;

use crate::model::limits::{ByteSize, Limits};

/// The values that a key may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// Yes or no.
    Boolean,
    /// A whole number.
    Number(Bounds),
    /// Bytes.
    Size(Bounds),
    /// Percent of one CPU.
    Percent(Bounds),
    /// A time in seconds.
    Time(Bounds),
    /// One of these words.
    Words(&'static [&'static str]),
    /// Whatever else, in words.
    Form {
        /// The type, as the reference names it.
        kind: &'static str,
        /// What it may look like.
        form: &'static str,
        /// A value that is taken, as TOML.
        good: &'static str,
        /// A value that is refused, as TOML; empty where every text is taken.
        bad: &'static str,
    },
}

/// A least and a greatest number, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The least.
    pub min: u64,
    /// The greatest.
    pub max: u64,
    /// Whether `max`, for no limit, is possible as well.
    pub or_none: bool,
}

/// Bounds of a value that there always is.
pub(super) const fn from_to(min: u64, max: u64) -> Bounds {
    Bounds { min, max, or_none: false }
}

/// Bounds of a limit that can be lifted.
pub(super) const fn up_to(min: u64, max: u64) -> Bounds {
    Bounds { min, max, or_none: true }
}

/// What counts where neither the tenant's file nor its profile has a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// This value, as TOML.
    Is(&'static str),
    /// What the image's manifest says.
    Image,
    /// What the host has, in words.
    Host(&'static str),
    /// Nothing, in words.
    Nothing(&'static str),
}

/// When a changed value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// At once, where the tenant is running.
    Live(Live),
    /// From the tenant's next start.
    NextStart,
}

/// What a changed value is carried to at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live {
    /// The tenant's cgroups, or the properties of its unit.
    Limit,
    /// The packet filter.
    Filter,
    /// The quota of its directories.
    Disk,
    /// Its unit: whether it is started, not how it runs.
    Unit,
    /// Nothing but what people are shown.
    Words,
}

/// The part of the reference that a key belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// In the table below this heading.
    Table(&'static str),
    /// Below this heading, which is about this key alone.
    Own(&'static str),
    /// A key of profiles.
    Profiles,
}

/// How a tenant's value of a key is shown.
pub(super) enum Shown<T> {
    /// By this.
    By(fn(&T) -> String),
    /// As a limit.
    Limit,
}

/// A row of the table of keys; `F` is what a file says, `T` what comes of it.
pub struct Row<F, T> {
    /// The key.
    pub name: &'static str,
    /// Where it is documented.
    pub section: Section,
    /// What its value may be.
    pub range: Range,
    /// What counts without it.
    pub absent: Absent,
    /// When a change of it counts.
    pub effect: Effect,
    /// What it is for, in Markdown.
    pub doc: &'static str,
    pub(super) shown: Shown<T>,
    pub(super) is_given: fn(&F) -> bool,
    pub(super) number: fn(&F) -> Option<u64>,
}

impl<F, T> fmt::Debug for Row<F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<F, T> Row<F, T> {
    /// Whether a file has the key.
    pub fn is_given(&self, file: &F) -> bool {
        (self.is_given)(file)
    }

    /// Whether it is a limit of the tenant's cgroups.
    pub fn is_limit(&self) -> bool {
        self.effect == Effect::Live(Live::Limit)
    }
}

impl Range {
    /// The type, as the reference names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Number(_) => "integer",
            Self::Size(_) => "size",
            Self::Time(_) => "time",
            Self::Percent(_) | Self::Words(_) => "string",
            Self::Form { kind, .. } => kind,
        }
    }

    fn bounds(&self) -> Option<Bounds> {
        match self {
            Self::Number(bounds) | Self::Size(bounds) | Self::Percent(bounds) | Self::Time(bounds) => {
                Some(*bounds)
            }
            Self::Boolean | Self::Words(_) | Self::Form { .. } => None,
        }
    }

    /// A number as a file writes it.
    pub fn show(&self, number: u64) -> String {
        match self {
            _ if number == Limits::MAX => "max".to_owned(),
            Self::Size(_) => ByteSize(number).to_string(),
            Self::Percent(_) => format!("{number}%"),
            _ => number.to_string(),
        }
    }

    /// Why a number is none of these.
    pub(super) fn refuse(&self, number: u64) -> Option<String> {
        let Bounds { min, max, or_none } = self.bounds()?;
        if (min..=max).contains(&number) || (or_none && number == Limits::MAX) {
            return None;
        }
        let unit = if matches!(self, Self::Time(_)) { " seconds" } else { "" };
        Some(format!("{} is outside {} to {}{unit}", self.show(number), self.show(min), self.show(max)))
    }

    /// What is taken, in words.
    pub fn forms(&self) -> String {
        let span = |bounds: &Bounds| {
            let max = if bounds.or_none { "; `max` for no limit" } else { "" };
            format!("{} to {}{max}", self.show(bounds.min), self.show(bounds.max))
        };
        match self {
            Self::Boolean => "`true` or `false`, also written yes, no, on, off".to_owned(),
            Self::Number(bounds) => span(bounds),
            Self::Size(bounds) => format!("{}, e.g. 512M, 1G or 1GiB", span(bounds)),
            Self::Percent(bounds) => format!("{}; 200% is two CPUs", span(bounds)),
            Self::Time(bounds) => format!("{} seconds, e.g. 90, 90s or 2min", span(bounds)),
            Self::Words(words) => list(words),
            Self::Form { form: "", good, .. } => format!("e.g. {good}"),
            Self::Form { form, good, .. } => format!("{form}, e.g. {good}"),
        }
    }

    /// The range as a cell of the reference.
    pub fn cell(&self) -> String {
        match self {
            Self::Boolean => String::new(),
            Self::Number(bounds) | Self::Size(bounds) | Self::Percent(bounds) | Self::Time(bounds) => {
                let quote = |number| match self {
                    Self::Percent(_) => format!("`{}`", self.show(number)),
                    _ => self.show(number),
                };
                let max = if bounds.or_none { ", or `max`" } else { "" };
                format!("{} to {}{max}", quote(bounds.min), quote(bounds.max))
            }
            Self::Words(words) => list(words),
            Self::Form { form, .. } => (*form).to_owned(),
        }
    }

    /// What a shell can complete a value to.
    pub fn completions(&self) -> Vec<&'static str> {
        match self {
            Self::Boolean => vec!["true", "false"],
            Self::Words(words) => words.to_vec(),
            _ if self.bounds().is_some_and(|bounds| bounds.or_none) => vec!["max"],
            _ => Vec::new(),
        }
    }

    /// A value that is taken, as TOML.
    pub fn good(&self) -> String {
        match self {
            Self::Boolean => "true".to_owned(),
            Self::Words(words) => format!("{:?}", words[0]),
            Self::Form { good, .. } => (*good).to_owned(),
            _ => format!("{:?}", self.show(self.bounds().map_or(0, |bounds| bounds.max))),
        }
    }

    /// Values that are refused, as TOML.
    pub fn bad(&self) -> Vec<String> {
        match self {
            Self::Boolean | Self::Words(_) => vec!["\"neither\"".to_owned(), "7.5".to_owned()],
            Self::Form { bad, .. } => {
                [*bad].iter().filter(|bad| !bad.is_empty()).map(ToString::to_string).collect()
            }
            _ => {
                let Some(Bounds { min, max, .. }) = self.bounds() else { return Vec::new() };
                let mut bad = vec!["\"lots\"".to_owned(), format!("{:?}", self.show(max + 1))];
                bad.extend(min.checked_sub(1).map(|less| format!("{:?}", self.show(less))));
                bad
            }
        }
    }
}

fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

impl Effect {
    /// As a cell of the reference.
    pub fn cell(&self) -> &'static str {
        match self {
            Self::Live(_) => "at once",
            Self::NextStart => "next start",
        }
    }
}

impl Absent {
    /// As a cell of the reference.
    pub fn cell(&self) -> String {
        match self {
            Self::Is(value) => format!("`{}`", value.trim_matches('"')),
            Self::Image => "the image's".to_owned(),
            Self::Host(words) | Self::Nothing(words) => (*words).to_owned(),
        }
    }
}
