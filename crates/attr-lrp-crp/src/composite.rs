//! Composites of your own: rules by kind of layer, by name, or from several composites.

use std::sync::Arc;

use attr_core::Error;
use attr_core::walk::{Composite, NodeInfo, Rule};

use crate::LayerKind;

/// Takes each layer's rule from the first composite that has one.
///
/// ```
/// use std::sync::Arc;
///
/// use attr_lrp_crp::rules::{Epsilon, Flat};
/// use attr_lrp_crp::{ByName, Mixed, epsilon_plus};
///
/// // As epsilon_plus, but with two rules for layers by name.
/// let names = ByName::new()
///     .with("conv1", Arc::new(Flat::new()))
///     .with("head", Arc::new(Epsilon::new(0.25)));
/// let composite = Mixed::new(vec![Arc::new(names), Arc::new(epsilon_plus())]);
/// # let _ = composite;
/// ```
#[derive(Clone)]
pub struct Mixed(Vec<Arc<dyn Composite>>);

impl Mixed {
    /// Creates the composite; earlier composites come first.
    pub fn new(composites: Vec<Arc<dyn Composite>>) -> Self {
        Self(composites)
    }

    fn first(
        &self,
        ask: impl Fn(&dyn Composite) -> Result<Option<Arc<dyn Rule>>, Error>,
    ) -> Result<Option<Arc<dyn Rule>>, Error> {
        for composite in &self.0 {
            if let Some(rule) = ask(&**composite)? {
                return Ok(Some(rule));
            }
        }
        Ok(None)
    }
}

impl Composite for Mixed {
    fn name(&self) -> String {
        let names: Vec<String> = self.0.iter().map(|composite| composite.name()).collect();
        names.join(" + ")
    }

    fn for_model(&self, nodes: &[NodeInfo<'_>]) -> Result<Option<Arc<dyn Composite>>, Error> {
        let fit = |composite: &Arc<dyn Composite>| -> Result<Arc<dyn Composite>, Error> {
            let fitted = composite.for_model(nodes)?;
            Ok(fitted.unwrap_or_else(|| composite.clone()))
        };
        let fitted: Vec<_> = self.0.iter().map(fit).collect::<Result<_, _>>()?;
        Ok(Some(Arc::new(Self(fitted))))
    }

    fn rule(&self, node: &NodeInfo<'_>) -> Result<Option<Arc<dyn Rule>>, Error> {
        self.first(|composite| composite.rule(node))
    }

    fn group(&self, group: &NodeInfo<'_>) -> Result<Option<Arc<dyn Rule>>, Error> {
        self.first(|composite| composite.group(group))
    }
}

/// Rules by the name of a layer or of a module around it.
#[derive(Clone, Default)]
pub struct ByName(Vec<(String, Arc<dyn Rule>)>);

impl ByName {
    /// Creates a composite without rules.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a rule for the linear layers called `name`, and for those inside a module of that name;
    /// earlier names come first. Names are those of
    /// [`Traced::layers`](attr_core::Traced::layers).
    pub fn with(mut self, name: impl Into<String>, rule: Arc<dyn Rule>) -> Self {
        self.0.push((name.into(), rule));
        self
    }
}

impl Composite for ByName {
    fn name(&self) -> String {
        "names".into()
    }

    fn rule(&self, node: &NodeInfo<'_>) -> Result<Option<Arc<dyn Rule>>, Error> {
        let is = |own: &str, name: &str| {
            let rest = own.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '#']))
        };
        let exactly = |name: &str| node.name() == name || node.aliases().iter().any(|a| a == name);
        let inside = |name: &str| {
            LayerKind::of(node).is_some_and(LayerKind::is_linear) && is(node.name(), name)
        };
        let found = self
            .0
            .iter()
            .find(|(name, _)| exactly(name) || inside(name));
        Ok(found.map(|(_, rule)| rule.clone()))
    }
}

/// Rules by the kind of a layer.
#[derive(Clone, Default)]
pub struct ByKind(Vec<(LayerKind, Arc<dyn Rule>)>);

impl ByKind {
    /// Creates a composite without rules.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a rule for a kind of layer.
    pub fn with(mut self, kind: LayerKind, rule: Arc<dyn Rule>) -> Self {
        self.0.push((kind, rule));
        self
    }

    fn of(&self, node: &NodeInfo<'_>) -> Option<Arc<dyn Rule>> {
        let kind = LayerKind::of(node)?;
        let found = self.0.iter().find(|(own, _)| *own == kind);
        found.map(|(_, rule)| rule.clone())
    }
}

impl Composite for ByKind {
    fn name(&self) -> String {
        "kinds".into()
    }

    fn rule(&self, node: &NodeInfo<'_>) -> Result<Option<Arc<dyn Rule>>, Error> {
        Ok(self.of(node))
    }

    fn group(&self, group: &NodeInfo<'_>) -> Result<Option<Arc<dyn Rule>>, Error> {
        Ok(self.of(group))
    }
}
