//! Vectors brought to a common length, as llama-server does it.

/// The order by which vectors are normalised where nobody says: that of the length.
pub(crate) const EUCLIDEAN: i32 = 2;
/// What the largest number becomes, of vectors that are kept as numbers of 16 bits.
const LARGEST: f64 = 32760.0;

/// Normalises a vector: by its largest number with 0, by the norm of that order with a larger number;
/// with a negative one it stays as it is. A vector of zeros stays one.
pub(crate) fn normalise(vector: &mut [f32], order: i32) {
    let sizes = || vector.iter().map(|&x| f64::from(x).abs());
    let norm = match order {
        ..=-1 => return,
        0 => sizes().fold(0.0, f64::max) / LARGEST,
        1 => sizes().sum(),
        2 => sizes().map(|x| x * x).sum::<f64>().sqrt(),
        p => sizes()
            .map(|x| x.powi(p))
            .sum::<f64>()
            .powf(1.0 / f64::from(p)),
    };
    let factor = if norm > 0.0 { 1.0 / norm } else { 0.0 };
    for x in vector {
        *x = (f64::from(*x) * factor) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalised(order: i32) -> Vec<f32> {
        let mut vector = vec![3.0, -4.0];
        normalise(&mut vector, order);
        vector
    }

    #[test]
    fn a_vector_is_normalised_by_the_order_that_was_asked_for() {
        assert_eq!(normalised(-1), [3.0, -4.0]);
        assert_eq!(normalised(2), [0.6, -0.8]);
        assert_eq!(normalised(0), [24570.0, -32760.0]);
        let sum: f32 = normalised(1).iter().map(|x| x.abs()).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        let cubes: f32 = normalised(3).iter().map(|x| x.abs().powi(3)).sum();
        assert!((cubes - 1.0).abs() < 1e-6);
        let mut zeros = [0.0; 2];
        normalise(&mut zeros, 2);
        assert_eq!(zeros, [0.0; 2]);
    }
}
