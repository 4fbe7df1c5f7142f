use serde::Serialize;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// As it should be.
    Ok,
    /// The line can run, but not as well or as safely as it could.
    Warning,
    /// The line cannot run as configured.
    Failed,
    /// Nothing was checked; the text states why.
    NotChecked,
}

impl State {
    pub(super) const fn name(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Failed => "failed",
            State::NotChecked => "not checked",
        }
    }
}

/// One check's result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was checked, in a few words.
    pub(super) check: String,
    /// How it ended.
    pub(super) state: State,
    /// What was found.
    pub(super) found: String,
    /// What to do about it.
    pub(super) fix: Option<String>,
}

impl Finding {
    fn new(check: impl Into<String>, state: State, found: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            state,
            found: found.into(),
            fix: None,
        }
    }

    pub(super) fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(check, State::Ok, found)
    }

    pub(super) fn warning(
        check: impl Into<String>,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            fix: Some(fix.into()),
            ..Self::new(check, State::Warning, found)
        }
    }

    pub(super) fn failed(
        check: impl Into<String>,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            fix: Some(fix.into()),
            ..Self::new(check, State::Failed, found)
        }
    }

    pub(super) fn not_checked(check: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(check, State::NotChecked, why)
    }
}

/// The findings so far, in the order of the checks.
pub(super) type Findings = Vec<Finding>;
