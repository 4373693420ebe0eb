//! The demonstration set: faces drawn from numbers alone, with identities and nuisances, as a Parquet manifest.
//!
//! An identity fixes face shape, skin, eyes, brows, nose, mouth, hair, beard and glasses; pose, expression, light and
//! background change from image to image. Nothing here is, or is derived from, a photograph.

use crate::dataset::View;
use crate::dataset::encode::{Origin, encode};
use crate::error::{Error, Result};
use crate::formats::table;
use crate::manifest::schema::SPLIT;
use crate::seeds::Seeds;
use crate::store;
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use image::RgbImage;
use parquet::arrow::ArrowWriter;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::path::Path;
use std::sync::Arc;
use tiny_skia::{
    Color, FillRule, GradientStop, LineCap, LinearGradient, Paint, PathBuilder, Pixmap, Point, Rect, SpreadMode,
    Stroke, Transform,
};

/// Drawings are made at this side and scaled down.
const CANVAS: u32 = 128;
/// One image in this many of an identity goes to the split `test`.
const TEST_EVERY: usize = 5;
/// Beside every so many identities there is another person, who is in the split `dev` alone.
const OTHERS_EVERY: usize = 2;

/// Red, green, blue in [0, 1].
type Rgb = [f32; 3];

/// What makes a person.
struct Identity {
    face: (f32, f32),
    jaw: f32,
    skin: Rgb,
    eye_gap: f32,
    eye_size: f32,
    eye_height: f32,
    iris: Rgb,
    brow: (f32, f32),
    nose: (f32, f32),
    mouth: (f32, f32),
    lips: Rgb,
    hair: Rgb,
    style: u32,
    beard: bool,
    glasses: bool,
}

/// What changes between images of a person.
struct Nuisance {
    yaw: f32,
    pitch: f32,
    roll: f32,
    scale: f32,
    smile: f32,
    open: f32,
    lids: f32,
    gaze: f32,
    light: f32,
    shade: f32,
    exposure: f32,
    background: [Rgb; 2],
}

fn between(rng: &mut ChaCha8Rng, low: f32, high: f32) -> f32 {
    low + (high - low) * rng.random::<f32>()
}

fn mix(a: Rgb, b: Rgb, t: f32) -> Rgb {
    [0, 1, 2].map(|i| a[i] + (b[i] - a[i]) * t)
}

impl Identity {
    fn draw(number: usize, seeds: &Seeds) -> Self {
        let rng = &mut seeds.stream("demo identity", &[number as u64]);
        let skins: [Rgb; 5] =
            [[0.97, 0.84, 0.74], [0.91, 0.72, 0.57], [0.78, 0.57, 0.41], [0.56, 0.38, 0.26], [0.36, 0.24, 0.17]];
        let hairs: [Rgb; 6] = [
            [0.08, 0.07, 0.08],
            [0.28, 0.17, 0.10],
            [0.50, 0.30, 0.14],
            [0.85, 0.68, 0.35],
            [0.66, 0.24, 0.10],
            [0.68, 0.68, 0.70],
        ];
        let irises: [Rgb; 4] = [[0.20, 0.12, 0.06], [0.20, 0.42, 0.66], [0.24, 0.48, 0.26], [0.45, 0.30, 0.12]];
        // Skin, hair and style walk through their lists at different paces, so that few identities share all three.
        let skin = mix(skins[number % 5], skins[(number + 1) % 5], between(rng, 0.0, 0.35));
        Self {
            face: (between(rng, 27.0, 36.0), between(rng, 38.0, 45.0)),
            jaw: between(rng, 0.55, 1.0),
            skin,
            eye_gap: between(rng, 12.0, 17.0),
            eye_size: between(rng, 4.6, 7.4),
            eye_height: between(rng, -9.0, -3.0),
            iris: irises[rng.random_range(0..4)],
            brow: (between(rng, 1.4, 4.2), between(rng, -3.0, 3.0)),
            nose: (between(rng, 9.0, 17.0), between(rng, 3.0, 7.5)),
            mouth: (between(rng, 8.5, 15.5), between(rng, 1.8, 4.6)),
            lips: mix([0.75, 0.35, 0.33], [0.55, 0.20, 0.25], rng.random()),
            hair: hairs[(number / 2) % 6],
            style: (number % 7) as u32,
            beard: number % 4 == 1,
            glasses: number % 5 == 3,
        }
    }
}

