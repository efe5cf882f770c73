//! Which files a file uses, and where.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use syn::{
    Attribute, Block, Expr, ImplItemFn, Item, ItemFn, ItemImpl, ItemUse, Macro, Pat, Signature, Stmt,
    TraitItemFn,
    visit::{self, Visit},
};

use crate::{
    resolve::{Resolver, Target},
    tree::{self, Id, Import, Tree},
};

/// Where a file uses another: the line, and what it names there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) what: String,
}

/// The places at which one file uses another: user, used.
pub(crate) type Uses = BTreeMap<(PathBuf, PathBuf), BTreeSet<Place>>;

/// All uses between the files of a target.
pub(crate) fn uses(tree: &Tree) -> Uses {
    let resolver = Resolver::new(tree);
    let mut uses = Uses::new();
    for (module, of) in tree.modules.iter().enumerate() {
        let mut walk = Walk {
            resolver: &resolver,
            module,
            uses: &mut uses,
            scopes: Vec::new(),
            locals: BTreeSet::new(),
            of: None,
        };
        of.items.iter().for_each(|item| walk.visit_item(item));
    }
    uses
}

/// A walk over the items of a module.
struct Walk<'a, 'b> {
    resolver: &'a Resolver<'a>,
    module: Id,
    uses: &'b mut Uses,
    /// What `use`s in the blocks around bind.
    scopes: Vec<Vec<Import>>,
    /// Names of variables in the function around.
    locals: BTreeSet<String>,
    /// The type of the `impl` around.
    of: Option<(PathBuf, String)>,
}

impl Walk<'_, '_> {
    fn note(&mut self, file: PathBuf, line: usize, what: String) {
        let user = self.resolver.tree.modules[self.module].file.clone();
        // Tests of their own are no part of the program, even where a macro declares them.
        if user != file {
            self.uses.entry((user, file)).or_default().insert(Place { line, what });
        }
    }

    fn resolve(&self, path: &[String]) -> Vec<Target> {
        let first = path.first().map(String::as_str);
        for import in self.scopes.iter().flatten().rev() {
            if import.name.as_deref() == first && import.path != path {
                let whole = [&import.path[..], &path[1..]].concat();
                return self.resolver.resolve(self.module, &whole);
            }
        }
        self.resolver.resolve(self.module, path)
    }

    /// A path that names something.
    fn path(&mut self, path: &[String], line: usize) {
        let [first, rest @ ..] = path else { return };
        if first == "Self" {
            if let Some(name) = rest.first() {
                self.method(name, line);
            }
            return;
        }
        if rest.is_empty() && self.locals.contains(first) {
            return;
        }
        self.targets(&self.resolve(path), path, line);
    }

    fn targets(&mut self, targets: &[Target], path: &[String], line: usize) {
        for target in targets {
            let Target::Item { file, name, rest } = target else { continue };
            let what = path.join("::");
            if let Some(method) = rest.first()
                && let Some(of) = self.resolver.method(&(file.clone(), name.clone()), method)
            {
                self.note(of.to_owned(), line, what.clone());
            }
            self.note(file.clone(), line, what);
        }
    }

    /// A method of the type of the `impl` around: it may be in another file than the type.
    fn method(&mut self, name: &str, line: usize) {
        if let Some(file) = self.of.as_ref().and_then(|of| self.resolver.method(of, name)) {
            self.note(file.to_owned(), line, format!("self.{name}()"));
        }
    }

    /// What stands between the brackets of a macro is no syntax tree: paths, calls and methods of `self`.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(ident) => {
                    let line = ident.span().start().line;
                    let (path, next) = path_at(&tokens, at);
                    let is_field = at > 0 && is_punct(&tokens[at - 1], '.') && !is_range(&tokens, at);
                    let called = matches!(
                        tokens.get(next),
                        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis
                    );
                    if is_field {
                        let of_self = at > 1 && matches!(&tokens[at - 2], TokenTree::Ident(i) if i == "self");
                        if of_self && called {
                            self.method(&path[0], line);
                        }
                    } else if path.len() > 1 || called || path[0].starts_with(char::is_uppercase) {
                        self.path(&path, line);
                    } else if tokens.get(next).is_some_and(|token| is_punct(token, '!')) {
                        self.macro_path(&path, line);
                    }
                    at = next;
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
    }

    fn macro_path(&mut self, path: &[String], line: usize) {
        let targets = self.resolve(path);
        if targets.is_empty()
            && let [name] = path
            && let Some(file) = self.resolver.tree.macros.get(name)
        {
            self.note(file.clone(), line, format!("{name}!"));
        }
        self.targets(&targets, path, line);
    }

    fn in_function(&mut self, signature: &Signature, block: Option<&Block>, act: impl FnOnce(&mut Self)) {
        let mut names = Names(self.locals.clone());
        names.visit_signature(signature);
        if let Some(block) = block {
            names.visit_block(block);
        }
        let before = std::mem::replace(&mut self.locals, names.0);
        act(self);
        self.locals = before;
    }
}

