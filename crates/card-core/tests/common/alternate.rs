//! A constraint of tests, with scouts that are right or wrong.

use std::sync::Arc;

use card_core::constraint::{Constraint, Grammar, Scout};
use card_core::types::{Prob, Token};

/// A token that no vocabulary of the tests has.
const FOREIGN: Token = 1000;

/// What a scout is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScoutKind {
    /// It is right.
    Sound,
    /// It refuses everything.
    Refuses,
    /// It allows everything, and forces what is not allowed.
    Lies,
    /// It is lost with the third token.
    Fails,
}

/// Allows some tokens at every other position and all of them in between.
pub struct Alternate {
    only: Vec<Token>,
    mask: [u32; 1],
    written: usize,
    scouts: Option<ScoutKind>,
}

impl Alternate {
    /// Allows `only` these tokens at the first place and every other one.
    pub fn new(only: &[Token], scouts: Option<ScoutKind>) -> Self {
        Alternate {
            only: only.to_vec(),
            mask: [0],
            written: 0,
            scouts,
        }
    }
}

/// The grammar of [`Alternate`].
struct Alternating {
    only: Vec<Token>,
    kind: ScoutKind,
}

impl Grammar for Alternating {
    fn scout(&self) -> Box<dyn Scout> {
        Box::new(Alternate::new(&self.only, Some(self.kind)))
    }
}

impl Scout for Alternate {
    fn wrote(&mut self, token: Token) -> Result<(), String> {
        if self.scouts == Some(ScoutKind::Fails) && self.written == 2 {
            return Err("lost".to_owned());
        }
        Constraint::wrote(self, token)
    }

    fn allows(&mut self, path: &[Token], token: Token) -> bool {
        match self.scouts {
            Some(ScoutKind::Refuses) => false,
            Some(ScoutKind::Lies) => true,
            _ => (self.written + path.len()) % 2 == 1 || self.only.contains(&token),
        }
    }

    fn forced(&mut self) -> Vec<(Token, Prob)> {
        match (self.scouts, &self.only[..]) {
            (Some(ScoutKind::Lies), _) => vec![(FOREIGN, Prob::ONE), (3, Prob::ONE)],
            (_, [one]) if self.written.is_multiple_of(2) => vec![(*one, Prob::ONE)],
            _ => Vec::new(),
        }
    }
}

impl Constraint for Alternate {
    fn allowed(&mut self) -> Result<&[u32], String> {
        let some = self.only.iter().fold(0, |mask, t| mask | 1 << t);
        self.mask[0] = if self.written.is_multiple_of(2) {
            some
        } else {
            u32::MAX
        };
        Ok(&self.mask)
    }

    fn wrote(&mut self, token: Token) -> Result<(), String> {
        let odd = self.written % 2 == 1;
        self.written += 1;
        if odd || self.only.contains(&token) {
            Ok(())
        } else {
            Err(format!("{token} is not allowed"))
        }
    }

    fn grammar(&self) -> Option<Arc<dyn Grammar>> {
        let kind = self.scouts?;
        let only = self.only.clone();
        Some(Arc::new(Alternating { only, kind }))
    }
}
