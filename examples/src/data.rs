//! Loads the UCI handwritten digits in `assets/digits`.

use burn::tensor::{Device, Int, Tensor, TensorData};
use safetensors::SafeTensors;

/// Images of 8x8 grey levels from 0 to 1, with their labels.
pub struct Digits {
    images: Vec<[f32; 64]>,
    labels: Vec<u8>,
}

impl Digits {
    /// Loads all 1,797 images.
    pub fn load() -> Result<Self, Box<dyn std::error::Error>> {
        let file = std::fs::read(crate::asset("digits.safetensors"))?;
        let tensors = SafeTensors::deserialize(&file)?;
        let pixels = tensors.tensor("images")?.data();
        let images = pixels
            .as_chunks::<64>()
            .0
            .iter()
            .map(|image| image.map(|level| f32::from(level) / 16.0))
            .collect();
        Ok(Self {
            images,
            labels: tensors.tensor("labels")?.data().to_vec(),
        })
    }

    /// Splits into training images and held-out images: every fifth is held out.
    pub fn split(self) -> (Self, Self) {
        let (mut train, mut held_out) = (Self::empty(), Self::empty());
        for (i, (image, label)) in self.images.into_iter().zip(self.labels).enumerate() {
            let part = if i % 5 == 4 {
                &mut held_out
            } else {
                &mut train
            };
            part.images.push(image);
            part.labels.push(label);
        }
        (train, held_out)
    }

    fn empty() -> Self {
        Self {
            images: Vec::new(),
            labels: Vec::new(),
        }
    }

    /// Returns the number of images.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Returns the labels in order.
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// Returns the images `[count, 1, 8, 8]` and labels `[count]` at the given indices.
    pub fn batch(&self, numbers: &[usize], device: &Device) -> (Tensor<4>, Tensor<1, Int>) {
        let pixels: Vec<f32> = numbers.iter().flat_map(|&i| self.images[i]).collect();
        let labels: Vec<i64> = numbers.iter().map(|&i| i64::from(self.labels[i])).collect();
        let count = numbers.len();
        let images = TensorData::new(pixels, [count, 1, 8, 8]);
        let labels = TensorData::new(labels, [count]);
        (
            Tensor::from_data(images, device),
            Tensor::from_data(labels, device),
        )
    }
}
