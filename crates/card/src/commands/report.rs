//! `card report`: measurements become a page for whoever decides.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use card_bench::page::{PAGE_HEAD, escape};
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
    let page = roi::markdown(&evidence, &prices, args.lang);
    let Some(out) = &args.out else {
        print!("{page}");
        return Ok(ExitCode::SUCCESS);
    };
    let html = out.extension().is_some_and(|e| e == "html");
    let page = if html { to_html(&page) } else { page };
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

/// The few things our Markdown has.
fn to_html(markdown: &str) -> String {
    let mut page = String::from(PAGE_HEAD);
    let mut lines = markdown.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix("# ") {
            page += &format!("<title>{0}</title><h1>{0}</h1>", inline(title));
        } else if let Some(title) = line.strip_prefix("## ") {
            page += &format!("<h2>{}</h2>", inline(title));
        } else if let Some(item) = line.strip_prefix("- ") {
            page += &format!("<ul><li>{}</ul>", inline(item));
        } else if line.starts_with('|') {
            let cells = |row: &str, tag: &str| {
                let cells = row.trim_matches('|').split('|');
                let cells: String = cells
                    .map(|c| format!("<{tag}>{}", inline(c.trim())))
                    .collect();
                format!("<tr>{cells}</tr>")
            };
            page += "<div class=wide><table>";
            page += &cells(line, "th");
            lines.next();
            while let Some(row) = lines.next_if(|l| l.starts_with('|')) {
                page += &cells(row, "td");
            }
            page += "</table></div>";
        } else if !line.is_empty() {
            page += &format!("<p>{}</p>", inline(line));
        }
    }
    page
}

/// Bold and code.
fn inline(text: &str) -> String {
    let mut out = String::new();
    for (i, part) in escape(text).split("**").enumerate() {
        let code = part.split('`').enumerate();
        let code: String = code
            .map(|(j, p)| match j % 2 {
                1 => format!("<code>{p}</code>"),
                _ => p.to_owned(),
            })
            .collect();
        out += &match i % 2 {
            1 => format!("<b>{code}</b>"),
            _ => code,
        };
    }
    out
}
