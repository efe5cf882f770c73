//! Man pages of sections 5 and 8: the pages of docs/reference, so that there is one text.
//!
//! lowdown(1) translates. Before it, a page gets a name, tables become lists of terms (a table of five columns is no
//! use on a terminal of 80), and links to other pages become their names.

use anyhow::{Context as _, Result, bail};
use std::{fmt::Write as _, fs, io::Write as _, process::Stdio};

use super::version::{self, Version};
use crate::sh;

/// A man page and where its text is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    title: &'static str,
    section: u8,
    /// Below docs/reference.
    source: &'static str,
    /// One line.
    about: &'static str,
    /// Pages that are mentioned at the end.
    see: &'static str,
}

/// The pages that are made of the reference. Those of tenantctl(1) and rootfsctl(1) come from the programs.
pub(super) const PAGES: &[Page] = &[
    Page {
        title: "tenant.toml",
        section: 5,
        source: "tenant.toml.md",
        about: "configuration of one tenant",
        see: "tenantctl-set(1), tenantctl-explain(1), profile.toml(5), hostd.toml(5), tenant@.service(8)",
    },
    Page {
        title: "profile.toml",
        section: 5,
        source: "profiles.md",
        about: "defaults for a kind of tenant",
        see: "tenant.toml(5), hostd.toml(5), tenantctl-explain(1)",
    },
    Page {
        title: "hostd.toml",
        section: 5,
        source: "hostd.toml.md",
        about: "settings of a host of tenants",
        see: "hostd(8), tenant.toml(5), tenantctl-doctor(1)",
    },
    Page {
        title: "nics.toml",
        section: 5,
        source: "nics.toml.md",
        about: "which tenant has which NIC of the host",
        see: "tenantctl-nics(1), tenant.toml(5)",
    },
    Page {
        title: "tenant",
        section: 8,
        source: "tenant.md",
        about: "run one tenant, or enter a running one",
        see: "tenant@.service(8), tenantctl(1), tenant.toml(5)",
    },
    Page {
        title: "hostd",
        section: 8,
        source: "hostd.md",
        about: "host daemon of Tenantry",
        see: "tenantctl(1), hostd.toml(5), tenant@.service(8), tenant(8)",
    },
    Page {
        title: "tenant@.service",
        section: 8,
        source: "tenant@.service.md",
        about: "one tenant as a unit of systemd",
        see: "systemctl(1), tenantctl(1), tenant.toml(5), tenant(8), systemd.resource-control(5), journalctl(1)",
    },
];

impl Page {
    /// `hostd.8`.
    pub(super) fn file(&self) -> String {
        format!("{}.{}", self.title, self.section)
    }

    /// `hostd(8)`.
    pub(super) fn name(&self) -> String {
        format!("{}({})", self.title, self.section)
    }

    /// The page as roff.
    pub(super) fn render(&self, version: &Version, epoch: u64) -> Result<String> {
        let path = sh::repository().join("docs/reference").join(self.source);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let text = self.prepare(&text);
        let mut lowdown = sh::command("lowdown", &["-s", "-Tman", "--nroff-nolinks", "--nroff-no-groff"]);
        for (key, value) in [
            ("title", self.title.to_owned()),
            ("section", self.section.to_string()),
            ("source", format!("Tenantry {version}")),
            ("volume", "Tenantry".to_owned()),
            ("date", version::date(epoch, "%Y-%m-%d")?),
        ] {
            lowdown.args(["-M", &format!("{key}={value}")]);
        }
        let mut child =
            lowdown.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot run lowdown")?;
        child.stdin.take().context("standard input is a pipe")?.write_all(text.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("lowdown cannot translate {}", path.display());
        }
        Ok(String::from_utf8(output.stdout)?.replace("\\fC", "\\fB").replace("\\f(CR", "\\fB"))
    }

