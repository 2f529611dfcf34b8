//! Fetches a file of known length and checksum, from where it stopped before, in spite of
//! connections that end in the middle.

use std::io::Read;
use std::path::Path;

use indicatif::ProgressBar;
use ureq::http::{HeaderMap, header};
use url::Url;

use super::cache::disk;
use super::client::HubClient;
use super::error::HubError;
use super::partial::{HubPartial, PIECE};
use super::patience;
use super::words::shown;

/// A file to fetch.
pub struct Download<'a> {
    /// Where it comes from.
    pub url: Url,
    /// What it is, for messages.
    pub file: &'a str,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, in small hexadecimal digits.
    pub sum: &'a str,
}

impl Download<'_> {
    /// Fetches it into the file `part`, which is whole and right then. If that fails, what has
    /// arrived stays there for the next time, unless it is wrong.
    ///
    /// # Errors
    /// If the hub cannot be reached or refuses, the disk is full, or what arrives is another file.
    pub fn run(&self, client: &HubClient, part: &Path, bar: &ProgressBar) -> Result<(), HubError> {
        let begun = bar.position();
        loop {
            let mut partial =
                HubPartial::open(part, self.bytes, bar).map_err(|why| disk(part, why))?;
            if let Err(error) = self.complete(client, &mut partial, part, bar) {
                if matches!(error, HubError::TooLong { .. }) {
                    partial.forget();
                }
                return Err(error);
            }
            let found = partial.sum();
            if found == self.sum {
                return partial.keep().map_err(|why| disk(part, why));
            }
            let goes_on = partial.goes_on();
            partial.forget();
            if !goes_on {
                return Err(HubError::Sum {
                    file: self.file.to_owned(),
                    found,
                    expected: self.sum.to_owned(),
                });
            }
            // What was there may have been another tool's, or an older file's.
            tracing::warn!("what was there of {} was not its beginning", self.file);
            bar.set_position(begun);
        }
    }

    /// Adds what is missing.
    fn complete(
        &self,
        client: &HubClient,
        partial: &mut HubPartial,
        part: &Path,
        bar: &ProgressBar,
    ) -> Result<(), HubError> {
        let (mut idle, mut furthest) = (0, partial.length());
        while partial.length() < self.bytes {
            let received = self.receive(client, partial, part, bar);
            let after = match &received {
                Ok(()) => None,
                Err(HubError::Busy { after, .. }) => *after,
                Err(error) if error.passes() => None,
                Err(_) => return received,
            };
            if partial.length() >= self.bytes {
                break;
            }
            // What is begun anew gets no further by that.
            let further = partial.length() > furthest;
            idle = if further { 0 } else { idle + 1 };
            furthest = furthest.max(partial.length());
            let Some(wait) = patience::before_next(after, idle) else {
                let ended = || HubError::Unreachable {
                    host: self.url.host_str().unwrap_or("?").to_owned(),
                    why: "the connection ends before the file does".to_owned(),
                };
                return Err(received.err().unwrap_or_else(ended));
            };
            tracing::info!(
                "{} of {} bytes of {} are here; going on in {} ms",
                partial.length(),
                self.bytes,
                self.file,
                wait.as_millis()
            );
            std::thread::sleep(wait);
        }
        Ok(())
    }

    /// Adds what one answer brings.
    fn receive(
        &self,
        client: &HubClient,
        partial: &mut HubPartial,
        part: &Path,
        bar: &ProgressBar,
    ) -> Result<(), HubError> {
        let from = partial.length();
        let mut anew = || {
            bar.set_position(bar.position().saturating_sub(from));
            partial.restart().map_err(|why| disk(part, why))
        };
        let answer = match client.open(&self.url, from) {
            // It has no such part, or sends none.
            Err(error) if from > 0 && is_no_part(&error) => return anew(),
            answer => answer?,
        };
        let whole = answer.status().as_u16() == 200;
        if whole && from > 0 {
            anew()?;
        }
        if !whole && starts_at(answer.headers()) != Some(from) {
            if from > 0 {
                return anew();
            }
            return Err(HubError::Malformed {
                what: shown(self.file),
                why: "another part of the file arrives than was asked for".into(),
            });
        }
        let missing = self.bytes - partial.length();
        let too_long = || HubError::TooLong {
            file: self.file.to_owned(),
            expected: self.bytes,
        };
        if answer.body().content_length().is_some_and(|n| n > missing) {
            return Err(too_long());
        }
        let mut body = answer.into_body().into_reader();
        let mut piece = vec![0; PIECE];
        loop {
            let n = match body.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(HubError::Unreachable {
                        host: self.url.host_str().unwrap_or("?").to_owned(),
                        why: shown(&error.to_string()),
                    });
                }
            };
            if n as u64 > self.bytes - partial.length() {
                return Err(too_long());
            }
            partial.add(&piece[..n]).map_err(|why| disk(part, why))?;
            bar.inc(n as u64);
        }
    }
}

/// Whether an address refuses because of the part of a file that was asked for.
fn is_no_part(error: &HubError) -> bool {
    matches!(
        error,
        HubError::Refused { status: 416, .. } | HubError::RefusedElsewhere { status: 416, .. }
    )
}

/// The byte at which a part begins, by its header `Content-Range: bytes 5-9/10`.
fn starts_at(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (start, _) = range.trim().strip_prefix("bytes ")?.split_once('-')?;
    start.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_says_where_it_begins() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_RANGE, text.parse().unwrap());
            starts_at(&headers)
        };
        assert_eq!(of("bytes 5-9/10"), Some(5));
        assert_eq!(of("bytes */10"), None);
        assert_eq!(of("lines 5-9/10"), None);
    }
}
