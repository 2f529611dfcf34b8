//! The names in a certificate.

use x509_parser::extensions::GeneralName;

/// The common name of a certificate's subject, and its DNS names.
///
/// # Errors
/// If it is none, or says the same thing twice.
pub(crate) fn names(der: &[u8]) -> Result<Vec<String>, String> {
    let bad = |why: String| format!("the certificate cannot be read: {why}");
    let (_, certificate) =
        x509_parser::parse_x509_certificate(der).map_err(|e| bad(e.to_string()))?;
    let subject = certificate.subject();
    let common = subject.iter_common_name().filter_map(|n| n.as_str().ok());
    let mut names: Vec<String> = common.map(str::to_owned).collect();
    let others = certificate.subject_alternative_name();
    if let Some(others) = others.map_err(|e| bad(e.to_string()))? {
        for name in &others.value.general_names {
            if let GeneralName::DNSName(name) = name {
                names.push((*name).to_owned());
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_has_its_common_name_and_its_dns_names() {
        let names_of = |common: &str, dns: &[&str]| {
            let dns: Vec<String> = dns.iter().map(|n| (*n).to_owned()).collect();
            let mut params = rcgen::CertificateParams::new(dns).unwrap();
            params
                .distinguished_name
                .push(rcgen::DnType::CommonName, common);
            let key = rcgen::KeyPair::generate().unwrap();
            let made = params.self_signed(&key).unwrap();
            names(made.der()).unwrap()
        };
        let names = names_of("laptop", &["a.example", "b.example"]);
        for name in ["laptop", "a.example", "b.example"] {
            assert!(names.iter().any(|n| n == name), "{name} of {names:?}");
        }
        assert!(super::names(b"nonsense").is_err());
        assert!(super::names(b"").is_err());
    }
}
