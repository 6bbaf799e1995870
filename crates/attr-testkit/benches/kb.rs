use attr_core::{Method, Target, Traced};
use attr_gradient::*;
use attr_testkit::device;
use attr_testkit::models::{ResNet18, Vgg11, input, seeded};
use burn::module::Module;
use burn::tensor::Tensor;
use std::time::Instant;
fn time(name: &str, least: usize, f: impl Fn()) {
    f();
    let mut t = vec![];
    let st = Instant::now();
    while t.len() < least || st.elapsed().as_secs_f64() < 0.5 {
        let s = Instant::now();
        f();
        t.push(s.elapsed().as_secs_f64() * 1e3);
    }
    t.sort_by(f64::total_cmp);
    println!("  {name}: {:.3} ms (best {:.3})", t[t.len() / 2], t[0]);
}
fn rows(name: &str, m: &Traced, x: &Tensor<4>) {
    println!("{name}");
    time("forward 1", 5, || {
        m.forward(x).unwrap();
    });
    let x8 = x.clone().repeat_dim(0, 8);
    time("forward 8", 3, || {
        m.forward(&x8).unwrap();
    });
    let t = Target::Class(1);
    time("saliency", 5, || {
        Saliency::new().attribute(m, x, t.clone()).unwrap();
    });
    time("ig 50", 2, || {
        IntegratedGradients::new()
            .attribute(m, x, t.clone())
            .unwrap();
    });
}
fn main() {
    let d = device();
    let x = input([1, 3, 224, 224], 2);
    let which = std::env::args().nth(1).unwrap_or_default();
    if "resnet".contains(&which) {
        let n = seeded(ResNet18::new(1000, &d), 1).valid();
        let m = Traced::new(&n, |m: &ResNet18, x| m.forward(x), &x).unwrap();
        rows("resnet", &m, &x);
        rows("resnet folded", &m.fold_batch_norm(), &x);
    }
    if "vgg".contains(&which) {
        let n = seeded(Vgg11::new(1000, &d), 1).valid();
        let m = Traced::new(&n, |m: &Vgg11, x| m.forward(x), &x).unwrap();
        rows("vgg", &m, &x);
    }
}
