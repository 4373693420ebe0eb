//! What this process has used: memory and processors, as the system counts them.

use serde_json::{Value, json};

/// Ticks of a second in `/proc`, on every Linux.
const TICKS: f64 = 100.0;
/// Places of the time in the program and in the system among the fields of `/proc/self/stat` behind the name.
const TIMES: [usize; 2] = [11, 12];

/// What was used until now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Resources {
    /// Largest memory at a time, in bytes.
    pub peak_memory: Option<u64>,
    /// Seconds of all processors.
    pub cpu_seconds: Option<f64>,
}

impl Resources {
    /// Of this process; nothing where the system does not say.
    pub fn used() -> Self {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        Self { peak_memory: peak(&read("status")), cpu_seconds: seconds(&read("stat")) }
    }

    /// As an object.
    pub fn json(self, seconds: f64) -> Value {
        json!({ "peak_memory_bytes": self.peak_memory, "cpu_seconds": self.cpu_seconds, "seconds": (seconds * 100.0).round() / 100.0 })
    }
}

/// `VmHWM` of `/proc/self/status`, in bytes.
fn peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The time of `/proc/self/stat`, in seconds. The name of a program may hold blanks and brackets.
fn seconds(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = TIMES.map(|at| fields.get(at)?.parse::<f64>().ok());
    Some((ticks[0]? + ticks[1]?) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_read() {
        assert_eq!(peak("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n"), Some(2048 * 1024));
        assert_eq!(seconds("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0"), Some(3.0));
        assert_eq!((peak(""), seconds("7 (x")), (None, None));
        let used = Resources::used();
        assert!(used.peak_memory > Some(1 << 20) && used.cpu_seconds >= Some(0.0), "{used:?}");
    }
}
