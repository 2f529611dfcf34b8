//! Flags of a server that makes vectors of texts in place of writing some. Their names are
//! llama-server's.

use card_llama::Pooling;
use clap::Args;
use clap::builder::BoolishValueParser;

use super::values::{FlagValue, one_of};

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Embeddings")]
pub struct VectorArgs {
    /// Make vectors of texts with --model, and write none (/v1/embeddings, /embedding,
    /// /api/embed): for models that were made for it
    #[arg(
        long,
        visible_alias = "embedding",
        env = "CARD_EMBEDDINGS",
        value_parser = BoolishValueParser::new()
    )]
    pub embeddings: bool,
    /// Order documents by how well they answer a question (/rerank): for rerankers. The same as
    /// --embeddings --pooling rank
    #[arg(
        long,
        visible_alias = "rerank",
        env = "CARD_RERANKING",
        value_parser = BoolishValueParser::new(),
        conflicts_with = "pooling"
    )]
    pub reranking: bool,
    /// How the vectors of a text's tokens become one [default: what the model's file says]
    #[arg(long, value_parser = one_of(POOLINGS))]
    pub pooling: Option<Pooling>,
    /// What becomes 1 of a vector: its length with 2, the sum of its numbers with 1, nothing with
    /// -1; with 0 its largest number becomes 32760. A request's own goes before it
    #[arg(long, default_value_t = 2, allow_hyphen_values = true, value_name = "N",
          value_parser = clap::value_parser!(i32).range(-1..=1000))]
    pub embd_normalize: i32,
    /// The model was trained so that the first numbers of its vectors are vectors too (Matryoshka):
    /// a request may ask for fewer numbers (dimensions)
    #[arg(long, env = "CARD_MATRYOSHKA", value_parser = BoolishValueParser::new())]
    pub matryoshka: bool,
}

impl VectorArgs {
    /// Whether the server makes vectors.
    pub fn wanted(&self) -> bool {
        self.embeddings || self.reranking
    }

    /// How the vectors of a text's tokens become one; `None` for what the model's file says.
    pub fn pooling(&self) -> Option<Pooling> {
        if self.reranking {
            return Some(Pooling::Rank);
        }
        self.pooling
    }
}

const POOLINGS: &[FlagValue<Pooling>] = &[
    (
        "none",
        "They stay as they are: a vector for each token",
        Pooling::None,
    ),
    ("mean", "By their mean", Pooling::Mean),
    ("cls", "The first token's stands for the text", Pooling::Cls),
    (
        "last",
        "The last token's stands for the text",
        Pooling::Last,
    ),
    (
        "rank",
        "The model's head makes a score of them",
        Pooling::Rank,
    ),
];

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        vectors: VectorArgs,
    }

    fn read(line: &[&str]) -> Option<VectorArgs> {
        let line = [&["card"][..], line].concat();
        CommandLine::try_parse_from(line).ok().map(|l| l.vectors)
    }

    #[test]
    fn flags_are_those_of_llama_server() {
        let args = read(&["--embedding", "--pooling", "last", "--embd-normalize", "-1"]).unwrap();
        assert!(args.wanted() && !args.matryoshka);
        assert_eq!(
            (args.pooling(), args.embd_normalize),
            (Some(Pooling::Last), -1)
        );
        let args = read(&["--reranking"]).unwrap();
        assert_eq!((args.wanted(), args.pooling()), (true, Some(Pooling::Rank)));
        assert!(read(&["--reranking", "--pooling", "mean"]).is_none());
        assert!(read(&["--pooling", "max"]).is_none());
        assert!(read(&["--matryoshka"]).unwrap().matryoshka);
    }
}
