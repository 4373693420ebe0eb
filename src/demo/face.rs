//! One drawn face: what makes the person, what changes from image to image, and the drawing.

use crate::dataset::View;
use crate::error::{Error, Result};
use crate::seeds::{Seeds, normal_vec};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tiny_skia::{
    Color, FillRule, GradientStop, LineCap, LinearGradient, Paint, PathBuilder, Pixmap, Point, Rect, SpreadMode,
    Stroke, Transform,
};

/// Drawings are made at this side and scaled down.
const CANVAS: u32 = 256;
const MIDDLE: f32 = CANVAS as f32 / 2.0;

// Colours as 0xrrggbb. The first two irises are brown.
const SKINS: [u32; 6] = [0xf9_dc_c8, 0xef_c3_a2, 0xdc_a5_7e, 0xbd_82_59, 0x92_5d_3e, 0x6b_43_30];
const HAIRS: [u32; 7] = [0x2b_26_30, 0x4a_31_29, 0x7a_4b_2e, 0xb4_57_2f, 0xdf_b4_6c, 0xb9_b6_bc, 0x7d_4a_63];
const IRISES: [u32; 4] = [0x4b_30_21, 0x7d_5a_30, 0x4c_7f_a6, 0x5d_8a_5a];
const FRAMES: [u32; 4] = [0x33_32_3f, 0x2f_7f_7a, 0x3f_5f_86, 0x8c_3f_4d];
const CLOTHES: [u32; 7] = [0x4f_7b_a6, 0xd9_8b_62, 0x63_9a_7d, 0x8f_74_ab, 0xe3_b7_57, 0xc4_65_6e, 0x44_54_6b];
const BACKGROUNDS: [u32; 7] = [0xcf_e3_d4, 0xbf_d9_ec, 0xf3_e2_c2, 0xf1_cf_c4, 0xd6_cb_ea, 0x8f_b8_b5, 0x7f_8f_b3];
const INK: u32 = 0x35_26_2a;
/// Shares of images with a hat, and with a scarf over the mouth.
const HATS: f32 = 0.25;
const SCARVES: f32 = 0.15;

/// Red, green, blue in [0, 1].
type Rgb = [f32; 3];
/// A place, or a size along both axes.
type Pair = (f32, f32);

/// What makes a person.
struct Identity {
    face: Pair,
    chin: f32,
    skin: Rgb,
    eyes: Pair,
    eye: (f32, f32, f32),
    iris: Rgb,
    brow: (f32, f32, f32),
    nose: Pair,
    mouth: (f32, f32, f32),
    lips: Rgb,
    hair: Rgb,
    style: usize,
    beard: usize,
    glasses: Option<(Rgb, Pair)>,
    earrings: f32,
}

/// What changes between images of a person.
struct Nuisance {
    place: Transform,
    turn: Pair,
    roll: f32,
    mouth: Pair,
    eyes: Pair,
    light: (f32, f32, f32),
    tint: Rgb,
    colours: [Rgb; 2],
    hat: Option<Rgb>,
    scarf: Option<Rgb>,
    /// Those who wear glasses have them on.
    glasses: bool,
    grey: bool,
    /// Side of the sensor's picture, as a share of the asked one.
    sharpness: f32,
    /// Deviation of the sensor's noise, in levels of 255.
    noise: f32,
}

fn mix(a: Rgb, b: Rgb, t: f32) -> Rgb {
    [0, 1, 2].map(|i| a[i] + (b[i] - a[i]) * t)
}

fn rgb(code: u32) -> Rgb {
    [16, 8, 0].map(|shift| (code >> shift & 255) as f32 / 255.0)
}

