//! What `include/ackbus.h` declares, as text. It knows the forms that the header has; any other one ends the test, so nothing is left out in silence.

use std::collections::BTreeMap;

/// Structs without `struct_size` that grow all the same: arrays of them come with a stride.
const STRIDED: [&str; 2] = ["ackbus_packed", "ackbus_report"];

/// The types in C's words; names of parameters are no part of them.
#[derive(Default)]
pub(crate) struct Header {
    /// Name, and what it takes and returns.
    pub(crate) functions: BTreeMap<String, String>,
    pub(crate) callbacks: BTreeMap<String, String>,
    pub(crate) handles: Vec<String>,
    /// Name, and the type that it is another word for.
    pub(crate) types: BTreeMap<String, String>,
    /// Name, and the fields: type and name.
    pub(crate) structs: BTreeMap<String, Vec<(String, String)>>,
    pub(crate) constants: Vec<String>,
    /// Constants that are strings, with their quotes.
    pub(crate) texts: BTreeMap<String, String>,
    /// What exists only while a program is compiled: macros and inline functions, and what they take and return.
    pub(crate) source: BTreeMap<String, String>,
}

impl Header {
    pub(crate) fn parse(text: &str) -> Self {
        let mut header = Header::default();
        let mut declarations = String::new();
        for line in as_c(&without_comments(text)).lines() {
            match line.strip_prefix('#') {
                Some(directive) => header.directive(directive),
                None => {
                    declarations.push_str(line);
                    declarations.push(' ');
                }
            }
        }
        for statement in statements(&declarations) {
            header.statement(&statement);
        }
        header
    }

    /// Whether it may grow at its end.
    pub(crate) fn grows(&self, of: &str) -> bool {
        STRIDED.contains(&of) || self.structs[of][0].1 == "struct_size"
    }

    fn directive(&mut self, text: &str) {
        let Some(define) = text.strip_prefix("define ") else {
            assert!(text.starts_with("include "), "#{text}");
            return;
        };
        let (name, body) = define.split_once(' ').unwrap_or((define, ""));
        if let Some(bare) = name.strip_suffix("()") {
            self.source.insert(bare.to_owned(), "macro".to_owned());
        } else if body.starts_with('{') {
            self.source.insert(name.to_owned(), "initialiser".to_owned());
        } else if body.starts_with('"') {
            self.texts.insert(name.to_owned(), body.to_owned());
        } else if name != "ACKBUS_H" {
            self.constants.push(name.to_owned());
        }
    }

    fn statement(&mut self, text: &str) {
        if let Some(alias) = text.strip_prefix("typedef ") {
            if let Some((result, rest)) = alias.split_once(" (*") {
                let (name, arguments) = rest.split_once(")(").unwrap_or_else(|| panic!("{text}"));
                self.callbacks.insert(name.to_owned(), format!("{result} ({})", parameters(arguments.strip_suffix(')').unwrap())));
            } else if let Some(body) = alias.strip_prefix("struct {") {
                let (body, name) = body.split_once('}').unwrap_or_else(|| panic!("{text}"));
                let fields = body.split(';').map(str::trim).filter(|field| !field.is_empty());
                self.structs.insert(name.trim().to_owned(), fields.map(declarator).collect());
            } else if let Some(handle) = alias.strip_prefix("struct ") {
                let (tag, name) = handle.split_once(' ').unwrap_or_else(|| panic!("{text}"));
                assert_eq!(tag, name, "{text}");
                self.handles.push(name.to_owned());
            } else {
                let (of, name) = declarator(alias);
                self.types.insert(name, of);
            }
        } else {
            let (head, inline) = match text.strip_prefix("static inline ") {
                Some(function) => (function.split_once('{').unwrap().0.trim(), true),
                None => (text, false),
            };
            let (result, arguments) = head.split_once('(').unwrap_or_else(|| panic!("a form of declaration that this test does not know: {text}"));
            let (result, name) = declarator(result);
            let signature = format!("{result} ({})", parameters(arguments.strip_suffix(')').unwrap_or_else(|| panic!("{text}"))));
            if inline { &mut self.source } else { &mut self.functions }.insert(name, signature);
        }
    }
}

fn without_comments(text: &str) -> String {
    let mut pieces = text.split("/*");
    let mut bare = pieces.next().unwrap().to_owned();
    for piece in pieces {
        bare.push_str(piece.split_once("*/").expect("a comment without an end").1);
    }
    bare.lines().map(|line| line.split("//").next().unwrap().trim()).filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect()
}

/// What a C compiler sees of it.
fn as_c(text: &str) -> String {
    let mut kept = String::new();
    // For each #if that is open: whether its lines count.
    let mut open: Vec<bool> = Vec::new();
    for line in text.lines() {
        match line {
            "#ifndef ACKBUS_H" => open.push(true),
            "#ifdef __cplusplus" => open.push(false),
            "#else" => *open.last_mut().unwrap() ^= true,
            "#endif" => assert!(open.pop().is_some()),
            _ if line.starts_with("#if") || line.starts_with("#el") => panic!("a condition that this test does not know: {line}"),
            _ if open.contains(&false) => {}
            _ => {
                kept.push_str(line);
                kept.push('\n');
            }
        }
    }
    assert!(open.is_empty());
    kept
}

/// Declarations and inline functions, one after the other, with single blanks.
fn statements(text: &str) -> Vec<String> {
    let (mut found, mut current, mut depth) = (Vec::new(), String::new(), 0);
    for word in text.replace(['\n', '\t'], " ").split_inclusive([';', '{', '}']) {
        current.push_str(word);
        depth += i32::from(word.ends_with('{')) - i32::from(word.ends_with('}'));
        let whole = word.ends_with(';') || word.ends_with('}') && current.trim_start().starts_with("static inline ");
        if depth == 0 && whole {
            found.push(current.trim_end_matches(';').split_whitespace().collect::<Vec<_>>().join(" "));
            current.clear();
        }
    }
    assert_eq!(current.trim(), "", "a declaration without an end");
    found
}

fn parameters(list: &str) -> String {
    if list == "void" {
        return list.to_owned();
    }
    list.split(',').map(|parameter| declarator(parameter.trim()).0).collect::<Vec<_>>().join(", ")
}

/// `const char *topic` and `char text[512]`: type and name.
fn declarator(text: &str) -> (String, String) {
    let (text, array) = text.find('[').map_or((text, ""), |start| text.split_at(start));
    let start = text.rfind([' ', '*']).unwrap_or_else(|| panic!("no type in: {text}")) + 1;
    (format!("{}{array}", text[..start].trim()), text[start..].to_owned())
}