impl Nuisance {
    fn draw(identity: usize, index: usize, seeds: &Seeds) -> Self {
        let rng = &mut seeds.stream("demo image", &[identity as u64, index as u64]);
        let mut colour = || [0, 1, 2].map(|_| between(rng, 0.1, 0.9));
        let background = [colour(), colour()];
        Self {
            yaw: between(rng, -1.0, 1.0),
            pitch: between(rng, -1.0, 1.0),
            roll: between(rng, -11.0, 11.0),
            scale: between(rng, 1.15, 1.33),
            smile: between(rng, -0.5, 1.0),
            open: between(rng, -0.6, 1.0).max(0.0),
            lids: between(rng, 0.55, 1.0),
            gaze: between(rng, -1.0, 1.0),
            light: between(rng, 0.0, std::f32::consts::TAU),
            shade: between(rng, 0.15, 0.6),
            exposure: between(rng, 0.8, 1.12),
            background,
        }
    }
}

/// A canvas with the head's transform.
struct Canvas {
    pixels: Pixmap,
    head: Transform,
}

fn colour([r, g, b]: Rgb, alpha: f32) -> Color {
    let c = |v: f32| v.clamp(0.0, 1.0);
    Color::from_rgba(c(r), c(g), c(b), c(alpha)).unwrap_or(Color::BLACK)
}

impl Canvas {
    fn fill(&mut self, path: Option<tiny_skia::Path>, rgb: Rgb) {
        let Some(path) = path else { return };
        let mut paint = Paint { anti_alias: true, ..Paint::default() };
        paint.set_color(colour(rgb, 1.0));
        self.pixels.fill_path(&path, &paint, FillRule::Winding, self.head, None);
    }

    fn oval(&mut self, (x, y): (f32, f32), (rx, ry): (f32, f32), rgb: Rgb) {
        self.fill(Rect::from_xywh(x - rx, y - ry, 2.0 * rx, 2.0 * ry).and_then(PathBuilder::from_oval), rgb);
    }

    fn line(&mut self, points: [(f32, f32); 3], width: f32, rgb: Rgb) {
        let mut b = PathBuilder::new();
        let [from, via, to] = points;
        b.move_to(from.0, from.1);
        b.quad_to(via.0, via.1, to.0, to.1);
        let Some(path) = b.finish() else { return };
        let mut paint = Paint { anti_alias: true, ..Paint::default() };
        paint.set_color(colour(rgb, 1.0));
        let stroke = Stroke { width, line_cap: LineCap::Round, ..Stroke::default() };
        self.pixels.stroke_path(&path, &paint, &stroke, self.head, None);
    }

    /// A two-stop gradient over the whole canvas along the direction `angle`.
    fn wash(&mut self, angle: f32, from: Color, to: Color) {
        let (c, r) = (CANVAS as f32 / 2.0, CANVAS as f32 / 2.0);
        let (dx, dy) = (angle.cos() * r, angle.sin() * r);
        let stops = vec![GradientStop::new(0.0, from), GradientStop::new(1.0, to)];
        let (a, b) = (Point::from_xy(c - dx, c - dy), Point::from_xy(c + dx, c + dy));
        let side = CANVAS as f32;
        if let (Some(shader), Some(rect)) = (
            LinearGradient::new(a, b, stops, SpreadMode::Pad, Transform::identity()),
            Rect::from_xywh(0.0, 0.0, side, side),
        ) {
            let paint = Paint { shader, ..Paint::default() };
            self.pixels.fill_rect(rect, &paint, Transform::identity(), None);
        }
    }
}

/// The outline of a face: an egg whose lower half narrows with `jaw`.
fn head_outline((x, y): (f32, f32), (w, h): (f32, f32), jaw: f32) -> Option<tiny_skia::Path> {
    let mut b = PathBuilder::new();
    let k = 0.55;
    b.move_to(x, y - h);
    b.cubic_to(x + k * w, y - h, x + w, y - k * h, x + w, y);
    b.cubic_to(x + w, y + h * 0.5, x + w * 0.75 * jaw, y + h, x, y + h);
    b.cubic_to(x - w * 0.75 * jaw, y + h, x - w, y + h * 0.5, x - w, y);
    b.cubic_to(x - w, y - k * h, x - k * w, y - h, x, y - h);
    b.close();
    b.finish()
}