impl Identity {
    fn draw(number: usize, seeds: &Seeds) -> Self {
        let rng = &mut seeds.stream("demo identity", &[number as u64]);
        // Skin, hair and style walk through their lists at different paces, so that few identities share all three.
        let tone = number % SKINS.len();
        let skin = mix(rgb(SKINS[tone]), rgb(SKINS[(tone + 1).min(5)]), rng.random_range(0.0..0.5));
        let dark = tone > 2;
        let style = number * 5 % 11;
        // Only short hair goes with a beard.
        let beard = if matches!(style, 3 | 4 | 6 | 8) { 0 } else { number / 2 % 5 };
        // Brown hair on brown skin is nearly black, so that it shows.
        let hair = number * 3 % HAIRS.len();
        let ink = if dark { if matches!(hair, 1 | 2) { 0.75 } else { 0.2 } } else { rng.random_range(0.0..0.12) };
        let glass = if number / 4 % 3 == 1 { (24.0, 16.0) } else { (22.0, 21.0) };
        Self {
            face: (rng.random_range(57.0..72.0), rng.random_range(70.0..84.0)),
            chin: rng.random_range(0.3..0.8),
            skin,
            eyes: (rng.random_range(25.0..33.0), rng.random_range(-16.0..0.0)),
            eye: (rng.random_range(11.0..15.5), rng.random_range(0.7..1.0), rng.random_range(-7.0..11.0)),
            iris: rgb(IRISES[rng.random_range(0..if dark { 2 } else { 4 })]),
            brow: (rng.random_range(4.0..8.5), rng.random_range(-4.5..3.0), rng.random_range(2.0..10.0)),
            nose: (rng.random_range(22.0..34.0), rng.random_range(7.0..15.0)),
            mouth: (rng.random_range(17.0..29.0), rng.random_range(4.0..9.0), rng.random_range(0.5..0.6)),
            lips: mix(mix(rgb(0xc9_69_5f), rgb(0x9c_3f_4a), rng.random()), skin, rng.random_range(0.1..0.45)),
            hair: mix(rgb(HAIRS[hair]), rgb(INK), ink),
            style,
            beard,
            glasses: (number % 4 == 2).then(|| (rgb(FRAMES[number / 4 % 4]), glass)),
            earrings: if beard == 0 && rng.random_range(0..3) == 0 { 6.5 } else { 0.0 },
        }
    }
}

impl Nuisance {
    fn draw(identity: usize, index: usize, seeds: &Seeds) -> Self {
        let rng = &mut seeds.stream("demo image", &[identity as u64, index as u64]);
        let mut calm = |list: [u32; 7]| {
            let (a, b) = (rng.random_range(0..7), rng.random_range(0..7));
            mix(rgb(list[a]), rgb(list[b]), rng.random_range(0.0..0.3))
        };
        let colours = [calm(BACKGROUNDS), calm(CLOTHES)];
        let (hat, scarf) = (calm(CLOTHES), calm(CLOTHES));
        let mut worn = |share: f32, cloth: Rgb| (rng.random::<f32>() < share).then_some(cloth);
        let (hat, scarf) = (worn(HATS, hat), worn(SCARVES, scarf));
        let (exposure, warmth) = (rng.random_range(0.55..1.15), rng.random_range(-0.15..0.15));
        let (x, y) = (rng.random_range(-12.0..12.0), rng.random_range(3.0..19.0));
        let scale = rng.random_range(1.0..1.3);
        // Light comes from the left, from above or from the right.
        let light = rng.random_range(-3.3f32..0.16);
        Self {
            colours,
            hat,
            scarf,
            glasses: rng.random::<f32>() < 0.7,
            grey: rng.random::<f32>() < 0.1,
            sharpness: rng.random_range(0.5..1.0),
            noise: rng.random_range(-4.0f32..5.0).max(0.0),
            tint: [1.0 + warmth, 1.0, 1.0 - warmth].map(|t| t * exposure),
            place: Transform::from_translate(MIDDLE + x, MIDDLE + y).pre_scale(scale, scale),
            turn: (rng.random_range(-0.5..0.5), rng.random_range(-0.3..0.3)),
            roll: rng.random_range(-13.0..13.0),
            mouth: (rng.random_range(-0.2..1.0), rng.random_range(-0.8f32..1.0).max(0.0)),
            eyes: (rng.random_range(0.55..1.0), rng.random_range(-1.0..1.0)),
            light: (light.cos() * 100.0, light.sin() * 100.0, rng.random_range(0.1..1.0)),
        }
    }

