//! The registry client against scripted registries.
