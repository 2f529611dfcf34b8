//! What a grammar is made of.

/// A grammar: rules by their numbers.
#[derive(Debug, PartialEq)]
pub(super) struct GbnfGrammar {
    pub(super) rules: Vec<Rule>,
    /// The number of the rule `root`.
    pub(super) root: usize,
}

/// A rule: texts of any of these sequences.
pub(super) type Rule = Vec<Vec<Item>>;

/// What stands in a sequence, and how often.
#[derive(Debug, PartialEq)]
pub(super) struct Item {
    pub(super) what: What,
    /// The least and the most; no most for as often as one likes.
    pub(super) times: (u32, Option<u32>),
    /// Groups one within the other, at the deepest place of the item. Whatever walks a grammar
    /// calls itself that often, so the parser bounds it.
    pub(super) height: usize,
}

impl Item {
    /// What stands there, so often.
    pub(super) fn new(what: What, times: (u32, Option<u32>)) -> Self {
        let height = match &what {
            What::Group(rule) => {
                let inner = rule.iter().flatten().map(|item| item.height);
                1 + inner.max().unwrap_or(0)
            }
            What::Text(_) | What::Class(_) | What::Rule(_) => 0,
        };
        Item {
            what,
            times,
            height,
        }
    }
}

/// What a grammar is made of.
#[derive(Debug, PartialEq)]
pub(super) enum What {
    /// These characters one after the other.
    Text(Vec<char>),
    /// One of these characters, or one of all others.
    Class(CharClass),
    /// A text of this rule.
    Rule(usize),
    /// A text of any of these sequences.
    Group(Rule),
}

/// Characters from the first to the last of each range.
#[derive(Debug, PartialEq)]
pub(super) struct CharClass {
    pub(super) negated: bool,
    pub(super) ranges: Vec<(char, char)>,
}
