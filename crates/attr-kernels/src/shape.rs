//! Sizes of a convolution or a pooling window, with three spatial dimensions for all ranks.

/// How a convolution's window moves: one entry per spatial dimension.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// Step.
    pub stride: Vec<usize>,
    /// Zero padding before and after.
    pub padding: Vec<(usize, usize)>,
    /// Distance between elements of the kernel.
    pub dilation: Vec<usize>,
    /// Channel groups.
    pub groups: usize,
}

/// All sizes of a convolution over depth, height and width; missing leading dimensions are 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sizes {
    pub groups: usize,
    /// Input and output channels per group.
    pub inputs: usize,
    pub outputs: usize,
    pub kernel: [usize; 3],
    pub stride: [usize; 3],
    /// Padding before.
    pub padding: [usize; 3],
    pub dilation: [usize; 3],
    /// Spatial sizes of the input and the output.
    pub image: [usize; 3],
    pub result: [usize; 3],
}

impl Sizes {
    /// The convolution of inputs `[channels, image...]`, or `None` if the sizes fit nothing.
    pub fn new(
        weight: &[usize],
        geometry: &Geometry,
        channels: usize,
        image: &[usize],
    ) -> Option<Self> {
        let rank = image.len();
        let Geometry {
            stride,
            padding,
            dilation,
            groups,
        } = geometry;
        let fits = (1..=3).contains(&rank)
            && weight.len() == rank + 2
            && [stride.len(), padding.len(), dilation.len()] == [rank; 3];
        if !fits
            || *groups == 0
            || !weight[0].is_multiple_of(*groups)
            || channels != weight[1] * groups
        {
            return None;
        }
        let pad = |values: &[usize], with: usize| -> [usize; 3] {
            let mut all = [with; 3];
            all[3 - rank..].copy_from_slice(values);
            all
        };
        let kernel = pad(&weight[2..], 1);
        let stride = pad(stride, 1);
        let dilation = pad(dilation, 1);
        let before: Vec<usize> = padding.iter().map(|p| p.0).collect();
        let around: Vec<usize> = padding.iter().map(|p| p.0 + p.1).collect();
        let (before, around, image) = (pad(&before, 0), pad(&around, 0), pad(image, 1));
        let mut result = [0; 3];
        for i in 0..3 {
            let reach = dilation[i].checked_mul(kernel[i].checked_sub(1)?)? + 1;
            let room = (image[i] + around[i]).checked_sub(reach)?;
            result[i] = room.checked_div(stride[i])? + 1;
        }
        let sizes = Self {
            groups: *groups,
            inputs: weight[1],
            outputs: weight[0] / groups,
            kernel,
            stride,
            padding: before,
            dilation,
            image,
            result,
        };
        let empty = sizes.inputs * sizes.outputs * sizes.pixels() == 0;
        (!empty).then_some(sizes)
    }

    /// Elements of the kernel.
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Pixels of an input channel.
    pub fn pixels(&self) -> usize {
        self.image.iter().product()
    }

    /// Pixels of an output channel.
    pub fn positions(&self) -> usize {
        self.result.iter().product()
    }

    /// Elements of one row of the input, and of the output.
    pub fn input_row(&self) -> usize {
        self.groups * self.inputs * self.pixels()
    }

    pub fn output_row(&self) -> usize {
        self.groups * self.outputs * self.positions()
    }

    /// The convolution of the output's gradient that gives the input's, for a stride of one: see
    /// [`reversed`]. `None` if the window would have to start inside
    /// the image.
    pub fn reversed(&self) -> Option<Self> {
        if self.stride != [1; 3] {
            return None;
        }
        let mut padding = [0; 3];
        for (i, padding) in padding.iter_mut().enumerate() {
            let reach = self.dilation[i] * (self.kernel[i] - 1);
            *padding = reach.checked_sub(self.padding[i])?;
        }
        Some(Self {
            inputs: self.outputs,
            outputs: self.inputs,
            padding,
            image: self.result,
            result: self.image,
            ..self.clone()
        })
    }
}

/// The weight of the convolution that [`Sizes::reversed`] gives, with its numbers of channels, from
/// the original one: kernels reversed, and input and output channels exchanged.
pub fn reversed(outputs: usize, inputs: usize, taps: usize, weight: &[f32]) -> Vec<f32> {
    let mut reversed = Vec::with_capacity(weight.len());
    for group in weight.chunks(outputs * inputs * taps) {
        for output in 0..outputs {
            for input in group.chunks(outputs * taps) {
                reversed.extend(input[output * taps..][..taps].iter().rev());
            }
        }
    }
    reversed
}
