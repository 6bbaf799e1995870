//! Against shap.
