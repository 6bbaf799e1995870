//! Trees against definitions, and against shap.

mod definition;
mod golden;
mod hostile;
mod long;
mod prediction;
mod random;