    /// The page as the Markdown that lowdown(1) gets.
    fn prepare(&self, text: &str) -> String {
        let mut out = format!("# NAME\n\n{} - {}\n\n# DESCRIPTION\n", self.title, self.about);
        let mut lines = text.lines().skip(1).peekable();
        let mut fence = false;
        while let Some(line) = lines.next() {
            if line.starts_with("```") {
                fence = !fence;
            }
            if fence {
                let _ = writeln!(out, "{line}");
            } else if ["The code: ", "The files: ", "The units: "].iter().any(|start| line.starts_with(start))
            {
                // For those who read the repository.
                while lines.next_if(|line| !line.is_empty()).is_some() {}
            } else if let Some(heading) = line.strip_prefix("##") {
                let heading = heading.replace('`', "");
                let upper = if heading.starts_with('#') { heading } else { heading.to_uppercase() };
                let _ = writeln!(out, "#{}", plain_links(&upper));
            } else if line.starts_with('|') {
                let mut table = vec![cells(line)];
                while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
                    table.push(cells(row));
                }
                out.push_str(&terms(&table));
            } else {
                let _ = writeln!(out, "{}", plain_links(line));
            }
        }
        let _ = write!(out, "\n# SEE ALSO\n\n{}\n", self.see);
        out
    }
}

/// The cells of a row; `\|` is no border.
fn cells(row: &str) -> Vec<String> {
    let inner = row.trim().trim_start_matches('|').trim_end_matches('|').replace("\\|", "\u{1}");
    inner.split('|').map(|cell| plain_links(cell.trim()).replace('\u{1}', "|")).collect()
}

/// A table as a list: the first column is the term, the last one its text, those between are said with their heading.
fn terms(table: &[Vec<String>]) -> String {
    let [head, _line, rows @ ..] = table else { return String::new() };
    let mut out = String::new();
    // A table whose heading is a row itself, as those of the shipped profiles.
    if head.len() == 2 && head[0].starts_with('`') {
        let _ = writeln!(out, "**{}**: {}\n", head[0].replace('`', ""), head[1].replace(": how to", ""));
    }
    for row in rows {
        let Some((term, rest)) = row.split_first() else { continue };
        let (last, middle) = rest.split_last().map_or((String::new(), &rest[..0]), |(l, m)| (l.clone(), m));
        let named = middle.iter().zip(&head[1..]).filter(|(cell, _)| !cell.is_empty());
        let mut said: Vec<String> = named.map(|(cell, head)| format!("{head}: {cell}")).collect();
        if !last.is_empty() {
            said.push(last);
        }
        let term = if term.is_empty() { "otherwise" } else { term };
        let _ = writeln!(out, "{term}\n\n:   {}\n", said.join(". "));
    }
    out
}

/// `[text](page.md)` becomes the man page's name, or the text where there is none.
fn plain_links(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('[') {
        let link = after.split_once("](").and_then(|(text, end)| Some((text, end.split_once(')')?)));
        let Some((text, (target, end))) = link.filter(|(text, _)| !text.contains('[')) else {
            out.push_str(before);
            out.push('[');
            rest = after;
            continue;
        };
        let file = target.split('#').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
        let page = PAGES.iter().find(|page| page.source == file);
        let command = ["tenantctl.md", "rootfsctl.md"].contains(&file).then(|| file.replace(".md", "(1)"));
        let name = page.map(Page::name).or(command);
        out.push_str(before);
        match name {
            Some(name)
                if text.trim_matches('`') == name || text.replace('`', "") == file.replace(".md", "") =>
            {
                out.push_str(&name);
            }
            Some(name) => {
                let _ = write!(out, "{text}, see {name}");
            }
            None => out.push_str(text),
        }
        rest = end;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_become_the_names_of_pages() {
        let line = "see [hostd.toml](hostd.toml.md), [rates](filter.md#rates) and `[[pool]]`";
        assert_eq!(plain_links(line), "see hostd.toml(5), rates and `[[pool]]`");
        assert_eq!(plain_links("[its sockets](tenant.md)"), "its sockets, see tenant(8)");
    }

    #[test]
    fn a_table_becomes_terms_with_their_properties() {
        let rows = ["| key | type | meaning |", "|---|---|---|", "| `a` | string | `x\\|y` |", "| b | | z |"];
        let table: Vec<_> = rows.iter().map(|row| cells(row)).collect();
        assert_eq!(terms(&table), "`a`\n\n:   type: string. `x|y`\n\nb\n\n:   z\n\n");
    }

    #[test]
    fn every_page_has_a_source_with_a_title() {
        for page in PAGES {
            let path = sh::repository().join("docs/reference").join(page.source);
            let text = fs::read_to_string(&path).unwrap_or_default();
            assert!(text.starts_with("# "), "{}", path.display());
            assert!(page.prepare(&text).contains("# SEE ALSO"));
        }
    }
}
