//! Checks that memory on the host depends on the chunk size and the result, not on the number of
//! samples.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use attr_core::{Baseline, Budget, Error, Method, Progress, Run, Traced};
use attr_gradient::{GradientShap, IntegratedGradients, NoiseTunnel, Quadrature, Saliency};
use attr_perturb::{FeatureAblation, Occlusion, Rise, ShapleyValueSampling, SobolAttribution};
use attr_surrogate::KernelShap;
use attr_testkit::device;
use attr_testkit::models::input;
use burn::nn::Relu;
use burn::tensor::{Int, Tensor};

/// The system's allocator, with the bytes in use and their maximum.
struct Counting {
    taken: AtomicUsize,
    most: AtomicUsize,
}

impl Counting {
    fn take(&self, bytes: usize) {
        let taken = self.taken.fetch_add(bytes, Relaxed) + bytes;
        self.most.fetch_max(taken, Relaxed);
    }

    fn give(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Relaxed);
    }
}

#[allow(unsafe_code)] // An allocator needs it; each call is forwarded unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.take(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.take(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        self.give(layout.size());
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.take(size);
        self.give(layout.size());
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static MEMORY: Counting = Counting {
    taken: AtomicUsize::new(0),
    most: AtomicUsize::new(0),
};

/// One measurement at a time.
static ALONE: Mutex<()> = Mutex::new(());

const MIB: usize = 1 << 20;

/// Returns the most bytes that `work` held.
fn held(name: &str, work: impl FnOnce()) -> usize {
    let before = MEMORY.taken.load(Relaxed);
    MEMORY.most.store(before, Relaxed);
    work();
    let held = MEMORY.most.load(Relaxed) - before;
    println!("{name}: {:.1} MiB", held as f64 / MIB as f64);
    held
}

/// Cancels after a second.
struct Until(Instant);

impl Until {
    fn soon() -> Self {
        Self(Instant::now() + Duration::from_secs(1))
    }
}

impl Progress for Until {
    fn cancelled(&self) -> bool {
        Instant::now() > self.0
    }
}

/// Returns the most bytes that a method held before it was cancelled, under a budget of 16 MiB.
fn cancelled(name: &str, method: &impl Method, x: &Tensor<2>) -> usize {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let sum = |x: Tensor<2>| x.sum_dim(1);
    held(name, || {
        let until = Until::soon();
        let run = Run::new().with_budget(Budget::Bytes(16 * MIB));
        let found = method.attribute_with(&sum, x, 0, &run.with_progress(&until));
        let ended = found.is_ok() || matches!(found, Err(Error::Cancelled));
        assert!(ended, "{name}");
    })
}

#[test]
fn coalitions_of_many_rows_over_many_backgrounds() {
    let background = Baseline::Distribution(input([100, 12], 1).into());
    let shap = KernelShap::new().with_samples(2048);
    let shap = shap.with_baseline(background);
    let held = cancelled("KernelSHAP", &shap, &input([1000, 12], 2));
    assert!(held < (16 + 64) * MIB, "{held} bytes");
}

#[test]
fn a_million_permutations() {
    let sampling = ShapleyValueSampling::new().with_samples(1 << 20);
    let held = cancelled("a million permutations", &sampling, &input([2, 64], 3));
    assert!(held < (16 + 64) * MIB, "{held} bytes");
}

#[test]
fn a_million_samples_of_each_gradient_method() {
    let x = input([1000, 12], 4);
    let others = Baseline::Distribution(input([100, 12], 5).into());
    let shap = GradientShap::new().with_samples(1 << 20);
    let tunnel = NoiseTunnel::new(Saliency::new()).with_samples(1 << 20);
    let path = IntegratedGradients::new()
        .with_steps(1 << 16)
        .with_method(Quadrature::RiemannMiddle);
    let held = [
        cancelled("GradientSHAP", &shap.with_baseline(others), &x),
        cancelled("noise tunnel", &tunnel, &x),
        cancelled("integrated gradients", &path, &x),
    ];
    for bytes in held {
        assert!(bytes < (16 + 64) * MIB, "{bytes} bytes");
    }
}

#[test]
fn millions_of_masks_and_designs() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let image = Tensor::<4>::ones([1, 3, 64, 64], &device());
    let sum = |x: Tensor<4>| x.flatten::<2>(1, 3).sum_dim(1);
    let rise = Rise::new().with_masks(1 << 24);
    let sobol = SobolAttribution::new().with_design(1 << 16);
    let methods: [(&str, &dyn Method); 2] = [("RISE", &rise), ("Sobol", &sobol)];
    for (name, method) in methods {
        let held = held(name, || {
            let until = Until::soon();
            let run = Run::new().with_budget(Budget::Bytes(16 * MIB));
            let run = run.with_progress(&until);
            let found = Method::attribute_with(&method, &sum, &image, 0, &run);
            assert!(matches!(found, Err(Error::Cancelled)), "{name}");
        });
        assert!(held < (16 + 192) * MIB, "{name}: {held} bytes");
    }
}

/// The activations of this model are smaller than the copies of its rows.
#[test]
fn copies_of_many_rows_of_a_small_model() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let x = input([1 << 16, 10], 6);
    let sum = |_: &Relu, x: Tensor<2>| x.sum_dim(1);
    let model = Traced::new(&Relu::new(), sum, &x).unwrap();
    let held = held("copies of 65536 rows", || {
        let run = Run::new().with_budget(Budget::Bytes(16 * MIB));
        let sobol = SobolAttribution::new().with_design(4);
        sobol.attribute_with(&model, &x, 0, &run).unwrap();
    });
    assert!(held < (16 + 64) * MIB, "{held} bytes");
}

#[test]
fn millions_of_windows() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let volume = Tensor::<5>::ones([1, 1, 128, 128, 128], &device());
    let sum = |x: Tensor<5>| x.flatten::<2>(1, 4).sum_dim(1);
    let windows = Occlusion::new([vec![1, 2, 2, 2]]);
    let held = held("two million windows", || {
        let until = Until::soon();
        let run = Run::new().with_progress(&until);
        let found = windows.attribute_with(&sum, &volume, 0, &run);
        assert!(matches!(found, Err(Error::Cancelled)));
    });
    // The volume has 8 MiB, in 32 bits.
    assert!(held < 200 * MIB, "{held} bytes");
}

#[test]
fn a_closure_over_tokens_sees_few_rows_at_a_time() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    const TOKENS: usize = 128;
    let most = Cell::new(0);
    let model = |tokens: Tensor<2, Int>| {
        most.set(tokens.dims()[0].max(most.get()));
        tokens.float().sum_dim(1)
    };
    let tokens = Tensor::<2, Int>::ones([32, TOKENS], &device());
    FeatureAblation::new()
        .attribute(&model, &tokens, 0)
        .unwrap();
    // One activation and its gradient in a transformer of width 768.
    let bytes = most.get() * TOKENS * 768 * 4 * 2;
    println!("{} rows of tokens at a time", most.get());
    assert!(most.get() > 1 && bytes < 1 << 30, "{} rows", most.get());
}
