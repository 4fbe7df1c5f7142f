//! The options of the network's input: size, aspect, and what `--size auto` compares.

use super::{MethodArgs, refused};
use crate::dataset::GoodImages;
use crate::error::TrainError;
use crate::fit::region::PartBox;
use crate::fit::settings::Settings;
use crate::fit::size_choice::{MOST_USUAL, SIDES};
use crate::fit::size_ladder::larger_inputs;
use crate::fit::{aspect, catalogue};
use clap::ValueEnum;
use partgate::backbone::{InputGeometry, Rect};
use partgate::size::{Size, SizeError};

/// What `--size` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SizeArgument {
    /// To be chosen by the good images.
    Auto,
    Given(Size),
}

impl std::str::FromStr for SizeArgument {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => text.parse().map(Self::Given),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Aspect {
    /// As --size gives it
    Size,
    /// That of the region
    Keep,
}

impl MethodArgs {
    pub(super) fn check_input(&self) -> Result<(), TrainError> {
        if let (SizeArgument::Auto, Some(crop)) = (self.size, self.crop) {
            return refused(format!(
                "--size auto with --crop {}: give --roi instead of a crop, or a size",
                crop.typed()
            ));
        }
        if self.aspect == Aspect::Size {
            return Ok(());
        }
        if !self.size().is_square() {
            return refused(format!(
                "--aspect keep: --size {} already has an aspect; give --size as one number, or leave --aspect out",
                self.size().typed()
            ));
        }
        if let Some(crop) = self.crop {
            return refused(format!(
                "--aspect keep: with --crop {} the aspect would be the crop's; cut the picture with --roi, or give --size and --crop as WxH",
                crop.typed()
            ));
        }
        Ok(())
    }

    /// What of the input good images decide: the aspect, and the background's colours.
    pub(crate) fn adapt_input(
        &self,
        settings: &mut Settings,
        images: &GoodImages,
    ) -> Result<(), TrainError> {
        if let Some(request) = self.background() {
            let background = request.learn(images)?;
            log::info!("background: {}", background.in_words());
            settings.features.background = Some(background);
        }
        self.keep_aspect(settings, images)
    }

    /// Gives `settings`, whose region of interest is known, the input that `images` ask for under
    /// --aspect keep; does nothing without.
    ///
    /// # Errors
    /// [`TrainError::Setting`] where no usable size has their aspect.
    fn keep_aspect(&self, settings: &mut Settings, images: &GoodImages) -> Result<(), TrainError> {
        if self.aspect == Aspect::Keep {
            let spec = catalogue::backbone(&settings.backbone)?.spec;
            let multiple_of = spec.input.multiple_of.max(1) as usize;
            let input = &mut settings.features.input;
            *input = aspect::keep(input, images, multiple_of)?;
        }
        Ok(())
    }

    /// The size to begin with.
    pub(super) fn size(&self) -> Size {
        match self.size {
            SizeArgument::Auto => Size::square(SIDES[0]),
            SizeArgument::Given(size) => size,
        }
    }

    /// Whether the size is to be chosen by the good images.
    pub(crate) fn auto_size(&self) -> bool {
        self.size == SizeArgument::Auto
    }

    /// The inputs that --size auto compares, the usual one first: every size on the region of
    /// `settings`, and on the box around the part where the region is the whole picture; then those
    /// above the usual sizes, up to the pixels of the camera.
    ///
    /// # Errors
    /// [`TrainError`] where the first image cannot be read, or no usable size has its aspect.
    pub(crate) fn inputs_to_compare(
        &self,
        settings: &Settings,
        images: &GoodImages,
        part: Option<&PartBox>,
    ) -> Result<Vec<InputGeometry>, TrainError> {
        let given = settings.features.input.roi;
        let mut regions = vec![given];
        regions.extend(
            part.filter(|_| given.is_none())
                .map(|part| Some(part.region)),
        );
        let frame = images.read(&images.paths[0])?;
        let pixels = |region: Option<Rect>| match region {
            Some(region) => Size::new(region.width as usize, region.height as usize),
            None => Size::new(frame.width(), frame.height()),
        };
        let mut inputs = Vec::new();
        for side in SIDES {
            for &region in &regions {
                let longer = pixels(region).longer();
                // More pixels than the camera has show nothing more.
                if side > SIDES[0] && side > longer {
                    continue;
                }
                let mut settings = settings.clone();
                settings.features.input = InputGeometry::whole(region, Size::square(side));
                self.keep_aspect(&mut settings, images)?;
                inputs.push(settings.features.input);
            }
        }
        let spec = catalogue::backbone(&settings.backbone)?.spec;
        let multiple_of = spec.input.multiple_of.max(1) as usize;
        let mut larger: Vec<InputGeometry> = regions
            .iter()
            .flat_map(|&region| larger_inputs(region, pixels(region), MOST_USUAL, multiple_of))
            .collect();
        larger.sort_by_key(|input| input.size().area());
        inputs.extend(larger);
        Ok(inputs)
    }
}
