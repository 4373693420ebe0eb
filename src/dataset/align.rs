//! Faces to their places: the similarity transform from five points to the template of ArcFace, and the square that it cuts out of a picture.

use super::decode::MAX_SIDE;
use super::scale::{Filter, scaled};
use crate::config::Alignment;
use crate::manifest::Face;
use image::{RgbImage, imageops};

/// Side of the frame that [`TEMPLATE`] lies in, in pixels.
const FRAME: f64 = 112.0;
/// Where the eyes, the nose and the corners of the mouth lie in the usual frame: the template of ArcFace (insightface). In pixels, the
/// middle of whose first one is (0, 0).
const TEMPLATE: [[f64; 2]; 5] =
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]];
/// Left, top and side of the tight part of the frame: eyes, nose and mouth, and little else.
const TIGHT: [f64; 3] = [14.0, 22.0, 84.0];
/// Left, top, width and height of a detector's box in the frame: the median of YuNet's on 900 photographs.
const BOX: [f64; 4] = [16.5, 9.9, 79.9, 109.5];

/// A feature of a face.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Feature {
    /// Both eyes and brows.
    Eyes,
    /// The nose.
    Nose,
    /// The mouth.
    Mouth,
}

/// Left, top, right and bottom of `feature` where `alignment` puts it, as shares of the frame's side.
pub(crate) fn place(feature: Feature, alignment: Alignment) -> [f64; 4] {
    let [left_eye, right_eye, nose, left_mouth, right_mouth] = TEMPLATE;
    let between = right_eye[0] - left_eye[0];
    // Around its points, in distances of the eyes: to the sides, up and down.
    let (points, [aside, up, down]) = match feature {
        Feature::Eyes => ([left_eye, right_eye], [0.35, 0.4, 0.25]),
        Feature::Nose => ([nose, nose], [0.35, 0.5, 0.2]),
        Feature::Mouth => ([left_mouth, right_mouth], [0.2, 0.3, 0.35]),
    };
    let (x, y) = (|i: usize| points[i][0], |i: usize| points[i][1]);
    let of = [
        x(0).min(x(1)) - aside * between,
        y(0).min(y(1)) - up * between,
        x(0).max(x(1)) + aside * between,
        y(0).max(y(1)) + down * between,
    ];
    let [left, top, side] = if alignment == Alignment::Tight { TIGHT } else { [0.0, 0.0, FRAME] };
    [(of[0] - left) / side, (of[1] - top) / side, (of[2] - left) / side, (of[3] - top) / side]
}

/// What is smaller, in pixels from edge to edge, shows nobody.
pub(super) const LEAST_SIDE: u32 = 8;
/// Points that lie further from a face's, as a share of its side, are none of a face: those of 900 photographs, profiles among them, lie
/// within 0.13; of points without any order, three in ten lie further.
const MOST_UNLIKE: f64 = 0.16;
/// Over this share of the side, what a picture does not show passes into a blur.
const FADE: f64 = 0.06;
/// Pixels around a cut that a cubic kernel reaches to.
const REACH: f64 = 3.0;

/// A square in a picture: where its left upper corner lies, and where its upper edge leads to, in pixels of the picture, whose left upper
/// corner is (0, 0).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Square {
    corner: [f64; 2],
    edge: [f64; 2],
}

impl Square {
    /// Where `face` lies in a picture of this width and height as `alignment` wants it.
    ///
    /// # Errors
    /// Text that says why that is no face, or why the picture does not show it.
    pub fn within(face: &Face, alignment: Alignment, size: (u32, u32)) -> Result<Self, String> {
        let square = Self::of(face, alignment)?;
        square.check([size.0, size.1])?;
        Ok(square)
    }

