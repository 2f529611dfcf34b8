//! Rows of logits, compared.

use super::report::SizeReport;

/// Notes how a row of logits differs from the reference, which the model gave for single rows.
pub(super) fn compare(report: &mut SizeReport, reference: &[f32], logits: &[f32]) {
    let (mut first, mut second) = (0, usize::from(reference.len() > 1));
    for (i, &l) in reference.iter().enumerate() {
        if l > reference[first] {
            second = first;
            first = i;
        } else if i != first && l > reference[second] {
            second = i;
        }
    }
    let margin = reference[first] - reference[second];
    let now = logits[first] - logits[second];
    report.margin_shift = report.margin_shift.max((margin - now).abs());
    let mut best = 0;
    let mut diff: f32 = 0.0;
    for (i, (a, b)) in reference.iter().zip(logits).enumerate() {
        diff = diff.max((a - b).abs());
        if *b > logits[best] {
            best = i;
        }
    }
    report.max_diff = report.max_diff.max(diff);
    if best != first {
        report.flips += 1;
        report.flip_margin = report.flip_margin.max(margin);
        report.flip_diff = report.flip_diff.max(diff);
    }
}

/// Whether the fingerprints of the positions that both passes have are the same.
pub(super) fn agree(a: &[u64], b: &[u64]) -> bool {
    a.iter().zip(b).all(|(a, b)| a == b)
}

/// FNV-1a over the bits of a row of logits: equal logits, equal number.
pub fn fingerprint(logits: &[f32]) -> u64 {
    logits.iter().fold(0xcbf2_9ce4_8422_2325, |h, l| {
        (h ^ u64::from(l.to_bits())).wrapping_mul(0x0100_0000_01b3)
    })
}
