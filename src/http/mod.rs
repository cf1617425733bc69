//! One HTTP client for all registries: TLS, retry, limits.