    fn of(face: &Face, alignment: Alignment) -> Result<Self, String> {
        let frame = match face {
            Face::Landmarks(values) => Self::of_points(values)?,
            Face::Box([x, y, w, h]) => {
                let [left, top, wide, high] = BOX;
                let scale = (w * h / (wide * high)).sqrt();
                let middle = [x + w / 2.0 + 0.5, y + h / 2.0 + 0.5];
                let corner = [middle[0] - scale * (left + wide / 2.0), middle[1] - scale * (top + high / 2.0)];
                Self { corner, edge: [scale * FRAME, 0.0] }
            }
        };
        Ok(match alignment {
            Alignment::Tight => frame.part(TIGHT.map(|v| v / FRAME)),
            Alignment::Arcface | Alignment::None => frame,
        })
    }

    /// The frame about five points, which may stand point by point or all x before all y, and whose left and right may be the picture's or the
    /// person's: the order in which they look most like a face is theirs.
    fn of_points(v: &[f64; 10]) -> Result<Self, String> {
        if v.iter().any(|v| !v.is_finite()) {
            return Err("its landmarks are not all finite".into());
        }
        let by_points: [[f64; 2]; 5] = std::array::from_fn(|i| [v[2 * i], v[2 * i + 1]]);
        let by_axes = std::array::from_fn(|i| [v[i], v[5 + i]]);
        let swapped = |p: [[f64; 2]; 5]| [p[1], p[0], p[2], p[4], p[3]];
        let orders = [by_points, by_axes, swapped(by_points), swapped(by_axes)];
        let best = orders.iter().map(Self::fit).min_by(|a, b| a.1.total_cmp(&b.1));
        match best {
            Some((square, unlike)) if unlike < MOST_UNLIKE => Ok(square),
            _ => Err("its landmarks are not those of a face: eyes, nose and corners of the mouth, in pixels".into()),
        }
    }

    /// The frame whose template comes nearest to `points` in least squares (Umeyama 1991, from the points to the template), and how far it
    /// stays from them, as a share of the side.
    fn fit(points: &[[f64; 2]; 5]) -> (Self, f64) {
        let mean = |p: &[[f64; 2]; 5]| [0, 1].map(|axis| p.iter().map(|p| p[axis]).sum::<f64>() / p.len() as f64);
        let (of_points, of_template) = (mean(points), mean(&TEMPLATE));
        let (mut spread, mut a, mut b) = (0.0, 0.0, 0.0);
        for (p, t) in points.iter().zip(&TEMPLATE) {
            let [x, y] = [p[0] - of_points[0], p[1] - of_points[1]];
            let [u, v] = [t[0] - of_template[0], t[1] - of_template[1]];
            spread += x * x + y * y;
            a += x * u + y * v;
            b += x * v - y * u;
        }
        // Points times (a, b), as complex numbers, are those of the template.
        let (a, b) = (a / spread, b / spread);
        let off = points.iter().zip(&TEMPLATE).map(|(p, t)| {
            let [x, y] = [p[0] - of_points[0], p[1] - of_points[1]];
            let [u, v] = [a * x - b * y + of_template[0] - t[0], a * y + b * x + of_template[1] - t[1]];
            u * u + v * v
        });
        let unlike = (off.sum::<f64>() / points.len() as f64).sqrt() / FRAME;
        let size = a * a + b * b;
        // A pixel of the frame to the right, in the picture.
        let step = [a / size, -b / size];
        let to = |u: f64, v: f64| {
            let [u, v] = [u - of_template[0], v - of_template[1]];
            [of_points[0] + step[0] * u - step[1] * v, of_points[1] + step[0] * v + step[1] * u]
        };
        // Middles of pixels are whole numbers in points and template, but halves from the corners of pictures.
        let corner = to(-0.5, -0.5).map(|v| v + 0.5);
        let square = Self { corner, edge: step.map(|v| v * FRAME) };
        (square, if unlike.is_finite() && corner.iter().all(|v| v.is_finite()) { unlike } else { f64::INFINITY })
    }

