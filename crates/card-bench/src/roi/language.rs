//! The languages of the page, and what was measured in them.

/// Language of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// English.
    English,
    /// Japanese.
    Japanese,
}

impl Language {
    /// The words in this language.
    pub(super) fn pick(self, english: &'static str, japanese: &'static str) -> &'static str {
        match self {
            Language::English => english,
            Language::Japanese => japanese,
        }
    }
}

/// The name of what was measured: in Japanese that of a built-in category too.
pub(super) fn label(name: &str, language: Language) -> &str {
    if language == Language::English {
        return name;
    }
    match name {
        "code" => "コード",
        "maths" => "数学",
        "chat" => "会話",
        "japanese" => "日本語",
        "edit" => "編集",
        "canary" => "カナリア",
        "live" => "実運用",
        other => other,
    }
}
