//! The members of a product before the fit: the settings and the network of each.
//!
//! Most products have one member, an ensemble has up to [`MAX_MEMBERS`].

use super::catalogue::{self, BackboneFile};
use super::settings::{OtherMember, Settings};
use crate::error::TrainError;
use partgate::backbone::InputGeometry;
use partgate::product::MAX_MEMBERS;

/// Settings and network of one member.
pub(crate) struct MemberPlan {
    pub(crate) settings: Settings,
    pub(crate) file: BackboneFile,
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

impl OtherMember {
    /// The first member's view at this member's size.
    fn input(&self, first: &InputGeometry) -> Result<InputGeometry, TrainError> {
        let resize = self.size.unwrap_or(first.resize);
        let step = first.resize / greatest_common_divisor(first.resize, first.crop).max(1);
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
    /// The plan of each member, the first member first.
    ///
    /// # Errors
    /// [`TrainError::Setting`] for a size that the network cannot take, for a member that is there
    /// twice, and for more members than a board runs.
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
