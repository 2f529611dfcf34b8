//! Flags of the chat template. Their names are llama-server's.

use std::path::PathBuf;

use clap::Args;

use super::values::{json_object, template};

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Chat template")]
pub struct TemplateArgs {
    /// A chat template in Jinja, or the name of a common one (chatml, llama3, gemma, …), in place of
    /// the one in the model's file
    #[arg(
        long,
        env = "CARD_CHAT_TEMPLATE",
        value_name = "JINJA",
        value_parser = template,
        conflicts_with = "chat_template_file"
    )]
    pub chat_template: Option<String>,
    /// A file with such a template
    #[arg(long, env = "CARD_CHAT_TEMPLATE_FILE", value_name = "FILE")]
    pub chat_template_file: Option<PathBuf>,
    /// Variables for the chat template, as JSON: {"enable_thinking": false}. A request's own go
    /// before them
    #[arg(
        long,
        env = "CARD_CHAT_TEMPLATE_KWARGS",
        value_name = "JSON",
        value_parser = json_object
    )]
    pub chat_template_kwargs: Option<String>,
}
