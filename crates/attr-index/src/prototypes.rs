//! Prototypes of how a class is predicted, and how typical a prediction is.

use std::collections::BTreeMap;

use half::f16;
use nalgebra::{DMatrix, RowDVector};

use crate::groups::kmeans::nearest_first;
use crate::groups::mixture::{Covariance, Fit, Mixture};
use crate::vectors::ConceptVectors;
use crate::{Error, Mode};

/// Finds prototypes: the usual ways in which a class is predicted, by which concepts (PCX, Dreyer et al.,
/// 2024, <https://arxiv.org/abs/2311.16681>).
///
/// For each class, the relevance vectors `ν` of its samples are described by a mixture of Gaussians,
///
/// `p(ν) = Σ λ_i N(ν; μ_i, C_i)`,
///
/// fitted by expectation maximization from the groups of k-means. A component is a prototype; the samples
/// nearest to its mean show it. `log p(ν)` of another sample tells how usual its prediction is.
///
/// Parameters are named as in scikit-learn's `GaussianMixture`, with its defaults.
#[derive(Clone, Debug)]
pub struct PrototypeSearch {
    fit: Fit,
}

impl Default for PrototypeSearch {
    fn default() -> Self {
        Self::new()
    }
}

impl PrototypeSearch {
    /// Creates a search for 8 prototypes per class (the paper's number) with full covariances.
    pub fn new() -> Self {
        Self {
            fit: Fit {
                components: 8,
                covariance: Covariance::Full,
                reg_covar: 1e-6,
                tol: 1e-3,
                max_iter: 100,
                n_init: 1,
                seed: 0,
            },
        }
    }

    /// Sets the number of prototypes of each class, from 1. A class with fewer different samples gets
    /// fewer.
    pub fn with_prototypes(mut self, prototypes: usize) -> Self {
        self.fit.components = prototypes;
        self
    }

    /// Sets what covariances may be (default: full).
    pub fn with_covariance(mut self, covariance: Covariance) -> Self {
        self.fit.covariance = covariance;
        self
    }

    /// Sets what is added to each variance (default: `1e-6`). Strengths that are fractions of all
    /// channels' strengths are small: with hundreds of channels, their variances may be below it.
    pub fn with_reg_covar(mut self, reg_covar: f64) -> Self {
        self.fit.reg_covar = reg_covar;
        self
    }

    /// Sets the gain of the mean log-likelihood below which fitting ends (default: `1e-3`).
    pub fn with_tol(mut self, tol: f64) -> Self {
        self.fit.tol = tol;
        self
    }

    /// Sets the most iterations of a fit (default: 100).
    pub fn with_max_iter(mut self, max_iter: usize) -> Self {
        self.fit.max_iter = max_iter;
        self
    }

    /// Sets how many fits are tried, of which the most likely is taken (default: 1).
    pub fn with_n_init(mut self, n_init: usize) -> Self {
        self.fit.n_init = n_init;
        self
    }

    /// Sets the seed of k-means (default: 0).
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.fit.seed = seed;
        self
    }

    /// Fits the prototypes of each class to concept vectors of a layer, as
    /// [`Index::vectors`](crate::Index::vectors) reads them.
    ///
    /// All vectors are held in memory, as 16-bit numbers, and those of one class as 64-bit numbers.
    ///
    /// # Errors
    /// [`Error::Parameter`] without prototypes, or for a `reg_covar` or `tol` that is negative or no number;
    /// [`Error::Groups`] without vectors, for NaN or infinity, or for a covariance without inverse, which a
    /// larger `reg_covar` has; those of reading.
    pub fn fit(
        &self,
        vectors: impl IntoIterator<Item = Result<ConceptVectors, Error>>,
    ) -> Result<Prototypes, Error> {
        self.check()?;
        let mut all: BTreeMap<usize, ClassVectors> = BTreeMap::new();
        let mut described = None;
        for vectors in vectors {
            let vectors = vectors?;
            let own = (vectors.layer.clone(), vectors.mode, vectors.concepts);
            let described = described.get_or_insert_with(|| own.clone());
            if *described != own {
                return Err(Error::Groups("the vectors are of several layers".into()));
            }
            for ((&sample, &target), values) in vectors.rows() {
                let class = all.entry(target).or_default();
                class.samples.push(sample);
                class.values.extend_from_slice(values);
            }
        }
        let Some((layer, mode, concepts)) = described.filter(|_| !all.is_empty()) else {
            return Err(Error::Groups(
                "there are no concept vectors (--vectors) of this layer".into(),
            ));
        };
        let classes = all.into_iter().map(|(class, vectors)| {
            let found = ClassPrototypes::fit(vectors, concepts, &self.fit);
            Ok((class, found?))
        });
        Ok(Prototypes {
            layer,
            mode,
            concepts,
            classes: classes.collect::<Result<_, Error>>()?,
        })
    }

    fn check(&self) -> Result<(), Error> {
        if self.fit.components == 0 {
            return Err(Error::Parameter {
                name: "prototypes",
                value: "0".into(),
                expected: "at least 1",
            });
        }
        let numbers = [("reg_covar", self.fit.reg_covar), ("tol", self.fit.tol)];
        for (name, value) in numbers {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::Parameter {
                    name,
                    value: value.to_string(),
                    expected: "a number from 0",
                });
            }
        }
        Ok(())
    }
}

