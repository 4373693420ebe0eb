//! `augment demo`: draws the demonstration manifest.

use super::Outcome;
use super::args::{DemoArgs, GlobalArgs};
use crate::error::Result;
use serde_json::json;

/// Writes the manifest that the arguments describe.
pub fn run(args: &DemoArgs, global: &GlobalArgs) -> Result<Outcome> {
    if !global.dry_run {
        crate::demo::write(&args.out, args.identities, args.per_id, args.image_size, args.seed)?;
    }
    let (others, images) = crate::demo::size(args.identities, args.per_id);
    let verb = if global.dry_run { "would write" } else { "wrote" };
    let text = format!(
        "{verb} {images} drawn faces of {} identities and {others} other persons to {}\n",
        args.identities,
        args.out.display()
    );
    Ok(Outcome::new(text, json!({ "version": 1, "out": args.out, "images": images, "identities": args.identities })))
}
