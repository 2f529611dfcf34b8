//! Flags that say which models run, where and how: those of every command that loads a pair.

use std::ffi::OsStr;
use std::path::PathBuf;

use card_core::policy::Mode;
use card_engine::selftest::Exactness;
use card_setup::models::catalogue::DEFAULT_PAIR;
use card_setup::{DraftWeights, KernelChoice, LaneChoice, Settings};
use clap::builder::{BoolishValueParser, PossibleValue, TypedValueParser};
use clap::{Args, value_parser};

use super::fit::{FitArgs, Switch};
use super::hub::HubArgs;
use super::link::LinkArgs;
use super::template::TemplateArgs;
use super::values::{ALL_LAYERS, FlagValue, context_length, layers, one_of, possible_value, sizes};

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Models")]
pub struct ModelArgs {
    /// The target: a pair or a model of the catalogue (`card list`), a GGUF file,
    /// hf:OWNER/REPO[:QUANT], ollama:NAME or lmstudio:NAME
    #[arg(short, long, default_value = DEFAULT_PAIR, env = "CARD_MODEL")]
    pub model: String,
    #[command(flatten)]
    pub hub: HubArgs,
    /// Draft model, named like the target (of a pair, its drafter), or the file of a head that was
    /// made for it (EAGLE-3, DFlash); `none` for none, `head` for the head in the target's own file,
    /// `auto` for that head if there is one, else the pair's, else a file eagle3-*.gguf or
    /// dflash-*.gguf beside the target, else the best of those here that speak the target's
    /// vocabulary [default: auto]
    #[arg(short, long, env = "CARD_DRAFT")]
    pub draft: Option<String>,
    /// A model of the hub in place of --draft, as -hfd of llama-server
    #[arg(long, value_name = "OWNER/REPO[:QUANT]")]
    pub hf_repo_draft: Option<String>,
    /// Fetch nothing: models that are here only (or HF_HUB_OFFLINE=1)
    #[arg(long, env = "CARD_OFFLINE", value_parser = BoolishValueParser::new())]
    pub offline: bool,
    /// A second draft model, `head`, or the file of a head; each step goes to the one that promises
    /// more
    #[arg(long, value_name = "MODEL")]
    pub draft2: Option<String>,
    /// Draft models on other machines (`card draft`), in place of one here
    #[arg(long, env = "CARD_DRAFTER", value_delimiter = ',', value_name = "URL")]
    pub drafter: Vec<String>,
    #[command(flatten)]
    pub link: LinkArgs,
    /// Whether a lighter copy of the draft model may stand in for it, where that is faster:
    /// the text is the target's either way
    #[arg(long, value_parser = one_of(DRAFT_WEIGHTS), default_value = "auto", env = "CARD_DRAFT_WEIGHTS")]
    pub draft_weights: DraftWeights,
    /// How to schedule the two
    #[arg(long, value_parser = one_of(MODES), default_value = "auto")]
    pub mode: Mode,
    /// How close to plain decoding's text
    #[arg(long, value_name = "LEVEL", default_value = "exact", value_parser = ExactnessParser)]
    pub exactness: Exactness,
    /// Whose matrix kernels processors run
    #[arg(long, value_parser = one_of(KERNELS), default_value = "auto", env = "CARD_KERNELS")]
    pub kernels: KernelChoice,
    /// Chain length of `--mode draft-then-verify`
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = value_parser!(u32).range(1..=32))]
    pub draft_len: u32,
    /// Whether the models run at the same time
    #[arg(long, value_parser = one_of(LANES), default_value = "auto")]
    pub lanes: LaneChoice,
    /// Threads in all, at most as many as this process has cores for [default: all of them]
    #[arg(short, long, value_name = "N", value_parser = value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// Threads of the drafter when both run on one CPU at the same time [default: a share]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1024))]
    pub draft_threads: Option<u32>,
    /// Tokens of context, prompt included [default: 4096, or what the model was trained for; less
    /// where memory is short, which is said]; 0 for all that it was trained for
    #[arg(short, long, visible_alias = "ctx-size", value_name = "N", value_parser = context_length)]
    pub ctx: Option<u32>,
    /// Layers of the target on the GPU: a number, or all [default: all]
    #[arg(long, visible_alias = "n-gpu-layers", value_name = "N", value_parser = layers)]
    pub gpu_layers: Option<u32>,
    /// Layers of the drafter on the GPU: a number, or all [default: all]
    #[arg(long, visible_aliases = ["gpu-layers-draft", "n-gpu-layers-draft"], value_name = "N", value_parser = layers)]
    pub draft_gpu_layers: Option<u32>,
    /// Devices of the target, by the names `card devices` shows
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub device: Vec<String>,
    /// Devices of the drafter
    #[arg(
        long,
        visible_alias = "device-draft",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub draft_device: Vec<String>,
    /// Other machines that hold a part of the target's layers (`card rpc-worker`, docs/rpc.md);
    /// --gpu-layers says how many layers go there [default: all]
    #[arg(
        long,
        env = "CARD_RPC",
        value_name = "HOST:PORT",
        value_delimiter = ','
    )]
    pub rpc: Vec<String>,
    /// Most memory for the candidates of one generation
    #[arg(long, default_value_t = 128, value_name = "KIB", value_parser = sizes(0..=1 << 20))]
    pub cache_kib: usize,
    /// Do not use, or add to, what earlier runs learned (docs/sources.md)
    #[arg(long, env = "CARD_NO_MEMORY", value_parser = BoolishValueParser::new())]
    pub no_memory: bool,
    /// Pace the models like devices you do not have: a TOML file or a built-in profile
    #[arg(long, value_name = "PROFILE", hide_short_help = true)]
    pub emulate: Option<PathBuf>,
    #[command(flatten)]
    pub fit: FitArgs,
    #[command(flatten)]
    pub template: TemplateArgs,
}