/// The vectors of a class.
#[derive(Default)]
struct ClassVectors {
    samples: Vec<u64>,
    values: Vec<f16>,
}

/// The prototypes of all classes, by the concepts of a layer.
#[derive(Clone, Debug)]
pub struct Prototypes {
    layer: String,
    mode: Mode,
    concepts: usize,
    classes: BTreeMap<usize, ClassPrototypes>,
}

impl Prototypes {
    /// The layer's name.
    pub fn layer(&self) -> &str {
        &self.layer
    }

    /// What strength is measured by.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The number of concepts.
    pub fn concepts(&self) -> usize {
        self.concepts
    }

    /// Each class with its prototypes, in order.
    pub fn classes(&self) -> impl Iterator<Item = (usize, &ClassPrototypes)> {
        self.classes.iter().map(|(&class, found)| (class, found))
    }

    /// The prototypes of a class.
    pub fn of(&self, class: usize) -> Option<&ClassPrototypes> {
        self.classes.get(&class)
    }

    /// The class for which a vector is most usual, with its log-likelihood.
    ///
    /// # Errors
    /// [`Error::Groups`] for a vector of another length, or with NaN or infinity.
    pub fn most_likely(&self, vector: &[f32]) -> Result<(usize, f64), Error> {
        let all = self.classes.iter().map(|(&class, found)| {
            let likelihood = found.log_likelihood(vector)?;
            Ok((class, likelihood))
        });
        let all = all.collect::<Result<Vec<_>, Error>>()?;
        let most = all.into_iter().rev().max_by(|a, b| a.1.total_cmp(&b.1));
        most.ok_or_else(|| Error::Groups("there is no class".into()))
    }
}

/// The prototypes of a class.
#[derive(Clone, Debug)]
pub struct ClassPrototypes {
    mixture: Mixture,
    prototypes: Vec<Prototype>,
    /// Of the samples that were fitted, in ascending order.
    log_likelihoods: Vec<f64>,
}

/// A usual way in which a class is predicted.
#[derive(Clone, Debug, PartialEq)]
pub struct Prototype {
    /// The share of the class's samples, `λ`.
    pub weight: f64,
    /// The mean strength of each concept, `μ`.
    pub mean: Vec<f64>,
    /// The samples that most likely belong to it, those nearest to the mean first.
    pub samples: Vec<u64>,
}

impl ClassPrototypes {
    fn fit(vectors: ClassVectors, concepts: usize, how: &Fit) -> Result<Self, Error> {
        let values = vectors.values.iter().map(|value| value.to_f64());
        let rows = DMatrix::from_row_iterator(vectors.samples.len(), concepts, values);
        let mixture = Mixture::fit(&rows, how)?;
        let members = mixture.members(&rows);
        let prototypes = mixture.components().enumerate().map(|(at, one)| {
            let (weight, mean) = one;
            let own = (0..rows.nrows()).filter(|&row| members[row] == at);
            let samples = nearest_first(&rows, own, mean);
            Prototype {
                weight,
                mean: mean.iter().copied().collect(),
                samples: samples
                    .into_iter()
                    .map(|row| vectors.samples[row])
                    .collect(),
            }
        });
        let mut prototypes: Vec<Prototype> = prototypes.collect();
        prototypes.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        let mut log_likelihoods = mixture.log_likelihoods(&rows);
        log_likelihoods.sort_by(f64::total_cmp);
        Ok(Self {
            prototypes,
            log_likelihoods,
            mixture,
        })
    }

    /// The prototypes, the most frequent first.
    pub fn prototypes(&self) -> &[Prototype] {
        &self.prototypes
    }