    /// The part of it that begins at `left` and `top` and is `side` wide, as shares.
    fn part(self, [left, top, side]: [f64; 3]) -> Self {
        Self { corner: self.at(left, top), edge: self.edge.map(|v| v * side) }
    }

    /// The point of the picture that lies at shares `u` and `v` of its upper and its left edge.
    fn at(&self, u: f64, v: f64) -> [f64; 2] {
        let [x, y] = self.edge;
        [self.corner[0] + u * x - v * y, self.corner[1] + u * y + v * x]
    }

    /// Its side, in pixels of the picture.
    pub fn side(&self) -> f64 {
        self.edge[0].hypot(self.edge[1])
    }

    /// Refuses a square that a picture of this width and height does not show, or too few pixels of.
    ///
    /// # Errors
    /// Text that says so.
    fn check(&self, size: [u32; 2]) -> Result<(), String> {
        let (side, middle) = (self.side(), self.at(0.5, 0.5));
        if !(f64::from(LEAST_SIDE)..=4.0 * f64::from(MAX_SIDE)).contains(&side) {
            return Err(format!(
                "it is {side:.1} px wide; landmarks and boxes are in pixels of the upright picture, and {LEAST_SIDE} px the least"
            ));
        }
        if (0..2).any(|axis| !(0.0..f64::from(size[axis])).contains(&middle[axis])) {
            return Err(format!(
                "it lies outside the picture, at {:.0}, {:.0} of {} x {} px",
                middle[0], middle[1], size[0], size[1]
            ));
        }
        Ok(())
    }

    /// The pixels in it, at a side of `size`, antialiased. What the picture does not show is a blurred repeat of its edge.
    ///
    /// # Shapes
    /// - returns `[S, S, 3]` bytes, row-major RGB
    ///
    /// # Errors
    /// The picture cannot be scaled.
    pub fn cut(&self, picture: &RgbImage, size: usize) -> Result<Vec<u8>, String> {
        let extent = [f64::from(picture.width()), f64::from(picture.height())];
        let side = self.side();
        // What lies about the square is brought to the size that is asked for first, so that turning it needs no more smoothing.
        let scale = (side / size as f64).max(1.0);
        let corners = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]].map(|[u, v]| self.at(u, v));
        let mut from = [0.0; 2];
        let mut length = [0.0; 2];
        let mut small = [0u32; 2];
        for axis in 0..2 {
            let margin = REACH * scale;
            let bound = |v: f64| v.clamp(0.0, extent[axis]);
            let least = corners.iter().map(|c| c[axis]).fold(f64::INFINITY, f64::min);
            let most = corners.iter().map(|c| c[axis]).fold(f64::NEG_INFINITY, f64::max);
            from[axis] = bound((least - margin).floor());
            length[axis] = bound((most + margin).ceil()) - from[axis];
            small[axis] = (length[axis] / scale).round().max(1.0) as u32;
        }
        let near = scaled(picture, from, length, small, Filter::Cubic)?;
        let factor = [0, 1].map(|axis| f64::from(small[axis]) / length[axis]);
        let mut out = Vec::with_capacity(size * size * 3);
        let mut hidden = Vec::with_capacity(size * size);
        for row in 0..size {
            for column in 0..size {
                let [u, v] = [column, row].map(|i| (i as f64 + 0.5) / size as f64);
                let at = self.at(u, v);
                let outside = [0, 1].map(|axis| (-at[axis]).max(at[axis] - extent[axis]).max(0.0));
                hidden.push(((outside[0].hypot(outside[1]) / side / FADE) as f32).min(1.0));
                let [x, y] = [0, 1].map(|axis| (at[axis] - from[axis]) * factor[axis] - 0.5);
                out.extend(sample(&near, small, x, y));
            }
        }
        if hidden.iter().any(|share| *share > 0.0) {
            let sharp = RgbImage::from_raw(size as u32, size as u32, out).ok_or("a square that is none")?;
            let blurred = imageops::blur(&sharp, (FADE * size as f64) as f32);
            let pixels = sharp.as_raw().iter().zip(blurred.as_raw()).enumerate();
            out = pixels
                .map(|(i, (sharp, blurred))| {
                    let share = hidden[i / 3];
                    (f32::from(*sharp) * (1.0 - share) + f32::from(*blurred) * share).round() as u8
                })
                .collect();
        }
        Ok(out)
    }
}

