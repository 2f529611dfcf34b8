//! Amounts of money, as readers of each language write them.

use super::language::Language;

/// Names of the yen, a currency without a smaller unit.
const YEN: [&str; 5] = ["JPY", "yen", "円", "¥", "￥"];

/// The least amount in yen that is rounded to whole yen: two decimals of less still say something.
const LEAST_WHOLE_YEN: f64 = 10.0;

/// An amount with its currency, digits grouped by thousands: `1,234.50 EUR`; in Japanese yen are
/// `1,234円`.
pub(super) fn money(amount: f64, currency: &str, language: Language) -> String {
    let yen = YEN.iter().any(|name| name.eq_ignore_ascii_case(currency));
    let decimals = if yen && amount.abs() >= LEAST_WHOLE_YEN {
        0
    } else {
        2
    };
    let number = grouped(amount, decimals);
    match language {
        Language::Japanese if yen => format!("{number}円"),
        _ => format!("{number} {currency}"),
    }
}

/// A number with so many decimals and a comma between thousands.
fn grouped(number: f64, decimals: usize) -> String {
    let plain = format!("{number:.decimals$}");
    let (whole, fraction) = plain.split_at(plain.find('.').unwrap_or(plain.len()));
    let digits = whole.trim_start_matches('-');
    let mut out = whole[..whole.len() - digits.len()].to_owned();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        let written = [0.0, 12.346, 999.999, 1234.5, 1e6].map(|n| grouped(n, 2));
        assert_eq!(
            written,
            ["0.00", "12.35", "1,000.00", "1,234.50", "1,000,000.00"]
        );
        assert_eq!(grouped(-1234.0, 0), "-1,234");
    }

    #[test]
    fn yen_have_no_decimals_and_their_own_sign() {
        let japanese = |amount, currency| money(amount, currency, Language::Japanese);
        assert_eq!(japanese(12345.6, "JPY"), "12,346円");
        assert_eq!(japanese(12345.6, "円"), "12,346円");
        assert_eq!(japanese(0.4, "JPY"), "0.40円");
        assert_eq!(japanese(1234.5, "EUR"), "1,234.50 EUR");
        assert_eq!(money(1234.6, "jpy", Language::English), "1,235 jpy");
    }
}
