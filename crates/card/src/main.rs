//! The `card` command.

#![forbid(unsafe_code)]

mod access;
mod args;
mod audit;
mod bench;
mod calibrate;
mod chat;
mod config;
mod devices;
mod export;
mod generate;
mod holds;
mod interrupt;
mod kernels;
mod keys;
mod lighter;
mod link;
mod loader;
mod memory;
mod plan;
mod profile;
mod report;
mod rig;
mod roi;
mod serve;
mod served;
mod session;
mod show;
mod simulate;
mod telemetry;

use std::process::ExitCode;

use anyhow::{Context, Result};
use args::{Cli, CliCommand};
use card_setup::models::catalogue::Catalogue;
use card_setup::models::fetch;
use card_setup::models::store::Store;
use card_setup::rewrite::{CopyWeights, rewrite};
use indicatif::HumanBytes;

fn main() -> ExitCode {
    if let Err(why) = card_llama::check_cpu() {
        eprintln!("error: {why}");
        return ExitCode::FAILURE;
    }
    let (cli, matches) = match config::parse() {
        Ok(parsed) => parsed,
        Err(error) => return refuse(&error),
    };
    let serves = match &cli.command {
        CliCommand::Serve(args) => !args.print_config,
        CliCommand::Draft(_) | CliCommand::Edge(_) | CliCommand::RpcWorker(_) => true,
        _ => false,
    };
    if !serves {
        // `card list | head` ends quietly. A server must survive clients that go away.
        sigpipe::reset();
    }
    let level = match cli.verbose {
        0 => "warn",
        1 => "info,card=debug,card_engine=debug",
        _ => "debug,llama.cpp=trace",
    };
    let otlp = match &cli.command {
        CliCommand::Serve(args) => args.otlp.as_deref(),
        _ => None,
    };
    let _telemetry = match telemetry::install(level, otlp) {
        Ok(telemetry) => telemetry,
        Err(error) => return refuse(&error),
    };
    run(cli, &matches).unwrap_or_else(|error| refuse(&error))
}

fn refuse(error: &anyhow::Error) -> ExitCode {
    let style = anstyle::AnsiColor::Red.on_default().bold();
    anstream::eprintln!("{style}error:{style:#} {error:#}");
    ExitCode::FAILURE
}

fn run(cli: Cli, matches: &clap::ArgMatches) -> Result<ExitCode> {
    interrupt::install()?;
    let catalogue = Catalogue::load(cli.catalogue.as_deref())?;
    match cli.command {
        CliCommand::Generate(args) => generate::run(&args, &catalogue),
        CliCommand::Chat(args) => chat::run(&args, &catalogue),
        CliCommand::Serve(args) if args.print_config => config::print(matches),
        CliCommand::Serve(args) => serve::run(&args, &catalogue),
        CliCommand::Draft(args) => link::draft(&args, &catalogue),
        CliCommand::Edge(args) => link::edge(&args, &catalogue),
        CliCommand::Audit(command) => audit::run(&command),
        CliCommand::Explain(args) => audit::explain(&args),
        CliCommand::Pull { name } => pull(&catalogue, &name),
        CliCommand::List => list(&catalogue),
        CliCommand::Quantize {
            input,
            output,
            r#type,
            pure,
            vocabulary,
        } => quantize(
            &catalogue,
            &input,
            &output,
            CopyWeights {
                kind: Some(&r#type),
                pure,
                vocabulary,
            },
        ),
        CliCommand::Calibrate(args) => calibrate::run(&args, &catalogue),
        CliCommand::Bench(args) => bench::run(&args, &catalogue),
        CliCommand::Sim(args) => simulate::run(&args),
        CliCommand::Plan(args) => plan::run(&args, &catalogue),
        CliCommand::Report(args) => roi::run(&args),
        CliCommand::ExportPairs(args) => export::run(&args, &catalogue),
        CliCommand::Selftest(args) => report::selftest(&args, &catalogue),
        CliCommand::RpcWorker(args) => rpc_worker(&args),
        CliCommand::Devices => {
            for device in card_llama::devices() {
                let (free, all) = device.memory;
                println!(
                    "{:10} {}  ({} free of {})",
                    device.name,
                    device.description,
                    HumanBytes(free as u64),
                    HumanBytes(all as u64)
                );
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn rpc_worker(args: &args::RpcWorkerArgs) -> Result<ExitCode> {
    anyhow::ensure!(
        args.listen.ip().to_canonical().is_loopback() || args.trusted_network,
        "the protocol has neither keys nor encryption: whoever reaches {} can read the model and use \
         up this machine. If only machines you trust do, add --trusted-network; else listen on \
         127.0.0.1 and forward the port (ssh -L, WireGuard)",
        args.listen
    );
    if let Some(cache) = &args.cache {
        std::fs::create_dir_all(cache)
            .with_context(|| format!("cannot keep weights in {}", cache.display()))?;
    }
    let cache = args.cache.as_deref();
    eprintln!("computing for targets that dial {}", args.listen);
    let never = card_llama::rpc::serve(
        args.listen,
        &args.device,
        loader::threads(args.threads),
        cache,
    )?;
    match never {}
}

fn pull(catalogue: &Catalogue, name: &str) -> Result<ExitCode> {
    let store = Store::open()?;
    let (target, draft) = catalogue.resolve(name)?;
    for model in std::iter::once(target).chain(draft) {
        let path = fetch::fetch(&store, model)?;
        eprintln!("{}: {}", model.name, path.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn list(catalogue: &Catalogue) -> Result<ExitCode> {
    let store = Store::open()?;
    println!("pairs");
    for pair in &catalogue.pairs {
        println!(
            "  {:20} {} + {}  ({})",
            pair.name, pair.target, pair.draft, pair.title
        );
    }
    println!("models");
    for model in &catalogue.entries {
        let here = if store.has(model) { "here" } else { "" };
        println!(
            "  {:20} {:36} {:>10}  {:12} {here}",
            model.name,
            model.title,
            HumanBytes(model.bytes).to_string(),
            model.licence
        );
    }
    println!("kept in {}", store.models().display());
    Ok(ExitCode::SUCCESS)
}

fn quantize(
    catalogue: &Catalogue,
    input: &std::path::Path,
    output: &std::path::Path,
    weights: CopyWeights,
) -> Result<ExitCode> {
    let input = match input.to_str().and_then(|name| catalogue.model(name)) {
        Some(model) => fetch::fetch(&Store::open()?, model)?,
        None => input.to_owned(),
    };
    rewrite(&input, output, weights)?;
    let size = std::fs::metadata(output)
        .context("the output is gone")?
        .len();
    eprintln!("{}: {}", output.display(), HumanBytes(size));
    Ok(ExitCode::SUCCESS)
}
