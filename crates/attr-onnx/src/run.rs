//! Runs a graph's nodes on the device that records the trace.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use attr_core::op::tap_value;
use burn::tensor::Device;

use crate::batch::Batch;
use crate::call::Call;
use crate::graph::{Graph, Node};
use crate::item::{Compute, Item};
use crate::limits::Limits;
use crate::{Error, ops, plan};

/// Values by name; a branch also sees those of its enclosing graph.
pub(crate) struct Scope<'a> {
    values: HashMap<String, Item>,
    shapes: HashMap<String, Vec<usize>>,
    outer: Option<&'a Scope<'a>>,
}

impl<'a> Scope<'a> {
    pub fn new(values: HashMap<String, Item>, outer: Option<&'a Scope<'a>>) -> Self {
        let shapes = values.iter();
        let shapes = shapes.map(|(name, item)| (name.clone(), item.shape.clone()));
        Self {
            shapes: shapes.collect(),
            values,
            outer,
        }
    }

    /// Returns the shapes of all values, including those no longer held.
    pub fn into_shapes(self) -> HashMap<String, Vec<usize>> {
        self.shapes
    }

    pub fn get(&self, name: &str) -> Option<&Item> {
        let own = self.values.get(name);
        own.or_else(|| self.outer.and_then(|outer| outer.get(name)))
    }
}

/// Settings for running nodes.
pub(crate) struct Runner<'a> {
    pub device: &'a Device,
    /// Whether nodes name the layers of the trace.
    pub names: bool,
    /// The adaptation for a model that runs at a batch size it was not exported for.
    pub batch: Option<&'a Batch>,
    pub limits: &'a Limits,
}

impl Runner<'_> {
    /// Runs the nodes in `order`; the `wanted` values are in the scope afterwards.
    pub fn run(
        &self,
        graph: &Graph,
        order: &[usize],
        wanted: &[&str],
        scope: &mut Scope<'_>,
    ) -> Result<(), Error> {
        // A value is dropped after its last reader.
        let mut last: HashMap<String, usize> = HashMap::new();
        for &i in order {
            last.extend(
                plan::reads(&graph.nodes[i])
                    .into_iter()
                    .map(|name| (name, i)),
            );
        }
        for &i in order {
            let node = &graph.nodes[i];
            let outputs = self.node(node, scope)?;
            let named = node.outputs.iter().zip(outputs).enumerate();
            for (i, (name, item)) in named.filter(|(_, (name, _))| !name.is_empty()) {
                if let (true, true, Some(value)) = (self.names, item.active, item.live()) {
                    match i {
                        0 => tap_value(&node.name, value),
                        _ => tap_value(&format!("{}:{i}", node.name), value),
                    }
                }
                scope.shapes.insert(name.clone(), item.shape.clone());
                scope.values.insert(name.clone(), item);
            }
            for name in plan::reads(node) {
                if last.get(&name) == Some(&i) && !wanted.contains(&&name[..]) {
                    scope.values.remove(&name);
                }
            }
        }
        Ok(())
    }

    fn node(&self, node: &Node, scope: &Scope<'_>) -> Result<Vec<Item>, Error> {
        let failed = |reason: String| Error::Node {
            node: node.name.clone(),
            operator: node.operator(),
            reason,
        };
        let inputs = node.inputs.iter().map(|name| {
            if name.is_empty() {
                Ok(None)
            } else {
                match scope.get(name) {
                    Some(item) => Ok(Some(item.clone())),
                    None => Err(failed(format!(
                        "its input {name:?} has no value or has an unsupported type"
                    ))),
                }
            }
        });
        let mut call = Call {
            node,
            inputs: inputs.collect::<Result<_, _>>()?,
            compute: Compute {
                device: self.device,
                limits: self.limits,
            },
        };
        if node.op == "If" && node.domain.is_empty() {
            return self.branch(&call, scope);
        }
        let operator = ops::find(&node.domain, &node.op);
        let operator = operator.ok_or_else(|| failed("the operator is not supported".into()))?;
        let outputs = catch_unwind(AssertUnwindSafe(|| {
            if let Some(batch) = self.batch {
                batch.adapt(&mut call)?;
            }
            operator(&call)
        }));
        let outputs = outputs.unwrap_or_else(|panic| {
            // Burn's checks panic where ours did not catch the problem first.
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            let text = text.unwrap_or("Burn rejected it");
            Err(text.split_whitespace().collect::<Vec<_>>().join(" "))
        });
        let outputs = outputs.map_err(failed)?;
        for output in outputs.iter().filter(|output| output.live().is_none()) {
            self.limits.spend(output.elements()).map_err(failed)?;
        }
        if let Some(batch) = self.batch {
            batch.follow(&call, &outputs).map_err(failed)?;
        }
        Ok(outputs)
    }

    /// Runs the chosen branch of an `If` whose condition is known.
    fn branch(&self, call: &Call<'_>, scope: &Scope<'_>) -> Result<Vec<Item>, Error> {
        let failed = |reason: String| Error::Node {
            node: call.node.name.clone(),
            operator: "If".into(),
            reason,
        };
        let condition = call.known(0).map_err(failed)?;
        let name = match condition.first() {
            Some(0) => "else_branch",
            _ => "then_branch",
        };
        let graph = call.graph(name).map_err(failed)?;
        let constants = graph.constants.iter().filter_map(|(name, constant)| {
            let host = constant.host.clone()?;
            Some((name.clone(), Item::from(host)))
        });
        let mut inner = Scope::new(constants.collect(), Some(scope));
        let wanted: Vec<&str> = graph.outputs.iter().map(|port| &port.name[..]).collect();
        let order = plan::order(graph, &wanted, &|name| scope.get(name).is_some())?;
        self.run(graph, &order, &wanted, &mut inner)?;
        let outputs = wanted.iter().map(|name| {
            let item = inner.get(name).cloned();
            item.ok_or_else(|| failed(format!("its branch does not define {name:?}")))
        });
        outputs.collect()
    }
}
