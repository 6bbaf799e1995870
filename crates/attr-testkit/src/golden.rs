//! Reads golden cases: models, inputs and results that a reference library wrote as JSON.

use std::collections::HashMap;
use std::path::PathBuf;

use attr_core::Value;
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// A tensor in a golden file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Array {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its elements in row-major order.
    pub data: Vec<f32>,
}

impl Array {
    /// Returns the tensor on the device under test.
    pub fn value(&self) -> Value {
        let data = TensorData::new(self.data.clone(), self.shape.clone());
        Value::from_data(data, &crate::device())
    }
}

/// Captum's results on one model; `tools/golden/integrated_gradients.py` writes them.
#[derive(Debug, Deserialize)]
pub struct Case {
    /// Steps of integrated gradients.
    pub n_steps: usize,
    /// The model's parameters by Burn's names.
    pub parameters: HashMap<String, Array>,
    /// The model's inputs.
    pub inputs: Vec<Array>,
    /// Baselines shaped like the inputs.
    pub baselines: Vec<Array>,
    /// A class per row.
    pub targets: Vec<usize>,
    /// Integrated gradients by rule, per input.
    pub attributions: HashMap<String, Vec<Array>>,
    /// Convergence delta by rule, per row.
    pub delta: HashMap<String, Vec<f32>>,
    /// Saliency per input.
    pub saliency: Vec<Array>,
    /// Input x gradient per input.
    pub input_x_gradient: Vec<Array>,
}

/// Returns the path of a golden file in the checkout that cargo runs in.
///
/// The compiled-in path may be another checkout's, since checkouts may share a target directory.
pub fn path(name: &str) -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR");
    let package = here.map_or(env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    package.join("golden").join(name)
}

impl Case {
    /// Reads a golden file of integrated gradients.
    ///
    /// # Panics
    /// When it is missing or broken.
    pub fn load(name: &str) -> Self {
        let path = path("integrated_gradients").join(format!("{name}.json"));
        let text = std::fs::read_to_string(&path).expect("the golden file is there");
        serde_json::from_str(&text).expect("the golden file is JSON of this form")
    }

    /// Returns the module with the case's parameters.
    ///
    /// # Panics
    /// As [`fill`].
    pub fn fill<M: Module>(&self, module: M) -> M {
        fill(module, &self.parameters)
    }
}

/// Returns the module with its parameters replaced by those given under Burn's names.
///
/// # Panics
/// When a parameter is missing or left over.
pub fn fill<M: Module>(module: M, parameters: &HashMap<String, Array>) -> M {
    let mut fill = Fill {
        parameters: parameters.clone(),
        path: Vec::new(),
    };
    let module = module.map(&mut fill);
    assert!(
        fill.parameters.is_empty(),
        "left over: {:?}",
        fill.parameters.keys()
    );
    module
}

struct Fill {
    parameters: HashMap<String, Array>,
    path: Vec<String>,
}

impl ModuleMapper for Fill {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.join(".");
        let array = self.parameters.remove(&path).expect(&path);
        let (id, tensor, mapper) = param.consume();
        assert_eq!(tensor.dims().to_vec(), array.shape, "{path}");
        let tensor = array.value().tensor().expect("ranks agree");
        Param::from_mapped_value(id, tensor, mapper)
    }
}
