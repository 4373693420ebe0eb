//! `cargo bench --bench toy [-- OUT.svg]`: the two-dimensional experiment, 10, 20 and 40 thousand iterations; a table, and the points as a picture.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench ends at its first fault, and says what it measured"
)]

mod experiment;

use experiment::{Data, Toy, Way, real};
use std::fmt::Write;

const LOOKS: [u64; 3] = [10_000, 20_000, 40_000];
const SEEDS: u64 = 1;
const POINTS: usize = 1000;
/// Side of a panel, in pixels.
const PANEL: f32 = 150.0;

fn main() {
    let out = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    let mut svg = String::new();
    println!("| data | way | iterations | covered | near | energy distance |\n|---|---|---|---|---|---|");
    for (block, data) in [Data::Ring, Data::Mixture].into_iter().enumerate() {
        let truth = real(data, POINTS, &mut augment::seeds::Seeds::new(9).stream("shown", &[])).unwrap();
        panel(&mut svg, block * 5, 0, &format!("{data:?}"), &truth.to_vec2().unwrap());
        for (row, way) in Way::ALL.into_iter().enumerate() {
            let mut toys: Vec<Toy> = (0..SEEDS).map(|seed| Toy::new(data, way, seed).unwrap()).collect();
            for (column, steps) in LOOKS.into_iter().enumerate() {
                let seen: Vec<_> = toys
                    .iter_mut()
                    .map(|toy| {
                        toy.train(steps).unwrap();
                        toy.seen(POINTS).unwrap()
                    })
                    .collect();
                let mean = |of: fn(&experiment::Seen) -> f64| seen.iter().map(of).sum::<f64>() / seen.len() as f64;
                println!(
                    "| {data:?} | {way:?} | {steps} | {:.2} | {:.2} | {:.4} |",
                    mean(|s| s.covered),
                    mean(|s| s.near),
                    mean(|s| s.distance)
                );
                let points = toys[0].made(POINTS).unwrap().to_vec2().unwrap();
                panel(&mut svg, block * 5 + row + 1, column, &format!("{way:?}, {steps}"), &points);
            }
        }
    }
    if let Some(out) = out {
        let (width, height) = (3.0 * PANEL, 10.0 * PANEL);
        let head = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"10\">"
        );
        std::fs::write(out, format!("{head}<rect width=\"100%\" height=\"100%\" fill=\"white\"/>{svg}</svg>\n"))
            .unwrap();
    }
}

/// Points in a panel of the picture.
fn panel(svg: &mut String, row: usize, column: usize, title: &str, points: &[Vec<f32>]) {
    let (left, top) = (column as f32 * PANEL, row as f32 * PANEL);
    let _ = write!(svg, "<text x=\"{}\" y=\"{}\">{title}</text><path fill=\"#0b6e4f\" d=\"", left + 6.0, top + 12.0);
    for p in points.iter().filter(|p| p.iter().all(|v| v.abs() < 1.6)) {
        let at = |v: f32| PANEL / 2.0 + v * PANEL / 3.4;
        let _ = write!(svg, "M{:.1} {:.1}h1.2v1.2h-1.2z", left + at(p[0]), top + at(-p[1]));
    }
    svg.push_str("\"/>");
}
