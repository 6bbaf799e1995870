//! The models that both sides explain, with random weights.

use std::path::Path;

use attr_core::{Traced, Value, Values};
use attr_testkit::models::{
    DigitsCnn, EfficientNetLite0, ResNet18, SmallBert, Tabular, Vgg11, VitTiny, input, seeded,
};
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::peer::{Export, save};

/// What is perturbed together.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Features {
    /// Each element, of which there are so many.
    Elements(usize),
    /// The cells of a 7x7 grid.
    Cells,
    /// Each token, of which there are so many, with all its numbers.
    Tokens(usize),
}

impl Features {
    pub fn count(self) -> usize {
        match self {
            Self::Elements(count) | Self::Tokens(count) => count,
            Self::Cells => 49,
        }
    }
}

/// What occlusion covers.
pub struct Windows {
    pub shape: &'static [usize],
    pub strides: &'static [usize],
    pub count: usize,
}

const COARSE: Windows = Windows {
    shape: &[3, 32, 32],
    strides: &[3, 24, 24],
    count: 81,
};

/// What is known of a model before it is built.
pub struct Subject {
    pub title: &'static str,
    /// The peer's name for it, and the start of its files' names.
    pub name: &'static str,
    pub target: usize,
    /// Where methods of layers look.
    pub layer: &'static str,
    pub features: Features,
    pub windows: Option<Windows>,
    /// Whether PyTorch's other order of memory may be faster.
    pub channels_last: bool,
    /// Whether LRP is timed.
    pub relevance: bool,
    /// The layer of conditions for CRP.
    pub concepts: Option<&'static str>,
    build: fn(&Self, &Device, &Path) -> Built,
}

/// A model and its input.
pub struct Built {
    pub model: Traced,
    pub folded: Traced,
    pub x: Values,
}

impl Subject {
    /// Builds the model, and writes its parameters and its input for the peer.
    pub fn build(&self, device: &Device, folder: &Path) -> Built {
        (self.build)(self, device, folder)
    }

    fn built<M: Module + 'static, const D: usize>(
        &self,
        network: M,
        shape: [usize; D],
        folder: &Path,
        forward: fn(&M, Tensor<D>) -> Tensor<2>,
    ) -> Built {
        let network = seeded(network, 1).valid();
        network.visit(&mut Export::new(folder, &format!("{}.", self.name)));
        let x = input(shape, 2);
        save(
            &folder.join(format!("{}_x.npy", self.name)),
            &x.clone().into(),
        );
        let model = Traced::new(&network, forward, &x).expect("it traces");
        Built {
            folded: model.fold_batch_norm(),
            model,
            x: Values::new(vec![Value::from(x)], vec![true]),
        }
    }
}

const IMAGE: [usize; 4] = [1, 3, 224, 224];

pub fn all() -> Vec<Subject> {
    vec![
        Subject {
            title: "tabular 30-64-64-2",
            name: "tabular",
            target: 0,
            layer: "layer1",
            features: Features::Elements(30),
            windows: Some(Windows {
                shape: &[3],
                strides: &[1],
                count: 28,
            }),
            channels_last: false,
            relevance: false,
            concepts: None,
            build: |this, device, folder| {
                this.built(Tabular::new(device), [1, 30], folder, Tabular::forward)
            },
        },
        Subject {
            title: "digits CNN, 8x8",
            name: "digits",
            target: 3,
            layer: "conv2",
            features: Features::Elements(64),
            windows: Some(Windows {
                shape: &[1, 3, 3],
                strides: &[1, 1, 1],
                count: 36,
            }),
            channels_last: true,
            relevance: true,
            concepts: None,
            build: |this, device, folder| {
                let network = DigitsCnn::new(device);
                this.built(network, [1, 1, 8, 8], folder, DigitsCnn::forward)
            },
        },
        Subject {
            title: "ResNet-18, 224x224",
            name: "resnet",
            target: 281,
            layer: "layer3.0.conv2",
            features: Features::Cells,
            windows: Some(Windows {
                shape: &[3, 15, 15],
                strides: &[3, 8, 8],
                count: 784,
            }),
            channels_last: true,
            relevance: true,
            concepts: Some("layer3.1.conv1"),
            build: |this, device, folder| {
                let network = ResNet18::new(1000, device);
                this.built(network, IMAGE, folder, ResNet18::forward)
            },
        },
        Subject {
            title: "VGG-11, 224x224",
            name: "vgg",
            target: 281,
            layer: "features.8",
            features: Features::Cells,
            windows: Some(COARSE),
            channels_last: true,
            relevance: true,
            concepts: Some("features.8"),
            build: |this, device, folder| {
                this.built(Vgg11::new(1000, device), IMAGE, folder, Vgg11::forward)
            },
        },
        Subject {
            title: "EfficientNet-Lite0, 224x224",
            name: "efficientnet",
            target: 281,
            layer: "blocks.8.project.conv",
            features: Features::Cells,
            windows: Some(COARSE),
            channels_last: true,
            relevance: false,
            concepts: None,
            build: |this, device, folder| {
                let network = EfficientNetLite0::new(1000, device);
                this.built(network, IMAGE, folder, EfficientNetLite0::forward)
            },
        },
        Subject {
            title: "ViT-Ti/16, 224x224",
            name: "vit",
            target: 281,
            layer: "blocks.5.fc2",
            features: Features::Cells,
            windows: Some(COARSE),
            channels_last: false,
            relevance: false,
            concepts: None,
            build: |this, device, folder| {
                this.built(VitTiny::new(1000, device), IMAGE, folder, VitTiny::forward)
            },
        },
        Subject {
            title: "BERT-like, 6 layers of 256, 128 tokens",
            name: "bert",
            target: 1,
            layer: "encoder.layers.2.pwff.linear_outer",
            features: Features::Tokens(128),
            windows: None,
            channels_last: false,
            relevance: false,
            concepts: None,
            build: |this, device, folder| {
                let network = SmallBert::new(device);
                this.built(network, [1, 128, 256], folder, SmallBert::forward)
            },
        },
    ]
}
