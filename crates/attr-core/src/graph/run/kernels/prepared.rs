//! Weights in the form that kernels want: made at their first use and kept as long as the weights
//! live.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use burn::backend::flex::FlexTensor;
use burn::tensor::Bytes;

/// Prepared weights `P`, by weight and form `F`.
pub(super) struct Prepared<F, P>(Mutex<HashMap<Key<F>, Entry<P>>>);

/// What a prepared weight was made of and for: views of one memory may show other numbers.
#[derive(PartialEq, Eq, Hash)]
struct Key<F> {
    memory: usize,
    start: usize,
    strides: Vec<isize>,
    form: F,
}

/// A prepared weight, and the memory of the original. While this exists no other tensor has its
/// address, and a change would move the tensor elsewhere.
struct Entry<P> {
    weight: Weak<Bytes>,
    prepared: Arc<P>,
}

impl<F, P> Default for Prepared<F, P> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<F: Eq + Hash, P> Prepared<F, P> {
    /// Returns a weight in a form, which `prepare` makes if it is new.
    pub fn get(&self, weight: &FlexTensor, form: F, prepare: impl FnOnce(&F) -> P) -> Arc<P> {
        let (memory, layout) = (weight.data_arc(), weight.layout());
        let key = Key {
            memory: Arc::as_ptr(&memory) as usize,
            start: layout.start_offset(),
            strides: layout.strides().to_vec(),
            form,
        };
        // A poisoned map is as good as any: entries are added whole.
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = lock().get(&key) {
            return entry.prepared.clone();
        }
        let prepared = Arc::new(prepare(&key.form));
        let entry = Entry {
            weight: Arc::downgrade(&memory),
            prepared: prepared.clone(),
        };
        let mut all = lock();
        all.retain(|_, entry| entry.weight.strong_count() > 0);
        all.insert(key, entry);
        prepared
    }
}
