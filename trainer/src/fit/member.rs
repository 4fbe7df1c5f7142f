//! Members of a product: most have one, an ensemble up to three. Each is fitted as if it were
//! alone, on the same images and the same folds; `ensemble` joins what comes out.

use super::Settings;
use super::catalogue::{self, BackboneFile};
use super::choice::CopyId;
use super::moved::ShiftSensitivity;
use super::rules::RuleSpec;
use super::study::HeldOut;
use crate::error::TrainError;
use partgate::backbone::{BackboneSpec, InputGeometry};
use partgate::product::{MAX_MEMBERS, Method, SectionBytes, Training};

/// A further member as it was asked for. What is not named is the first member's; it sees the same
/// part of the picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OtherMember {
    /// Another network.
    pub(crate) backbone: Option<String>,
    /// Another side after the resize, pixels.
    pub(crate) size: Option<u32>,
}

impl std::fmt::Display for OtherMember {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let backbone = self.backbone.iter().map(|b| format!("backbone={b}"));
        let size = self.size.iter().map(|s| format!("size={s}"));
        let parts: Vec<String> = backbone.chain(size).collect();
        write!(f, "--member {}", parts.join(","))
    }
}

/// What one member is fitted with.
pub(crate) struct MemberPlan {
    pub(crate) settings: Settings,
    pub(crate) file: BackboneFile,
}

fn divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { divisor(b, a % b) }
}

impl OtherMember {
    /// The first member's view at this member's size.
    fn input(&self, first: &InputGeometry) -> Result<InputGeometry, TrainError> {
        let resize = self.size.unwrap_or(first.resize);
        let step = first.resize / divisor(first.resize, first.crop).max(1);
        if !resize.is_multiple_of(step.max(1)) {
            return Err(TrainError::Setting(format!(
                "{self}: every member sees the same part of the picture, and the central {} of {} pixels are no whole number of {resize}; take a multiple of {step}",
                first.crop, first.resize
            )));
        }
        let crop = u64::from(first.crop) * u64::from(resize) / u64::from(first.resize.max(1));
        Ok(InputGeometry {
            roi: first.roi,
            resize,
            crop: u32::try_from(crop).unwrap_or(u32::MAX),
        })
    }
}

impl Settings {
    /// What each member is fitted with, the first one first.
    ///
    /// Refuses what no network can take, a member twice, and more of them than a board runs.
    pub(crate) fn members(&self) -> Result<Vec<MemberPlan>, TrainError> {
        let count = 1 + self.others.len();
        if count > MAX_MEMBERS {
            return Err(TrainError::Setting(format!(
                "--member is given {} times: with the network of --size and --backbone a product would have {count} members, and it may have {MAX_MEMBERS}",
                self.others.len()
            )));
        }
        let mut first = self.clone();
        let others = std::mem::take(&mut first.others);
        let file = checked(catalogue::backbone(&self.backbone)?)?;
        let input = &self.features.input;
        input.check(file.spec.input.multiple_of)?;
        let mut names = vec!["the first member, by --size and --backbone".to_string()];
        let mut plans = vec![MemberPlan {
            file,
            settings: first,
        }];
        for other in others {
            let mut settings = plans[0].settings.clone();
            if let Some(backbone) = &other.backbone {
                settings.backbone.clone_from(backbone);
            }
            settings.features.input = other.input(input)?;
            let within = |error: TrainError| TrainError::Setting(format!("{other}: {error}"));
            let file = catalogue::backbone(&settings.backbone)
                .and_then(checked)
                .map_err(within)?;
            let own = &settings.features.input;
            own.check(file.spec.input.multiple_of)
                .map_err(|error| within(error.into()))?;
            settings.map_side = Some(self.map_side.unwrap_or(input.side()));
            // A blur of so many of the first member's pixels, in this one's.
            let scale = own.side() as f32 / input.side() as f32;
            settings.sigma = self.sigma.map(|sigma| sigma * scale);
            let same = |plan: &MemberPlan| {
                plan.file.onnx == file.onnx && plan.settings.features.input == *own
            };
            if let Some(twin) = plans.iter().position(same) {
                return Err(TrainError::Setting(format!(
                    "{other}: the same network at the same size as {}; a second one would add time and nothing else, so give it another size or backbone",
                    names[twin]
                )));
            }
            names.push(other.to_string());
            plans.push(MemberPlan { settings, file });
        }
        Ok(plans)
    }
}

fn checked(file: BackboneFile) -> Result<BackboneFile, TrainError> {
    file.spec
        .check()
        .map_err(|e| TrainError::Setting(e.to_string()))?;
    Ok(file)
}

/// A damaged copy as a member sees it, held out: the score of each cell under the member's rule.
pub(crate) struct JudgedCopy {
    pub(crate) id: CopyId,
    pub(crate) cells: Vec<f32>,
}

/// A member, fitted: what a bundle carries of it, and what joining members needs to know.
pub(crate) struct FittedMember {
    pub(crate) backbone: BackboneSpec,
    pub(crate) input: InputGeometry,
    pub(crate) spec: RuleSpec,
    pub(crate) method: Method,
    pub(crate) bank_rows: usize,
    pub(crate) dimensions: usize,
    /// Distinct image sizes.
    pub(crate) image_sizes: usize,
    /// Images whose features came from the cache.
    pub(crate) cached_images: usize,
    /// Where the rule was chosen.
    pub(crate) shift: Option<ShiftSensitivity>,
    /// Without the held-out scores, which are the product's.
    pub(super) training: Training,
    pub(super) sections: Vec<SectionBytes>,
    /// Scores and thresholds that it would have alone.
    pub(crate) held_out: HeldOut,
    /// Painted copies of good images; none where the fit needed none.
    pub(super) copies: Vec<JudgedCopy>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(resize: u32, crop: u32) -> InputGeometry {
        InputGeometry {
            roi: None,
            resize,
            crop,
        }
    }

    fn sized(size: u32) -> OtherMember {
        OtherMember {
            backbone: None,
            size: Some(size),
        }
    }

    #[test]
    fn a_member_sees_what_the_first_one_sees() {
        for (given, size, want) in [
            (first(256, 256), 320, first(320, 320)),
            (first(256, 224), 512, first(512, 448)),
            (first(256, 224), 128, first(128, 112)),
        ] {
            assert_eq!(sized(size).input(&given).expect("a geometry"), want);
        }
        let input = OtherMember::default().input(&first(256, 224));
        assert_eq!(input.expect("a geometry"), first(256, 224));
        let error = sized(300)
            .input(&first(256, 224))
            .expect_err("half a pixel");
        let error = error.to_string();
        assert!(
            error.contains("--member size=300") && error.contains("multiple of 8"),
            "{error}"
        );
    }
}
