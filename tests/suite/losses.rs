//! Every loss and its gradient against PyTorch's numbers (tests/goldens/losses.py) and against finite differences.

use augment::model::loss;
use augment::train::centres::Centres;
use candle_core::{DType, Device, Result, Tensor, Var};
use serde_json::Value;

const CPU: Device = Device::Cpu;

fn goldens() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/losses.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn input(case: &Value, name: &str) -> Var {
    let v = &case["inputs"][name];
    let shape: Vec<usize> = numbers(&v["shape"]).iter().map(|x| *x as usize).collect();
    Var::from_tensor(&Tensor::from_vec(numbers(&v["values"]), shape, &CPU).unwrap()).unwrap()
}

fn values(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn close(what: &str, ours: &[f64], theirs: &[f64]) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (a, b) in ours.iter().zip(theirs) {
        assert!((a - b).abs() <= 1e-9 * (1.0 + b.abs()), "{what}: {a} is not PyTorch's {b}");
    }
}

/// Compares loss and gradients of `f` with the golden `case`, and the gradients with central differences.
fn check(case: &str, names: &[&str], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let golden = &goldens()[case];
    let vars: Vec<Var> = names.iter().map(|n| input(golden, n)).collect();
    let args = || vars.iter().map(|v| v.as_tensor().clone()).collect::<Vec<_>>();
    let loss = f(&args()).unwrap();
    close(case, &values(&loss), &[golden["loss"].as_f64().unwrap()]);
    let grads = loss.backward().unwrap();
    for (name, var) in names.iter().zip(&vars) {
        let ours = values(grads.get(var).unwrap());
        close(&format!("{case}: gradient of {name}"), &ours, &numbers(&golden["gradients"][name]));
        let start = values(var);
        for i in 0..start.len() {
            let at = |delta: f64| {
                let mut moved = start.clone();
                moved[i] += delta;
                var.set(&Tensor::from_vec(moved, var.shape(), &CPU).unwrap()).unwrap();
                values(&f(&args()).unwrap())[0]
            };
            let slope = (at(1e-6) - at(-1e-6)) / 2e-6;
            assert!((slope - ours[i]).abs() < 1e-6 * (1.0 + slope.abs()), "{case}: {name}[{i}] {slope} {}", ours[i]);
        }
        var.set(&Tensor::from_vec(start, var.shape(), &CPU).unwrap()).unwrap();
    }
}

#[test]
fn discriminator() {
    check("discriminator", &["real", "reconstructed", "sampled"], |x| loss::discriminator(&x[0], &x[1..]));
    let far = |v: f64| Tensor::new(&[v, -v], &CPU).unwrap();
    let extreme = loss::discriminator(&far(1e4), &[far(1e4), far(1e4)]).unwrap();
    assert!(values(&extreme)[0].is_finite());
}

#[test]
fn classifier() {
    let labels = values(&input(&goldens()["classifier"], "labels"));
    let labels: Vec<u32> = labels.iter().map(|l| *l as u32).collect();
    let labels = Tensor::from_slice(&labels, labels.len(), &CPU).unwrap();
    check("classifier", &["logits"], |x| loss::classifier(&x[0], &labels));
}

#[test]
fn kl_divergence() {
    check("kl_divergence", &["mu", "logvar"], |x| loss::kl_divergence(&x[0], &x[1]));
}

#[test]
fn pairwise() {
    check("pairwise", &["a", "b"], |x| loss::pairwise(&x[0], &x[1]));
}

#[test]
fn moving_averages_of_means() {
    let golden = &goldens()["means"];
    let size = |k: &str| golden[k].as_u64().unwrap() as usize;
    let mut centres = Centres::new(size("classes"), golden["decay"].as_f64().unwrap());
    for (n, step) in golden["steps"].as_array().unwrap().iter().enumerate() {
        let features = |k: &str, width: usize| {
            let v: Vec<f32> = numbers(&step[k]).iter().map(|x| *x as f32).collect();
            Var::from_tensor(&Tensor::from_vec(v, (size("batch"), width), &CPU).unwrap()).unwrap()
        };
        let labels = |k: &str| numbers(&step[k]).iter().map(|l| *l as u32).collect::<Vec<_>>();
        let (fd_r, fc_r) = (features("fd_real", size("fd")), features("fc_real", size("fc")));
        let (fd_p, fc_p) = (features("fd_fake", size("fd")), features("fc_fake", size("fc")));
        let losses =
            centres.update((&fd_r, &fc_r, &labels("labels_real")), (&fd_p, &fc_p, &labels("labels_fake"))).unwrap();
        // Features are f32 in training, so these agree to f32.
        let near = |what: &str, ours: &[f64], theirs: &[f64]| {
            for (a, b) in ours.iter().zip(theirs) {
                assert!((a - b).abs() < 2e-6 * (1.0 + b.abs()), "step {n}, {what}: {a} is not PyTorch's {b}");
            }
        };
        near("L_GD", &values(&losses.overall), &[step["loss_gd"].as_f64().unwrap()]);
        near("L_GC", &values(&losses.classes), &[step["loss_gc"].as_f64().unwrap()]);
        let grads = losses.overall.backward().unwrap();
        near("gradient of L_GD", &values(grads.get(&fd_p).unwrap()), &numbers(&step["gradient_gd"]));
        assert!(grads.get(&fd_r).is_none(), "real features are targets");
        let grads = losses.classes.backward().unwrap();
        near("gradient of L_GC", &values(grads.get(&fc_p).unwrap()), &numbers(&step["gradient_gc"]));
        assert!(grads.get(&fc_r).is_none(), "real features are targets");
    }
}