    /// Turning the head moves features by their depth.
    fn at(&self, x: f32, y: f32, depth: f32) -> Pair {
        (x * (1.0 - self.turn.0.powi(2)).sqrt() + self.turn.0 * 44.0 * depth, y + self.turn.1 * 30.0 * depth)
    }
}

fn oval((x, y): Pair, (rx, ry): Pair) -> Option<tiny_skia::Path> {
    Rect::from_xywh(x - rx, y - ry, 2.0 * rx, 2.0 * ry).and_then(PathBuilder::from_oval)
}

/// A line of cubic curves.
fn curves(points: &[Pair]) -> Option<tiny_skia::Path> {
    let mut b = PathBuilder::new();
    b.move_to(points[0].0, points[0].1);
    points[1..].chunks_exact(3).for_each(|p| b.cubic_to(p[0].0, p[0].1, p[1].0, p[1].1, p[2].0, p[2].1));
    b.finish()
}

/// A shape between two points, bent towards `over` on the way and towards `under` on the way back.
fn lens(from: Pair, over: Pair, to: Pair, under: Pair) -> Option<tiny_skia::Path> {
    curves(&[from, over, over, to, under, under, from])
}

/// A shape whose right half is given, in units of `size`; what is below the middle moves by `drift`.
fn mirrored(half: &[Pair], size: Pair, drift: Pair) -> Option<tiny_skia::Path> {
    let left = half.iter().rev().skip(1).map(|(x, y)| (-x, *y));
    let place = |(x, y): Pair| (x * size.0 + drift.0 * y.max(0.0), y * size.1 + drift.1 * y.max(0.0));
    curves(&half.iter().copied().chain(left).map(place).collect::<Vec<_>>())
}

/// A canvas with the transform and the light of what is drawn on it.
struct Canvas {
    pixels: Pixmap,
    to: Transform,
    light: (f32, f32, f32),
}

impl Canvas {
    /// Fills `path`, a little lighter on the side of the light and darker on the other.
    fn fill(&mut self, path: Option<tiny_skia::Path>, rgb: Rgb, alpha: f32) {
        let (x, y, shade) = self.light;
        let (bright, dark) = (mix(rgb, [1.0, 0.96, 0.88], 0.2 * shade), mix(rgb, [0.16, 0.03, 0.1], 0.5 * shade));
        let stop = |at, [r, g, b]: Rgb| GradientStop::new(at, Color::from_rgba(r, g, b, alpha).unwrap_or(Color::BLACK));
        let stops = vec![stop(0.0, bright), stop(0.45, rgb), stop(1.0, dark)];
        let (from, to) = [1.0, -1.0].map(|s| Point::from_xy(MIDDLE + s * x, MIDDLE + s * y)).into();
        let shader = LinearGradient::new(from, to, stops, SpreadMode::Pad, Transform::identity());
        if let (Some(path), Some(shader)) = (path.and_then(|p| p.transform(self.to)), shader) {
            let paint = Paint { shader, anti_alias: true, ..Paint::default() };
            self.pixels.fill_path(&path, &paint, FillRule::Winding, Transform::identity(), None);
        }
    }

    fn oval(&mut self, centre: Pair, radii: Pair, rgb: Rgb) {
        self.fill(oval(centre, radii), rgb, 1.0);
    }

    fn line(&mut self, path: Option<tiny_skia::Path>, width: f32, rgb: Rgb) {
        let stroke = Stroke { width, line_cap: LineCap::Round, ..Stroke::default() };
        self.fill(path.and_then(|p| p.stroke(&stroke, 2.0)), rgb, 1.0);
    }
}

/// Draws image `index` of identity `number`, `[S, S, 3]` bytes.
pub(super) fn draw(number: usize, index: usize, size: usize, seeds: &Seeds) -> Result<Vec<u8>> {
    let (id, n) = (Identity::draw(number, seeds), Nuisance::draw(number, index, seeds));
    let pixels = Pixmap::new(CANVAS, CANVAS).ok_or_else(|| Error::Config("demo canvas".into()))?;
    let mut canvas = Canvas { pixels, to: n.place, light: n.light };
    let [r, g, b] = n.colours[0];
    canvas.pixels.fill(Color::from_rgba(r, g, b, 1.0).unwrap_or(Color::WHITE));
    person(&mut canvas, &id, &n);
    let bytes = canvas.pixels.data().chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect();
    photograph(bytes, &n, size, &mut seeds.stream("demo noise", &[number as u64, index as u64]))
}

