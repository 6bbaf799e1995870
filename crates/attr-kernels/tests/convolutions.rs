//! Every algorithm, in both directions, and what is refused.

use attr_kernels::{Direction, Geometry, Layer};

use super::{error, numbers};

struct Case {
    weight: Vec<usize>,
    input: Vec<usize>,
    geometry: Geometry,
}

impl Case {
    fn new(weight: &[usize], input: &[usize]) -> Self {
        let rank = input.len() - 2;
        Self {
            weight: weight.to_vec(),
            input: input.to_vec(),
            geometry: Geometry {
                stride: vec![1; rank],
                padding: vec![(0, 0); rank],
                dilation: vec![1; rank],
                groups: input[1] / weight[1],
            },
        }
    }

    fn stride(mut self, stride: &[usize]) -> Self {
        self.geometry.stride = stride.to_vec();
        self
    }

    fn padding(mut self, padding: &[(usize, usize)]) -> Self {
        self.geometry.padding = padding.to_vec();
        self
    }

    fn dilation(mut self, dilation: &[usize]) -> Self {
        self.geometry.dilation = dilation.to_vec();
        self
    }

    fn output(&self) -> Vec<usize> {
        let g = &self.geometry;
        let spatial = (0..g.stride.len()).map(|i| {
            let around = g.padding[i].0 + g.padding[i].1;
            let reach = g.dilation[i] * (self.weight[i + 2] - 1) + 1;
            (self.input[i + 2] + around - reach) / g.stride[i] + 1
        });
        [self.input[0], self.weight[0]]
            .into_iter()
            .chain(spatial)
            .collect()
    }

    /// Calls `f(x, w, y)` with the positions of an input, a weight and the output that they add to.
    fn each(&self, mut f: impl FnMut(usize, usize, usize)) {
        let g = &self.geometry;
        let three = |values: &[usize], with: usize| {
            let mut all = [with; 3];
            all[3 - values.len()..].copy_from_slice(values);
            all
        };
        let output = self.output();
        let (kernel, image) = (three(&self.weight[2..], 1), three(&self.input[2..], 1));
        let (result, stride) = (three(&output[2..], 1), three(&g.stride, 1));
        let before: Vec<usize> = g.padding.iter().map(|p| p.0).collect();
        let (before, dilation) = (three(&before, 0), three(&g.dilation, 1));
        let [rows, outputs, ..] = output[..] else {
            panic!("an output has channels")
        };
        let (inputs, size) = (self.weight[1], |of: [usize; 3]| {
            of.iter().product::<usize>()
        });
        let places = |of: [usize; 3]| {
            (0..size(of)).map(move |i| [i / of[2] / of[1], i / of[2] % of[1], i % of[2]])
        };
        for row in 0..rows {
            for output in 0..outputs {
                let group = output / (outputs / g.groups);
                for (position, at) in places(result).enumerate() {
                    for input in 0..inputs {
                        for (tap, k) in places(kernel).enumerate() {
                            let from = [0, 1, 2].map(|i| {
                                (at[i] * stride[i] + k[i] * dilation[i])
                                    .checked_sub(before[i])
                                    .filter(|&from| from < image[i])
                            });
                            let [Some(z), Some(y), Some(x)] = from else {
                                continue;
                            };
                            let channel = row * self.input[1] + group * inputs + input;
                            f(
                                channel * size(image) + (z * image[1] + y) * image[2] + x,
                                (output * inputs + input) * size(kernel) + tap,
                                (row * outputs + output) * size(result) + position,
                            );
                        }
                    }
                }
            }
        }
    }
}

