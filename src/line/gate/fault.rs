//! What keeps the line from being ready.

/// A fault that is present now. While there is any, READY is off, FAULT is on, and every tracked part
/// is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The start: not everything in the program has reported yet.
    Starting,
    /// The camera is gone or sends nothing.
    Camera,
    /// An inspection takes too long.
    Inference,
    /// More parts wait for the inspector than it can inspect before their gates.
    Overrun,
    /// More parts between sensor and ejector than can be tracked.
    Overload,
    /// Parts go by, but the encoder does not count.
    Encoder,
    /// The digital inputs are gone.
    Inputs,
    /// The digital outputs are gone, or nobody carries out the gate's actions.
    Outputs,
    /// An output was set later than allowed.
    LateOutput,
    /// The product's golden images do not get the scores here that they got in the fit.
    SelfTest,
    /// The supervisor does not acknowledge, or was late.
    Supervisor,
    /// The event log cannot be written, and the line must not run without it.
    Record,
    /// A part was not confirmed at the ejector, or an unknown one was there. It stays until a person
    /// acknowledges it.
    Confirm,
    /// Another product was asked for than the one that runs, or it is not clear which.
    AskedProduct,
}

impl Fault {
    /// All faults.
    pub const ALL: [Fault; 14] = [
        Fault::Starting,
        Fault::Camera,
        Fault::Inference,
        Fault::Overrun,
        Fault::Overload,
        Fault::Encoder,
        Fault::Inputs,
        Fault::Outputs,
        Fault::LateOutput,
        Fault::SelfTest,
        Fault::Supervisor,
        Fault::Record,
        Fault::Confirm,
        Fault::AskedProduct,
    ];

    /// Name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Fault::Starting => "starting",
            Fault::Camera => "camera",
            Fault::Inference => "inference",
            Fault::Overrun => "overrun",
            Fault::Overload => "overload",
            Fault::Encoder => "encoder",
            Fault::Inputs => "inputs",
            Fault::Outputs => "outputs",
            Fault::LateOutput => "late_output",
            Fault::SelfTest => "self_test",
            Fault::Supervisor => "supervisor",
            Fault::Record => "record",
            Fault::Confirm => "confirm",
            Fault::AskedProduct => "asked_product",
        }
    }

    /// Index in [`Fault::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// The faults that are present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults(u16);

impl Faults {
    /// No fault.
    pub const NONE: Self = Self(0);

    /// Whether no fault is present.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `fault` is present.
    pub const fn has(self, fault: Fault) -> bool {
        self.0 & (1 << fault as u16) != 0
    }

    /// Adds or removes `fault`; true if that changed anything.
    pub const fn set(&mut self, fault: Fault, present: bool) -> bool {
        let before = self.0;
        if present {
            self.0 |= 1 << fault as u16;
        } else {
            self.0 &= !(1 << fault as u16);
        }
        self.0 != before
    }

    /// The present faults, in the order of [`Fault::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Fault> {
        Fault::ALL.into_iter().filter(move |f| self.has(*f))
    }
}
