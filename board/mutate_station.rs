// The supervisor and the link without the rest of the program; see mutate.py.
#[path = "src/line"]
pub mod line {
    pub mod devices;
    pub mod gate;
    pub mod lease;
}
#[path = "src/clock.rs"]
pub mod clock;
#[path = "src/seed.rs"]
pub mod seed;
#[path = "src/time.rs"]
pub mod time;
#[path = "src/simulation"]
pub mod simulation {
    pub mod lines;
}
#[path = "src/station"]
pub mod station {
    pub mod handover;
    pub mod link;
    pub mod priority;
    pub mod sealed_files;
    pub mod supervisor;
}
/// These tests need no configuration.
pub mod config {
    use std::path::{Path, PathBuf};
    #[derive(Debug, thiserror::Error)]
    #[error("no configuration")]
    pub struct ConfigError;
    #[derive(Debug)]
    pub struct LineConfig {
        pub product: PathBuf,
    }
    impl LineConfig {
        pub fn of_texts(_: &Texts, _: &Path) -> Result<Self, ConfigError> {
            Err(ConfigError)
        }
    }
    pub struct Texts {
        pub line: String,
        pub profile: Option<(PathBuf, String)>,
    }
    impl Texts {
        pub fn read(_: &Path) -> Result<Self, ConfigError> {
            Err(ConfigError)
        }
    }
}
pub mod product {
    #[derive(Debug, thiserror::Error)]
    #[error("no bundle")]
    pub struct ProductError;
    pub struct Product;
    impl Product {
        pub fn read(_: &std::path::Path) -> Result<Vec<u8>, ProductError> {
            Err(ProductError)
        }
    }
}
