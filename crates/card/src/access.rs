//! Who may use a server, from the flags of `card serve`.

use anyhow::{Context, Result, bail, ensure};
use card_setup::secret::{self, SecretText};

use crate::args::ServeArgs;
use crate::keys::{self, NamedKey};

/// Shorter keys can be guessed.
const SHORT: usize = 8;

/// Who may use a server.
#[derive(Debug, Default)]
pub struct Access {
    /// The keys; none for everybody who reaches the server.
    pub keys: Vec<NamedKey>,
    /// A key that opens `/metrics` and nothing else.
    pub metrics_key: Option<SecretText>,
    /// What is allowed but unwise, to be said at the start.
    pub warnings: Vec<String>,
}

impl Access {
    /// Who may use the server that `args` describe, checked.
    ///
    /// # Errors
    /// If a key cannot be one, if two are alike, or if the server would be open to a network
    /// without anybody having said so.
    pub fn of(args: &ServeArgs) -> Result<Self> {
        let mut access = Access::default();
        access.keys = access.client_keys(args)?;
        access.metrics_key = access.key_of_metrics(args)?;
        access.warn_of_short_keys();
        ensure!(
            access.keys.is_empty() || !args.no_key,
            "there are keys, and --no-key; leave one of them out"
        );
        let mut hosts = args.host.iter();
        let open = hosts.find(|host| !host.to_canonical().is_loopback());
        if let Some(host) = open.filter(|_| access.keys.is_empty() && !args.no_key) {
            bail!(
                "everybody who reaches {host} could use this server; set --api-key-file (or \
                 --api-key), or say --no-key if that is what you want"
            );
        }
        ensure!(
            args.tls_cert.is_some() == args.tls_key.is_some(),
            "--tls-cert and --tls-key belong together"
        );
        ensure!(
            args.audit_key_file.is_none() || args.audit.is_some(),
            "--audit-key-file belongs to --audit FILE"
        );
        Ok(access)
    }

    /// The keys of clients, from flags and the file.
    fn client_keys(&mut self, args: &ServeArgs) -> Result<Vec<NamedKey>> {
        let mut all = keys::from_flags(&args.api_key);
        if let Some(file) = &args.api_key_file {
            let text = secret::read_file(file, &mut self.warnings)?;
            let found = keys::parse(&text);
            let found = found.with_context(|| format!("the keys in {}", file.display()))?;
            ensure!(!found.is_empty(), "there is no key in {}", file.display());
            all.extend(found);
        }
        keys::check(&all)?;
        Ok(all)
    }

    /// The key of `/metrics`. It has to be another than those of clients, which are known.
    fn key_of_metrics(&mut self, args: &ServeArgs) -> Result<Option<SecretText>> {
        let key = secret::from_flag_or_file(
            "--metrics-key",
            args.metrics_key.as_ref(),
            args.metrics_key_file.as_deref(),
            &mut self.warnings,
        )?;
        if let Some(key) = &key {
            ensure!(
                !self.keys.is_empty(),
                "--metrics-key does not close /metrics on a server without keys; set --api-key or \
                 --api-key-file too"
            );
            ensure!(
                self.keys.iter().all(|k| k.key != *key),
                "the --metrics-key is an API key too, so it would open everything; take another"
            );
        }
        Ok(key)
    }

    fn warn_of_short_keys(&mut self) {
        let metrics = self.metrics_key.iter().map(|k| ("--metrics-key", k));
        let named = self.keys.iter().map(|k| (k.name.as_str(), &k.key));
        let short = named.chain(metrics).filter(|k| k.1.expose().len() < SHORT);
        let warnings: Vec<String> = short
            .map(|(name, _)| format!("the key {name} has fewer than {SHORT} characters"))
            .collect();
        self.warnings.extend(warnings);
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    use super::*;
    use crate::args::{Cli, CliCommand};
    use crate::config::arguments::SECRETS;

    fn serve(arguments: &[&str]) -> ServeArgs {
        let line = [&["card", "serve"][..], arguments].concat();
        let matches = Cli::command().try_get_matches_from(line).unwrap();
        match Cli::from_arg_matches(&matches).unwrap().command {
            CliCommand::Serve(args) => *args,
            _ => panic!("not serve"),
        }
    }

    fn temporary(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn an_empty_secret_is_an_error_from_wherever_it_comes() {
        let command = Cli::command();
        let secrets = SECRETS.iter();
        let mut flags = 0;
        for sub in command.get_subcommands() {
            for arg in secrets.clone() {
                let found = sub.get_arguments().find(|a| a.get_id().as_str() == *arg);
                let Some(long) = found.and_then(|a| a.get_long()) else {
                    continue;
                };
                flags += 1;
                let line = ["card".to_owned(), sub.get_name().to_owned()];
                let line = line.into_iter().chain([format!("--{long}"), String::new()]);
                let parsed = Cli::command().try_get_matches_from(line);
                let error = parsed.unwrap_err().to_string();
                assert!(error.contains(long), "{} {long}: {error}", sub.get_name());
            }
        }
        assert!(flags > 3);
        let empty = temporary(" \n");
        let path = empty.path().to_str().unwrap();
        for flag in ["--api-key-file", "--metrics-key-file"] {
            let args = serve(&["--api-key", "a-good-key", flag, path]);
            assert!(Access::of(&args).is_err(), "{flag}");
        }
        assert!(Access::of(&serve(&["--api-key-file", "/no/such/file"])).is_err());
    }

    #[test]
    fn what_would_be_open_to_a_network_says_so() {
        let open = |arguments: &[&str]| Access::of(&serve(arguments)).map(|a| a.keys.len());
        for host in ["0.0.0.0", "::", "192.168.1.2", "::ffff:10.0.0.1"] {
            let error = open(&["--host", host]).unwrap_err().to_string();
            assert!(error.contains("--no-key"), "{error}");
            assert_eq!(open(&["--host", host, "--no-key"]).unwrap(), 0);
            assert_eq!(open(&["--host", host, "--api-key", "abcdefgh"]).unwrap(), 1);
        }
        for host in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(open(&["--host", host]).unwrap(), 0, "{host}");
        }
        assert!(open(&["--no-key", "--api-key", "abcdefgh"]).is_err());
        // Without keys nothing would ask for this one.
        assert!(open(&["--metrics-key", "abcdefgh"]).is_err());
        assert!(open(&["--metrics-key", "abcdefgh", "--api-key", "abcdefgh"]).is_err());
    }

    #[test]
    fn flags_and_files_go_together_and_what_is_unwise_is_said() {
        let file = temporary("anna: short\n");
        let path = file.path().to_str().unwrap();
        let args = serve(&[
            "--api-key",
            "one-good-key,other-good-key",
            "--api-key-file",
            path,
        ]);
        let access = Access::of(&args).unwrap();
        let names: Vec<&str> = access.keys.iter().map(|k| k.name.as_str()).collect();
        assert_eq!(names, ["flag-1", "flag-2", "anna"]);
        assert_eq!(access.warnings.len(), 1, "{:?}", access.warnings);
        assert!(access.warnings[0].contains("anna"));
        let shown = format!("{access:?} {args:?}");
        assert!(
            !shown.contains("good-key") && !shown.contains("short"),
            "{shown}"
        );
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::Permissions::from_mode(0o644);
            std::fs::set_permissions(file.path(), mode).unwrap();
            let warnings = Access::of(&args).unwrap().warnings;
            assert!(warnings.iter().any(|w| w.contains("chmod 600")));
        }
    }
}