impl ModelArgs {
    /// What the flags mean to the library.
    pub fn settings(&self) -> Settings {
        let args = self.clone();
        let fit = args.fit;
        Settings {
            model: args.model,
            draft: args.draft,
            draft2: args.draft2,
            drafter: args.drafter,
            draft_weights: args.draft_weights,
            mode: args.mode,
            exactness: args.exactness,
            kernels: args.kernels,
            draft_len: args.draft_len,
            lanes: args.lanes,
            threads: args.threads,
            draft_threads: args.draft_threads,
            ctx: args.ctx,
            gpu_layers: args.gpu_layers.filter(|n| *n != ALL_LAYERS),
            draft_gpu_layers: args.draft_gpu_layers.filter(|n| *n != ALL_LAYERS),
            device: args.device,
            draft_device: args.draft_device,
            rpc: args.rpc,
            fit: fit.fit == Switch::On,
            parallel: 1,
            cache_type_k: fit.cache_type_k,
            cache_type_v: fit.cache_type_v,
            cache_type_k_draft: fit.cache_type_k_draft,
            cache_type_v_draft: fit.cache_type_v_draft,
            cpu_moe: fit.cpu_moe,
            n_cpu_moe: fit.n_cpu_moe,
            override_tensor: fit.override_tensor,
            lora: fit.lora,
            lora_scaled: fit.lora_scaled,
            chat_template: args.template.chat_template,
            chat_template_file: args.template.chat_template_file,
            chat_template_kwargs: args.template.chat_template_kwargs,
            cache_kib: args.cache_kib,
            cache_ram: fit.cache_ram as usize,
            no_memory: args.no_memory,
            emulate: args.emulate,
            offline: args.offline,
            link: args.link.settings(),
        }
    }
}

const MODES: &[FlagValue<Mode>] = &[
    ("plain", "One token per forward; no drafter", Mode::Plain),
    (
        "draft-then-verify",
        "Draft a chain of --draft-len tokens, verify it, start over",
        Mode::DraftThenVerify,
    ),
    (
        "card",
        "Query-and-correct: verify what the cache has while the drafter goes on",
        Mode::Card,
    ),
    (
        "auto",
        "Whatever is fastest by the costs measured here, plain decoding included",
        Mode::Auto,
    ),
];

const EXACTNESS: &[FlagValue<Exactness>] = &[
    (
        "exact",
        "The text is plain decoding's, by the cheapest means the self-test finds here",
        Exactness::Exact,
    ),
    (
        "fast",
        "As fast as it comes: a near-tie may come out otherwise, and is reported",
        Exactness::Fast,
    ),
];

/// Whose matrix kernels processors run, for flags of other commands too.
pub const KERNELS: &[FlagValue<KernelChoice>] = &[
    (
        "auto",
        "Whichever is faster here, found once",
        KernelChoice::Auto,
    ),
    (
        "card",
        "card's own: every shape of forward gives the same logits",
        KernelChoice::Card,
    ),
    ("ggml", "llama.cpp's", KernelChoice::Ggml),
];

const DRAFT_WEIGHTS: &[FlagValue<DraftWeights>] = &[
    (
        "auto",
        "The copy (4 bits a weight, made in seconds) if measurements say it is faster",
        DraftWeights::Auto,
    ),
    ("as-is", "The file's own", DraftWeights::AsIs),
];

const LANES: &[FlagValue<LaneChoice>] = &[
    (
        "auto",
        "What measurements on this machine say is faster",
        LaneChoice::Auto,
    ),
    ("shared", "The models take turns", LaneChoice::Shared),
    (
        "disjoint",
        "The models run at the same time; on one CPU they split the threads",
        LaneChoice::Disjoint,
    ),
];

