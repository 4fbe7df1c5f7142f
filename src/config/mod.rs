//! The line's configuration: one TOML file, strict.