    /// The number of samples that were fitted.
    pub fn samples(&self) -> usize {
        self.log_likelihoods.len()
    }

    /// How usual a vector `[concepts]` is for this class: `log p(ν)`, of a density, so that it may be
    /// above 0. Low values are outliers.
    ///
    /// # Errors
    /// [`Error::Groups`] for a vector of another length, or with NaN or infinity.
    pub fn log_likelihood(&self, vector: &[f32]) -> Result<f64, Error> {
        let row = self.row(vector)?;
        Ok(self.mixture.log_likelihoods(&row)[0])
    }

    /// The share of the fitted samples, from 0 to 1, that are less usual than this log-likelihood.
    pub fn quantile(&self, log_likelihood: f64) -> f64 {
        let below = |value: &f64| *value < log_likelihood;
        let below = self.log_likelihoods.partition_point(below);
        below as f64 / self.log_likelihoods.len() as f64
    }

    /// The prototype that is nearest to a vector, and how much stronger each concept is in the vector than
    /// in that prototype, `ν - μ`.
    ///
    /// # Errors
    /// [`Error::Groups`] for a vector of another length, or with NaN or infinity.
    pub fn nearest(&self, vector: &[f32]) -> Result<(usize, Vec<f64>), Error> {
        let row = self.row(vector)?;
        let means = self.prototypes.iter();
        let means = means.map(|one| RowDVector::from_row_slice(&one.mean));
        let means: Vec<_> = means.collect();
        let means = DMatrix::from_rows(&means);
        let point = row.row(0).into_owned();
        let nearest = nearest_first(&means, 0..means.nrows(), &point);
        let nearest = nearest.first().copied();
        let nearest = nearest.ok_or_else(|| Error::Groups("there is no prototype".into()))?;
        let difference = point - means.row(nearest);
        Ok((nearest, difference.iter().copied().collect()))
    }

