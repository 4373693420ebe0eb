//! `augment compare-methods`

use super::args::GlobalArgs;
use super::measures::MethodsArgs;
use super::terminal::Terminal;
use super::{Outcome, environment};
use ::augment::config::to_toml;
use ::augment::error::Result;
use ::augment::jobs::folder_name;
use ::augment::jobs::methods::{Request, Variant, preview, run as run_job};
use serde_json::json;

/// Compares methods on one identity set.
pub fn run(args: &MethodsArgs, global: &GlobalArgs, terminal: &mut Terminal) -> Result<Outcome> {
    let context = environment::context(global)?;
    let out = args.out.clone().unwrap_or_else(|| folder_name(args.input.spec(), "methods"));
    let of_request = Request::new(args.input.spec(), out);
    let named: Vec<&'static Variant> = args.variants.iter().filter_map(|name| Variant::named(name)).collect();
    let request = Request {
        input: args.input.request(),
        settings: args.config.request(),
        variants: if named.is_empty() { of_request.variants.clone() } else { named },
        seeds: args.seeds,
        per_id: args.per_id.get(),
        held_out: args.held_out.clone(),
        ..of_request
    };
    if global.dry_run {
        let (config, trainings) = preview(&request, &context, terminal)?;
        let text = format!(
            "would train {trainings} models of {} thousand images each, laid over:\n\n{}",
            config.train.duration_kimg,
            to_toml(&config)?
        );
        return Ok(Outcome::new(
            text,
            json!({ "version": 1, "dry_run": true, "trainings": trainings, "config": config }),
        ));
    }
    let done = run_job(&request, &context, terminal)?;
    let text = format!("{}\npage: {}\n", done.table.markdown(), done.page.display());
    let mut json = json!(done.table);
    json["version"] = 1.into();
    Ok(Outcome::new(text, json).with_rejects(done.rejected.count, &done.rejected.list))
}
