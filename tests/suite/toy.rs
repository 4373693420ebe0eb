//! The design of the losses in two dimensions: a generator that matches means learns where its twin on cross entropy may not.

#![allow(dead_code, reason = "the bench uses the rest")]

#[path = "../../benches/toy/experiment.rs"]
mod experiment;

use experiment::{Data, Toy, Way};

#[test]
fn matched_means_find_the_whole_ring() {
    for way in [Way::Means, Way::Averages] {
        let mut toy = Toy::new(Data::Ring, way, 0).unwrap();
        let before = toy.seen(500).unwrap();
        toy.train(3000).unwrap();
        let after = toy.seen(500).unwrap();
        assert!(after.distance < 0.2 * before.distance, "{way:?}: {before:?} {after:?}");
        assert!(after.covered > 0.6 && after.near > 0.4, "{way:?}: {after:?}");
    }
}