    /// A vector as a matrix of one row.
    fn row(&self, vector: &[f32]) -> Result<DMatrix<f64>, Error> {
        let concepts = self.prototypes.first().map_or(0, |one| one.mean.len());
        if vector.len() != concepts || !vector.iter().all(|value| value.is_finite()) {
            return Err(Error::Groups(format!(
                "a vector of {} numbers, where {concepts} finite ones are needed",
                vector.len()
            )));
        }
        let values = vector.iter().copied().map(f64::from);
        Ok(DMatrix::from_row_iterator(1, concepts, values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of classes: two ways to predict class 3, one to predict class 5.
    fn vectors() -> ConceptVectors {
        let mut found = ConceptVectors {
            layer: "conv".into(),
            mode: Mode::Relevance,
            concepts: 2,
            samples: Vec::new(),
            targets: Vec::new(),
            values: Vec::new(),
        };
        let jitter = [
            (0.02, 0.0),
            (-0.02, 0.0),
            (0.0, 0.02),
            (0.0, -0.02),
            (0.0, 0.0),
        ];
        let ways = [(3, 0.9, 0.1), (3, 0.1, 0.5), (5, 0.5, -0.5), (3, 0.9, 0.1)];
        for (class, a, b) in ways {
            for (da, db) in jitter {
                found.samples.push(found.samples.len() as u64);
                found.targets.push(class);
                found.values.extend([a + da, b + db].map(f16::from_f64));
            }
        }
        found
    }

    #[test]
    fn a_class_has_a_prototype_for_each_way_of_predicting_it() {
        let search = PrototypeSearch::new().with_prototypes(2);
        let found = search.fit([Ok(vectors())]).unwrap();
        let classes: Vec<usize> = found.classes().map(|(class, _)| class).collect();
        assert_eq!((classes, found.concepts()), (vec![3, 5], 2));
        let class = found.of(3).unwrap();
        let [many, few] = class.prototypes() else {
            panic!("{:?}", class.prototypes());
        };
        assert!((many.weight - 2.0 / 3.0).abs() < 1e-6 && (few.weight - 1.0 / 3.0).abs() < 1e-6);
        assert!((many.mean[0] - 0.9).abs() < 1e-3 && (few.mean[1] - 0.5).abs() < 1e-3);
        // The last of each way has no jitter.
        assert_eq!((many.samples[0], few.samples[0]), (4, 9));
        assert_eq!(many.samples.len() + few.samples.len(), class.samples());

        let usual = class.log_likelihood(&[0.9, 0.1]).unwrap();
        let unusual = class.log_likelihood(&[0.5, 0.3]).unwrap();
        assert!(usual > unusual);
        assert_eq!(class.quantile(unusual), 0.0);
        assert!(class.quantile(usual) > 0.8);
        let (nearest, difference) = class.nearest(&[0.2, 0.5]).unwrap();
        assert_eq!(nearest, 1);
        assert!((difference[0] - 0.1).abs() < 1e-3);
        assert_eq!(found.most_likely(&[0.5, -0.5]).unwrap().0, 5);
    }

    #[test]
    fn a_mixture_of_one_is_the_normal_distribution() {
        // Means 1 and 2, variances 2 and 2/3 and a covariance of 1 over the three samples (population),
        // so the determinant is 1/3 and the density at the mean √3 / 2π.
        let values = [0.0, 1.0, 0.0 + 1.0, 2.0, 2.0, 3.0];
        let vectors = ConceptVectors {
            layer: "conv".into(),
            mode: Mode::Relevance,
            concepts: 2,
            samples: vec![0, 1, 2],
            targets: vec![0; 3],
            values: values.map(f16::from_f64).to_vec(),
        };
        for (covariance, reg) in [(Covariance::Full, 0.25), (Covariance::Diagonal, 0.25)] {
            let search = PrototypeSearch::new().with_prototypes(1);
            let search = search.with_covariance(covariance).with_reg_covar(reg);
            let found = search.fit([Ok(vectors.clone())]).unwrap();
            let likelihood = found.of(0).unwrap().log_likelihood(&[1.0, 2.0]).unwrap();
            // Both have a variance of 2/3, and their covariance is 2/3.
            let variance = 2.0 / 3.0 + reg;
            let off: f64 = match covariance {
                Covariance::Full => 2.0 / 3.0,
                Covariance::Diagonal => 0.0,
            };
            let determinant = variance * variance - off * off;
            let expected = -(2.0 * std::f64::consts::PI * determinant.sqrt()).ln();
            assert!((likelihood - expected).abs() < 1e-9, "{covariance:?}");
        }
        let singular = PrototypeSearch::new()
            .with_prototypes(1)
            .with_reg_covar(0.0);
        assert!(matches!(singular.fit([Ok(vectors)]), Err(Error::Groups(_))));
    }

    #[test]
    fn densities_beyond_the_range_of_numbers_are_compared() {
        // 512 concepts with tiny variances: the density itself would be infinite.
        let concepts = 512;
        let samples = 40u64;
        let value = |sample: u64, concept: u64| {
            let mixed = (sample * 7919 + concept * 104_729) % 1009;
            f16::from_f64(mixed as f64 / 1009.0 * 1e-3)
        };
        let values = (0..samples).flat_map(|s| (0..concepts as u64).map(move |c| value(s, c)));
        let vectors = ConceptVectors {
            layer: "conv".into(),
            mode: Mode::Relevance,
            concepts,
            samples: (0..samples).collect(),
            targets: vec![0; samples as usize],
            values: values.collect(),
        };
        let search = PrototypeSearch::new().with_prototypes(2);
        let found = search.fit([Ok(vectors.clone())]).unwrap();
        let class = found.of(0).unwrap();
        let first: Vec<f32> = vectors.values[..concepts]
            .iter()
            .map(|v| v.to_f32())
            .collect();
        let likelihood = class.log_likelihood(&first).unwrap();
        assert!(likelihood.is_finite() && likelihood > 800.0, "{likelihood}");
        let far = class.log_likelihood(&vec![1.0; concepts]).unwrap();
        assert!(far.is_finite() && far < -1e6, "{far}");
    }

    #[test]
    fn what_cannot_be_fitted_is_refused() {
        let search = PrototypeSearch::new;
        let parameter = |search: PrototypeSearch| {
            matches!(search.fit([Ok(vectors())]), Err(Error::Parameter { .. }))
        };
        assert!(parameter(search().with_prototypes(0)));
        assert!(parameter(search().with_reg_covar(f64::NAN)));
        assert!(parameter(search().with_tol(-1.0)));
        let groups = |found: Result<Prototypes, Error>| matches!(found, Err(Error::Groups(_)));
        assert!(groups(search().fit([])));
        let mut nan = vectors();
        nan.values[0] = f16::NAN;
        assert!(groups(search().fit([Ok(nan)])));
        let other = ConceptVectors {
            layer: "other".into(),
            ..vectors()
        };
        assert!(groups(search().fit([Ok(vectors()), Ok(other)])));
        let found = search().fit([Ok(vectors())]).unwrap();
        assert!(matches!(found.most_likely(&[1.0]), Err(Error::Groups(_))));
    }
}
