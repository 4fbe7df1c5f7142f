//! What each module of a program imports, read from its source text.

use std::collections::BTreeMap;
use std::path::Path;

/// A module's name: its segments, without the crate's.
pub(crate) type Name = Vec<String>;

/// A path of this crate that a module names, in a `use` or elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct Import {
    /// From 1.
    pub(crate) line: usize,
    /// From the crate's root.
    pub(crate) path: Name,
    /// The name that a `use` gives it.
    bound: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Module {
    /// Where it is written.
    pub(crate) file: String,
    pub(crate) imports: Vec<Import>,
}

/// The modules of a program, without its tests.
#[derive(Debug, Default)]
pub(crate) struct Program(pub(crate) BTreeMap<Name, Module>);

impl Program {
    /// Adds the text of `file`, a path below the source folder. Files and folders named `tests` are
    /// ignored, and so is everything under `#[cfg(test)]`.
    pub(crate) fn add(&mut self, file: &str, text: &str) {
        let mut name: Name = file
            .trim_end_matches(".rs")
            .split('/')
            .map(str::to_owned)
            .collect();
        if name.iter().any(|segment| segment == "tests") {
            return;
        }
        if name.last().is_some_and(|s| s == "mod") || name == ["lib"] || name == ["main"] {
            name.pop();
        }
        let imports = Reader::new(&name).read(&without_tests(&tokens(text)));
        // The library's root and the program's are one.
        let module = self.0.entry(name).or_insert_with(|| Module {
            file: file.to_owned(),
            imports: Vec::new(),
        });
        module.imports.extend(imports);
    }

    /// Adds every file below `folder`.
    pub(crate) fn add_folder(&mut self, folder: &Path) {
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            for entry in std::fs::read_dir(next).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|e| e == "rs") {
                    let file = path.strip_prefix(folder).expect("below the folder");
                    let text = std::fs::read_to_string(&path).expect("a source file");
                    self.add(&file.to_string_lossy(), &text);
                }
            }
        }
    }

    /// The module that defines what `path` names; re-exports are followed.
    pub(crate) fn home(&self, path: &[String]) -> Name {
        let mut path = path.to_vec();
        for _ in 0..8 {
            let known = (0..=path.len()).rev();
            let module = known.map(|n| &path[..n]).find(|m| self.0.contains_key(*m));
            let module = module.unwrap_or_default().to_vec();
            let passed_on = path.get(module.len()).and_then(|item| {
                let imports = &self.0.get(&module)?.imports;
                let here = |i: &&Import| i.path == path[..=module.len()];
                // `pub(crate) use section;` of a macro passes on what is defined here.
                let elsewhere = imports.iter().filter(|i| !here(i));
                elsewhere
                    .into_iter()
                    .find(|i| i.bound.as_ref() == Some(item))
            });
            let Some(import) = passed_on else {
                return module;
            };
            path.splice(..=module.len(), import.path.clone());
        }
        panic!("{} is passed on in a circle", path.join("::"))
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Token {
    line: usize,
    text: String,
}

/// Words, `::`, and single signs. Comments, strings, characters and lifetimes are left out.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let starts = |i: usize, with: &str| with.chars().enumerate().all(|(n, c)| at(i + n) == c);
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let (mut found, mut i, mut line) = (Vec::new(), 0, 1);
    while i < chars.len() {
        let from = i;
        if starts(i, "//") {
            i += chars[i..].iter().take_while(|c| **c != '\n').count();
        } else if starts(i, "/*") {
            let mut depth = 0;
            loop {
                depth += i32::from(starts(i, "/*")) - i32::from(starts(i, "*/"));
                i += if starts(i, "/*") || starts(i, "*/") {
                    2
                } else {
                    1
                };
                if depth == 0 || i >= chars.len() {
                    break;
                }
            }
        } else if let Some(length) = raw_string(&chars[i..]) {
            i += length;
        } else if at(i) == '"' {
            i += 1;
            while i < chars.len() && at(i) != '"' {
                i += if at(i) == '\\' { 2 } else { 1 };
            }
            i += 1;
        } else if at(i) == '\'' {
            // A character, or else a lifetime, whose name does not matter.
            if at(i + 1) == '\\' {
                i += 2;
                while i < chars.len() && at(i + 1) != '\'' {
                    i += 1;
                }
                i += 2;
            } else if at(i + 2) == '\'' {
                i += 3;
            } else {
                i += 1 + chars[i + 1..].iter().take_while(|c| is_word(**c)).count();
            }
        } else if is_word(at(i)) {
            i += chars[i..].iter().take_while(|c| is_word(**c)).count();
            let text = chars[from..i].iter().collect();
            found.push(Token { line, text });
        } else {
            i += if starts(i, "::") { 2 } else { 1 };
            if !at(from).is_whitespace() {
                let text = chars[from..i].iter().collect();
                found.push(Token { line, text });
            }
        }
        let end = i.min(chars.len());
        line += chars[from..end].iter().filter(|c| **c == '\n').count();
    }
    found
}

