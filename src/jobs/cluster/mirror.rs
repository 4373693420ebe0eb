//! A job in an object store: machines that share no folder each work in a copy of their own, in the cache, of what they need, and send what
//! they have made. What tells that something is complete is sent last, and only once.
//!
//! ```text
//! URL/plan/_JOB.json, rejects.json, sets/00000.json
//!     models/00000/..          the model of an identity set that several shards use
//!     shards/00000/..          what a shard has made; done.json last
//! ```

use super::{DONE, JOB_FILE, Job, REJECTS, Shard, Work, folder, set_file};
use crate::error::{Error, Result};
use crate::jobs::Context;
use crate::progress::Progress;
use crate::recogniser::judge::JUDGE_FILE;
use crate::remote::{self, Outgoing};
use crate::sink::ledger::{CONFIG, Entry, files_below};
use crate::store;
use crate::train::trained::MODEL_FILE;
use std::path::{Path, PathBuf};

/// A job in a store, and the folder of its copy.
pub(super) struct Mirror {
    url: String,
    /// The copy.
    pub dir: PathBuf,
}

impl Mirror {
    /// That of the job `spec`, if it is the address of one.
    ///
    /// # Errors
    /// `Usage`: there is no cache.
    pub fn of(spec: &Path, context: &Context) -> Result<Option<Self>> {
        let Some(url) = spec.to_str().filter(|spec| remote::is_object(spec)) else { return Ok(None) };
        let url = url.trim_end_matches('/').to_owned();
        let name = blake3::hash(url.as_bytes()).to_hex();
        Ok(Some(Self { dir: context.cache()?.join("jobs").join(&name[..32]), url }))
    }

    /// Sends the plan that was made in the copy.
    ///
    /// # Errors
    /// `Usage`: another job is there; the store fails.
    pub fn send_plan(&self, sets: usize, context: &Context, progress: &mut dyn Progress) -> Result<()> {
        let mut names = vec![REJECTS.to_owned()];
        names.extend((0..sets).map(|n| named(&self.dir, &set_file(&self.dir, n))));
        names.push(JOB_FILE.to_owned());
        self.send(&self.dir, &names, "plan", context, progress)
    }

    /// Brings the file `name` of the plan.
    ///
    /// # Errors
    /// It is not there.
    pub fn bring_plan(&self, name: &str, context: &Context) -> Result<()> {
        let url = self.place(&format!("plan/{name}"));
        if !remote::is_there(&url, &context.access)? {
            return Err(Error::Usage(format!("{}: holds no job; plan one with `augment plan`", self.url)));
        }
        let from = remote::localize_file(&url, &context.cache, &context.access)?;
        let to = self.dir.join(name);
        let read = |path: &Path| std::fs::read(path).map_err(|e| Error::io(path, e));
        if name == JOB_FILE && to.exists() && read(&to)? != read(&from)? {
            self.clear()?;
        }
        copy(&from, &to)
    }

    /// True if a job is there, whose plan is brought then; else the copy is emptied of what an earlier one left.
    ///
    /// # Errors
    /// The store fails.
    pub fn is_planned(&self, context: &Context) -> Result<bool> {
        if remote::is_there(&self.place(&format!("plan/{JOB_FILE}")), &context.access)? {
            return self.bring_plan(JOB_FILE, context).map(|()| true);
        }
        self.clear().map(|()| false)
    }

    /// Removes what belongs to one job alone; trained models stay.
    fn clear(&self) -> Result<()> {
        for folder in ["sets", "shards"].map(|name| self.dir.join(name)).iter().filter(|folder| folder.exists()) {
            std::fs::remove_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        }
        let plan = self.dir.join(JOB_FILE);
        if plan.exists() { store::remove(&plan) } else { Ok(()) }
    }

    /// Brings what the plan says of identity set number `set`.
    ///
    /// # Errors
    /// It is not there.
    pub fn bring_set(&self, set: usize, context: &Context) -> Result<()> {
        self.bring_plan(&named(&self.dir, &set_file(&self.dir, set)), context)
    }

