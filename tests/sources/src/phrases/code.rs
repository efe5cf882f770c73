//! What users read of a program: its strings, and the comments that clap(1) shows as help.

use std::path::Path;

use anyhow::{Context as _, Result};
use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Attribute, ImplItemFn, Item, LitStr, Macro,
    visit::{self, Visit},
};

use super::text::Text;
use crate::tree;

/// Attributes whose strings no user reads.
const UNREAD: [&str; 12] = [
    "allow",
    "cfg",
    "cfg_attr",
    "deny",
    "deprecated",
    "derive",
    "doc",
    "expect",
    "must_use",
    "path",
    "repr",
    "serde",
];

/// Whether a file is compiled for tests alone.
pub(super) fn is_of_a_test(path: &Path) -> bool {
    let product = ["tests/xtask/src", "tests/sources/src"].iter().find_map(|dir| path.strip_prefix(dir).ok());
    let path = product.unwrap_or(path);
    path.iter().any(|part| part == "tests" || part == "tests.rs" || part == "benches")
}

/// The strings and the help in a file.
pub(super) fn texts(text: &str) -> Result<Vec<Text>> {
    let file = syn::parse_file(text).context("cannot parse a file")?;
    let mut finder = Finder { found: Vec::new() };
    finder.visit_file(&file);
    Ok(finder.found)
}

/// All identifiers of a file, with their lines.
pub(super) fn identifiers(text: &str) -> Result<Vec<(usize, String)>> {
    let tokens: TokenStream = text.parse().ok().context("cannot parse a file")?;
    let mut found = Vec::new();
    idents(tokens, &mut found);
    Ok(found)
}

fn idents(tokens: TokenStream, found: &mut Vec<(usize, String)>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => idents(group.stream(), found),
            TokenTree::Ident(ident) => found.push((ident.span().start().line, ident.to_string())),
            _ => {}
        }
    }
}

struct Finder {
    found: Vec<Text>,
}

impl Finder {
    fn string(&mut self, literal: &LitStr) {
        self.text(literal.span().start().line, literal.value());
    }

    fn text(&mut self, line: usize, text: String) {
        // A single word is a key, a name or a path.
        if text.trim().contains(' ') {
            self.found.push(Text { line, text });
        }
    }

    fn tokens(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Literal(literal) => {
                    let line = literal.span().start().line;
                    if let Ok(literal) = syn::parse_str::<LitStr>(&literal.to_string()) {
                        self.text(line, literal.value());
                    }
                }
                _ => {}
            }
        }
    }

    fn docs(&mut self, attributes: &[Attribute]) {
        let mut lines = Vec::new();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("doc")) {
            if let syn::Meta::NameValue(doc) = &attribute.meta
                && let syn::Expr::Lit(literal) = &doc.value
                && let syn::Lit::Str(text) = &literal.lit
            {
                lines.push((text.span().start().line, text.value()));
            }
        }
        if let Some(line) = lines.first().map(|(line, _)| *line) {
            let text = lines.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("\n");
            self.text(line, text);
        }
    }
}

/// Whether clap shows the comments of a type as help.
fn is_help(attributes: &[Attribute]) -> bool {
    attributes.iter().filter(|attribute| attribute.path().is_ident("derive")).any(|attribute| {
        let Ok(list) = attribute.meta.require_list() else { return false };
        let shown = ["Args", "Parser", "Subcommand", "ValueEnum"];
        list.tokens
            .clone()
            .into_iter()
            .any(|token| matches!(token, TokenTree::Ident(name) if shown.iter().any(|shown| name == shown)))
    })
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = tree::attributes(item).unwrap_or_default();
        if tree::only_for_tests(attributes) {
            return;
        }
        if is_help(attributes) {
            self.docs(attributes);
            match item {
                Item::Struct(item) => item.fields.iter().for_each(|field| self.docs(&field.attrs)),
                Item::Enum(item) => {
                    for variant in &item.variants {
                        self.docs(&variant.attrs);
                        variant.fields.iter().for_each(|field| self.docs(&field.attrs));
                    }
                }
                _ => {}
            }
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        if !tree::only_for_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_lit_str(&mut self, literal: &'ast LitStr) {
        self.string(literal);
    }

    fn visit_macro(&mut self, item: &'ast Macro) {
        self.tokens(item.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if UNREAD.iter().any(|name| attribute.path().is_ident(name)) {
            return;
        }
        match &attribute.meta {
            syn::Meta::List(list) => self.tokens(list.tokens.clone()),
            meta => visit::visit_meta(self, meta),
        }
    }
}
