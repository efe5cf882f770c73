//! From a path in a module to the file that defines what it names.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use syn::{ImplItem, Item, Type};

use crate::tree::{Binding, Id, Tree};

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// An item of a file, and what the path names of it: a variant, an associated function.
    Item { file: PathBuf, name: String, rest: Vec<String> },
    /// A module.
    Module(Id),
    /// Something of another crate.
    Elsewhere,
}

/// The files in which the methods of a type are, where they are not all in one: type, then method.
type Methods = BTreeMap<(PathBuf, String), BTreeMap<String, PathBuf>>;

/// A tree with what is found in it.
pub(crate) struct Resolver<'a> {
    pub(crate) tree: &'a Tree,
    methods: Methods,
}

/// Lookups on the way to an answer: a `use` of a name that a glob brings may lead back to itself.
type Asked = BTreeSet<(Id, String)>;

impl<'a> Resolver<'a> {
    pub(crate) fn new(tree: &'a Tree) -> Self {
        let mut resolver = Self { tree, methods: Methods::new() };
        let mut methods = Methods::new();
        for (id, module) in tree.modules.iter().enumerate() {
            for item in &module.items {
                let Item::Impl(block) = item else { continue };
                let (None, Some(of)) = (&block.trait_, resolver.self_type(id, &block.self_ty)) else {
                    continue;
                };
                let names = methods.entry(of).or_default();
                for item in &block.items {
                    let name = match item {
                        ImplItem::Fn(item) => &item.sig.ident,
                        ImplItem::Const(item) => &item.ident,
                        _ => continue,
                    };
                    names.insert(name.to_string(), module.file.clone());
                }
            }
        }
        resolver.methods = methods;
        resolver
    }

    /// The type that an `impl` is for: its file and name.
    pub(crate) fn self_type(&self, module: Id, of: &Type) -> Option<(PathBuf, String)> {
        let Type::Path(path) = of else { return None };
        let path: Vec<String> = path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.resolve(module, &path).into_iter().find_map(|target| match target {
            Target::Item { file, name, .. } => Some((file, name)),
            _ => None,
        })
    }

    /// The file of a method or an associated constant of a type.
    pub(crate) fn method(&self, of: &(PathBuf, String), name: &str) -> Option<&Path> {
        self.methods.get(of)?.get(name).map(PathBuf::as_path)
    }

    /// What a path means in a module: one answer for each namespace, none when it is no path of this
    /// crate (a local variable, another crate, the prelude).
    pub(crate) fn resolve(&self, module: Id, path: &[String]) -> Vec<Target> {
        self.find(module, path, &mut Asked::new())
    }

    fn find(&self, module: Id, path: &[String], asked: &mut Asked) -> Vec<Target> {
        let Some((first, mut rest)) = path.split_first() else { return Vec::new() };
        let modules = &self.tree.modules;
        let mut targets = match first.as_str() {
            "crate" | "$crate" => vec![Target::Module(0)],
            "self" => vec![Target::Module(module)],
            "super" => {
                let mut at = modules[module].parent;
                while let Some((next, after)) = rest.split_first()
                    && next == "super"
                {
                    at = at.and_then(|at| modules[at].parent);
                    rest = after;
                }
                at.map(Target::Module).into_iter().collect()
            }
            name => self.lookup(module, name, asked),
        };
        for segment in rest {
            // A function may have a module's name, and has nothing below it.
            if targets.iter().any(|target| matches!(target, Target::Module(_))) {
                targets.retain(|target| matches!(target, Target::Module(_)));
            }
            targets = targets.into_iter().flat_map(|target| self.step(target, segment, asked)).collect();
        }
        targets
    }

    /// One segment further.
    fn step(&self, target: Target, segment: &str, asked: &mut Asked) -> Vec<Target> {
        match target {
            Target::Module(id) => {
                let found = self.lookup(id, segment, asked);
                if !found.is_empty() || asked.contains(&(id, segment.to_owned())) {
                    return found;
                }
                // The compiler has found it: a macro has made it.
                let file = self.tree.modules[id].file.clone();
                vec![Target::Item { file, name: segment.to_owned(), rest: Vec::new() }]
            }
            Target::Item { file, name, mut rest } => {
                rest.push(segment.to_owned());
                vec![Target::Item { file, name, rest }]
            }
            Target::Elsewhere => vec![Target::Elsewhere],
        }
    }

    /// What a name means in a module.
    fn lookup(&self, id: Id, name: &str, asked: &mut Asked) -> Vec<Target> {
        if !asked.insert((id, name.to_owned())) {
            return Vec::new();
        }
        let module = &self.tree.modules[id];
        let mut found = Vec::new();
        for binding in module.names.get(name).into_iter().flatten() {
            match binding {
                Binding::Item => {
                    let (file, name) = (module.file.clone(), name.to_owned());
                    found.push(Target::Item { file, name, rest: Vec::new() });
                }
                Binding::Module(child) => found.push(Target::Module(*child)),
                Binding::Import(import) => {
                    // `use name::…` of another crate may bind the very name that it begins with.
                    let targets = self.find(id, &import.path, asked);
                    if targets.is_empty() {
                        found.push(Target::Elsewhere);
                    }
                    found.extend(targets);
                }
            }
        }
        if found.is_empty() {
            for glob in &module.globs {
                for target in self.find(id, &glob.path, asked) {
                    if let Target::Module(of) = target {
                        found.extend(self.lookup(of, name, asked));
                    }
                }
            }
        }
        asked.remove(&(id, name.to_owned()));
        found
    }
}