/// What a camera makes of the drawing: light and colours, a sensor of fewer pixels, noise.
fn photograph(drawing: Vec<u8>, n: &Nuisance, size: usize, rng: &mut ChaCha8Rng) -> Result<Vec<u8>> {
    let sensor = (size as f32 * n.sharpness).round() as usize;
    let small = View::square(sensor).pixels(drawing, CANVAS as usize).map_err(Error::Config)?;
    let noise = normal_vec(rng, small.len());
    let seen = small.chunks_exact(3).zip(noise.chunks_exact(3)).flat_map(|(pixel, noise)| {
        let mut colour = [0, 1, 2].map(|c| f32::from(pixel[c]) * n.tint[c]);
        if n.grey {
            colour = [colour.iter().sum::<f32>() / 3.0; 3];
        }
        [0, 1, 2].map(|c| (colour[c] + n.noise * noise[c]).round().clamp(0.0, 255.0) as u8)
    });
    View::square(size).pixels(seen.collect(), sensor).map_err(Error::Config)
}

/// The person, from back to front.
fn person(canvas: &mut Canvas, id: &Identity, n: &Nuisance) {
    let (w, h) = id.face;
    let deep = mix(id.skin, rgb(0x5c_10_18), 0.3);
    let (body, head) = (canvas.to, canvas.to.pre_rotate(n.roll));
    canvas.oval((0.0, h + 92.0), (128.0, 76.0), n.colours[1]);
    canvas.to = head;
    // Hair behind the head: its width and length.
    let back = mix(id.hair, rgb(INK), 0.2);
    let fall = |(wide, foot): Pair| {
        let (end, size) = (foot + 0.2, (w * wide, h));
        let half = [(0.0, -1.2), (1.0, -1.25), (0.95, 0.2), (1.0, foot), (1.0, end), (0.5, end), (0.0, end)];
        mirrored(&half, size, (-12.0 * n.turn.0, 0.0))
    };
    match id.style {
        3 => canvas.fill(fall((1.25, 1.3)), back, 1.0),
        4 => canvas.fill(fall((1.25, 0.66)), back, 1.0),
        5 => canvas.oval(n.at(0.0, -h * 0.4, -0.2), (w * 1.36, h * 1.06), back),
        6 => canvas.oval(n.at(0.0, -h * 1.18, -0.3), (w * 0.42, h * 0.28), back),
        8 => canvas.fill(fall((1.42, 0.95)), back, 1.0),
        _ => {}
    }
    canvas.to = body;
    canvas.oval((0.0, h * 0.75), (w * 0.52, h * 0.25 + 28.0), mix(id.skin, deep, 0.75));
    canvas.to = head;
    for side in [-1.0, 1.0] {
        let (x, y) = n.at(side * w, 4.0, -0.25);
        canvas.oval((x, y), (12.0, 16.0), mix(id.skin, deep, 0.3));
        canvas.oval((x + side * 3.0, y + 20.0), (id.earrings, id.earrings), rgb(0xe6_bd_5a));
    }
    // The face: an egg whose lower half narrows with the chin.
    let drift = (n.turn.0 * 20.0, n.turn.1 * 13.0);
    let face = [(0.0, -1.0), (0.6, -1.0), (1.0, -0.65), (1.0, -0.05), (1.0, 0.5), (id.chin, 1.0), (0.0, 1.0)];
    canvas.fill(mirrored(&face, id.face, drift), id.skin, 1.0);
    for side in [-1.0, 1.0] {
        let cheek = n.at(side * id.eyes.0 * 1.25, id.eyes.1 + 30.0, 0.7);
        canvas.fill(oval(cheek, (15.0 * (1.0 - side * 0.6 * n.turn.0), 11.0)), rgb(0xe0_70_6a), 0.3 * id.skin[2]);
    }
    let fuzz = mix(id.hair, id.skin, 0.12);
    // Beards: 1 full, 2 moustache and goatee, 3 goatee, 4 moustache.
    if id.beard == 1 {
        let (lip, low) = (id.mouth.2 - 0.18, 1.08);
        let half = [(0.0, lip), (0.4, lip), (0.8, 0.4), (1.0, 0.0), (1.0, 0.55), (id.chin + 0.05, low), (0.0, low)];
        canvas.fill(mirrored(&half, id.face, drift), fuzz, 1.0);
    }
    if matches!(id.beard, 2 | 3) {
        canvas.oval(n.at(0.0, h * 0.88, 0.75), (w * 0.26, h * 0.16), fuzz);
    }
    fringe(canvas, id, n);
    for side in [-1.0f32, 1.0] {
        let (x, y) = n.at(side * id.eyes.0, id.eyes.1, 0.85);
        canvas.to = head.pre_translate(x, y).pre_scale(1.0 - side * 0.45 * n.turn.0, 1.0);
        eye(canvas, id, n, side, deep);
    }
    canvas.to = head;
    // The nose: a soft bridge on the far side and a tip.
    let (x, y) = n.at(0.0, id.eyes.1 + id.nose.0, 1.25);
    let bridge = n.at(0.0, id.eyes.1 + 2.0, 0.95);
    let side = id.nose.1 * n.turn.0.signum() * 0.5;
    let via = (x + side * 0.6, f32::midpoint(bridge.1, y));
    canvas.line(curves(&[(bridge.0 + side, bridge.1), via, via, (x + side, y)]), 4.0, mix(id.skin, deep, 0.4));
    canvas.oval((x, y), (id.nose.1, id.nose.1 * 0.3 + 4.0), mix(id.skin, deep, 0.6));
    let ((x, y), lip) = (n.at(0.0, h * id.mouth.2, 0.85), id.mouth.1);
    if matches!(id.beard, 1 | 2 | 4) {
        let (half, low) = (id.mouth.0 * 1.15, y - 4.0);
        canvas.fill(lens((x - half, low), (x, low - 18.0), (x + half, low), (x, low)), fuzz, 1.0);
    }
    // The mouth: lips around a line, or around the teeth.
    let half = id.mouth.0 * (1.0 + 0.12 * n.mouth.0) * (1.0 - 0.5 * n.turn.0 * n.turn.0);
    let (corner, middle, low) = (y - n.mouth.0 * 6.0, y + n.mouth.0 * 4.0, n.mouth.1 * 17.0);
    let (left, right) = ((x - half, corner), (x + half, corner));
    canvas.fill(lens(left, (x, middle - lip * 0.7), right, (x, middle + lip + low)), id.lips, 1.0);
    canvas.line(curves(&[left, (x, middle), (x, middle), right]), 3.0, mix(id.lips, rgb(0x5a_26_30), 0.6));
    canvas.fill(lens(left, (x, middle), right, (x, middle + low)), rgb(0x6e_2a_35), 1.0);
    canvas.fill(lens(left, (x, middle), right, (x, middle + low * 0.5)), rgb(0xf7_f1_ea), 1.0);
    if let Some(scarf) = n.scarf {
        let half = [(0.0, 0.36), (0.5, 0.4), (0.9, 0.38), (1.1, 0.28), (1.15, 1.0), (0.8, 1.4), (0.0, 1.4)];
        canvas.fill(mirrored(&half, id.face, drift), scarf, 1.0);
    }
    if let Some(hat) = n.hat {
        let half = [(0.0, -0.52), (0.6, -0.52), (1.15, -0.45), (1.22, -0.35), (1.25, -1.6), (0.8, -1.75), (0.0, -1.75)];
        canvas.fill(mirrored(&half, id.face, drift), hat, 1.0);
    }
}

