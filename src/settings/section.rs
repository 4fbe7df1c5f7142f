//! The declaration of a section.

use super::document::{Document, Place, Section};

/// A section as it is read; [`section!`] implements it.
pub(crate) trait Declared: Sized {
    /// The values that the rooms take.
    type Taken;

    /// Dotted name of the section.
    const NAME: &'static str;

    /// Reads the declared keys of `section`. Wrong values are then in the document's problems. The
    /// caller can read more keys of the section and must close it.
    fn read_part(document: &mut Document, section: &mut Section<'_>) -> Self;

    /// Reads the whole section of `top`. Keys that are not declared are unknown.
    fn read(document: &mut Document, top: &mut Section<'_>) -> Self {
        let mut section = document.section(top, Self::NAME);
        let read = Self::read_part(document, &mut section);
        document.close(&section);
        read
    }

    /// Where the section is in the file.
    fn here(&self) -> Place;

    /// The values; None if one was refused or is missing, which is a problem already.
    fn taken(self) -> Option<Self::Taken>;

    /// The values of an optional section: `Some(None)` if it is absent.
    fn taken_if_given(self) -> Option<Option<Self::Taken>> {
        match self.here().given {
            true => self.taken().map(Some),
            false => Some(None),
        }
    }
}

/// Declares a section of a file: all facts about its settings, in one place.
///
/// ```text
/// section! {
///     /// `[supervisor]`: who holds the output lines.
///     /// `[supervisor]`: the process that holds the outputs.
///     pub struct Supervisor, read as SupervisorRead in "supervisor" {
///         /// If the vision process is silent for this long, READY and PASS are switched off.
///         lease: Duration = "lease_ms", ms(20.0..=5000.0), default 200;
///     }
/// }
/// ```
///
/// This makes two types. `Supervisor` is for the rooms and has a field `lease: Duration`. In
/// `SupervisorRead` the field is a `Setting<Duration>` that knows its key and line number, so
/// values can be checked against each other. The last part states what holds if the key is absent:
///
/// - `required`: the key must be given;
/// - `default 200`: this value, as the file would write it;
/// - `optional "off"`: there is no value, and the text states what that means; rooms get an
///   `Option`;
/// - `demanded "none"`: there is no value, but other code fills one in or refuses a file that
///   needs it.
macro_rules! section {
    (
        $(#[$about:meta])*
        pub struct $Taken:ident, read as $Read:ident in $name:literal {
            $(
                $(#[$doc:meta])*
                $field:ident: $type:ty = $key:literal, $kind:expr, $absent:ident $($what:literal)?;
            )*
        }
    ) => {
        $(#[$about])*
        pub struct $Taken {
            $( $(#[$doc])* pub $field: $crate::settings::section!(@type $absent $type), )*
        }

        #[derive(Debug)]
        pub(crate) struct $Read {
            pub(crate) here: $crate::settings::Place,
            $( pub(crate) $field: $crate::settings::Setting<$type>, )*
        }

        impl $crate::settings::Declared for $Read {
            type Taken = $Taken;
            const NAME: &'static str = $name;

            fn read_part(
                document: &mut $crate::settings::Document,
                section: &mut $crate::settings::Section<'_>,
            ) -> Self {
                Self {
                    here: section.here(),
                    $( $field: document.setting(
                        section,
                        $key,
                        $kind,
                        $crate::settings::section!(@absent $absent $($what)?),
                    ), )*
                }
            }

            fn here(&self) -> $crate::settings::Place {
                self.here
            }

            fn taken(self) -> Option<$Taken> {
                Some($Taken {
                    $( $field: $crate::settings::section!(@take $absent self.$field.value), )*
                })
            }
        }
    };

    (@type optional $type:ty) => { Option<$type> };
    (@type $absent:ident $type:ty) => { $type };

    (@take optional $value:expr) => { $value };
    (@take $absent:ident $value:expr) => { $value? };

    (@absent required) => { $crate::settings::Absent::Refused };
    (@absent default $value:literal) => { $crate::settings::Absent::Means(stringify!($value)) };
    (@absent optional $meaning:literal) => { $crate::settings::Absent::Leaves($meaning) };
    (@absent demanded $meaning:literal) => { $crate::settings::Absent::Leaves($meaning) };
}

pub(crate) use section;