    /// Brings what shard number `number` has made, unless it is here; false if its record is not in the store, whatever is here: what was
    /// made and not sent is no shard yet.
    ///
    /// # Errors
    /// The store fails.
    pub fn bring_shard(&self, number: usize, context: &Context) -> Result<bool> {
        let to = folder(&self.dir, number);
        Ok(remote::is_there(&self.place(&format!("shards/{number:05}/{DONE}")), &context.access)?
            && (to.join(DONE).exists() || self.bring(&format!("shards/{number:05}"), &to, context)?))
    }

    /// Brings the model that shard `shard` uses and another one has trained.
    ///
    /// # Errors
    /// The store fails.
    pub fn bring_model(&self, shard: &Shard, context: &Context) -> Result<()> {
        self.bring(&format!("models/{:05}", shard.set), &self.dir.join("cache/models"), context).map(|_| ())
    }

    /// Sends what `shard` has made: its model in the folder `model`, if others use it, and then its dataset and record.
    ///
    /// # Errors
    /// The store fails.
    pub fn send_shard(
        &self,
        shard: &Shard,
        model: &Path,
        context: &Context,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        if shard.kind == Work::Train {
            let models = self.dir.join("cache/models");
            let own = model.file_name().unwrap_or_default().to_string_lossy();
            let files = [CONFIG, JUDGE_FILE, MODEL_FILE].map(|name| format!("{own}/{name}"));
            let names: Vec<String> = files.into_iter().filter(|name| models.join(name).exists()).collect();
            self.send(&models, &names, &format!("models/{:05}", shard.set), context, progress)?;
        }
        let from = folder(&self.dir, shard.shard);
        let files = files_below(&from, Path::new(""))?.into_iter();
        let files =
            files.filter(|file| file.file_name().is_some_and(|name| !store::is_lock_file(name) && name != DONE));
        let mut names: Vec<String> = files.map(|file| file.to_string_lossy().into_owned()).collect();
        names.push(DONE.to_owned());
        self.send(&from, &names, &format!("shards/{:05}", shard.shard), context, progress)
    }

    /// Which shards of `job` have a record there.
    ///
    /// # Errors
    /// The store fails.
    pub fn done(&self, job: &Job, context: &Context) -> Result<Vec<bool>> {
        let there = remote::list(&self.place("shards"), &context.access)?;
        Ok((0..job.shards.len()).map(|n| there.contains(&format!("{n:05}/{DONE}"))).collect())
    }

    fn place(&self, below: &str) -> String {
        format!("{}/{below}", self.url)
    }

    fn send(
        &self,
        root: &Path,
        names: &[String],
        below: &str,
        context: &Context,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let outgoing = |name: &String| -> Result<Outgoing> {
            let entry = Entry::of(root, name)?;
            Ok(Outgoing { path: entry.path, bytes: entry.bytes, hash: entry.blake3 })
        };
        let files = names.iter().map(outgoing).collect::<Result<Vec<_>>>()?;
        remote::push(root, &files, &[], (&self.place(below), false), &context.access, progress).map(|_| ())
    }

    /// Brings the folder `below` to `to`; false if nothing is there.
    fn bring(&self, below: &str, to: &Path, context: &Context) -> Result<bool> {
        let Some(from) = remote::fetch_folder(&self.place(below), &context.cache, &context.access)? else {
            return Ok(false);
        };
        let files = files_below(&from, Path::new(""))?.into_iter();
        for name in files.filter(|file| file.extension().is_none_or(|e| e != remote::FETCHED)) {
            copy(&from.join(&name), &to.join(&name))?;
        }
        Ok(true)
    }
}

/// Name of the file `path` below `root`.
fn named(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    store::create_dir(to.parent().unwrap_or(Path::new(".")))?;
    let staged = store::temporary(to);
    std::fs::copy(from, &staged).map_err(|e| Error::io(&staged, e))?;
    store::publish(&staged, to)
}
