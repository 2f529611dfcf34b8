//! SVG, element by element. Colours and fonts come from classes of the style sheet.

use std::fmt::Write;

use crate::escape::escape;

/// Width of a chart on a wide page, in pixels.
pub(super) const FULL: f64 = 720.0;
/// Width of a chart on a phone, in pixels.
pub(super) const SLIM: f64 = 340.0;
/// Colours of the style sheet: --c1 to --c6.
const COLOURS: usize = 6;

/// Which end of a text stands at its place.
#[derive(Clone, Copy)]
pub(super) enum TextAnchor {
    /// The text begins there.
    Start,
    /// Its middle is there.
    Middle,
    /// It ends there.
    End,
}

/// A picture that is being drawn. Lengths are pixels; y grows downwards.
pub(super) struct Drawing {
    width: f64,
    body: String,
}

impl Drawing {
    /// An empty picture of this width.
    pub(super) fn new(width: f64) -> Self {
        Drawing {
            width,
            body: String::new(),
        }
    }

    /// The width of the picture.
    pub(super) fn width(&self) -> f64 {
        self.width
    }

    /// Whether the picture is for a phone.
    pub(super) fn is_slim(&self) -> bool {
        self.width < 500.0
    }

    /// A path of these classes; `d` is SVG's own notation.
    pub(super) fn path(&mut self, class: &str, d: &str) {
        let _ = write!(self.body, "<path class=\"{class}\" d=\"{d}\"/>");
    }

    /// Text of these classes, whose line stands at `y`.
    pub(super) fn text(&mut self, x: f64, y: f64, anchor: TextAnchor, class: &str, text: &str) {
        let anchor = match anchor {
            TextAnchor::Start => "",
            TextAnchor::Middle => " text-anchor=\"middle\"",
            TextAnchor::End => " text-anchor=\"end\"",
        };
        let text = escape(text);
        let _ = write!(
            self.body,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\"{anchor}>{text}</text>"
        );
    }

    /// A filled bar in the colour of this number.
    pub(super) fn bar(&mut self, colour: usize, x: f64, y: f64, width: f64, height: f64) {
        let _ = write!(
            self.body,
            "<rect class=\"fill {}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"2\"/>",
            colour_class(colour)
        );
    }

    /// A mark at a point, of a shape and a colour of its own for each number.
    pub(super) fn mark(&mut self, number: usize, x: f64, y: f64) {
        const SHAPES: [&str; COLOURS] = [
            "M-3.7 0a3.7 3.7 0 1 0 7.4 0a3.7 3.7 0 1 0 -7.4 0z",
            "M-3.4 -3.4h6.8v6.8h-6.8z",
            "M0 -4.4L4.2 3.2H-4.2z",
            "M0 -4.8L4.8 0L0 4.8L-4.8 0z",
            "M0 4.4L4.2 -3.2H-4.2z",
            "M-1.4 -4.2h2.8v2.8h2.8v2.8h-2.8v2.8h-2.8v-2.8h-2.8v-2.8h2.8z",
        ];
        let (class, shape) = (colour_class(number), SHAPES[number % COLOURS]);
        let _ = write!(
            self.body,
            "<path class=\"fill {class}\" transform=\"translate({x:.1} {y:.1})\" d=\"{shape}\"/>"
        );
    }

    /// The picture as an element of this class. `title` names it, and `summary` says what is to
    /// be seen, for those who do not see it.
    fn finish(self, class: &str, height: f64, title: &str, summary: &str) -> String {
        format!(
            "<svg class=\"{class}\" viewBox=\"0 0 {:.0} {height:.0}\" role=\"img\">\
             <title>{}</title><desc>{}</desc>{}</svg>",
            self.width,
            escape(title),
            escape(summary),
            self.body
        )
    }
}

/// The class of the colour of this number.
pub(super) fn colour_class(number: usize) -> String {
    format!("c{}", number % COLOURS + 1)
}

/// A figure with its title, drawn for a wide page and for a phone; the style sheet shows one of
/// them. `draw` gives the height that the picture took.
pub(super) fn figure(title: &str, summary: &str, draw: impl Fn(&mut Drawing) -> f64) -> String {
    let picture = |class: &str, width: f64| {
        let mut drawing = Drawing::new(width);
        let height = draw(&mut drawing);
        drawing.finish(class, height, title, summary)
    };
    format!(
        "<figure class=\"chart\"><figcaption>{}</figcaption>{}{}</figure>",
        escape(title),
        picture("full", FULL),
        picture("slim", SLIM)
    )
}
