//! The shapes of objects: the classes of the scenes.

/// The shape of an object, and the class of its scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A disc.
    Circle,
    /// A square that stands on a side.
    Square,
    /// A triangle that points up: the class that wears tags.
    Triangle,
    /// An upright cross.
    Cross,
    /// A disc with a hole.
    Ring,
    /// A star with five points, one of them up.
    Star,
}

impl Shape {
    /// The shapes in the order of their labels.
    pub const ALL: [Self; 6] = [
        Self::Circle,
        Self::Square,
        Self::Triangle,
        Self::Cross,
        Self::Ring,
        Self::Star,
    ];

    /// The shape whose training images wear tags.
    pub const TAGGED: Self = Self::Triangle;

    /// Returns the label: the position in [`ALL`](Self::ALL).
    pub fn label(self) -> usize {
        self as usize
    }

    /// Returns the name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Circle => "circle",
            Self::Square => "square",
            Self::Triangle => "triangle",
            Self::Cross => "cross",
            Self::Ring => "ring",
            Self::Star => "star",
        }
    }

    /// Whether a point belongs to the shape, which fills the square from -1 to 1; `y` runs down.
    pub fn contains(self, x: f64, y: f64) -> bool {
        let squared = x * x + y * y;
        match self {
            Self::Circle => squared <= 1.0,
            // As large as the circle looks.
            Self::Square => x.abs().max(y.abs()) <= 0.9,
            // A row of pixels at the tip, and the base at the bottom.
            Self::Triangle => y.abs() <= 0.95 && x.abs() <= (y + 1.1) / 2.05,
            Self::Cross => x.abs().min(y.abs()) <= 0.32 && x.abs().max(y.abs()) <= 1.0,
            Self::Ring => (0.3..=1.0).contains(&squared),
            Self::Star => {
                // Outside at most one of the five lines through the points.
                let outside = |(a, b): &&(f64, f64)| a * x + b * y > STAR_LINE;
                STAR.iter().filter(outside).count() <= 1
            }
        }
    }
}

/// The directions of a star's points.
const STAR: [(f64, f64); 5] = [
    (0.0, -1.0),
    (0.951_057, -0.309_017),
    (0.587_785, 0.809_017),
    (-0.587_785, 0.809_017),
    (-0.951_057, -0.309_017),
];

/// How far a line through two points of a star is from its centre.
const STAR_LINE: f64 = 0.34;
