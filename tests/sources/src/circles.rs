//! Circles between the files of a crate.
//!
//! A file uses another when its code names an item that the other defines, by whatever path: a use through a
//! re-export is one of the file that defines the item. `mod x;`, re-exports, links in comments and tests are
//! no uses. Files that use each other, one after the other around, can only be understood, moved and changed
//! together.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Result;

use crate::{
    tree::{Read, Tree},
    uses::{Place, Uses, uses},
};

/// Files of a crate of which each uses the next, and the last the first.
#[derive(Debug)]
pub(crate) struct Circle {
    /// All files that are knotted together.
    pub(crate) files: BTreeSet<PathBuf>,
    /// Shortest ways around, which together go over every use between these files.
    pub(crate) rounds: Vec<Vec<PathBuf>>,
    uses: Uses,
}

/// What circles are looked for between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Between {
    Files,
    /// A file below the root of a crate, or a directory with all that is in it.
    Rooms,
}

/// The circles of a target, by its root file.
pub(crate) fn of_target(root: &Path, between: Between, read: Read<'_>) -> Result<Vec<Circle>> {
    let uses = uses(&Tree::load(root, read)?);
    Ok(circles(&match between {
        Between::Files => uses,
        Between::Rooms => of_rooms(root, uses),
    }))
}

/// Uses between files as uses between the rooms that they are in. The root file is in none: it names all.
fn of_rooms(root: &Path, uses: Uses) -> Uses {
    let room = |file: &Path| -> Option<PathBuf> {
        let below = file.strip_prefix(root.parent()?).ok().filter(|_| file != root)?;
        Some(root.with_file_name(below.iter().next()?).with_extension(""))
    };
    let mut found = Uses::new();
    for ((user, used), places) in uses {
        let (Some(one), Some(other)) = (room(&user), room(&used)) else { continue };
        if one != other {
            let places = places.into_iter().map(|place| {
                let what = format!("{} in {}", place.what, user.display());
                Place { what, ..place }
            });
            found.entry((one, other)).or_default().extend(places);
        }
    }
    found
}

type Graph<'a> = BTreeMap<&'a Path, BTreeSet<&'a Path>>;

fn circles(uses: &Uses) -> Vec<Circle> {
    let mut graph = Graph::new();
    for (user, used) in uses.keys() {
        graph.entry(user).or_default().insert(used);
    }
    let reached: BTreeMap<&Path, BTreeSet<&Path>> =
        graph.keys().map(|file| (*file, reachable(&graph, file))).collect();
    let mut seen: BTreeSet<&Path> = BTreeSet::new();
    let mut found = Vec::new();
    for (file, reaches) in &reached {
        if !reaches.contains(file) || seen.contains(file) {
            continue;
        }
        let back = |other: &&&Path| reached.get(**other).is_some_and(|reaches| reaches.contains(file));
        let files: BTreeSet<&Path> = reaches.iter().filter(back).copied().collect();
        seen.extend(&files);
        found.push(circle(&files, &graph, uses));
    }
    found
}

fn reachable<'a>(graph: &Graph<'a>, from: &Path) -> BTreeSet<&'a Path> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&Path> = graph.get(from).into_iter().flatten().copied().collect();
    while let Some(file) = next.pop() {
        if reached.insert(file) {
            next.extend(graph.get(file).into_iter().flatten());
        }
    }
    reached
}

fn circle(files: &BTreeSet<&Path>, graph: &Graph<'_>, uses: &Uses) -> Circle {
    let inside = |one: &Path, other: &Path| files.contains(one) && files.contains(other);
    let uses: Uses = uses
        .iter()
        .filter(|((user, used), _)| inside(user, used))
        .map(|(edge, places)| (edge.clone(), places.clone()))
        .collect();
    let mut rounds: Vec<Vec<PathBuf>> = Vec::new();
    let mut gone: BTreeSet<(PathBuf, PathBuf)> = BTreeSet::new();
    for edge in uses.keys() {
        if !gone.contains(edge) {
            let round = around(graph, files, &edge.0, &edge.1);
            gone.extend(steps(&round).map(|(user, used)| (user.clone(), used.clone())));
            rounds.push(round);
        }
    }
    rounds.sort_by_key(Vec::len);
    Circle { files: files.iter().map(|file| (*file).to_owned()).collect(), rounds, uses }
}

/// Each file of a round with the next.
fn steps(round: &[PathBuf]) -> impl Iterator<Item = (&PathBuf, &PathBuf)> {
    round.iter().zip(round.iter().cycle().skip(1))
}

/// The shortest way around that begins with this use.
fn around(graph: &Graph<'_>, files: &BTreeSet<&Path>, user: &Path, used: &Path) -> Vec<PathBuf> {
    let mut before: BTreeMap<&Path, &Path> = BTreeMap::new();
    let mut next = VecDeque::from([used]);
    while let Some(file) = next.pop_front() {
        for after in graph.get(file).into_iter().flatten().filter(|after| files.contains(**after)) {
            if *after != used && !before.contains_key(after) {
                before.insert(after, file);
                next.push_back(after);
            }
        }
    }
    let (mut round, mut at) = (Vec::new(), user);
    while at != used {
        round.push(at.to_owned());
        at = before.get(at).copied().unwrap_or(used);
    }
    round.push(used.to_owned());
    round.reverse();
    // From the user to what it uses.
    round.rotate_right(1);
    round
}

impl Circle {
    /// For people: the files, then each way around with a line for each use.
    pub(crate) fn show(&self) -> String {
        let mut text = format!("circle of {}:\n", self.files.len());
        for file in &self.files {
            writeln!(text, "    {}", file.display()).expect("a string can be written to");
        }
        for round in &self.rounds {
            writeln!(text, "  {} around:", round.len()).expect("a string can be written to");
            for (user, used) in steps(round) {
                let places = &self.uses[&(user.clone(), used.clone())];
                writeln!(text, "    {}", step(user, used, places)).expect("a string can be written to");
            }
        }
        text
    }
}

/// `a.rs:12 uses b.rs: super::B (and in 3 more places)`
fn step(user: &Path, used: &Path, places: &BTreeSet<Place>) -> String {
    let mut lines = places.iter();
    let (line, what) = lines.next().map_or((0, ""), |place| (place.line, place.what.as_str()));
    let others: BTreeSet<usize> = lines.map(|place| place.line).filter(|other| *other != line).collect();
    let mut text = format!("{}:{line} uses {}: {what}", user.display(), used.display());
    if !others.is_empty() {
        let some: Vec<String> = others.iter().take(6).map(usize::to_string).collect();
        let more = if others.len() > 6 { ", …" } else { "" };
        write!(text, " (lines {}{more} as well)", some.join(", ")).expect("a string can be written to");
    }
    text
}

#[cfg(test)]
mod tests;
