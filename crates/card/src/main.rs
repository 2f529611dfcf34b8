//! The `card` command: flags become settings ([`args`]), and each command is a file of
//! [`commands`].

#![forbid(unsafe_code)]

mod access;
mod args;
mod commands;
mod complaint;
mod config;
mod interrupt;
mod keyboard;
mod keys;
mod log_writer;
mod model_list;
mod model_source;
mod served;
mod session;
mod show;
mod stream;
mod summary;
mod tasks;
mod telemetry;
mod why;
mod word_wrap;

use std::process::ExitCode;

use anyhow::Result;
use args::{Cli, CliCommand};
use card_setup::models::catalogue::Catalogue;

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
    complaint::complain(error);
    ExitCode::FAILURE
}

fn run(cli: Cli, matches: &clap::ArgMatches) -> Result<ExitCode> {
    interrupt::install()?;
    let catalogue = Catalogue::load(cli.catalogue.as_deref())?;
    match cli.command {
        CliCommand::Generate(args) => commands::generate::run(&args, &catalogue),
        CliCommand::Chat(args) => commands::chat::run(&args, &catalogue),
        CliCommand::Serve(args) if args.print_config => config::print(matches, &args.several.table),
        CliCommand::Serve(args) => commands::serve::run(&args, catalogue),
        CliCommand::Draft(args) => commands::draft::run(&args, &catalogue),
        CliCommand::Edge(args) => commands::edge::run(&args, &catalogue),
        CliCommand::Audit(command) => commands::audit::run(&command),
        CliCommand::Explain(args) => commands::explain::run(&args),
        CliCommand::Pull(args) => commands::pull::run(&args, &catalogue),
        CliCommand::List(args) => commands::list::run(&args, &catalogue),
        CliCommand::Remove(args) => commands::remove::run(&args, &catalogue),
        CliCommand::Quantize(args) => commands::quantize::run(&args, &catalogue),
        CliCommand::Calibrate(args) => commands::calibrate::run(&args, &catalogue),
        CliCommand::Bench(args) => commands::bench::run(&args, &catalogue),
        CliCommand::Sim(args) => commands::sim::run(&args),
        CliCommand::Plan(args) => commands::plan::run(&args, &catalogue),
        CliCommand::Report(args) => commands::report::run(&args),
        CliCommand::ExportPairs(args) => commands::export_pairs::run(&args, &catalogue),
        CliCommand::Selftest(args) => commands::selftest::run(&args, &catalogue),
        CliCommand::RpcWorker(args) => commands::rpc_worker::run(&args),
        CliCommand::Devices => commands::devices::run(),
    }
}
