//! The date for templates that write it: `strftime_now`.

use std::fmt::Write;

use chrono::{DateTime, Local};

/// What the clock on the wall shows: seconds from 1970-01-01 00:00:00 of the local calendar.
pub(super) fn now() -> i64 {
    Local::now().naive_local().and_utc().timestamp()
}

/// Such a time, as Python's `strftime` writes it in the C locale.
///
/// # Errors
/// If the format has a directive that is not known.
pub(super) fn strftime(seconds: i64, format: &str) -> Result<String, String> {
    let time = DateTime::from_timestamp(seconds, 0).ok_or("there is no such date")?;
    let mut text = String::new();
    write!(text, "{}", time.naive_utc().format(&from_python(format)))
        .map_err(|_| format!("strftime_now does not know a directive of {format:?}"))?;
    Ok(text)
}

/// A format of Python as chrono has it: fractions of a second have six digits, and a time that
/// is in no time zone writes none.
fn from_python(format: &str) -> String {
    let mut made = String::with_capacity(format.len());
    let mut characters = format.chars();
    while let Some(c) = characters.next() {
        if c != '%' {
            made.push(c);
            continue;
        }
        match characters.next() {
            Some('f') => made.push_str("%6f"),
            Some('z' | 'Z') => {}
            Some(directive) => made.extend(['%', directive]),
            None => made.push_str("%%"),
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_python_does() {
        // Tuesday, 3 February 2026, 09:05:07.
        let seconds = 1_770_109_507;
        for (format, text) in [
            ("%Y-%m-%d", "2026-02-03"),
            ("%d %b %Y", "03 Feb 2026"),
            ("%B %-d, %Y", "February 3, 2026"),
            ("%A %H:%M:%S.%f", "Tuesday 09:05:07.000000"),
            ("%I %p %y %j %%", "09 AM 26 034 %"),
            ("[%z%Z]", "[]"),
            ("as it is", "as it is"),
            ("", ""),
        ] {
            assert_eq!(strftime(seconds, format).as_deref(), Ok(text), "{format}");
        }
        assert!(strftime(seconds, "%!").is_err());
        assert!(strftime(i64::MAX, "%Y").is_err());
    }

    #[test]
    fn the_clock_goes() {
        // 2020 has passed, and the year 2200 is far.
        assert!((1_577_836_800..7_258_118_400).contains(&now()));
    }
}