fn cases() -> Vec<Case> {
    vec![
        // Winograd: tiles that do and do not fill the image, any padding, many rows.
        Case::new(&[32, 32, 3, 3], &[2, 32, 16, 16]).padding(&[(1, 1), (1, 1)]),
        Case::new(&[40, 33, 3, 3], &[3, 33, 21, 30]).padding(&[(0, 0), (2, 1)]),
        Case::new(&[32, 48, 3, 3], &[19, 48, 7, 7]).padding(&[(1, 1), (1, 1)]),
        Case::new(&[64, 64, 3, 3], &[1, 64, 28, 28]).padding(&[(1, 1), (1, 1)]),
        // Too small for it: images side by side.
        Case::new(&[16, 1, 3, 3], &[9, 1, 8, 8]).padding(&[(1, 1), (1, 1)]),
        Case::new(&[8, 16, 3, 3], &[37, 16, 4, 4]).padding(&[(1, 1), (1, 1)]),
        Case::new(&[8, 3, 2, 2], &[7, 3, 5, 5]).padding(&[(0, 1), (1, 0)]),
        Case::new(&[4, 2, 3, 3], &[5, 2, 2, 2]).padding(&[(2, 2), (2, 2)]),
        // Strides, dilation, uneven padding, large kernels.
        Case::new(&[16, 3, 7, 7], &[2, 3, 33, 31])
            .stride(&[2, 2])
            .padding(&[(3, 3), (3, 3)]),
        Case::new(&[24, 16, 3, 3], &[3, 16, 14, 15])
            .stride(&[2, 3])
            .padding(&[(1, 1), (0, 2)]),
        Case::new(&[24, 16, 1, 1], &[2, 16, 14, 14]).stride(&[2, 2]),
        Case::new(&[5, 4, 3, 2], &[2, 4, 11, 9])
            .dilation(&[2, 3])
            .padding(&[(2, 0), (1, 3)]),
        Case::new(&[5, 4, 3, 3], &[2, 4, 11, 9])
            .dilation(&[2, 1])
            .stride(&[1, 2]),
        Case::new(&[6, 5, 4, 4], &[1, 5, 13, 13])
            .stride(&[3, 3])
            .padding(&[(5, 4), (3, 3)]),
        // Windows that skip pixels.
        Case::new(&[8, 8, 1, 1], &[2, 8, 9, 9]).stride(&[3, 3]),
        Case::new(&[70, 40, 1, 1], &[3, 40, 7, 7]),
        // Groups.
        Case::new(&[32, 8, 3, 3], &[2, 32, 9, 9]).padding(&[(1, 1), (1, 1)]),
        Case::new(&[24, 8, 3, 3], &[2, 24, 9, 9])
            .stride(&[2, 2])
            .padding(&[(1, 1), (1, 1)]),
        // One channel per group.
        Case::new(&[12, 1, 3, 3], &[2, 12, 17, 19]).padding(&[(1, 1), (1, 1)]),
        Case::new(&[4, 1, 3, 3], &[1, 4, 60, 100]).padding(&[(1, 1), (1, 1)]),
        Case::new(&[12, 1, 5, 5], &[2, 12, 16, 16])
            .stride(&[2, 2])
            .padding(&[(1, 2), (2, 1)]),
        Case::new(&[6, 1, 3, 3], &[1, 6, 10, 10])
            .stride(&[3, 2])
            .dilation(&[2, 2]),
        Case::new(&[6, 1, 4, 7], &[2, 6, 12, 14]).padding(&[(0, 3), (3, 3)]),
        Case::new(&[3, 1, 2, 2], &[1, 3, 7, 7]).stride(&[3, 3]),
        // One and three dimensions.
        Case::new(&[16, 8, 5], &[3, 8, 40]).padding(&[(2, 2)]),
        Case::new(&[16, 8, 5], &[3, 8, 41])
            .stride(&[3])
            .padding(&[(1, 2)])
            .dilation(&[2]),
        Case::new(&[9, 1, 3], &[2, 9, 30])
            .stride(&[2])
            .padding(&[(1, 1)]),
        Case::new(&[6, 3, 3, 3, 3], &[2, 3, 6, 7, 8]).padding(&[(1, 1); 3]),
        Case::new(&[6, 3, 2, 3, 3], &[2, 3, 7, 9, 8])
            .stride(&[2, 2, 1])
            .padding(&[(1, 0), (1, 1), (0, 1)]),
        Case::new(&[5, 1, 3, 3, 3], &[2, 5, 5, 6, 7])
            .stride(&[2, 1, 2])
            .padding(&[(1, 1); 3]),
        Case::new(&[5, 1, 3, 3, 3], &[2, 5, 5, 6, 7]).padding(&[(1, 1); 3]),
    ]
}

