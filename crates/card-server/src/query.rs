//! What the query of an address says.

/// The value of a parameter of a query, decoded. `+` stands for a space, as in forms.
pub(crate) fn query_value(query: Option<&str>, name: &str) -> Option<String> {
    let pairs = query?.split('&');
    let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    Some(decoded(value))
}

/// A text without percent signs. What is no code stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match (byte, behind) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push((high << 4) | low);
                    rest = &behind[2..];
                }
                _ => bytes.push(byte),
            },
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The value of a hexadecimal digit.
fn digit(byte: u8) -> Option<u8> {
    let value = char::from(byte).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_decoded() {
        let query = Some("a=1&model=hf%3Aa%2Fb%20c+d&b&c=%zz%4");
        assert_eq!(query_value(query, "model").as_deref(), Some("hf:a/b c d"));
        assert_eq!(query_value(query, "a").as_deref(), Some("1"));
        assert_eq!(query_value(query, "b").as_deref(), Some(""));
        assert_eq!(query_value(query, "c").as_deref(), Some("%zz%4"));
        assert_eq!(query_value(query, "d"), None);
        assert_eq!(query_value(None, "a"), None);
    }

    #[test]
    fn a_parameter_is_found_by_its_name() {
        let value = |name: &str| query_value(Some("a=1&action=save&b"), name);
        assert_eq!(value("action").as_deref(), Some("save"));
        assert_eq!(value("b").as_deref(), Some(""));
        assert_eq!(value("c"), None);
        assert_eq!(query_value(None, "a"), None);
    }
}
