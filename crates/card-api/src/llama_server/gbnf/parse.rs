//! Reads GBNF, as llama.cpp's parser does.

use std::collections::HashMap;
use std::iter::Peekable;
use std::str::Chars;

use super::grammar::{CharClass, GbnfGrammar, Item, Rule, What};

/// Most repetitions of an item.
const MOST_TIMES: u32 = 2000;
/// Most characters, references and groups in all rules.
const MOST_ITEMS: usize = 20_000;
/// Most groups one within the other; an item that is repeated again counts as a group, too.
const DEEPEST: usize = 64;

/// Reads a grammar.
///
/// # Errors
/// Says what is wrong, with the number of the line.
pub(super) fn parse(text: &str) -> Result<GbnfGrammar, String> {
    let mut parser = Parser::new(text);
    parser.space(true);
    while parser.peek().is_some() {
        parser
            .rule()
            .map_err(|why| format!("line {}: {why}", parser.line))?;
    }
    parser.finish()
}

/// A grammar while it is read.
struct Parser<'a> {
    rest: Peekable<Chars<'a>>,
    /// The number of the line, from 1.
    line: usize,
    /// Rules by their numbers; `None` for one that was named and not defined yet.
    rules: Vec<Option<Rule>>,
    names: HashMap<String, usize>,
    /// Items so far.
    items: usize,
    /// Groups around the place.
    depth: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        Parser {
            rest: text.chars().peekable(),
            line: 1,
            rules: Vec::new(),
            names: HashMap::new(),
            items: 0,
            depth: 0,
        }
    }

    fn peek(&mut self) -> Option<char> {
        self.rest.peek().copied()
    }

    fn next(&mut self) -> Result<char, String> {
        let c = self.rest.next().ok_or("the grammar ends too early")?;
        if c == '\n' {
            self.line += 1;
        }
        Ok(c)
    }

    /// Goes on if the next character is this one.
    fn take(&mut self, wanted: char) -> Result<bool, String> {
        let found = self.peek() == Some(wanted);
        if found {
            self.next()?;
        }
        Ok(found)
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        if self.take(wanted)? {
            return Ok(());
        }
        Err(match self.peek() {
            Some(c) => format!("expected {wanted:?}, found {c:?}"),
            None => format!("expected {wanted:?} before the end"),
        })
    }

    /// Passes blanks and comments; line ends too, where a rule may go on behind them.
    fn space(&mut self, line_ends: bool) {
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' => {}
                '\r' | '\n' if line_ends => {}
                '#' => {
                    while self.peek().is_some_and(|c| c != '\r' && c != '\n') {
                        self.rest.next();
                    }
                    continue;
                }
                _ => break,
            }
            // There is one.
            let _ = self.next();
        }
    }

    /// A rule, up to the beginning of the next one.
    fn rule(&mut self) -> Result<(), String> {
        let name = self.name()?;
        self.space(false);
        for c in "::=".chars() {
            self.expect(c)?;
        }
        self.space(true);
        let number = self.number(&name);
        let alternatives = self.alternatives()?;
        match self.peek() {
            None | Some('\r' | '\n') => {}
            Some(c) => return Err(format!("expected the end of the rule, found {c:?}")),
        }
        if self.rules[number].replace(alternatives).is_some() {
            return Err(format!("the rule `{name}` is defined twice"));
        }
        self.space(true);
        Ok(())
    }

    fn name(&mut self) -> Result<String, String> {
        let mut name = String::new();
        while let Some(c) = self.peek().filter(|&c| is_word(c)) {
            name.push(c);
            self.next()?;
        }
        match (name.is_empty(), self.peek()) {
            (false, _) => Ok(name),
            (true, Some(c)) => Err(format!("expected the name of a rule, found {c:?}")),
            (true, None) => Err("expected the name of a rule before the end".to_owned()),
        }
    }

    /// The number of the rule of this name.
    fn number(&mut self, name: &str) -> usize {
        if let Some(&number) = self.names.get(name) {
            return number;
        }
        self.names.insert(name.to_owned(), self.rules.len());
        self.rules.push(None);
        self.rules.len() - 1
    }

    fn alternatives(&mut self) -> Result<Rule, String> {
        let mut all = vec![self.sequence()?];
        while self.take('|')? {
            self.space(true);
            all.push(self.sequence()?);
        }
        Ok(all)
    }

    fn sequence(&mut self) -> Result<Vec<Item>, String> {
        let nested = self.depth > 0;
        let mut items: Vec<Item> = Vec::new();
        while let Some(c) = self.peek() {
            if let Some(times) = self.times(c)? {
                let last = items.last_mut().filter(|item| item.times == (1, Some(1)));
                match last {
                    Some(item) => item.times = times,
                    None => self.repeat(&mut items, times)?,
                }
                self.space(nested);
                continue;
            }
            let Some(what) = self.what(c)? else {
                break;
            };
            items.push(checked(Item::new(what, (1, Some(1))))?);
            self.space(nested);
        }
        Ok(items)
    }

    /// What begins with this character; `None` if nothing of a sequence does.
    fn what(&mut self, c: char) -> Result<Option<What>, String> {
        let what = match c {
            '"' => What::Text(self.text()?),
            '[' => What::Class(self.class()?),
            '.' => {
                self.next()?;
                What::Class(CharClass {
                    negated: false,
                    ranges: vec![('\0', char::MAX)],
                })
            }
            '(' => What::Group(self.group()?),
            '<' | '!' => return Err("tokens in a grammar are not supported, only text".to_owned()),
            c if is_word(c) => {
                let name = self.name()?;
                What::Rule(self.number(&name))
            }
            _ => return Ok(None),
        };
        self.count(1)?;
        Ok(Some(what))
    }

    /// Repeats the last item, which is repeated already: it becomes a group.
    fn repeat(&mut self, items: &mut Vec<Item>, times: (u32, Option<u32>)) -> Result<(), String> {
        let last = items.pop().ok_or("there is nothing to repeat")?;
        self.count(1)?;
        let group = What::Group(vec![vec![last]]);
        items.push(checked(Item::new(group, times))?);
        Ok(())
    }

    fn count(&mut self, items: usize) -> Result<(), String> {
        self.items += items;
        if self.items > MOST_ITEMS {
            return Err(format!("there are more than {MOST_ITEMS} items"));
        }
        Ok(())
    }

    fn text(&mut self) -> Result<Vec<char>, String> {
        self.expect('"')?;
        let mut text = Vec::new();
        while !self.take('"')? {
            text.push(self.character()?);
            self.count(1)?;
        }
        Ok(text)
    }

    fn class(&mut self) -> Result<CharClass, String> {
        self.expect('[')?;
        let negated = self.take('^')?;
        let mut ranges = Vec::new();
        while !self.take(']')? {
            let first = self.character()?;
            let mut last = first;
            // A dash before the end is a dash.
            let mut ahead = self.rest.clone();
            if ahead.next() == Some('-') && ahead.next() != Some(']') {
                self.next()?;
                last = self.character()?;
            }
            if last < first {
                return Err(format!("the range {first:?}-{last:?} is backwards"));
            }
            ranges.push((first, last));
            self.count(1)?;
        }
        if ranges.is_empty() {
            return Err("a class of characters is empty".to_owned());
        }
        Ok(CharClass { negated, ranges })
    }

    fn group(&mut self) -> Result<Rule, String> {
        self.expect('(')?;
        if self.depth >= DEEPEST {
            return Err(too_deep());
        }
        self.depth += 1;
        self.space(true);
        let alternatives = self.alternatives()?;
        self.depth -= 1;
        self.expect(')')?;
        Ok(alternatives)
    }

    /// A character of a text or a class.
    fn character(&mut self) -> Result<char, String> {
        match self.next()? {
            '\\' => {}
            c => return Ok(c),
        }
        let digits = match self.next()? {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            't' => return Ok('\t'),
            'r' => return Ok('\r'),
            'n' => return Ok('\n'),
            c @ ('\\' | '"' | '[' | ']' | '-') => return Ok(c),
            c => return Err(format!("there is no escape \\{c}")),
        };
        let mut value: u32 = 0;
        for _ in 0..digits {
            let c = self.next()?;
            let why = || format!("expected {digits} hexadecimal digits, found {c:?}");
            let digit = c.to_digit(16).ok_or_else(why)?;
            value = value.wrapping_shl(4) | digit;
        }
        char::from_u32(value).ok_or_else(|| format!("U+{value:04X} is no character"))
    }

    /// How often what stands before is repeated, if this character says so.
    fn times(&mut self, c: char) -> Result<Option<(u32, Option<u32>)>, String> {
        let times = match c {
            '*' => (0, None),
            '+' => (1, None),
            '?' => (0, Some(1)),
            '{' => {
                self.next()?;
                return self.braces().map(Some);
            }
            _ => return Ok(None),
        };
        self.next()?;
        Ok(Some(times))
    }

    /// What stands in braces: `m}`, `m,}` or `m,n}`.
    fn braces(&mut self) -> Result<(u32, Option<u32>), String> {
        let nested = self.depth > 0;
        self.space(nested);
        let least = self.whole_number()?;
        self.space(nested);
        let mut most = Some(least);
        if self.take(',')? {
            self.space(nested);
            let given = self.peek().is_some_and(|c| c.is_ascii_digit());
            most = given.then(|| self.whole_number()).transpose()?;
            self.space(nested);
        }
        self.expect('}')?;
        if let Some(most) = most.filter(|&most| most < least) {
            return Err(format!(
                "at least {least} times cannot be at most {most} times"
            ));
        }
        Ok((least, most))
    }

    fn whole_number(&mut self) -> Result<u32, String> {
        let mut number: u32 = 0;
        let mut digits = 0;
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(10)) {
            self.next()?;
            digits += 1;
            number = number.saturating_mul(10).saturating_add(digit);
        }
        if digits == 0 {
            return Err("expected a number in braces".to_owned());
        }
        if number > MOST_TIMES {
            return Err(format!(
                "an item can be repeated {MOST_TIMES} times at most"
            ));
        }
        Ok(number)
    }

    /// The whole grammar. Every rule that was named is there.
    fn finish(self) -> Result<GbnfGrammar, String> {
        let root = self.names.get("root").copied();
        let missing = |name: &str| format!("there is no rule `{name}`");
        let undefined = self
            .names
            .iter()
            .filter(|&(_, &number)| self.rules[number].is_none());
        // The first one by its number, so that the message is always the same.
        if let Some((name, _)) = undefined.min_by_key(|&(_, &number)| number) {
            return Err(missing(name));
        }
        let root = root.ok_or_else(|| missing("root"))?;
        Ok(GbnfGrammar {
            rules: self.rules.into_iter().flatten().collect(),
            root,
        })
    }
}

/// An item that is not too deep.
fn checked(item: Item) -> Result<Item, String> {
    if item.height > DEEPEST {
        return Err(too_deep());
    }
    Ok(item)
}

fn too_deep() -> String {
    format!("groups are nested more than {DEEPEST} deep")
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-'
}