/// Draws image `index` of identity `number`, `[S, S, 3]` bytes.
fn draw(number: usize, index: usize, size: usize, seeds: &Seeds) -> Result<Vec<u8>> {
    let (id, n) = (Identity::draw(number, seeds), Nuisance::draw(number, index, seeds));
    let c = CANVAS as f32 / 2.0;
    let head = Transform::from_rotate_at(n.roll, c, c).pre_translate(c, c).pre_scale(n.scale, n.scale);
    let pixels = Pixmap::new(CANVAS, CANVAS).ok_or_else(|| Error::Config("demo canvas".into()))?;
    let mut canvas = Canvas { pixels, head };
    canvas.wash(n.light + 1.0, colour(n.background[0], 1.0), colour(n.background[1], 1.0));
    features(&mut canvas, &id, &n);
    // Light from one side, darkness from the other.
    canvas.wash(n.light, colour([1.0, 0.97, 0.9], 0.25 * n.shade), colour([0.02, 0.02, 0.06], n.shade));
    let rgb: Vec<u8> = canvas
        .pixels
        .data()
        .chunks_exact(4)
        .flat_map(|p| [p[0], p[1], p[2]])
        .map(|v| (f32::from(v) * n.exposure).min(255.0) as u8)
        .collect();
    let image = RgbImage::from_raw(CANVAS, CANVAS, rgb).ok_or_else(|| Error::Config("demo canvas".into()))?;
    View::new(size).square(&image).map_err(Error::Config)
}

/// The head, from back to front. Turning the head moves features by their depth.
fn features(canvas: &mut Canvas, id: &Identity, n: &Nuisance) {
    let (w, h) = id.face;
    let dark = mix(id.skin, [0.15, 0.08, 0.06], 0.35);
    let at =
        |x: f32, y: f32, depth: f32| (x * (1.0 - 0.12 * n.yaw.abs()) + n.yaw * 7.0 * depth, y + n.pitch * 4.0 * depth);
    let top = -h * 0.55;
    // Hair behind the head.
    match id.style {
        1 | 4 => canvas.oval(at(0.0, 6.0, -0.4), (w + 10.0, h + 10.0), id.hair),
        2 => canvas.oval(at(0.0, top, -0.4), (w + 12.0, h * 0.75), id.hair),
        _ => {}
    }
    canvas.oval((0.0, h * 0.95), (w * 0.5, h * 0.6), dark);
    for side in [-1.0, 1.0] {
        canvas.oval(at(side * w, 0.0, -0.3), (5.0, 8.0), mix(id.skin, dark, 0.4));
    }
    canvas.fill(head_outline((0.0, 2.0), (w, h), id.jaw), id.skin);
    if id.beard {
        let (x, y) = at(0.0, h * 0.62, 0.4);
        canvas.oval((x, y), (w * 0.72, h * 0.36), mix(id.hair, id.skin, 0.25));
    }
    // Hair over the forehead.
    let cap = |canvas: &mut Canvas, drop: f32| {
        let mut b = PathBuilder::new();
        b.move_to(-w - 2.0, -2.0);
        b.cubic_to(-w - 4.0, -h * 1.55, w + 4.0, -h * 1.55, w + 2.0, -2.0);
        b.cubic_to(w * 0.8, top + drop, -w * 0.8, top + drop, -w - 2.0, -2.0);
        b.close();
        canvas.fill(b.finish(), id.hair);
    };
    match id.style {
        0 => {}
        1 => cap(canvas, 2.0),
        2 => cap(canvas, -10.0),
        3 => cap(canvas, 16.0),
        4 => cap(canvas, -4.0),
        5 => canvas.oval(at(w * 0.25, -h * 0.85, 0.1), (w * 0.9, h * 0.3), id.hair),
        _ => cap(canvas, -18.0),
    }
    for side in [-1.0f32, 1.0] {
        let (x, y) = at(side * id.eye_gap, id.eye_height, 0.8);
        let (rx, ry) = (id.eye_size, id.eye_size * 0.62 * n.lids);
        canvas.oval((x, y), (rx, ry), [0.96, 0.96, 0.94]);
        let pupil = (x + n.gaze * rx * 0.35, y);
        let iris = (ry * 0.92).min(rx * 0.55);
        canvas.oval(pupil, (iris, iris), id.iris);
        canvas.oval(pupil, (iris * 0.5, iris * 0.5), [0.03; 3]);
        canvas.line([(x - rx, y), (x, y - ry * 2.0), (x + rx, y)], 1.4, mix(dark, [0.0; 3], 0.4));
        let lift = id.eye_size + 2.0 + n.smile.max(0.0);
        let inner = (x - side * rx * 1.2, y - lift + id.brow.1);
        let outer = (x + side * rx * 1.2, y - lift - id.brow.1 * 0.4);
        canvas.line([inner, (x, y - lift - 3.0), outer], id.brow.0, mix(id.hair, [0.1, 0.07, 0.05], 0.3));
        if id.glasses {
            let r = id.eye_size + 3.2;
            let frame = [0.12, 0.10, 0.14];
            canvas.line([(x - r, y), (x, y + r * 1.7), (x + r, y)], 1.8, frame);
            canvas.line([(x - r, y), (x, y - r * 1.7), (x + r, y)], 1.8, frame);
            canvas.line([(x - side * r, y), (x - side * r, y - 1.0), (n.yaw * 5.6, y - 1.0)], 1.8, frame);
        }
    }
    let (x, y) = at(0.0, id.eye_height + id.nose.0, 1.3);
    let (bridge_x, bridge_y) = at(0.0, id.eye_height + 1.0, 0.9);
    canvas.line(
        [(bridge_x, bridge_y), (x + n.yaw * 2.0, f32::midpoint(y, bridge_y)), (x, y)],
        1.6,
        mix(id.skin, dark, 0.55),
    );
    canvas.oval((x, y), (id.nose.1, id.nose.1 * 0.55), mix(id.skin, dark, 0.45));
    let (x, y) = at(0.0, h * 0.55, 0.9);
    let half = id.mouth.0 * (1.0 + 0.12 * n.smile);
    let corners = y - n.smile * 4.0;
    if n.open > 0.15 {
        canvas.oval((x, y + 0.5), (half * 0.8, 1.0 + 5.0 * n.open), [0.25, 0.06, 0.07]);
    }
    canvas.line([(x - half, corners), (x, y + n.smile * 4.0), (x + half, corners)], id.mouth.1, id.lips);
}

