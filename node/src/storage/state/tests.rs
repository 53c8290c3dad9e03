//! The state against a model.