/// Reads an [`Exactness`], and knows what the levels of earlier versions are called now.
#[derive(Clone)]
struct ExactnessParser;

impl TypedValueParser for ExactnessParser {
    type Value = Exactness;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Exactness, clap::Error> {
        let now = match value.to_str() {
            Some("default") => "fast",
            Some("strict" | "bitwise") => "exact",
            _ => return one_of(EXACTNESS).parse_ref(command, arg, value),
        };
        let before = value.to_string_lossy();
        let why = format!("--exactness {before} is now --exactness {now} (docs/exactness.md)");
        let error = clap::Error::raw(clap::error::ErrorKind::ValueValidation, why);
        Err(error.with_cmd(command))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(EXACTNESS.iter().map(possible_value)))
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use card_llama::CacheType;
    use clap::{CommandFactory, Parser};

    use super::super::hub::as_models;
    use super::*;

    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        model: ModelArgs,
    }

    #[test]
    fn a_context_is_a_number_or_all_there_is() {
        for (text, tokens) in [("0", Some(0)), ("64", Some(64)), ("1048576", Some(1 << 20))] {
            assert_eq!(context_length(text).ok(), tokens);
        }
        for wrong in ["63", "1048577", "-1", "4k", ""] {
            assert!(
                context_length(wrong).unwrap_err().contains("or 0"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn flags_that_are_not_given_mean_the_defaults_of_the_library() {
        // What the environment says counts as given.
        let command = CommandLine::command();
        let mut named = command.get_arguments().filter_map(clap::Arg::get_env);
        if named.any(|name| std::env::var_os(name).is_some()) {
            return;
        }
        let line = CommandLine::try_parse_from(["card"]).unwrap();
        assert_eq!(line.model.settings(), Settings::default());
    }

    #[test]
    fn a_template_is_a_program_and_its_variables_are_an_object() {
        for (flag, value) in [
            ("--chat-template", "chatmell"),
            ("--chat-template-kwargs", "[]"),
            ("--chat-template-kwargs", "{"),
        ] {
            let line = CommandLine::try_parse_from(["card", flag, value]);
            let error = line.err().map(|e| e.to_string()).unwrap_or_default();
            assert!(error.contains(flag), "{error}");
        }
        let both = [
            "card",
            "--chat-template",
            "{{ a }}",
            "--chat-template-file",
            "a",
        ];
        assert!(CommandLine::try_parse_from(both).is_err());
    }

    #[test]
    fn what_a_flag_says_is_in_the_settings() {
        let line = [
            "card",
            "--mode",
            "draft-then-verify",
            "--exactness",
            "fast",
            "--kernels",
            "ggml",
            "--lanes",
            "disjoint",
            "--draft-weights",
            "as-is",
            "--hf-repo",
            "owner/repo:Q8_0",
            "--hf-repo-draft",
            "owner/small",
            "--offline",
            "--link-token",
            "hunter2",
            "--ctx-size",
            "8192",
            "--n-gpu-layers",
            "all",
            "--cache-type-k",
            "q8_0",
            "--cache-type-v-draft",
            "f32",
            "--n-cpu-moe",
            "3",
            "--override-tensor",
            "a=CPU,b=CPU",
            "--lora",
            "a.gguf",
            "--lora-scaled",
            "b.gguf:0.5",
            "--chat-template",
            "{{ messages }}",
            "--chat-template-kwargs",
            "{\"a\":1}",
        ];
        // As the program reads it: flags of the hub become names.
        let line = as_models(line.map(OsString::from).to_vec());
        let line = CommandLine::try_parse_from(line);
        let settings = line.unwrap().model.settings();
        assert_eq!((settings.ctx, settings.gpu_layers), (Some(8192), None));
        assert_eq!(settings.target_cache().k, CacheType::Q8_0);
        assert_eq!(settings.draft_cache().v, CacheType::F32);
        assert_eq!(settings.places().unwrap().len(), 3);
        assert_eq!(settings.chat_template.as_deref(), Some("{{ messages }}"));
        assert_eq!(settings.chat_template_kwargs.as_deref(), Some("{\"a\":1}"));
        assert_eq!(settings.adapters().unwrap().len(), 2);
        assert_eq!(settings.mode, Mode::DraftThenVerify);
        assert_eq!(settings.exactness, Exactness::Fast);
        assert_eq!(settings.kernels, KernelChoice::Ggml);
        assert_eq!(settings.lanes, LaneChoice::Disjoint);
        assert_eq!(settings.draft_weights, DraftWeights::AsIs);
        assert_eq!(settings.model, "hf:owner/repo:Q8_0");
        assert_eq!(settings.draft.as_deref(), Some("hf:owner/small"));
        assert!(settings.offline);
        let token = settings.link.token.map(|t| t.expose().to_owned());
        assert_eq!(token.as_deref(), Some("hunter2"));
    }
}
