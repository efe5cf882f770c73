//! A crate as the tree of its modules, with the names that each module binds.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use proc_macro2::{TokenStream, TokenTree};
use syn::{Attribute, Item, UseTree, Visibility};

/// Reads a file of the repository by its path from the top; none when there is none.
pub(crate) type Read<'a> = &'a dyn Fn(&Path) -> Option<String>;

/// A module of a crate, by its index in [`Tree::modules`].
pub(crate) type Id = usize;

/// What a name means in a module.
#[derive(Debug)]
pub(crate) enum Binding {
    /// Something that the module's own file defines.
    Item,
    /// A child.
    Module(Id),
    /// What a `use` makes of another path.
    Import(Import),
}

/// One leaf of a `use`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Import {
    /// `crate::a::B` is `["crate", "a", "B"]`; of a glob, what comes before `*`.
    pub(crate) path: Vec<String>,
    /// The name that it is bound to; none for a glob, `_` for a trait whose name does not matter.
    pub(crate) name: Option<String>,
    pub(crate) line: usize,
}

/// A module that is part of the program, not of its tests.
pub(crate) struct Module {
    pub(crate) file: PathBuf,
    pub(crate) parent: Option<Id>,
    pub(crate) names: BTreeMap<String, Vec<Binding>>,
    pub(crate) globs: Vec<Import>,
    pub(crate) items: Vec<Item>,
    /// Where the files of its children are.
    dir: PathBuf,
}

/// All modules of one target; the first is its root.
#[derive(Default)]
pub(crate) struct Tree {
    pub(crate) modules: Vec<Module>,
    /// The files of macros by name: they are seen without a path.
    pub(crate) macros: BTreeMap<String, PathBuf>,
}

impl Tree {
    /// Reads a target from its root file.
    pub(crate) fn load(root: &Path, read: Read<'_>) -> Result<Self> {
        let mut tree = Self::default();
        let dir = root.parent().unwrap_or(Path::new("")).to_owned();
        tree.file(root.to_owned(), dir, None, read)?;
        Ok(tree)
    }

    fn file(&mut self, file: PathBuf, dir: PathBuf, parent: Option<Id>, read: Read<'_>) -> Result<Id> {
        let text = read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let parsed = syn::parse_file(&text).with_context(|| format!("cannot parse {}", file.display()))?;
        self.module(file, dir, parent, parsed.items, read)
    }

    fn module(
        &mut self,
        file: PathBuf,
        dir: PathBuf,
        parent: Option<Id>,
        items: Vec<Item>,
        read: Read<'_>,
    ) -> Result<Id> {
        let id = self.modules.len();
        let (names, globs) = (BTreeMap::new(), Vec::new());
        self.modules.push(Module { file, parent, names, globs, items: Vec::new(), dir });
        let mut kept = Vec::new();
        for item in items {
            if attributes(&item).is_some_and(only_for_tests) {
                continue;
            }
            match item {
                Item::Mod(child) => {
                    let name = child.ident.to_string();
                    if let Some(child) = self.child(id, child, read)? {
                        self.bind(id, name, Binding::Module(child));
                    }
                }
                item => {
                    self.define(id, &item);
                    kept.push(item);
                }
            }
        }
        self.modules[id].items = kept;
        Ok(id)
    }

    /// A child module, from its file or from between its braces; none when it has only tests.
    fn child(&mut self, id: Id, child: syn::ItemMod, read: Read<'_>) -> Result<Option<Id>> {
        let name = child.ident.to_string();
        let (dir, file) = (self.modules[id].dir.clone(), self.modules[id].file.clone());
        if let Some((_, items)) = child.content {
            return self.module(file, dir.join(name), Some(id), items, read).map(Some);
        }
        if name == "tests" {
            return Ok(None);
        }
        if let Some(path) = path_attribute(&child.attrs) {
            let file = file.parent().unwrap_or(Path::new("")).join(path);
            let dir = file.parent().unwrap_or(Path::new("")).to_owned();
            return self.file(file, dir, Some(id), read).map(Some);
        }
        let flat = dir.join(format!("{name}.rs"));
        let file = if read(&flat).is_some() { flat } else { dir.join(&name).join("mod.rs") };
        self.file(file, dir.join(name), Some(id), read).map(Some)
    }

    fn bind(&mut self, id: Id, name: String, binding: Binding) {
        self.modules[id].names.entry(name).or_default().push(binding);
    }

