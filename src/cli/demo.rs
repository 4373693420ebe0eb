//! `augment demo`

use super::Outcome;
use super::args::{DemoArgs, GlobalArgs};
use ::augment::error::Result;
use ::augment::jobs::demo::{Request, run as run_job};
use serde_json::json;

/// Draws the manifest that the arguments describe.
pub fn run(args: &DemoArgs, global: &GlobalArgs) -> Result<Outcome> {
    let DemoArgs { out, identities, sets, per_id, image_size, seed } = args.clone();
    let request = Request { out, identities, sets, per_id, image_size, seed };
    let (others, images) = request.size();
    if global.dry_run {
        request.check()?;
    } else {
        run_job(&request)?;
    }
    let verb = if global.dry_run { "would write" } else { "wrote" };
    let text = format!(
        "{verb} {images} drawn faces of {identities} identities and {others} other persons to {}\n",
        args.out.display()
    );
    Ok(Outcome::new(
        text,
        json!({ "version": 1, "out": args.out.display().to_string(), "images": images, "identities": identities }),
    ))
}