/// An eye with its brow and glass, around the origin.
fn eye(canvas: &mut Canvas, id: &Identity, n: &Nuisance, side: f32, deep: Rgb) {
    let level = canvas.to;
    let (rx, ry) = (id.eye.0, id.eye.0 * id.eye.1);
    canvas.to = level.pre_rotate(-side * id.eye.2);
    canvas.oval((0.0, 0.0), (rx, ry), mix(rgb(0xfa_f6_f0), id.skin, 0.1));
    let (iris, x) = (ry.min(rx * 0.72) * 0.86, n.eyes.1 * rx * 0.28);
    canvas.oval((x, 0.0), (iris, iris), id.iris);
    canvas.oval((x, 0.0), (iris * 0.55, iris * 0.55), rgb(0x1d_1a_20));
    canvas.oval((x - iris * 0.3, -iris * 0.35), (iris * 0.28, iris * 0.28), [1.0; 3]);
    // The lid comes down over the eye.
    let (e, fall, arch) = (rx + 1.0, -ry * (2.7 * n.eyes.0 - 1.1), -ry * 1.36);
    let rim = [(e, 0.0), (e * 0.6, fall), (-e * 0.6, fall), (-e, 0.0)];
    let lid = [rim[3], (-e, arch), (e, arch), rim[0], rim[1], rim[2], rim[3]];
    canvas.fill(curves(&lid), mix(id.skin, deep, 0.45), 1.0);
    canvas.line(curves(&rim), 3.6, mix(rgb(INK), id.hair, 0.25));
    canvas.to = level;
    let (thick, tilt, arch) = id.brow;
    let (x, y) = (side * rx, -ry - 9.0 - thick * 0.5 - n.mouth.0.max(0.0) * 3.0);
    let (bow, brow) = ((0.0, y - arch * 0.7), mix(id.hair, rgb(INK), 0.3));
    canvas.line(curves(&[(-x * 1.1, y + tilt), bow, bow, (x * 1.25, y - tilt * 0.4)]), thick, brow);
    if let Some((frame, (rx, ry))) = id.glasses.filter(|_| n.glasses) {
        let (from, to) = ((-side * rx, 0.0), (-side * id.eyes.0, -3.0));
        canvas.line(oval((0.0, 2.0), (rx, ry)), 4.5, frame);
        canvas.line(curves(&[from, to, to, to]), 4.5, frame);
    }
}