/// Numbers of other persons and of all images in a demonstration set of `identities` x `per_id` images.
pub fn size(identities: usize, per_id: usize) -> (usize, usize) {
    let others = identities / OTHERS_EVERY;
    (others, identities * per_id + others * (per_id / OTHERS_EVERY))
}

/// Draws `identities` x `per_id` images of side `size` and writes them as a manifest with the splits train
/// and test, and other persons in the split dev.
///
/// # Errors
/// Numbers that make no set, or a path that cannot be written.
pub fn write(path: &Path, identities: usize, per_id: usize, size: usize, seed: u64) -> Result<()> {
    if identities == 0 || per_id == 0 || !(8..=512).contains(&size) {
        return Err(Error::Usage("the demonstration set needs identities, images and a side of 8..=512 px".into()));
    }
    let seeds = Seeds::new(seed);
    let (mut names, mut images, mut paths, mut splits) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for number in 0..identities + self::size(identities, per_id).0 {
        let other = number >= identities;
        for index in 0..if other { per_id / OTHERS_EVERY } else { per_id } {
            let name = format!("person-{number:02}");
            images.push(encode(&draw(number, index, size, &seeds)?, size, size, "png", Origin::Real)?);
            paths.push(format!("{name}/{index:03}.png"));
            let tested = index % TEST_EVERY == TEST_EVERY - 1;
            splits.push(if other {
                "dev"
            } else if tested {
                "test"
            } else {
                "train"
            });
            names.push(name);
        }
    }
    let names: ArrayRef = Arc::new(StringArray::from(names));
    let splits: ArrayRef = Arc::new(StringArray::from(splits));
    let failed = |e: &dyn std::fmt::Display| Error::Manifest(format!("{}: {e}", path.display()));
    let batch = RecordBatch::try_from_iter([
        ("identity", names),
        ("image", table::image_column(&images, &paths).map_err(|e| failed(&e))?),
        (SPLIT, splits),
    ])
    .map_err(|e| failed(&e))?;
    let mut bytes = Vec::new();
    let properties = table::writer_properties(&batch.schema());
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).map_err(|e| failed(&e))?;
    writer.write(&batch).map_err(|e| failed(&e))?;
    writer.close().map_err(|e| failed(&e))?;
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        store::create_dir(folder)?;
    }
    store::write_atomic(path, &bytes)
}