    fn define(&mut self, id: Id, item: &Item) {
        let name = match item {
            Item::Const(item) => &item.ident,
            Item::Enum(item) => &item.ident,
            Item::Fn(item) => &item.sig.ident,
            Item::Static(item) => &item.ident,
            Item::Struct(item) => &item.ident,
            Item::Trait(item) => &item.ident,
            Item::TraitAlias(item) => &item.ident,
            Item::Type(item) => &item.ident,
            Item::Union(item) => &item.ident,
            Item::Use(item) => {
                for import in imports(&item.tree) {
                    match &import.name {
                        Some(name) => self.bind(id, name.clone(), Binding::Import(import)),
                        None => self.modules[id].globs.push(import),
                    }
                }
                return;
            }
            Item::Macro(item) => match &item.ident {
                Some(name) => {
                    self.macros.insert(name.to_string(), self.modules[id].file.clone());
                    name
                }
                // A macro that makes items is told their names.
                None => {
                    for name in defined(item.mac.tokens.clone()) {
                        self.bind(id, name, Binding::Item);
                    }
                    return;
                }
            },
            _ => return,
        };
        self.bind(id, name.to_string(), Binding::Item);
    }
}

/// The names after `struct`, `fn` and their like.
fn defined(tokens: TokenStream) -> Vec<String> {
    let mut names = Vec::new();
    let mut after_keyword = false;
    for token in tokens {
        match token {
            TokenTree::Group(group) => names.extend(defined(group.stream())),
            TokenTree::Ident(ident) if after_keyword => names.push(ident.to_string()),
            TokenTree::Ident(ident) => {
                let word = ident.to_string();
                after_keyword =
                    ["const", "enum", "fn", "static", "struct", "trait", "type"].contains(&&*word);
                continue;
            }
            _ => {}
        }
        after_keyword = false;
    }
    names
}

/// Whether a `use` hands a name on, instead of using it.
pub(crate) fn is_reexport(visibility: &Visibility) -> bool {
    !matches!(visibility, Visibility::Inherited)
}

/// All leaves of a `use`.
pub(crate) fn imports(tree: &UseTree) -> Vec<Import> {
    let mut found = Vec::new();
    leaves(tree, &mut Vec::new(), &mut found);
    found
}

fn leaves(tree: &UseTree, before: &mut Vec<String>, found: &mut Vec<Import>) {
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            leaves(&path.tree, before, found);
            before.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, before, found)),
        UseTree::Glob(glob) => {
            let line = glob.star_token.span.start().line;
            found.push(Import { path: before.clone(), name: None, line });
        }
        UseTree::Name(name) => found.push(leaf(before, &name.ident, &name.ident)),
        UseTree::Rename(name) => found.push(leaf(before, &name.ident, &name.rename)),
    }
}

fn leaf(before: &[String], ident: &syn::Ident, name: &syn::Ident) -> Import {
    let mut path = before.to_vec();
    let line = ident.span().start().line;
    // `a::{self}` is `a`.
    if ident == "self" && !path.is_empty() {
        let name = if name == "self" { path.last().cloned() } else { Some(name.to_string()) };
        return Import { path, name, line };
    }
    path.push(ident.to_string());
    Import { path, name: Some(name.to_string()), line }
}

/// The attributes of an item.
pub(crate) fn attributes(item: &Item) -> Option<&[Attribute]> {
    Some(match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => return None,
    })
}

/// Whether something is compiled for tests alone: `#[test]`, `#[cfg(test)]`, `#[cfg(all(test, …))]`.
pub(crate) fn only_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        if attribute.path().is_ident("test") {
            return true;
        }
        let Ok(list) = attribute.meta.require_list() else { return false };
        attribute.path().is_ident("cfg") && needs_test(list.tokens.clone())
    })
}

fn needs_test(tokens: TokenStream) -> bool {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    match &tokens[..] {
        [TokenTree::Ident(word)] => word == "test",
        [TokenTree::Ident(word), TokenTree::Group(group)] if word == "all" => {
            let parts: Vec<TokenTree> = group.stream().into_iter().collect();
            let is_comma = |token: &TokenTree| matches!(token, TokenTree::Punct(p) if p.as_char() == ',');
            parts.split(is_comma).any(|part| needs_test(part.iter().cloned().collect()))
        }
        _ => false,
    }
}

fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.path().is_ident("path"))?;
    let syn::Expr::Lit(literal) = &attribute.meta.require_name_value().ok()?.value else { return None };
    match &literal.lit {
        syn::Lit::Str(text) => Some(text.value()),
        _ => None,
    }
}