/// Hair over the forehead.
fn fringe(canvas: &mut Canvas, id: &Identity, n: &Nuisance) {
    // Height on both sides, temples, then where the hair parts and how it falls from there to either temple.
    let (high, temple, part, right, left) = match id.style {
        1 | 5 | 10 => ((1.42, 1.42), -0.2, (0.0, -0.62), (0.8, -0.64), (-0.8, -0.64)),
        2 => ((1.5, 1.5), -0.12, (0.5, -0.74), (0.9, -0.62), (-0.5, -0.62)),
        3 => ((1.52, 1.52), 0.1, (0.0, -0.88), (0.75, -0.7), (-0.75, -0.7)),
        4 => ((1.56, 1.56), 0.12, (0.0, -0.38), (0.75, -0.38), (-0.75, -0.38)),
        6 => ((1.46, 1.46), -0.1, (0.0, -0.74), (0.9, -0.7), (-0.9, -0.7)),
        7 => ((1.4, 1.85), -0.2, (0.3, -0.68), (0.85, -0.66), (-0.8, -0.72)),
        8 => ((1.6, 1.6), 0.1, (-0.5, -0.82), (0.6, -0.7), (-0.9, -0.5)),
        9 => ((1.4, 1.4), -0.1, (0.0, -0.72), (0.6, -0.94), (-0.6, -0.94)),
        _ => return,
    };
    let (l, r) = ((-1.05, temple), (1.05, temple));
    let cap = [l, (-1.13, -high.0), (1.13, -high.1), r, right, right, part, left, left, l];
    let depth = |i: usize| if (4..9).contains(&i) { 0.35 } else { 0.0 };
    let place = |(i, (x, y)): (usize, &Pair)| n.at(x * id.face.0, y * id.face.1, depth(i));
    canvas.fill(curves(&cap.iter().enumerate().map(place).collect::<Vec<_>>()), id.hair, 1.0);
    if id.style == 10 {
        for (x, y) in [(-0.86, -0.5), (-0.62, -0.84), (-0.22, -1.0), (0.22, -1.0), (0.62, -0.84), (0.86, -0.5)] {
            canvas.oval(n.at(x * id.face.0, y * id.face.1, 0.2), (21.0, 21.0), id.hair);
        }
    }
}
