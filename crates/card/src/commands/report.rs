//! `card report`: measurements become a page for whoever decides.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use card_bench::roi::{self, Prices, RoiEvidence};

use crate::args::ReportArgs;

/// `card report`.
pub fn run(args: &ReportArgs) -> Result<ExitCode> {
    let mut evidence: Vec<RoiEvidence> = Vec::new();
    for source in &args.sources {
        let text = read(source)?;
        let found = if text.trim_start().starts_with('{') {
            roi::from_bench(&text)
        } else {
            roi::from_metrics(&text).map(|e| vec![e])
        };
        evidence.extend(found.map_err(|why| anyhow::anyhow!("{source}: {why}"))?);
    }
    let prices = Prices {
        per_hour: args.price_per_hour,
        draft_per_hour: args.draft_price_per_hour,
        currency: args.currency.clone(),
        tokens_per_month: args.tokens_per_month,
    };
    if !(prices.per_hour > 0.0 && prices.draft_per_hour >= 0.0) {
        bail!("prices must be above 0");
    }
    let Some(out) = &args.out else {
        print!("{}", roi::markdown(&evidence, &prices, args.lang));
        return Ok(ExitCode::SUCCESS);
    };
    let page = match out.extension().is_some_and(|e| e == "html") {
        true => roi::html(&evidence, &prices, args.lang),
        false => roi::markdown(&evidence, &prices, args.lang),
    };
    std::fs::write(out, page).with_context(|| format!("cannot write {}", out.display()))?;
    eprintln!("written: {}", out.display());
    Ok(ExitCode::SUCCESS)
}

/// A file, or what a server says.
fn read(source: &str) -> Result<String> {
    if source.starts_with("http://") || source.starts_with("https://") {
        let mut answer = ureq::get(source)
            .call()
            .with_context(|| format!("cannot ask {source}"))?;
        return Ok(answer.body_mut().read_to_string()?);
    }
    std::fs::read_to_string(source).with_context(|| format!("cannot read {source}"))
}