#[test]
fn both_directions_agree_with_plain_loops() {
    for (number, case) in cases().iter().enumerate() {
        let weight = numbers(case.weight.iter().product(), 1);
        let (x, grad) = (
            numbers(case.input.iter().product(), 2),
            numbers(case.output().iter().product(), 3),
        );
        let bias = [numbers(case.weight[0], 4), numbers(case.input[1], 5)];
        let positions: usize = case.output()[2..].iter().product();
        let pixels: usize = case.input[2..].iter().product();
        let mut forward: Vec<f64> = (0..grad.len())
            .map(|i| f64::from(bias[0][i / positions % case.weight[0]]))
            .collect();
        let mut backward: Vec<f64> = (0..x.len())
            .map(|i| f64::from(bias[1][i / pixels % case.input[1]]))
            .collect();
        case.each(|i, w, o| {
            forward[o] += f64::from(x[i]) * f64::from(weight[w]);
            backward[i] += f64::from(grad[o]) * f64::from(weight[w]);
        });
        for (direction, taken, bias, expected) in [
            (Direction::Forward, &x, &bias[0], forward),
            (Direction::Backward, &grad, &bias[1], backward),
        ] {
            let layer = Layer::choose(&case.weight, &case.geometry, &case.input, direction);
            let layer = layer.unwrap_or_else(|| panic!("case {number} {direction:?} is refused"));
            let packed = layer.packing().prepare(&weight);
            let got = layer.run(&packed, taken, Some(bias), None);
            let error = error(&got, &expected);
            assert!(error < 1e-5, "case {number} {direction:?}: {error:e}");
            let limited = layer.run(&packed, taken, Some(bias), Some([-0.25, 0.5]));
            let expected = attr_kernels::clamp(&got, -0.25, 0.5);
            assert_eq!(
                limited, expected,
                "case {number} {direction:?} within limits"
            );
        }
    }
}

#[test]
fn any_number_of_rows_runs_on_one_prepared_weight() {
    let case = Case::new(&[32, 32, 3, 3], &[8, 32, 14, 14]).padding(&[(1, 1), (1, 1)]);
    let weight = numbers(32 * 32 * 9, 1);
    for direction in [Direction::Forward, Direction::Backward] {
        let layer =
            Layer::choose(&case.weight, &case.geometry, &case.input, direction).expect("it suits");
        let packed = layer.packing().prepare(&weight);
        let row = 32 * 14 * 14;
        let x = numbers(11 * row, 2);
        let together = layer.run(&packed, &x, None, None);
        for (i, expected) in together.chunks(row).enumerate() {
            let alone = layer.run(&packed, &x[i * row..][..row], None, None);
            assert!(
                error(
                    &alone,
                    &expected.iter().map(|&e| f64::from(e)).collect::<Vec<_>>()
                ) < 1e-5
            );
        }
        assert!(layer.run(&packed, &[], None, None).is_empty());
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let geometry = |stride, padding| Geometry {
        stride: vec![stride; 2],
        padding: vec![(padding, padding); 2],
        dilation: vec![1; 2],
        groups: 1,
    };
    let choose = |weight: &[usize], geometry: &Geometry, input: &[usize]| {
        Layer::choose(weight, geometry, input, Direction::Forward)
    };
    assert!(choose(&[4, 3, 3, 3], &geometry(1, 0), &[1, 3, 8, 8]).is_some());
    // Other channels, a window larger than the image, no stride, no rows, another rank.
    assert!(choose(&[4, 2, 3, 3], &geometry(1, 0), &[1, 3, 8, 8]).is_none());
    assert!(choose(&[4, 3, 9, 9], &geometry(1, 0), &[1, 3, 8, 8]).is_none());
    assert!(choose(&[4, 3, 3, 3], &geometry(0, 0), &[1, 3, 8, 8]).is_none());
    assert!(choose(&[4, 3, 3, 3], &geometry(1, 0), &[0, 3, 8, 8]).is_none());
    assert!(choose(&[4, 3, 3, 3], &geometry(1, 0), &[1, 3, 8]).is_none());
}
