//! The members of a product before the fit: the settings and the network of each.
//!
//! Most products have one member, an ensemble has up to [`MAX_MEMBERS`].

use super::aspect;
use super::catalogue::{self, BackboneFile};
use super::settings::{OtherMember, Settings};
use crate::error::TrainError;
use partgate::backbone::InputGeometry;
use partgate::product::MAX_MEMBERS;
use partgate::size::Size;

/// Settings and network of one member.
pub(crate) struct MemberPlan {
    pub(crate) settings: Settings,
    pub(crate) file: BackboneFile,
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

impl OtherMember {
    /// The first member's view at this member's size.
    fn input(
        &self,
        first: &InputGeometry,
        multiple_of: usize,
    ) -> Result<InputGeometry, TrainError> {
        let resize = match self.size {
            None => first.resize,
            Some(size) if size.is_square() && !first.resize.is_square() => {
                aspect::sized(first.resize, size.width, multiple_of)
                    .map_err(|problem| TrainError::Setting(format!("{self}: {problem}")))?
            }
            Some(size) => size,
        };
        if !aspect::alike(resize, first.resize, multiple_of) {
            return Err(TrainError::Setting(format!(
                "{self}: every member sees the picture at one aspect, that of the first member's {} pixels; give one number, for about as many pixels as a square of it",
                first.resize
            )));
        }
        let crop = |side: usize, crop: usize, of: usize| {
            let step = of / greatest_common_divisor(of, crop).max(1);
            if side.is_multiple_of(step.max(1)) {
                return Ok(crop * side / of.max(1));
            }
            Err(TrainError::Setting(format!(
                "{self}: every member sees the same part of the picture, and the central {crop} of {of} pixels are no whole number of {side}; take a multiple of {step}"
            )))
        };
        Ok(InputGeometry {
            roi: first.roi,
            resize,
            crop: Size::new(
                crop(resize.width, first.crop.width, first.resize.width)?,
                crop(resize.height, first.crop.height, first.resize.height)?,
            ),
        })
    }
}

impl Settings {
    /// The network `name` as the encoder of the refinement beside `backbone`.
    ///
    /// # Errors
    /// [`TrainError::Setting`] where it cannot look at the same cells.
    pub(crate) fn encoder(
        &self,
        name: &str,
        backbone: &BackboneFile,
    ) -> Result<BackboneFile, TrainError> {
        let encoder = checked(catalogue::backbone(name)?)?;
        let input = &self.features.input;
        input.check(encoder.spec.input.multiple_of)?;
        let size = input.size();
        if encoder.spec.grid(size) != backbone.spec.grid(size) {
            return Err(TrainError::Setting(format!(
                "--refine-encoder {name}: its cells have {} pixels, those of the backbone {}; both must be the same",
                encoder.spec.taps[0].stride, backbone.spec.taps[0].stride
            )));
        }
        Ok(encoder)
    }

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
            let within = |error: TrainError| TrainError::Setting(format!("{other}: {error}"));
            let file = catalogue::backbone(&settings.backbone)
                .and_then(checked)
                .map_err(within)?;
            settings.features.input = other.input(input, file.spec.input.multiple_of as usize)?;
            let own = &settings.features.input;
            own.check(file.spec.input.multiple_of)
                .map_err(|error| within(error.into()))?;
            settings.map_size = Some(self.map_size.unwrap_or(input.size()));
            // A blur of so many of the first member's pixels, in this one's.
            let scale = own.size().mean_side() / input.size().mean_side();
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

    fn first(resize: usize, crop: usize) -> InputGeometry {
        InputGeometry {
            roi: None,
            resize: Size::square(resize),
            crop: Size::square(crop),
        }
    }

    fn sized(side: usize) -> OtherMember {
        OtherMember {
            backbone: None,
            size: Some(Size::square(side)),
        }
    }

    #[test]
    fn a_member_sees_what_the_first_one_sees() {
        for (given, size, want) in [
            (first(256, 256), 320, first(320, 320)),
            (first(256, 224), 512, first(512, 448)),
            (first(256, 224), 128, first(128, 112)),
        ] {
            assert_eq!(sized(size).input(&given, 16).expect("a geometry"), want);
        }
        let input = OtherMember::default().input(&first(256, 224), 32);
        assert_eq!(input.expect("a geometry"), first(256, 224));
        let error = sized(300)
            .input(&first(256, 224), 32)
            .expect_err("half a pixel");
        let error = error.to_string();
        assert!(
            error.contains("--member size=300") && error.contains("multiple of 8"),
            "{error}"
        );
    }

    #[test]
    fn a_member_keeps_the_aspect_of_the_first_one() {
        let given = InputGeometry::whole(None, Size::new(224, 288));
        let at = |size: Size| OtherMember {
            backbone: None,
            size: Some(size),
        };
        let input = |member: OtherMember| member.input(&given, 32);
        let larger = input(sized(320)).expect("a geometry");
        assert_eq!(larger, InputGeometry::whole(None, Size::new(288, 352)));
        let named = input(at(Size::new(448, 576))).expect("a geometry");
        assert_eq!(named, InputGeometry::whole(None, Size::new(448, 576)));
        let error = input(at(Size::new(288, 224))).expect_err("another aspect");
        let error = error.to_string();
        assert!(
            error.contains("--member size=288x224") && error.contains("224 x 288"),
            "{error}"
        );
        // A square first member has square others.
        assert!(at(Size::new(320, 256)).input(&first(256, 256), 32).is_err());
        // The same part of the picture, both ways.
        let cropped = InputGeometry {
            roi: None,
            resize: Size::new(256, 512),
            crop: Size::new(192, 512),
        };
        let half = at(Size::new(128, 256)).input(&cropped, 32);
        assert_eq!(half.expect("a geometry").crop, Size::new(96, 256));
    }
}
