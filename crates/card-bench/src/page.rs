//! What all pages that we write share: their head, and text that is safe to stand in them.

/// Text that can stand in a page.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// The beginning of every page that we write, with its style sheet.
pub const PAGE_HEAD: &str = "<!doctype html><html lang=en><meta charset=utf-8>\
<meta name=viewport content=\"width=device-width\"><style>\
:root{color-scheme:light dark}\
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
table{border-collapse:collapse;font-size:13px}th,td{padding:.3rem .6rem;text-align:left;\
border-bottom:1px solid #8885;white-space:nowrap}.wide{overflow-x:auto}\
dt{font-weight:600}dd{margin:0 0 .4rem 0}.note{padding:.6rem 1rem;border-left:4px solid #e69f00}\
svg{max-width:100%;height:auto;border-radius:6px;margin:.6rem 0}</style>";