/// Length of the raw string that `text` starts with.
fn raw_string(text: &[char]) -> Option<usize> {
    let start = text.iter().take_while(|c| matches!(c, 'b' | 'r')).count();
    let hashes = text[start..].iter().take_while(|c| **c == '#').count();
    let head = start + hashes;
    if text[..start].last() != Some(&'r') || text.get(head) != Some(&'"') {
        return None;
    }
    let closes = |at: usize| {
        let rest = text[at + 1..].iter();
        text[at] == '"' && rest.take_while(|c| **c == '#').count() >= hashes
    };
    let end = (head + 1..text.len()).find(|at| closes(*at));
    Some(end.map_or(text.len(), |at| at + 1 + hashes))
}

/// Without the items under `#[cfg(test)]`.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        let head = tokens[i..].iter().take(TEST.len()).map(|t| &*t.text);
        if !head.eq(TEST) {
            kept.push(tokens[i].clone());
            i += 1;
            continue;
        }
        i += TEST.len();
        let mut depth = 0;
        while let Some(token) = tokens.get(i) {
            i += 1;
            match &*token.text {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth -= 1,
                _ => {}
            }
            if depth == 0 && matches!(&*token.text, "}" | ";") {
                break;
            }
        }
    }
    kept
}

/// Reads the imports of one file.
struct Reader {
    /// The module that is being read: modules in the file have their own names.
    module: Name,
    /// Number of open braces, and that number at the beginning of each module in the file.
    open: usize,
    inner: Vec<usize>,
    imports: Vec<Import>,
}

impl Reader {
    fn new(module: &[String]) -> Self {
        Self {
            module: module.to_vec(),
            open: 0,
            inner: Vec::new(),
            imports: Vec::new(),
        }
    }

    fn read(mut self, tokens: &[Token]) -> Vec<Import> {
        let mut i = 0;
        let text = |i: usize| tokens.get(i).map_or("", |t| &*t.text);
        while i < tokens.len() {
            match text(i) {
                "mod" if text(i + 2) == "{" => {
                    self.module.push(text(i + 1).to_owned());
                    self.inner.push(self.open);
                    i += 1;
                }
                "use" => i = self.tree(tokens, i + 1, &[]),
                "crate" | "super" | "self" | "partgate" if text(i + 1) == "::" => {
                    let mut path = vec![text(i).to_owned()];
                    let line = tokens[i].line;
                    while text(i + 1) == "::" && is_name(text(i + 2)) {
                        path.push(text(i + 2).to_owned());
                        i += 2;
                    }
                    self.note(line, &path, None);
                    i += 1;
                }
                other => {
                    self.open += usize::from(other == "{");
                    if other == "}" {
                        self.open = self.open.saturating_sub(1);
                        if self.inner.last() == Some(&self.open) {
                            self.inner.pop();
                            self.module.pop();
                        }
                    }
                    i += 1;
                }
            }
        }
        self.imports
    }

    /// Reads one tree of a `use` after `before`; returns where it ends.
    fn tree(&mut self, tokens: &[Token], mut i: usize, before: &[String]) -> usize {
        let text = |i: usize| tokens.get(i).map_or("", |t| &*t.text);
        let line = tokens.get(i).map_or(0, |t| t.line);
        let mut path = before.to_vec();
        loop {
            match text(i) {
                "{" => {
                    i += 1;
                    while !matches!(text(i), "}" | "") {
                        let end = self.tree(tokens, i, &path);
                        i = end + usize::from(text(end) == "," || end == i);
                    }
                    return i + 1;
                }
                "::" => {
                    i += 1;
                    continue;
                }
                "*" => {
                    self.note(line, &path, None);
                    return i + 1;
                }
                "self" if !path.is_empty() => i += 1,
                name if is_name(name) => {
                    path.push(name.to_owned());
                    i += 1;
                }
                _ => break,
            }
            if text(i) != "::" {
                break;
            }
        }
        let mut bound = path.last().cloned();
        if text(i) == "as" {
            bound = Some(text(i + 1).to_owned());
            i += 2;
        }
        // A module inside the file does not bind the name for the file.
        bound = bound.filter(|_| self.inner.is_empty());
        self.note(line, &path, bound);
        i
    }

    /// Keeps a path that can be of this crate; `Program::home` removes those that are not.
    fn note(&mut self, line: usize, path: &[String], bound: Option<String>) {
        let mut from = match path.first().map(|s| &**s) {
            Some("crate" | "partgate") => Vec::new(),
            Some("self" | "super") => self.module.clone(),
            // Of another crate, or of the module itself, to which it belongs anyway.
            _ if bound.is_none() => return,
            _ => {
                let path = self.module.iter().chain(path).cloned().collect();
                self.imports.push(Import { line, path, bound });
                return;
            }
        };
        let mut rest = path;
        while let [first, more @ ..] = rest
            && matches!(&**first, "crate" | "partgate" | "self" | "super")
        {
            if first == "super" {
                from.pop();
            }
            rest = more;
        }
        from.extend_from_slice(rest);
        self.imports.push(Import {
            line,
            path: from,
            bound,
        });
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_') && text != "as"
}