/// Names that patterns bind.
struct Names(BTreeSet<String>);

impl Visit<'_> for Names {
    fn visit_pat(&mut self, pattern: &Pat) {
        if let Pat::Ident(pattern) = pattern
            && pattern.ident.to_string().starts_with(char::is_lowercase)
        {
            self.0.insert(pattern.ident.to_string());
        }
        visit::visit_pat(self, pattern);
    }
}

fn is_punct(token: &TokenTree, char: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == char)
}

/// Whether the dot before a token is the end of `..`.
fn is_range(tokens: &[TokenTree], at: usize) -> bool {
    at > 1 && is_punct(&tokens[at - 2], '.')
}

/// The path that begins at a token, and what comes after it.
fn path_at(tokens: &[TokenTree], at: usize) -> (Vec<String>, usize) {
    let (mut path, mut next) = (vec![tokens[at].to_string()], at + 1);
    while let [TokenTree::Punct(one), TokenTree::Punct(two), TokenTree::Ident(name)] =
        &tokens[next..tokens.len().min(next + 3)]
        && one.as_char() == ':'
        && one.spacing() == Spacing::Joint
        && two.as_char() == ':'
    {
        path.push(name.to_string());
        next += 3;
    }
    (path, next)
}

impl<'ast> Visit<'ast> for Walk<'_, '_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !tree::attributes(item).is_some_and(tree::only_for_tests) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if tree::is_reexport(&item.vis) {
            return;
        }
        for import in tree::imports(&item.tree).iter().filter(|import| import.name.is_some()) {
            let targets = self.resolver.resolve(self.module, &import.path);
            self.targets(&targets, &import.path, import.line);
        }
    }

    fn visit_block(&mut self, block: &'ast Block) {
        let uses = block.stmts.iter().filter_map(|stmt| match stmt {
            Stmt::Item(Item::Use(item)) => Some(tree::imports(&item.tree)),
            _ => None,
        });
        self.scopes.push(uses.flatten().collect());
        visit::visit_block(self, block);
        self.scopes.pop();
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.in_function(&item.sig, Some(&item.block), |walk| visit::visit_item_fn(walk, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        if !tree::only_for_tests(&item.attrs) {
            self.in_function(&item.sig, Some(&item.block), |walk| visit::visit_impl_item_fn(walk, item));
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        let block = item.default.as_ref();
        self.in_function(&item.sig, block, |walk| visit::visit_trait_item_fn(walk, item));
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let of = self.resolver.self_type(self.module, &item.self_ty);
        let before = std::mem::replace(&mut self.of, of);
        visit::visit_item_impl(self, item);
        self.of = before;
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            let names: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
            let line = path.segments.first().map_or(0, |part| part.ident.span().start().line);
            self.path(&names, line);
        }
        visit::visit_path(self, path);
    }

    fn visit_expr(&mut self, expr: &'ast Expr) {
        if let Expr::MethodCall(call) = expr
            && let Expr::Path(receiver) = &*call.receiver
            && receiver.path.is_ident("self")
        {
            self.method(&call.method.to_string(), call.method.span().start().line);
        }
        visit::visit_expr(self, expr);
    }

    fn visit_macro(&mut self, item: &'ast Macro) {
        let path: Vec<String> = item.path.segments.iter().map(|part| part.ident.to_string()).collect();
        let line = item.path.segments.first().map_or(0, |part| part.ident.span().start().line);
        self.macro_path(&path, line);
        self.tokens(item.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        let names = ["arg", "clap", "command", "serde", "value"];
        if !names.iter().any(|name| attribute.path().is_ident(name)) {
            return;
        }
        let Ok(list) = attribute.meta.require_list() else { return };
        self.tokens(list.tokens.clone());
        // `#[serde(with = "module", default = "function")]`; a name that is changed is no path.
        let mut key = String::new();
        for token in list.tokens.clone() {
            let literal = match token {
                TokenTree::Ident(name) => {
                    key = name.to_string();
                    continue;
                }
                TokenTree::Literal(literal) if !["rename", "alias", "tag"].contains(&&*key) => literal,
                _ => continue,
            };
            let text = literal.to_string();
            let Ok(path) = syn::parse_str::<syn::Path>(text.trim_matches('"')) else { continue };
            let path: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
            let line = literal.span().start().line;
            if path.len() > 1 || self.resolve(&path).iter().any(|target| matches!(target, Target::Module(_)))
            {
                for target in self.resolve(&path) {
                    match target {
                        Target::Module(id) => {
                            let file = self.resolver.tree.modules[id].file.clone();
                            self.note(file, line, path.join("::"));
                        }
                        target => self.targets(&[target], &path, line),
                    }
                }
            }
        }
    }
}