/// The colour at `x` and `y` between the middles of pixels, by the cubic of Catmull and Rom; beyond an edge its pixels are repeated.
fn sample(pixels: &[u8], [width, height]: [u32; 2], x: f64, y: f64) -> [u8; 3] {
    let weights = |t: f32| {
        let (t2, t3) = (t * t, t * t * t);
        [-0.5 * t3 + t2 - 0.5 * t, 1.5 * t3 - 2.5 * t2 + 1.0, -1.5 * t3 + 2.0 * t2 + 0.5 * t, 0.5 * t3 - 0.5 * t2]
    };
    let along = |at: f64, length: u32| {
        let first = at.floor();
        let places: [usize; 4] =
            std::array::from_fn(|i| (first as i64 + i as i64 - 1).clamp(0, i64::from(length) - 1) as usize);
        (places, weights((at - first) as f32))
    };
    let ((columns, across), (rows, down)) = (along(x, width), along(y, height));
    let mut sum = [0.0f32; 3];
    for (row, weight) in rows.into_iter().zip(down) {
        for (column, share) in columns.into_iter().zip(across) {
            let at = (row * width as usize + column) * 3;
            for (sum, value) in sum.iter_mut().zip(&pixels[at..at + 3]) {
                *sum += weight * share * f32::from(*value);
            }
        }
    }
    sum.map(|v| v.round().clamp(0.0, 255.0) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture whose colours rise along both axes, with a grey row and column at the frame's middle.
    fn slopes(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, x.midpoint(y) as u8]))
    }

    fn flat(points: [[f64; 2]; 5]) -> [f64; 10] {
        std::array::from_fn(|i| points[i / 2][i % 2])
    }

    #[test]
    fn the_template_itself_is_cut_as_it_is() {
        let picture = slopes(112, 112);
        let square = Square::of(&Face::Landmarks(flat(TEMPLATE)), Alignment::Arcface).unwrap();
        assert_eq!(&square.cut(&picture, 112).unwrap(), picture.as_raw());
        // The tight crop is its middle, and as large again.
        let tight = Square::of(&Face::Landmarks(flat(TEMPLATE)), Alignment::Tight).unwrap();
        let middle = imageops::crop_imm(&picture, 14, 22, 84, 84).to_image();
        assert_eq!(&tight.cut(&picture, 84).unwrap(), middle.as_raw());
    }

    #[test]
    fn the_transform_is_that_of_umeyama() {
        // tests/goldens/align.py: skimage.transform.SimilarityTransform from these points to the template.
        let points = [[106.0, 113.0], [144.0, 110.0], [127.0, 140.0], [109.0, 153.0], [147.0, 152.0]];
        let square = Square::of(&Face::Landmarks(flat(points)), Alignment::Arcface).unwrap();
        let at = |x: f64, y: f64| square.at((x + 0.5) / FRAME, (y + 0.5) / FRAME).map(|v| v - 0.5);
        let golden = [
            ([0.0, 0.0], [60.271_232_597, 58.251_670_083]),
            ([111.0, 0.0], [182.294_171_705, 50.935_804_085]),
            ([0.0, 111.0], [67.587_098_595, 180.274_609_190]),
            ([55.5, 55.5], [124.940_635_150, 115.605_206_638]),
        ];
        for (frame, picture) in golden {
            let found = at(frame[0], frame[1]);
            assert!((0..2).all(|i| (found[i] - picture[i]).abs() < 1e-6), "{found:?} {picture:?}");
        }
    }

    #[test]
    fn faces_are_brought_to_their_place_turned_and_small() {
        // A face of half the size, turned by 20 degrees, in a picture that is smooth: colours tell where a pixel comes from.
        let (picture, angle) = (slopes(200, 200), 20f64.to_radians());
        let turn = |p: [f64; 2]| {
            let [x, y] = p.map(|v| (v - 55.5) / 2.0);
            [100.0 + x * angle.cos() - y * angle.sin(), 90.0 + x * angle.sin() + y * angle.cos()]
        };
        let cut = |values: [f64; 10], size: usize| {
            Square::of(&Face::Landmarks(values), Alignment::Arcface).unwrap().cut(&picture, size).unwrap()
        };
        let points = TEMPLATE.map(turn);
        for size in [112, 64, 32] {
            let pixels = cut(flat(points), size);
            for (column, row) in [(0, 0), (size / 3, size / 2), (size - 1, size - 1)] {
                let [x, y] = turn([column, row].map(|i| (i as f64 + 0.5) * FRAME / size as f64 - 0.5));
                let pixel = &pixels[(row * size + column) * 3..][..2];
                let off = [(f64::from(pixel[0]) - x).abs(), (f64::from(pixel[1]) - y).abs()];
                assert!(off.iter().all(|off| *off <= 1.0), "{size} {column} {row}: {pixel:?}, expected {x:.1} {y:.1}");
            }
        }
        // In MTCNN's order, and with left and right of the person.
        let mtcnn: [f64; 10] = std::array::from_fn(|i| points[i % 5][i / 5]);
        let mirrored = [1, 0, 2, 4, 3].map(|i| points[i]);
        assert_eq!(cut(mtcnn, 64), cut(flat(points), 64));
        assert_eq!(cut(flat(mirrored), 64), cut(flat(points), 64));
    }

    #[test]
    fn a_box_is_a_face_about_its_middle() {
        let picture = slopes(200, 200);
        let [left, top, wide, high] = BOX;
        let place = [left, top, wide, high].map(|v| v - 0.5);
        let face = Face::Box([place[0] + 40.0, place[1] + 30.0, wide, high]);
        let cut = Square::of(&face, Alignment::Arcface).unwrap().cut(&picture, 112).unwrap();
        assert_eq!(cut, imageops::crop_imm(&picture, 40, 30, 112, 112).to_image().into_raw());
    }

    #[test]
    fn what_a_picture_does_not_show_is_a_blur_of_its_edge() {
        // The face looks over the left edge: left of it the picture is continued without a line.
        let picture = RgbImage::from_fn(100, 112, |x, _| image::Rgb(if x % 2 == 0 { [40; 3] } else { [200; 3] }));
        let points = TEMPLATE.map(|p| [p[0] - 40.0, p[1]]);
        let cut = Square::of(&Face::Landmarks(flat(points)), Alignment::Arcface).unwrap().cut(&picture, 112).unwrap();
        let row = |x: usize| i32::from(cut[(56 * 112 + x) * 3]);
        assert_eq!([row(40), row(41), row(60), row(61)], [40, 200, 40, 200]);
        assert!((0..30).all(|x| (row(x) - row(x + 1)).abs() <= 8), "{:?}", (0..41).map(row).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_no_face_says_why() {
        let picture = slopes(100, 100);
        let cut = |values: [f64; 10]| {
            Square::within(&Face::Landmarks(values), Alignment::Arcface, picture.dimensions()).unwrap_err()
        };
        assert!(cut([f64::NAN; 10]).contains("not all finite"));
        assert!(cut([7.0; 10]).contains("not those of a face"));
        let share = flat(TEMPLATE).map(|v| v / 112.0);
        assert!(cut(share).contains("in pixels of the upright picture"));
        let far = flat(TEMPLATE.map(|p| [p[0] + 300.0, p[1]]));
        assert!(cut(far).contains("outside the picture"));
    }
}
