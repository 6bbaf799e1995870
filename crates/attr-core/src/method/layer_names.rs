//! Layer names, given as one name or several.

/// The names of one layer or several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerNames(pub(crate) Vec<String>);

impl LayerNames {
    /// Converts into the names, in the order given.
    pub fn into_vec(self) -> Vec<String> {
        self.0
    }
}

impl<S: Into<String>> FromIterator<S> for LayerNames {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }
}

impl From<&str> for LayerNames {
    fn from(name: &str) -> Self {
        Self(vec![name.into()])
    }
}

impl From<String> for LayerNames {
    fn from(name: String) -> Self {
        Self(vec![name])
    }
}

impl From<&String> for LayerNames {
    fn from(name: &String) -> Self {
        Self(vec![name.clone()])
    }
}

impl<S: Into<String>> From<Vec<S>> for LayerNames {
    fn from(names: Vec<S>) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }
}

impl<S: Into<String>, const N: usize> From<[S; N]> for LayerNames {
    fn from(names: [S; N]) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }
}

impl<S: Into<String> + Clone> From<&[S]> for LayerNames {
    fn from(names: &[S]) -> Self {
        Self(names.iter().cloned().map(Into::into).collect())
    }
}
