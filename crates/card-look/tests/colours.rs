//! The colours of the style sheet: text can be read, and lines are told apart, also by people
//! who do not see every colour.

#![allow(clippy::unwrap_used)]

use card_look::STYLE;

/// A colour as linear red, green and blue, each from 0 to 1.
type Rgb = [f64; 3];

/// A variable of the style sheet, light and dark.
fn colours(name: &str) -> [Rgb; 2] {
    let start = format!("--{name}:light-dark(");
    let at = STYLE.find(&start).unwrap_or_else(|| panic!("no {name}"));
    let (pair, _) = STYLE[at + start.len()..].split_once(')').unwrap();
    let (light, dark) = pair.split_once(',').unwrap();
    [light, dark].map(rgb)
}

fn rgb(hex: &str) -> Rgb {
    let channel = |at: usize| {
        let value = u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let value = f64::from(value) / 255.0;
        if value <= 0.04045 {
            value / 12.92
        } else {
            ((value + 0.055) / 1.055).powf(2.4)
        }
    };
    assert_eq!(hex.len(), 7, "{hex}: write colours as #rrggbb");
    [1, 3, 5].map(channel)
}

/// Contrast of two colours, 1 to 21 (WCAG 2.2, "contrast ratio").
fn contrast(a: Rgb, b: Rgb) -> f64 {
    let luminance = |c: Rgb| 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2];
    let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
    f64::max(a / b, b / a)
}

/// What people see who lack a kind of cone (Machado et al. 2009, severity 1), and all colours.
const SEEN: [[Rgb; 3]; 4] = [
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
];

fn times(matrix: [Rgb; 3], c: Rgb) -> Rgb {
    matrix.map(|row| row[0] * c[0] + row[1] * c[1] + row[2] * c[2])
}

/// A colour where equal distances look alike: Oklab (Ottosson 2020).
fn oklab(c: Rgb) -> Rgb {
    let lms = times(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ],
        c.map(|x| x.clamp(0.0, 1.0)),
    );
    times(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ],
        lms.map(f64::cbrt),
    )
}

fn distance(a: Rgb, b: Rgb) -> f64 {
    let (a, b) = (oklab(a), oklab(b));
    let squares = a.iter().zip(b).map(|(a, b)| (a - b).powi(2));
    squares.sum::<f64>().sqrt()
}

#[test]
fn text_can_be_read_in_light_and_dark() {
    for ground in ["bg", "surface"] {
        for ink in ["text", "muted", "accent", "good", "bad", "warn"] {
            for (ground, ink) in colours(ground).into_iter().zip(colours(ink)) {
                assert!(contrast(ground, ink) >= 4.5, "{}", contrast(ground, ink));
            }
        }
    }
    for (ground, ink) in colours("accent").into_iter().zip(colours("on-accent")) {
        assert!(contrast(ground, ink) >= 4.5);
    }
}

#[test]
fn lines_stand_out_and_are_told_apart_by_everybody() {
    let lines: Vec<[Rgb; 2]> = (1..=6).map(|n| colours(&format!("c{n}"))).collect();
    for theme in 0..2 {
        for (i, line) in lines.iter().enumerate() {
            let ground = colours("surface")[theme];
            // WCAG 2.2, 1.4.11: graphics need 3.
            assert!(contrast(line[theme], ground) >= 3.0, "c{}", i + 1);
            for (j, other) in lines.iter().enumerate().skip(i + 1) {
                for (kind, seen) in SEEN.into_iter().enumerate() {
                    let [a, b] = [line, other].map(|c| times(seen, c[theme]));
                    // Okabe and Ito's own colours are 0.076 apart at the least, measured so.
                    let apart = distance(a, b);
                    assert!(apart >= 0.1, "c{} c{}, {kind}: {apart}", i + 1, j + 1);
                }
            }
        }
    }
}
