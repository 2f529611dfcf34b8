//! Flags of links to other machines, for whoever dials and whoever listens.

use std::path::PathBuf;

use card_setup::secret::SecretText;
use card_setup::{GuestSettings, LinkSettings};
use clap::Args;

use super::values::secret;

#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Links to other machines")]
pub struct LinkArgs {
    /// A secret both machines know
    #[arg(
        long,
        env = "CARD_LINK_TOKEN",
        hide_env_values = true,
        hide_default_value = true,
        value_name = "TOKEN",
        value_parser = secret()
    )]
    pub link_token: Option<SecretText>,
    /// A file with that secret, which then is not in the list of processes
    #[arg(long, env = "CARD_LINK_TOKEN_FILE", value_name = "FILE")]
    pub link_token_file: Option<PathBuf>,
    /// The authority of the other machine's certificate (PEM)
    #[arg(long, env = "CARD_LINK_CA", value_name = "FILE")]
    pub link_ca: Option<PathBuf>,
    /// Certificate chain of this machine (PEM)
    #[arg(
        long,
        env = "CARD_LINK_CERT",
        value_name = "FILE",
        requires = "link_key"
    )]
    pub link_cert: Option<PathBuf>,
    /// Private key of this machine (PEM)
    #[arg(
        long,
        env = "CARD_LINK_KEY",
        value_name = "FILE",
        requires = "link_cert"
    )]
    pub link_key: Option<PathBuf>,
}

impl LinkArgs {
    /// What the flags mean to the library.
    pub fn settings(&self) -> LinkSettings {
        LinkSettings {
            token: self.link_token.clone(),
            token_file: self.link_token_file.clone(),
            ca: self.link_ca.clone(),
            cert: self.link_cert.clone(),
            key: self.link_key.clone(),
        }
    }
}

/// Which drafters come in.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Links to other machines")]
pub struct GuestArgs {
    /// A file with lines of a drafter's scope and its secret; * is everybody's text
    #[arg(long, env = "CARD_LINK_SECRETS", value_name = "FILE")]
    pub link_secrets: Option<PathBuf>,
    /// With --link-ca and without secrets: a certificate of this name gets everybody's text
    #[arg(long, env = "CARD_LINK_EVERYONE", value_name = "NAME")]
    pub link_everyone: Option<String>,
}

impl GuestArgs {
    /// What the flags mean to the library.
    pub fn settings(&self) -> GuestSettings {
        GuestSettings {
            secrets: self.link_secrets.clone(),
            everyone: self.link_everyone.clone(),
        }
    }
}
