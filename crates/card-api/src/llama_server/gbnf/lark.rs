//! A grammar as llguidance's variant of Lark.

use std::collections::HashMap;
use std::fmt::Write;

use super::grammar::{CharClass, GbnfGrammar, Item, Rule, What};

/// Writes a grammar down: a line for each rule, then one for each terminal.
pub(super) fn written(grammar: &GbnfGrammar) -> String {
    let mut writer = LarkWriter::default();
    let mut rules = format!("start: r{}\n", grammar.root);
    for (number, rule) in grammar.rules.iter().enumerate() {
        rules += &format!("r{number}: ");
        writer.rule(rule, &mut rules);
        rules.push('\n');
    }
    for (number, class) in writer.classes.iter().enumerate() {
        rules += &format!("C{number}: /{class}/\n");
    }
    rules
}

/// Writes rules, and keeps the terminals they use.
#[derive(Default)]
struct LarkWriter {
    /// The classes of characters so far, as regular expressions.
    classes: Vec<String>,
    /// Their numbers.
    numbers: HashMap<String, usize>,
}

impl LarkWriter {
    fn rule(&mut self, rule: &Rule, out: &mut String) {
        for (i, sequence) in rule.iter().enumerate() {
            if i > 0 {
                out.push_str(" | ");
            }
            // A sequence of a group stands in brackets, since `|` binds weakest everywhere.
            let bracketed = rule.len() > 1;
            if bracketed {
                out.push('(');
            }
            self.sequence(sequence, out);
            if bracketed {
                out.push(')');
            }
        }
    }

    fn sequence(&mut self, items: &[Item], out: &mut String) {
        if items.is_empty() {
            out.push_str("\"\"");
        }
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                out.push(' ');
            }
            self.item(item, out);
        }
    }

    fn item(&mut self, item: &Item, out: &mut String) {
        if item.times.1 == Some(0) {
            out.push_str("\"\"");
            return;
        }
        let once = item.times == (1, Some(1));
        match &item.what {
            What::Text(text) if text.is_empty() => {
                out.push_str("\"\"");
                return;
            }
            What::Text(text) => self.text(text, once, out),
            What::Class(class) => {
                let number = self.number(regex(class));
                let _ = write!(out, "C{number}");
            }
            What::Rule(number) => {
                let _ = write!(out, "r{number}");
            }
            What::Group(rule) => {
                out.push('(');
                self.rule(rule, out);
                out.push(')');
            }
        }
        out.push_str(&match item.times {
            (1, Some(1)) => String::new(),
            (0, Some(1)) => "?".to_owned(),
            (0, None) => "*".to_owned(),
            (1, None) => "+".to_owned(),
            (least, None) => format!("{{{least},}}"),
            (least, Some(most)) => format!("{{{least},{most}}}"),
        });
    }

    /// Characters one after the other, in brackets where what follows is about all of them.
    fn text(&mut self, text: &[char], once: bool, out: &mut String) {
        let bracketed = !once && text.len() > 1;
        if bracketed {
            out.push('(');
        }
        for (i, &c) in text.iter().enumerate() {
            if i > 0 {
                out.push(' ');
            }
            let one = CharClass {
                negated: false,
                ranges: vec![(c, c)],
            };
            let number = self.number(regex(&one));
            let _ = write!(out, "C{number}");
        }
        if bracketed {
            out.push(')');
        }
    }

    /// The number of a class.
    fn number(&mut self, class: String) -> usize {
        let next = self.classes.len();
        *self.numbers.entry(class).or_insert_with_key(|class| {
            self.classes.push(class.clone());
            next
        })
    }
}

/// The class as a regular expression of one character.
fn regex(class: &CharClass) -> String {
    let mut text = String::from(if class.negated { "[^" } else { "[" });
    for &(first, last) in &class.ranges {
        let _ = write!(text, "\\x{{{:x}}}", first as u32);
        if last != first {
            let _ = write!(text, "-\\x{{{:x}}}", last as u32);
        }
    }
    text.push(']');
    text
}
